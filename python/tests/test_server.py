# SPDX-License-Identifier: BSD-3-Clause
"""The package against a real gateway and real daemons, in direct mode. Prints TAP.

SANDD_BUILD names the folder of the build. Ports of loopback only.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from sandd import CommandResult, DaemonInfo, Server, TunnelConfig  # noqa: E402

BUILD = os.path.join(os.environ.get("SANDD_BUILD", "build"), "control")
os.environ["SANDD_GW"] = os.path.abspath(os.path.join(BUILD, "sandd-gw"))
os.environ["SANDD_GW_SOCKET"] = "/nonexistent/api.sock"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_daemon(port, name, *labels):
    command = [os.path.join(BUILD, "sandd"), "--server-url", f"ws://127.0.0.1:{port}/ws"]
    command += ["--daemon-id", name, "--reconnect-interval", "1"]
    for label in labels:
        command += ["--label", label]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


class WithDaemons(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.server = Server(host="127.0.0.1", port=cls.port, verbose=False)
        cls.daemons = [
            start_daemon(cls.port, "a", "role=web", "zone=1"),
            start_daemon(cls.port, "b ü", "role=web", "zone=2"),
            start_daemon(cls.port, "c", "role=db"),
        ]
        for name in ("a", "b ü", "c"):
            assert cls.server.wait_for_daemon(name, timeout=30, poll_interval=0.05), name

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        for daemon in cls.daemons:
            daemon.terminate()
            daemon.wait(10)

    def test_exec_gives_the_result(self):
        result = self.server.exec("a", "echo out; echo err >&2; exit 3")
        self.assertEqual((result.stdout, result.stderr, result.exit_code), ("out\n", "err\n", 3))
        self.assertFalse(result.success or result.truncated)
        self.assertGreater(result.duration_ms, 0)

    def test_exec_takes_environment_and_folder(self):
        result = self.server.exec("b ü", 'echo "$X $PWD"', env={"X": "y=z"}, cwd="/tmp")
        self.assertEqual(result.stdout, "y=z /tmp\n")

    def test_exec_errors(self):
        with self.assertRaises(ValueError):
            self.server.exec("nobody", "true")
        with self.assertRaises(TimeoutError):
            self.server.exec("a", "sleep 30", timeout=1)
        with self.assertRaises(TimeoutError):
            self.server.exec("a", "true; sleep 5", timeout=0)
        with self.assertRaises(RuntimeError):
            self.server.exec("a", "true", cwd="/nonexistent")
        with self.assertRaises(TypeError):
            self.server.exec("a", "true", timeout=1.5)
        with self.assertRaises(OverflowError):
            self.server.exec("a", "true", timeout=-1)

    def test_list_and_labels(self):
        self.assertEqual([d.id for d in self.server.list_daemons()], ["a", "b ü", "c"])
        self.assertEqual([d.id for d in self.server.list_daemons({"role": "web"})], ["a", "b ü"])
        both = self.server.list_daemons({"role": "web", "zone": "2"})
        self.assertEqual([d.id for d in both], ["b ü"])
        self.assertIsInstance(both[0], DaemonInfo)
        self.assertEqual(both[0].labels, {"role": "web", "zone": "2"})
        self.assertFalse(both[0].is_busy)
        self.assertEqual(self.server.list_daemons({"role": "none"}), [])
        self.assertEqual(self.server.daemon_count(), 3)
        self.assertIsNone(self.server.get_daemon("nobody"))
        self.assertEqual(self.server.get_stats().total_daemons, 3)

    def test_broadcast_is_side_by_side(self):
        begun = time.monotonic()
        results = self.server.broadcast({}, "sleep 1; exit 7", timeout=60)
        self.assertEqual({k: r.exit_code for k, r in results.items()}, {"a": 7, "b ü": 7, "c": 7})
        self.assertLess(time.monotonic() - begun, 30)
        results = self.server.broadcast({"role": "db"}, "echo $0")
        self.assertEqual(list(results), ["c"])
        self.assertIsInstance(results["c"], CommandResult)
        late = self.server.broadcast(None, "sleep 30", timeout=1)
        self.assertEqual([r.exit_code for r in late.values()], [-1, -1, -1])
        self.assertIn("did not end", late["a"].stderr)
        self.assertEqual(self.server.broadcast({"role": "none"}, "true"), {})

    def test_wait_for_daemon(self):
        self.assertFalse(self.server.wait_for_daemon("a", timeout=0))
        self.assertFalse(self.server.wait_for_daemon("nobody", timeout=0.3, poll_interval=0.1))
        self.assertTrue(self.server.wait_for_daemon("a", timeout=1))

    def test_daemon_that_dies_is_told_at_once(self):
        daemon = start_daemon(self.port, "mortal")
        self.assertTrue(self.server.wait_for_daemon("mortal", poll_interval=0.05))
        killer = subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {daemon.pid}"])
        with self.assertRaises(RuntimeError):
            self.server.exec("mortal", "sleep 60", timeout=120)
        killer.wait()
        daemon.wait()

    def test_address_and_repr(self):
        self.assertEqual(self.server.address, f"127.0.0.1:{self.port}")
        self.assertIn(str(self.port), repr(self.server))


class Life(unittest.TestCase):
    def test_port_is_free_again(self):
        port = free_port()
        for _ in range(5):
            with Server(host="127.0.0.1", port=port, verbose=False) as server:
                self.assertEqual(server.daemon_count(), 0)
        Server(host="127.0.0.1", port=port, verbose=False)  # dropped: ends as well
        server = Server(host="127.0.0.1", port=port, verbose=False)
        server.close()
        server.close()

    def test_port_that_is_taken(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            with self.assertRaisesRegex(OSError, str(other.getsockname()[1])):
                Server(host="127.0.0.1", port=other.getsockname()[1], verbose=False)

    def test_gateway_ends_with_the_program(self):
        port = free_port()
        program = (
            "import os, sys, time; sys.path.insert(0, 'python')\n"
            "from sandd import Server\n"
            f"s = Server(host='127.0.0.1', port={port}, verbose=False)\n"
            "print(s._gateway.process.pid, flush=True)\n"
            "time.sleep(600)\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", program.replace("'python'", repr(sys.path[0]))],
            stdout=subprocess.PIPE,
        )
        pid = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        for _ in range(600):
            if not os.path.exists(f"/proc/{pid}"):
                return
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
                if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return
            time.sleep(0.05)
        self.fail(f"gateway {pid} goes on without its program")

    def test_uses_the_gateway_that_runs(self):
        port = free_port()
        with Server(host="127.0.0.1", port=port, verbose=False) as first:
            os.environ["SANDD_GW_SOCKET"] = first._gateway.socket_path
            try:
                second = Server(host="127.0.0.1", port=port, verbose=False)
                self.assertIsNone(second._gateway)
                second.close()
                self.assertEqual(first.daemon_count(), 0)
            finally:
                os.environ["SANDD_GW_SOCKET"] = "/nonexistent/api.sock"

    def test_arguments(self):
        with self.assertRaises(ValueError):
            Server(connect="sideways")
        with self.assertRaises(ValueError):
            Server(connect="tunnel")
        config = TunnelConfig(authkey="hskey-auth-secret", server="http://headscale:8080")
        self.assertNotIn("secret", repr(config))


class Tap(unittest.TextTestResult):
    def _line(self, word, test, text=""):
        print(f"{word} - {test.id().split('.', 1)[1]}")
        for line in text.splitlines():
            print(f"# {line}")

    def addSuccess(self, test):
        super().addSuccess(test)
        self._line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._line("not ok", test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._line("not ok", test, self.errors[-1][1])


if __name__ == "__main__":
    unittest.main(
        testRunner=unittest.TextTestRunner(resultclass=Tap, stream=open(os.devnull, "w")),
    )
