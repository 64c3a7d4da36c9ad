"""Millions of requests while everything around them changes: no wrong decision, and neither memory nor zone
grow.

The life of the workers from one reload to the next is one round: load, and meanwhile changes, restarts of
Redis, frozen Redis, killed connections. Memory is that of the same workers early and late in a round, and of
the master and the zone over all rounds.
"""

import random
import time

from . import load
from .gate import PATIENCE, Broken
from .probe import Changes, Probes

ROUNDS = 4
SECONDS = 20  # of load, between two looks at how much was done
RELOADS = 3  # between two rounds
SLACK = 1.1, 2_048  # memory late is at most so many times memory early, and so many KiB


def run(gate, args):
    chance = random.Random()
    users = [Changes(gate, f"probe{number}") for number in range(20)]
    sums, events, changes = {load.RIGHT: {}, load.WRONG: {}}, {}, 0
    masters, zones = [], []
    for turn in range(ROUNDS):
        early, late = None, None
        while early is late or load.total(sums) < args.requests * (turn + 1) // ROUNDS:
            with load.Load(gate, SECONDS, 48, 8) as running:
                changes += _disturb(gate, users, chance, events, running)
                for kind, counter in running.finish().items():
                    for status, count in counter.items():
                        sums[kind][status] = sums[kind].get(status, 0) + count
            workers = gate.settled()
            late = {pid: gate.resident(pid) for pid in workers}
            early = early or late
            if set(early) != set(late):
                raise Broken(f"the workers were {sorted(early)} and are {sorted(late)}: some have died")
        status = gate.status()
        zones.append(status["zone_bytes"] - status["zone_free_bytes"])
        masters.append(gate.resident(gate.master.pid))
        print(f"{load.total(sums):,} requests, {changes:,} changes; KiB of workers {sorted(early.values())} "
              f"-> {sorted(late.values())}, "
              f"of the master {masters[-1]}, of the zone {zones[-1] >> 10}; records {status['records']}, "
              f"negative entries {status['negative_entries']}", flush=True)
        _flat("a worker", max(early.values()), max(late.values()))
        for _ in range(RELOADS):
            gate.reload()
            gate.settled()
    # The first round fills the zone: with users, and with failed logins up to their share.
    _flat("the master", masters[1], masters[-1])
    _flat("the zone", zones[1] >> 10, zones[-1] >> 10)
    print(load.say(sums))
    print(", ".join(f"{name} {count} times" for name, count in sorted(events.items()))
          + f", reloaded {ROUNDS * RELOADS} times")


def _flat(what, early, late):
    factor, more = SLACK
    if late > early * factor + more:
        raise Broken(f"{what} has grown from {early} to {late} KiB")


def _disturb(gate, users, chance, events, running):
    """Changes users and checks each change on every worker, with something worse now and then; how many
    changes."""
    done = 0
    while running.is_on():
        name, event = chance.choices(*_EVENTS)[0]
        if event:
            event(gate, chance)
            events[name] = events.get(name, 0) + 1
        probes = Probes(gate, gate.settled())
        for user in chance.sample(users, 5):
            _expect(probes, user)
            user.next()
            _expect(probes, user)
            done += 1
        probes.close()
        time.sleep(chance.uniform(0, 0.3))
    return done


def _expect(probes, user):
    """Every worker decides by the user's present state, a tenth of a second after the change; 503 while Redis
    is away."""
    start = time.monotonic()
    for connection in probes:
        while (status := connection.ask(user.PATH, user.authorization)) != user.state:
            seconds = time.monotonic() - start
            if status != 503 and seconds > 0.1:
                raise Broken(f"{status} where {user.state} is right, {seconds * 1e3:.0f} ms after the change")
            if seconds > PATIENCE:
                raise Broken(f"still {status} where {user.state} is right")


def _restart(gate, _):
    gate.redis.kill()
    gate.redis.start()


def _freeze(gate, chance):
    gate.redis.freeze()
    time.sleep(chance.uniform(0.1, 4))
    gate.redis.thaw()


def _kill_clients(gate, _):
    gate.redis.kill_clients()


_EVENTS = (
    [("nothing", None), ("Redis restarted", _restart), ("Redis frozen", _freeze),
     ("Redis's connections killed", _kill_clients)],
    [20, 1, 1, 2],
)
