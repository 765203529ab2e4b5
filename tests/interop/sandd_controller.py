#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""SandD's published controller (PyPI sandd 0.2.1) with a daemon of ours: prints TAP, one line a case.

usage: sandd_controller.py PORT ID PID-OF-DAEMON DIR
"""

import concurrent.futures
import os
import sys
import time
import traceback

import sandd

PORT, ID, PID, DIR = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
failed = False


def check(name, case):
    """Run a case; what it raises is its failure."""
    global failed
    try:
        case()
        print(f"ok - published controller: {name}", flush=True)
    except Exception:
        failed = True
        print(f"not ok - published controller: {name}")
        for line in traceback.format_exc().splitlines():
            print(f"# {line}")
        sys.stdout.flush()


def equal(got, want):
    assert got == want, f"{got!r}, not {want!r}"


def raises(kind, call):
    try:
        result = call()
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}, but {result!r}")


server = sandd.Server(host="127.0.0.1", port=PORT, verbose=False)


def listing():
    daemon = server.get_daemon(ID)
    equal(daemon.labels, {"zone": "lab", "n": "1=2"})
    equal([d.id for d in server.list_daemons(labels={"zone": "lab"})], [ID])
    equal(server.daemon_count(), 1)
    equal(server.get_stats().by_platform, {"linux": 1})


def result():
    got = server.exec(ID, "echo out; echo err >&2; exit 3", timeout=30)
    equal((got.stdout, got.stderr, got.exit_code, got.success), ("out\n", "err\n", 3, False))
    assert got.duration_ms >= 1


def environment():
    equal(server.exec(ID, "echo $A; pwd", timeout=30, env={"A": "b c"}, cwd="/usr").stdout, "b c\n/usr\n")


def signalled():
    equal(server.exec(ID, "kill -9 $$", timeout=30).exit_code, -1)


def cannot_start():
    assert "/nonexistent" in raises(RuntimeError, lambda: server.exec(ID, "true", timeout=30, cwd="/nonexistent"))


def timeout_kills():
    path = os.path.join(DIR, "pids")
    raises(TimeoutError, lambda: server.exec(ID, f"(echo $$ > {path}; sleep 600) & wait", timeout=1))
    pid = open(path).read().strip()
    for _ in range(300):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.1)
    raise AssertionError(f"{pid} is still there")


def side_by_side():
    path = os.path.join(DIR, "go")
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        waiting = [
            pool.submit(server.exec, ID, f"while [ ! -e {path} ]; do sleep 0.1; done; echo {i}", 60) for i in range(19)
        ]
        server.exec(ID, f"touch {path}", timeout=60)
        equal([f.result().stdout for f in waiting], [f"{i}\n" for i in range(19)])


def pipes_decide():
    equal(server.exec(ID, "(sleep 0.5; echo late) & echo hi", timeout=30).stdout, "hi\nlate\n")


def large_output():
    got = server.exec(ID, "head -c 5000000 /dev/zero | tr '\\0' x", timeout=60).stdout
    mark = "\n[sandd: output truncated after 2097152 bytes]\n"
    assert got.endswith(mark), got[-100:]
    equal(len(got), 2097152 + len(mark))


def no_text():
    equal(server.exec(ID, "printf '\\377\\303\\244\\000'", timeout=30).stdout, "\ufffd\u00e4\0")


def broadcast():
    equal(server.broadcast({"zone": "lab"}, "echo all")[ID].stdout, "all\n")


def beats():
    """Longer than the controller waits for a heartbeat before it forgets a daemon (30 s)."""
    time.sleep(36)
    equal(server.exec(ID, "echo alive", timeout=30).stdout, "alive\n")


def comes_back():
    global server
    server = None
    time.sleep(1)
    server = sandd.Server(host="127.0.0.1", port=PORT, verbose=False)
    assert server.wait_for_daemon(ID, timeout=30.0)
    equal(server.exec(ID, "echo back", timeout=30).stdout, "back\n")


def is_small():
    for line in open(f"/proc/{PID}/status"):
        if line.startswith("VmRSS"):
            assert int(line.split()[1]) <= 5120, line


check("registers", lambda: equal(server.wait_for_daemon(ID, timeout=30.0), True))
check("labels, lists, stats", listing)
check("stdout, stderr, exit code, duration", result)
check("environment and folder", environment)
check("killed by a signal", signalled)
check("a command that cannot start", cannot_start)
check("a timeout kills the children", timeout_kills)
check("twenty commands side by side", side_by_side)
check("the pipes decide when a command ends", pipes_decide)
check("large output is cut with a mark", large_output)
check("output that is no text", no_text)
check("broadcast", broadcast)
check("in 5 MB", is_small)
check("back after the controller's restart", comes_back)
check("heartbeats keep it registered", beats)
sys.stdout.flush()
# Its threads may still hold sockets: no need to wait for them.
os._exit(1 if failed else 0)
