"""From a change in Redis to its effect in all workers, under load; also right after a restart of Redis, a
reload, a killed connection.

Two times of each change, both from Redis's acknowledgement and the slower worker's: to the last answer by the
old state, and to the first by the new. They differ where Redis has to be found again first: a request waits
for that, or is answered 503.
"""

import random
import time

from . import load
from .gate import PATIENCE, Broken
from .probe import Changes, Probes

MUST = 0.1  # seconds
USERS = 40


def run(gate, args):
    changes = [Changes(gate, f"probe{number}") for number in range(USERS)]
    rows = [
        ("under load", _measure(gate, changes, args.changes, _nothing)),
        ("right after a restart of Redis", _measure(gate, changes, args.events, _restart)),
        ("right after a reload", _measure(gate, changes, args.events, _reload)),
        ("right after CLIENT KILL", _measure(gate, changes, args.events, _kill_clients)),
    ]
    print("\n| change → effect, all workers | changes | last old answer, p99 and max, ms | first new "
          "answer, p50, p99 and max, ms |\n|---|---|---|---|")
    for title, times in rows:
        last, first = (sorted(column) for column in zip(*times))
        print(f"| {title} | {len(times):,} | {_at(last, 99)}, {_at(last, 100)} | {_at(first, 50)}, "
              f"{_at(first, 99)}, {_at(first, 100)} |")
    late = [(title, max(last for last, _ in times)) for title, times in rows]
    late.append(("under load, first answer", max(first for _, first in rows[0][1])))
    late = [f"{title}: {slowest * 1e3:.0f} ms" for title, slowest in late if slowest >= MUST]
    if late:
        raise Broken("a change took effect too late, " + "; ".join(late))


def _at(times, percent):
    """The percentile of sorted times, in milliseconds."""
    return f"{times[min(len(times) - 1, len(times) * percent // 100)] * 1e3:.1f}"


def _nothing(gate):
    return None


def _restart(gate):
    gate.redis.kill()
    gate.redis.start()


def _reload(gate):
    return gate.reload()


def _kill_clients(gate):
    gate.redis.kill_clients()


def _measure(gate, changes, count, event):
    """The times of so many changes, each right after the event."""
    times, probes = [], Probes(gate, gate.settled())
    with load.Load(gate, 3600) as running:
        for turn in range(count):
            user = changes[turn % len(changes)]
            _warm(probes, user)
            fresh = event(gate)
            if fresh:
                probes.close()
                probes = Probes(gate, fresh)
            acknowledged, before, after = user.next()
            times.append(_effect(probes, user, acknowledged, before, after, event is _nothing))
            time.sleep(random.uniform(0, 0.01))
            if not running.is_on():
                raise Broken("the load has ended")
        running.stop()
    probes.close()
    return times


def _warm(probes, user):
    """Has every worker know the user's present state, and not only from Redis."""
    until = time.monotonic() + PATIENCE
    for connection in probes:
        for _ in range(3):
            while (status := connection.ask(user.PATH, user.authorization)) != user.state:
                if status != 503 or time.monotonic() > until:
                    raise Broken(f"{status} where {user.state} is right")


def _effect(probes, user, acknowledged, before, after, is_up):
    """Seconds until the last answer by the old state and until the first by the new, the slowest worker's."""
    last_old = first_new = 0
    for connection in probes:
        while True:
            status = connection.ask(user.PATH, user.authorization)
            seconds = time.monotonic() - acknowledged
            if status == after:
                break
            if status == before:
                last_old = max(last_old, seconds)
            elif status != 503 or is_up:
                raise Broken(f"{status} where {before} was and {after} is right")
            if seconds > PATIENCE:
                raise Broken(f"still {status} {PATIENCE} s after the change to {after}")
        first_new = max(first_new, seconds)
        for _ in range(2):
            if (status := connection.ask(user.PATH, user.authorization)) != after:
                raise Broken(f"{status} after {after} was answered")
    return last_old, first_new
