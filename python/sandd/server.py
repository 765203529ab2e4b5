# SPDX-License-Identifier: BSD-3-Clause
"""The controller, as programs use it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Mapping, Optional

from .api import SOCKET_DEFAULT, Api, ApiError
from .gateway import Gateway
from .models import CommandResult, DaemonInfo, ServerStats, TunnelConfig

# The gateway ends a command at its time limit; the answer may travel a little longer.
_GRACE_S = 30.0
_AT_ONCE_MAX = 128
_TIMEOUT_MAX = 7 * 24 * 3600


class Server:
    """A gateway's controller: one that runs already, or one that this object starts.

    A gateway on SANDD_GW_SOCKET (default: /run/sandd-gw/api.sock) is used if it does what is asked for: it
    listens on this host and port (connect="direct"), or is a node of this server's mesh (connect="tunnel"). Else
    one is started, and ends with close(), with this object, or with the program. Any thread.

    :param host, port: where daemons dial, with connect="direct". A port that is taken raises OSError.
    :param connect: "direct", or "tunnel": daemons dial the gateway's address or name in the mesh, port 8765.
    :param tunnel_config: for "tunnel".
    :param verbose: the gateway's log goes to this program's standard error.
    """

    def __init__(
        self,
        host: str = "0.0.0.0",
        port: int = 8765,
        connect: str = "direct",
        tunnel_config: Optional[TunnelConfig] = None,
        verbose: bool = True,
    ) -> None:
        if connect not in ("direct", "tunnel"):
            raise ValueError(f'connect must be "direct" or "tunnel", not {connect!r}')
        if connect == "tunnel" and tunnel_config is None:
            raise ValueError('connect="tunnel" needs a tunnel_config: TunnelConfig(authkey, server)')
        if connect == "direct":
            tunnel_config = None
        self._closed = False
        self._gateway: Optional[Gateway] = None
        self._connect = connect
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        socket_path = os.environ.get("SANDD_GW_SOCKET", SOCKET_DEFAULT)
        self._api = Api(socket_path)
        if not self._serves(address, tunnel_config):
            self._gateway = Gateway(tunnel_config, address, verbose)
            self._api = Api(self._gateway.socket_path)

    def _serves(self, address: str, tunnel_config: Optional[TunnelConfig]) -> bool:
        """Does the gateway that runs, if there is one, do what is asked for?"""
        try:
            status = self._api.call("GET", "/v1/status", timeout=5.0)
        except (OSError, ApiError):
            return False
        if tunnel_config is None:
            return bool(status.get("controller_direct") == address)
        mesh = status.get("mesh") or {}
        return str(mesh.get("server", "")).rstrip("/") == tunnel_config.server.rstrip("/")

    # --- life ---

    def close(self) -> None:
        """End what this object has started; a gateway that ran before goes on. More than once is fine."""
        self._closed = True
        if self._gateway:
            self._gateway.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Server(address={'closed' if self._closed else self.address!r}, connect={self._connect!r})"

    @property
    def address(self) -> str:
        """Where daemons dial: "0.0.0.0:8765", or the gateway's first address in the mesh; "" before it has one."""
        status = self._api.call("GET", "/v1/status")
        if self._connect == "direct":
            return str(status["controller_direct"])
        addresses = (status.get("mesh") or {}).get("addresses") or []
        return f"{addresses[0]}:8765" if addresses else ""

    @property
    def name(self) -> str:
        """The gateway's name in the mesh, "gw1.mesh.lab"; "" without one."""
        status = self._api.call("GET", "/v1/status")
        return str((status.get("mesh") or {}).get("name") or "")

    # --- commands ---

    def exec(
        self,
        daemon_id: str,
        command: str,
        timeout: int = 300,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
    ) -> CommandResult:
        """Run a line of sh on a daemon.

        :raises ValueError: no such daemon
        :raises TimeoutError: it did not end within `timeout` seconds; it was killed there
        :raises RuntimeError: it could not be run, or the daemon went away meanwhile
        """
        body = _command(command, timeout, env, cwd)
        try:
            answer = self._api.call(
                "POST", f"/v1/daemons/{Api.segment(daemon_id)}/exec", body, timeout + _GRACE_S
            )
        except ApiError as error:
            if error.code == "unknown_daemon":
                raise ValueError(str(error)) from None
            if error.code == "timeout":
                raise TimeoutError(str(error)) from None
            raise RuntimeError(str(error)) from None
        return CommandResult(**{key: answer[key] for key in CommandResult.__dataclass_fields__})

    def broadcast(
        self,
        labels: Optional[Mapping[str, str]],
        command: str,
        timeout: int = 300,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
    ) -> Dict[str, CommandResult]:
        """Run it on all daemons that have these labels (none: all daemons), side by side.

        A daemon's failure is a result of its own: exit_code -1, the reason in stderr.
        """
        _command(command, timeout, env, cwd)
        ids = [daemon.id for daemon in self.list_daemons(labels)]
        if not ids:
            return {}

        def one(daemon_id: str) -> CommandResult:
            begun = time.monotonic()
            try:
                return self.exec(daemon_id, command, timeout, env, cwd)
            except (OSError, ValueError, RuntimeError) as error:
                return CommandResult("", str(error), -1, int(1000 * (time.monotonic() - begun)))

        with ThreadPoolExecutor(min(len(ids), _AT_ONCE_MAX)) as pool:
            return dict(zip(ids, pool.map(one, ids)))

    # --- daemons ---

    def list_daemons(self, labels: Optional[Mapping[str, str]] = None) -> List[DaemonInfo]:
        """All daemons, or those that have all of these labels; ordered by id."""
        wanted = dict(labels or {}).items()
        daemons = self._api.call("GET", "/v1/daemons")["daemons"]
        return [_daemon(d) for d in daemons if wanted <= d["labels"].items()]

    def get_daemon(self, daemon_id: str) -> Optional[DaemonInfo]:
        return next((d for d in self.list_daemons() if d.id == daemon_id), None)

    def daemon_count(self) -> int:
        return int(self._api.call("GET", "/v1/status")["daemons"])

    def wait_for_daemon(
        self, daemon_id: str, timeout: float = 30.0, poll_interval: float = 0.5
    ) -> bool:
        """True as soon as it is there; False when `timeout` seconds have passed without."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.get_daemon(daemon_id):
                return True
            time.sleep(max(0.0, min(poll_interval, deadline - time.monotonic())))
        return False

    def get_stats(self) -> ServerStats:
        daemons = self._api.call("GET", "/v1/daemons")["daemons"]
        by_platform: Dict[str, int] = {}
        for daemon in daemons:
            by_platform[daemon["platform"]] = by_platform.get(daemon["platform"], 0) + 1
        since = [daemon["since"] for daemon in daemons if daemon["since"] is not None]
        oldest = max(0, int(time.time() - min(since))) if since else None
        return ServerStats(len(daemons), by_platform, oldest)


def _daemon(document: Dict[str, Any]) -> DaemonInfo:
    return DaemonInfo(**{key: document[key] for key in DaemonInfo.__dataclass_fields__})


def _command(
    command: str, timeout: int, env: Optional[Mapping[str, str]], cwd: Optional[str]
) -> Dict[str, Any]:
    """The body of a call; what cannot be is told before anything is sent."""
    if isinstance(timeout, bool) or not isinstance(timeout, int):
        raise TypeError(f"timeout must be an int, not {type(timeout).__name__}")
    if not 0 <= timeout <= _TIMEOUT_MAX:
        raise OverflowError(f"timeout must be 0 to {_TIMEOUT_MAX} seconds, not {timeout}")
    body: Dict[str, Any] = {"command": command, "timeout_s": timeout}
    if env:
        body["env"] = dict(env)
    if cwd is not None:
        body["cwd"] = cwd
    return body
