"""Time, by paired runs: each run of a scenario lies between two of its bare neighbour.

Called by report.py. The ratio of one round is run / mean(neighbours); the figure is the median
over the rounds, which are interleaved, so that a slow minute of the machine hits all alike.
"""

import os
import statistics
import time
from contextlib import nullcontext
from dataclasses import dataclass, field

from testkit.process import Failed

from . import streams, wrk
from .client import Client
from .scenarios import TIME, bare


@dataclass
class Timing:
    """Medians over the rounds; times in microseconds of wall clock or, `cpu`, of nginx's CPU."""

    ratios: list = field(default_factory=list)
    runs: list = field(default_factory=list)
    cpu: list = field(default_factory=list)  # (nginx's own thread, its other threads) a request
    commands: list = field(default_factory=list)  # Redis commands a request

    def ratio(self):
        return statistics.median(self.ratios) if self.ratios else None

    def median(self, name):
        return statistics.median(getattr(run, name) for run in self.runs)

    def cpu_median(self, index):
        return statistics.median(pair[index] for pair in self.cpu)

    def cpu_in_all(self):
        return statistics.median(own + others for own, others in self.cpu)

    def spread(self):
        """Fastest run over slowest: the same work, so what is above 1 is the machine's noise."""
        speeds = [run.per_second for run in self.runs]
        return max(speeds) / min(speeds)


def measure(setting, gateways, rounds, seconds, say):
    """{scenario name: Timing} for the gateways' scenarios and their bare neighbours.

    `seconds` of each run are whole ones: wrk knows no others.
    """
    groups = {}
    for gateway in gateways.values():
        if gateway.scenario.gate != "bare" and TIME in gateway.scenario.parts:
            groups.setdefault(bare(gateway.scenario), []).append(gateway)
    timings = {name: Timing() for name in gateways}
    for gateway in gateways.values():
        _warm_up(setting, gateway)
    for number in range(rounds):
        for neighbour, group in groups.items():
            say(f"time, round {number + 1} of {rounds}: {neighbour.frame.name}, {neighbour.stream}")
            # Short runs say little: there are more of them.
            for _ in range(2 if neighbour.pause else 1):
                _round(setting, gateways[neighbour.name], group, seconds, timings)
    return timings


def _warm_up(setting, gateway):
    """Fills connections, and caches with all users of the stream where the scenario wants that."""
    scenario = gateway.scenario
    if scenario.warm:
        lines = streams.lines(scenario.stream)
        with Client(gateway.port, lines, scenario.frame.connections, scenario.frame.tls) as client:
            client.send(streams.warm_up(scenario, 0))
        gateway.asked = time.monotonic()
    if not scenario.pause:
        _run(setting, gateway, 1, None)


def _round(setting, neighbour, group, seconds, timings):
    before = None
    for gateway in group:
        pause = gateway.asked + gateway.scenario.pause - time.monotonic()
        if pause > 0:
            time.sleep(pause)
            # What has slept is no neighbour of what has not.
            before = None
        before = before or _run(setting, neighbour, seconds, timings[neighbour.scenario.name])
        run = _run(setting, gateway, seconds, timings[gateway.scenario.name])
        after = _run(setting, neighbour, seconds, timings[neighbour.scenario.name])
        timings[gateway.scenario.name].ratios.append(_of(gateway, run) / ((_of(gateway, before)
                                                                           + _of(gateway, after)) / 2))
        before = after


def _of(gateway, run):
    """What is compared: requests, or bytes where bodies are large.

    Pushed bytes do not show in wrk's count of what it read, so a push counts by requests.
    """
    return run.bytes_per_second if gateway.scenario.stream == "pull" else run.per_second


def _run(setting, gateway, seconds, timing):
    scenario = gateway.scenario
    store = setting.store_of(scenario)
    cpu, commands = _cpu(gateway), store.commands() if store else 0
    frame, stream = scenario.frame, setting.stream(scenario.stream)
    with store.changes(scenario) if store else nullcontext():
        run = wrk.run(setting.stage, gateway.port, stream, seconds, frame.connections, frame.tls,
                      once=scenario.pause > 0)
    gateway.asked = time.monotonic()
    if run.refused or run.broken or not run.requests:
        raise Failed(f"{scenario.name}: {run}\n{gateway.log()}")
    if timing is not None:
        timing.runs.append(run)
        timing.cpu.append(tuple((b - a) / 1000 / run.requests for a, b in zip(cpu, _cpu(gateway))))
        timing.commands.append((store.commands() - commands) / run.requests if store else 0)
    return run


def _cpu(gateway):
    """Nanoseconds of CPU so far: (the workers' own threads, their other threads)."""
    own = others = 0
    for pid in gateway.workers():
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                spent = int(file.read().split()[0])
            if int(task) == pid:
                own += spent
            else:
                others += spent
    return own, others
