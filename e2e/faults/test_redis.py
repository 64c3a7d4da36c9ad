"""Redis stopped, killed, frozen, restarted empty, all under load: 503 in time, recovery by itself, no worker
lost."""

import signal
import time
import unittest

from faults.common import FaultCase
from harness.load import Load
from harness.wire import Wire


class RedisFaults(FaultCase):
    def under_load(self, fault, repair, allowed=(200, 503)):
        """The load sees what the clients of a site see: an answer to each request, 200 or 503."""
        with Load(self.stack, "/v2/", "frank") as load:
            time.sleep(0.5)
            fault()
            self.refuses()
            repair()
            self.recovers()
            result = load.finish()
        self.assertEqual(result.broken, 0, result)
        self.assertLessEqual(set(result.statuses), set(allowed), result)
        self.assertLessEqual({200, 503}, set(result.statuses), result)
        self.workers_are_the_same()

    def test_stopped(self):
        redis = self.stack.redis
        self.under_load(redis.stop_keeping, redis.start)

    def test_killed(self):
        redis = self.stack.redis
        redis.keep()
        self.under_load(redis.process.kill, redis.start)

    def test_frozen(self):
        """Neither an answer nor an end of the connection: only the timeout tells."""
        self.addCleanup(self.send, signal.SIGCONT)
        self.under_load(lambda: self.send(signal.SIGSTOP), lambda: self.send(signal.SIGCONT))

    def send(self, number):
        self.stack.redis.process.send(number)

    def test_restarted_empty(self):
        """Nobody is known: 401 for all until the accounts are there again, never a 200 from before."""
        redis = self.stack.redis

        def repair():
            redis.start()
            self.assertTrue(self.eventually_unknown())
            self.stack.add_fast_user("frank", "secret", self.backend)

        self.under_load(redis.stop, repair, allowed=(200, 401, 503))
        for user in ("alice", "bob"):
            self.stack.add_user(user, self.stack.passwords[user], self.stack.registries[user].address)

    def eventually_unknown(self):
        end = time.monotonic() + 8
        while time.monotonic() < end:
            status, _ = self.probe()
            self.assertIn(status, (401, 503))
            if status == 401:
                return True
        return False

    def test_unwell(self):
        """A Redis that answers, but not with records: wrong type of a key. Only that user is concerned."""
        self.stack.redis.command("set", "docker-registry:user:broken", "a string")
        self.stack.passwords["broken"] = "secret"
        self.assertEqual(Wire(self.stack, "broken", plain=True)("GET", "/v2/").status, 503)
        self.assertEqual(self.probe()[0], 200)


if __name__ == "__main__":
    unittest.main()
