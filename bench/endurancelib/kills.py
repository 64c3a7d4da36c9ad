"""Workers killed -9 at random moments under load: the others and the next go on, and decide rightly."""

import os
import random
import signal
import time

from . import load
from .gate import PATIENCE, WORKERS, Broken
from .probe import Changes, Lost, Probes

PAUSES = 0.05, 0.6  # seconds between two kills


def run(gate, args):
    chance = random.Random()
    user = Changes(gate, "probe")
    slowest = checked = emptied = counted = 0
    with load.Load(gate, 3600) as running:
        for number in range(args.kills):
            time.sleep(chance.uniform(*PAUSES))
            victim = chance.choice(gate.workers())
            user.next()
            os.kill(victim, signal.SIGKILL)
            killed = time.monotonic()
            checked += _all_decide(gate, user, victim, killed)
            slowest = max(slowest, time.monotonic() - killed)
            # The counters live as long as the zone's content.
            before, counted = counted, sum(gate.status()["requests"].values())
            emptied += counted < before
            if not running.is_on():
                raise Broken(f"the load has ended after {number} kills")
        seen = running.stop()
    print(f"killed {args.kills} workers; {checked} times a worker was seen to decide by the last change, "
          f"{slowest * 1e3:.0f} ms after a kill at the latest")
    print(f"a death in the middle of a change had the zone emptied {emptied} times")
    print(load.say(seen))


def _all_decide(gate, user, victim, killed):
    """Waits until each of the new set of workers decides by the user's present state; how many did."""
    while True:
        pids = [pid for pid in gate.workers() if pid != victim]
        if len(pids) == WORKERS:
            try:
                return _decide(Probes(gate, pids), user, killed)
            except Lost:
                pass
        if time.monotonic() > killed + PATIENCE:
            raise Broken(f"the workers {pids} do not all answer {PATIENCE} s after a kill")
        time.sleep(0.002)


def _decide(probes, user, killed):
    try:
        for connection in probes:
            while (status := connection.ask(user.PATH, user.authorization)) != user.state:
                # The change is acknowledged; a tenth of a second it may take, and a new worker has to find
                # Redis first.
                if status != 503 and time.monotonic() > killed + 0.1:
                    raise Broken(f"{status} where {user.state} is right, a change and a kill ago")
                if time.monotonic() > killed + PATIENCE:
                    raise Broken(f"still {status} {PATIENCE} s after a kill")
    finally:
        probes.close()
    return len(probes.by_worker)
