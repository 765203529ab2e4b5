# SPDX-License-Identifier: BSD-3-Clause
"""HTTP+JSON over the gateway's Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, Optional
from urllib.parse import quote

SOCKET_DEFAULT = "/run/sandd-gw/api.sock"


class ApiError(Exception):
    """The gateway answered with an error; `code` is one of its words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: Optional[float]) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


class Api:
    """Calls to one gateway. Any thread: each call has a connection of its own."""

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path

    def call(
        self, method: str, path: str, body: Optional[Any] = None, timeout: Optional[float] = 30.0
    ) -> Any:
        """The answer's document. ApiError: the gateway refused; OSError: it is not there."""
        connection = _Connection(self.socket_path, timeout)
        try:
            connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            text = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{self.socket_path}: {error!r}") from error
        finally:
            connection.close()
        document = json.loads(text) if text else {}
        if response.status >= 400:
            what = document.get("error", {})
            raise ApiError(response.status, what.get("code", ""), what.get("message", ""))
        return document

    @staticmethod
    def segment(text: str) -> str:
        """A path's segment that holds any text."""
        return quote(text, safe="")
