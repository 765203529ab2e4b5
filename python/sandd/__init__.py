# SPDX-License-Identifier: BSD-3-Clause
"""Run commands on fleets of sandboxes: the Python side of a sandd-gw gateway.

    from sandd import Server

    with Server() as server:
        server.wait_for_daemon("worker-1")
        print(server.exec("worker-1", "uname -a").stdout)

Everything goes through the gateway's API on its Unix socket; nothing but the standard library is needed.
"""

from .models import CommandResult, DaemonInfo, ServerStats, TunnelConfig
from .server import Server

__all__ = ["CommandResult", "DaemonInfo", "Server", "ServerStats", "TunnelConfig"]
