#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Our daemon with SandD's published controller (PyPI sandd 0.2.1), direct mode: the cases are in sandd_controller.py.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

PYTHON=$PEERS/sandd-py/bin/python
PORT=$(free_port)

[[ -x $SANDD_BUILD/control/sandd ]] || skip_all "published controller" "sandd is not built"
[[ -x $PYTHON ]] ||
	skip_all "published controller" "it is not installed: scripts/peers.sh sandd-controller"

start daemon "$SANDD_BUILD/control/sandd" --server-url "ws://127.0.0.1:$PORT/ws" --daemon-id ours \
	--label zone=lab --label n=1=2 --reconnect-interval 1
DAEMON=$STARTED
"$PYTHON" "$(dirname "$0")/sandd_controller.py" "$PORT" ours "$DAEMON" "$DIR" || FAILED=1
stop "$DAEMON" TERM
check "our daemon: a clean end" test "$ENDED" = 0
exit "$FAILED"
