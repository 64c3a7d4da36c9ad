"""The neighbour test: what a flood of cold bcrypt-12 logins does to a location without a gate.

Called by report.py. Idle and flooded runs alternate; hashing threads are on nginx's own CPU, as they
are on a machine whose CPUs are all at work. The figure is p99 flooded / p99 idle, median of rounds.
"""

import statistics
import time
from dataclasses import dataclass, field

from testkit.process import Failed

from . import wrk
from .gateway import Gateway
from .scenarios import Scenario
from .stage import end

FLOOD = Scenario("flood", "neighbour of a bcrypt-12 flood", "ours_flooded", "flood")
CONNECTIONS = 64
FLOODERS = 64


@dataclass
class Neighbour:
    """Runs of the location without a gate."""

    idle: list = field(default_factory=list)
    flooded: list = field(default_factory=list)

    def ratio(self, name):
        """Median over the rounds of flooded / idle."""
        return statistics.median(getattr(b, name) / getattr(a, name) for a, b in zip(self.idle, self.flooded))

    def median(self, state, name):
        return statistics.median(getattr(run, name) for run in getattr(self, state))


def measure(setting, rounds, seconds, say):
    """Starts a gateway of its own and runs the rounds."""
    setting.store().seed_flood(FLOOD.name)
    gateway, result = Gateway(setting, FLOOD), Neighbour()
    for number in range(rounds):
        say(f"neighbour, round {number + 1} of {rounds}")
        result.idle.append(_run(setting, gateway, seconds))
        flood = wrk.start(setting.stage, gateway.port, setting.stream(FLOOD.stream), 10 * seconds, FLOODERS)
        time.sleep(0.5)
        try:
            result.flooded.append(_run(setting, gateway, seconds))
            if flood.poll() is not None:
                raise Failed(f"the flood ended too early:\n{flood.stdout.read()}")
        finally:
            end(flood)
            flood.stdout.close()
        time.sleep(1)  # let the hashes under way run out
    return result


def _run(setting, gateway, seconds):
    run = wrk.run(setting.stage, gateway.port, setting.stream("neighbour"), seconds, CONNECTIONS)
    if run.refused or run.broken:
        raise Failed(f"neighbour: {run}\n{gateway.log()}")
    return run
