# SPDX-License-Identifier: BSD-3-Clause
"""A gateway process of our own: its configuration, its start and its end."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from typing import IO, List, Optional

from .api import Api, ApiError
from .models import TunnelConfig

_START_S = 60.0
_STOP_S = 15.0
_PR_SET_PDEATHSIG = 1


def default_device() -> str:
    """The interface of the default route, IPv4 first."""
    with open("/proc/net/route", encoding="ascii") as routes:
        for line in list(routes)[1:]:
            fields = line.split()
            if fields[1] == "00000000" and fields[7] == "00000000":
                return fields[0]
    try:
        with open("/proc/net/ipv6_route", encoding="ascii") as routes:
            for line in routes:
                fields = line.split()
                if fields[0] == "0" * 32 and fields[1] == "00" and fields[-1] != "lo":
                    return fields[-1]
    except FileNotFoundError:
        pass
    raise OSError("no default route: name the network interface in SANDD_GW_DEVICE")


def _state_dir() -> str:
    """Where the identity of a node stays from one start to the next."""
    if "SANDD_GW_STATE" in os.environ:
        return os.path.abspath(os.environ["SANDD_GW_STATE"])
    if os.geteuid() == 0:
        return "/var/lib/sandd-gw"
    home = os.environ.get("XDG_STATE_HOME", os.path.expanduser("~/.local/state"))
    return os.path.join(home, "sandd-gw")


def _yaml(value: str) -> str:
    return json.dumps(value)  # a JSON text is a YAML text


def direct_config(address: str, socket_path: str) -> List[str]:
    return [
        f"controller: {{direct: {_yaml(address)}}}",
        f"api: {{socket: {_yaml(socket_path)}}}",
    ]


def tunnel_config(config: TunnelConfig, socket_path: str) -> List[str]:
    """The key is not in it: it travels in the environment, where the gateway wipes it."""
    kind = os.environ.get("SANDD_GW_PORT_KIND", "af_xdp")
    device = os.environ.get("SANDD_GW_DEVICE") or default_device()
    return [
        "mesh:",
        f"  server: {_yaml(config.server)}",
        f"  state_dir: {_yaml(_state_dir())}",
        "ports:",
        f"  - {{kind: {_yaml(kind)}, device: {_yaml(device)}}}",
        f"api: {{socket: {_yaml(socket_path)}}}",
    ]


def _end_with_parent() -> None:
    """In the child: whatever ends Python ends the gateway."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(process: "subprocess.Popen[bytes]", folder: str) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


class Gateway:
    """A running sandd-gw that ends with close(), with this object, or with the program."""

    def __init__(self, config: Optional[TunnelConfig], address: str, verbose: bool) -> None:
        program = os.environ.get("SANDD_GW") or shutil.which("sandd-gw") or "/usr/local/sbin/sandd-gw"
        if not os.access(program, os.X_OK):
            raise FileNotFoundError(
                f"{program} is not there: install sandd-gw, or name it in SANDD_GW"
            )
        folder = tempfile.mkdtemp(prefix="sandd-gw-")
        self.socket_path = os.path.join(folder, "api.sock")
        lines = (
            tunnel_config(config, self.socket_path)
            if config
            else direct_config(address, self.socket_path)
        )
        path = os.path.join(folder, "sandd-gw.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        environment = dict(os.environ)
        environment.pop("SANDD_GW_SOCKET", None)
        if config:
            environment["SANDD_AUTHKEY"] = config.authkey
        self._verbose = verbose
        self._log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [program, "--config", path],
            stdin=subprocess.DEVNULL,
            stdout=None if verbose else self._log,
            stderr=None if verbose else self._log,
            env=environment,
            preexec_fn=_end_with_parent,
        )
        self._finalizer = weakref.finalize(self, _stop, self.process, folder)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        api = Api(self.socket_path)
        deadline = time.monotonic() + _START_S
        while True:
            if self.process.poll() is not None:
                why = "see above" if self._verbose else _last_line(self._log)
                self.close()
                raise OSError(f"sandd-gw did not start (exit code {self.process.returncode}): {why}")
            try:
                api.call("GET", "/v1/status", timeout=5.0)
                return
            except (OSError, ApiError):
                pass
            if time.monotonic() > deadline:
                self.close()
                raise TimeoutError(f"sandd-gw did not answer within {_START_S:.0f} s")
            time.sleep(0.02)

    def close(self) -> None:
        self._finalizer()
        if not self._log.closed:
            self._log.close()
        sys.stderr.flush()
