"""Workers that are killed, nginx told to end while lookups wait, and an nginx without a master."""

import os
import signal
import socket
import threading
import time
import unittest

from faults.common import ANSWER, FaultCase
from harness.load import Load
from harness.nginx import BINARY
from harness.wire import Wire
from testkit.process import eventually, must

# Lookups that hang end after 500 ms; whoever needs this long is stuck.
END = 15


class Killed(FaultCase):
    expected_complaints = (r"exited on signal 9",)

    def test_kill_9_under_load(self):
        """The master starts another one, which serves; the other worker never stopped."""
        nginx = self.stack.nginx
        with Load(self.stack, "/v2/", "frank") as load:
            time.sleep(0.5)
            for _ in range(2):
                victim = nginx.workers()[0]
                count = len(nginx.workers())
                os.kill(victim, signal.SIGKILL)
                took = eventually(lambda: victim not in nginx.workers() and len(nginx.workers()) == count, 10)
                self.assertIsNotNone(took, "no new worker")
                self.recovers()
                time.sleep(0.5)
            result = load.finish()
        # Requests in the killed worker are cut; those are few, and none got another answer.
        self.assertEqual(set(result.statuses), {200}, result)
        self.assertLessEqual(result.broken, 2 * 32, result)


class Upgrade(FaultCase):
    """As a daemon, which the other tests' nginx is not: only a daemon can be replaced."""

    def setUp(self):
        super().setUp()
        nginx = self.stack.nginx
        nginx.stop()
        must([BINARY, "-c", str(nginx.configuration)], cwd="/")
        self.addCleanup(self.end)
        self.recovers()

    def master(self):
        """The pid in the pid file, 0 while there is none."""
        try:
            return int((self.stack.nginx.directory / "nginx.pid").read_text() or 0)
        except FileNotFoundError:
            return 0

    def test_new_binary_under_load(self):
        """SIGUSR2, then SIGQUIT for the old master: how a new module comes in without a failed request."""
        old = self.master()
        with Load(self.stack, "/v2/", "frank", connections=16, once=True) as load:
            time.sleep(0.5)
            os.kill(old, signal.SIGUSR2)
            took = eventually(lambda: self.master() not in (0, old), END)
            self.assertIsNotNone(took, "no new master:\n" + self.stack.nginx.error_log())
            os.kill(old, signal.SIGQUIT)
            self.assertIsNotNone(eventually(lambda: not alive(old), END), "the old master stayed")
            self.recovers()
            result = load.finish()
        self.assertEqual(result.failed(), 0, result)
        self.assertGreater(result.statuses[200], 100)

    def end(self):
        master = self.master()
        if master:
            os.kill(master, signal.SIGQUIT)
            self.assertIsNotNone(eventually(lambda: not alive(master), END), "the new master stayed")


def alive(pid):
    return os.path.exists(f"/proc/{pid}")


class Ending(FaultCase):
    """Each test ends nginx; the next starts it again."""

    def setUp(self):
        if not self.stack.nginx.process.running():
            self.stack.nginx.start()
        super().setUp()

    def end_with(self, number):
        process = self.stack.nginx.process
        process.send(number)
        self.assertTrue(process.wait(END), f"nginx did not end within {END} s")
        self.assertEqual(process.exit_code(), 0, process.log_text())

    def test_quit(self):
        self.end_with(signal.SIGQUIT)

    def test_terminate(self):
        self.end_with(signal.SIGTERM)

    def test_quit_while_lookups_hang(self):
        """Gracefully: the waiting client gets its 503 first."""
        self.freeze()
        answers = []
        client = threading.Thread(target=lambda: answers.append(self.frank("GET", "/v2/").status))
        client.start()
        time.sleep(0.2)
        self.end_with(signal.SIGQUIT)
        client.join()
        self.assertEqual(answers, [503])

    def test_terminate_while_lookups_hang(self):
        self.freeze()
        with socket.create_connection(("127.0.0.1", self.stack.nginx.plain_port)) as client:
            client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ZnJhbms6c2VjcmV0\r\n\r\n")
            time.sleep(0.1)
            self.end_with(signal.SIGTERM)

    def freeze(self):
        self.stack.redis.process.send(signal.SIGSTOP)
        self.addCleanup(self.stack.redis.process.send, signal.SIGCONT)


class Single(FaultCase):
    """`master_process off`: one process does all, as in a debugger."""

    options = {"plain": True, "cache": False, "main": ("master_process off;",)}

    def test_serves_and_ends(self):
        self.assertEqual(Wire(self.stack, plain=True)("GET", "/v2/").status, 401)
        self.assertEqual(Wire(self.stack, "frank", plain=True, password="wrong")("GET", "/v2/").status, 401)
        self.assertEqual(Wire(self.stack, "alice")("GET", "/v2/").status, 200)
        self.assertEqual(self.frank("GET", "/v2/bob/app/tags/list").status, 403)
        redis = self.stack.redis
        redis.stop_keeping()
        self.refuses(times=3)
        redis.start()
        self.recovers()
        redis.process.send(signal.SIGSTOP)
        self.addCleanup(redis.process.send, signal.SIGCONT)
        status, took = self.probe()
        self.assertEqual(status, 503)
        self.assertLess(took, ANSWER)
        process = self.stack.nginx.process
        process.send(signal.SIGTERM)
        self.assertTrue(process.wait(END))
        self.assertEqual(process.exit_code(), 0, process.log_text())


if __name__ == "__main__":
    unittest.main()
