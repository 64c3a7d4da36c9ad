"""Five reloads under load while lookups wait for Redis: not one request fails, and the old workers end."""

import time
import unittest

from faults.common import FaultCase
from harness.load import Load

PAUSE_MS = 200


class Reload(FaultCase):
    # Long enough that no machine is too slow for the lookups that the pauses hold up.
    options = {"plain": True, "cache": False, "timeout": "15s"}

    def test_five_reloads(self):
        nginx, redis = self.stack.nginx, self.stack.redis
        old = set()
        with Load(self.stack, "/v2/", "frank", connections=16, once=True) as load:
            time.sleep(0.5)
            for _ in range(5):
                before = nginx.workers()
                old.update(before)
                # Every lookup from now on waits, those of the old workers that are to go included.
                redis.command("client", "pause", str(PAUSE_MS), "all")
                time.sleep(PAUSE_MS / 4000)
                nginx.reload()
                nginx.await_new_workers(before)
                time.sleep(0.3)
            result = load.finish()
        self.assertEqual(result.failed(), 0, result)
        self.assertGreater(result.statuses[200], 100)
        waited = [line for line in nginx.access_log().splitlines()
                  if float(line.split(" BYPASS ")[1].split()[0]) > 0.1]
        self.assertGreater(len(waited), 5, "no lookup was held up: nothing is proven")
        self.assertFalse(old & set(nginx.workers()))
        nginx.process.await_ready(lambda: not old & set(nginx.all_workers()), seconds=20)


if __name__ == "__main__":
    unittest.main()
