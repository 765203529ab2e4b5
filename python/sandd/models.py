# SPDX-License-Identifier: BSD-3-Clause
"""What the API answers, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Optional


@dataclass(frozen=True)
class TunnelConfig:
    """How to join a mesh: a pre-auth key, and the URL of the Headscale server."""

    authkey: str = field(repr=False)  # a secret: not in logs
    server: str


@dataclass(frozen=True)
class CommandResult:
    stdout: str
    stderr: str
    exit_code: int  # -1: could not be run, or killed by a signal
    duration_ms: int
    truncated: bool = False  # the output was longer than is kept

    @property
    def success(self) -> bool:
        return self.exit_code == 0


@dataclass(frozen=True)
class DaemonInfo:
    id: str
    version: str
    labels: Dict[str, str]
    is_busy: bool
    hostname: str = ""
    platform: str = ""
    arch: str = ""
    address: str = ""


@dataclass(frozen=True)
class ServerStats:
    total_daemons: int
    by_platform: Dict[str, int]
    oldest_connection_secs: Optional[int]
