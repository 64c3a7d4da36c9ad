"""Load: wrk with requests that are always right, and wrk with requests that never are; every answer's status
is counted.

Used by every part. A right one may be answered 200, or 503 while Redis is away; a wrong one never 2xx.
"""

import os
import random
import re
import signal
import subprocess
from collections import Counter

from benchlib import people
from testkit.process import Failed

from .gate import USERS, Broken

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "statuses.lua")
RIGHT, WRONG = "right", "wrong"
ALLOWED = {RIGHT: {200, 503}, WRONG: {401, 403, 429, 503}}


def _lines(kind):
    chance = random.Random(7)
    numbers = list(range(USERS))
    chance.shuffle(numbers)
    for number in numbers:
        name, other = people.user(number), people.user((number + 1) % USERS)
        if kind == RIGHT:
            yield f"GET\t/v2/{name}/app/manifests/latest\t{people.authorization(name)}\t0"
        elif number % 3 == 0:
            yield f"GET\t/v2/{name}/app/manifests/latest\t{people.authorization(name, 'wrong')}\t0"
        elif number % 3 == 1:  # a stranger
            yield f"GET\t/v2/{name}/app/manifests/latest\t{people.authorization('no' + name)}\t0"
        else:  # somebody else's repository
            yield f"GET\t/v2/{other}/app/manifests/latest\t{people.authorization(name)}\t0"


class Load:
    """Both kinds at once, for so many seconds, in the background."""

    def __init__(self, gate, seconds, connections=16, wrong_connections=4):
        self._gate = gate
        self._runs = {RIGHT: self._start(RIGHT, seconds, connections),
                      WRONG: self._start(WRONG, seconds, wrong_connections)}

    def _start(self, kind, seconds, connections):
        stage = self._gate.stage
        path = stage.write(f"{kind}.stream", "\n".join(_lines(kind)) + "\n")
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", SCRIPT,
                f"http://127.0.0.1:{self._gate.port}", "--", path]
        return stage.load(argv)

    def is_on(self):
        return all(run.poll() is None for run in self._runs.values())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for run in self._runs.values():
            if run.poll() is None:
                run.kill()
                run.wait()
            run.stdout.close()

    def stop(self):
        """Ends the load now; the rest is as in `finish`."""
        for run in self._runs.values():
            # A wrk that has only begun sleeps for its whole time in spite of a first signal.
            while run.poll() is None:
                run.send_signal(signal.SIGINT)
                try:
                    run.wait(1)
                except subprocess.TimeoutExpired:
                    pass
        return self.finish()

    def finish(self):
        """Waits for the end; answers by kind and status. Raises Broken where one is not allowed."""
        seen = {}
        for kind, run in self._runs.items():
            output = run.communicate()[0]
            seen[kind] = Counter({int(status): int(count)
                                  for status, count in re.findall(r"^status (\d+) (\d+)$", output, re.M)})
            if not seen[kind]:
                raise Failed(f"wrk said:\n{output}")
            odd = set(seen[kind]) - ALLOWED[kind]
            if odd:
                raise Broken(f"requests that are always {kind} were answered {dict(seen[kind])}")
        return seen


def total(seen):
    return sum(sum(counter.values()) for counter in seen.values())


def say(seen):
    return "; ".join(f"{kind}: "
                     + ", ".join(f"{status} {count:,} times" for status, count in sorted(counter.items()))
                     for kind, counter in seen.items())
