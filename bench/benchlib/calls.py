"""System calls a request, by strace: of nginx's own thread, and of its other threads.

Called by report.py. `-p` without `-f` follows one thread alone, so the two counts are two straces.
One connection gives whole numbers; 64 connections under wrk show what batching saves.
"""

import os
import re
import time
from dataclasses import dataclass, field

from testkit.process import Failed

from . import streams, wrk
from .client import Client
from .stage import end

TOTAL = re.compile(r"^100\.00\s+\S+\s+\S+\s+(\d+)\s", re.M)
ROW = re.compile(r"^\s*\d+\.\d+\s+\S+\s+\S+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", re.M)


@dataclass
class Calls:
    """Calls a request."""

    alone: float = 0.0  # nginx's thread, one connection, one request after another
    alone_others: float = 0.0
    busy: float = 0.0  # nginx's thread, 64 connections
    busy_others: float = 0.0
    names: dict = field(default_factory=dict)  # call -> how many a request, one connection


def measure(setting, gateway, quick):
    """Calls of one gateway (one worker)."""
    (worker,) = gateway.workers()
    calls, lines = Calls(), streams.lines(gateway.scenario.stream)
    count = min(gateway.scenario.requests, 100 if quick else 200)
    with Client(gateway.port, lines, 1) as client:
        client.send(streams.warm_up(gateway.scenario, 20))
        with _Watched(setting.stage, worker) as watched:
            client.send(count)
    calls.alone, calls.alone_others = watched.own / count, watched.others / count
    calls.names = {name: n / count for name, n in watched.names.items()}
    with _Watched(setting.stage, worker) as watched:
        run = wrk.run(setting.stage, gateway.port, setting.stream(gateway.scenario.stream), 1 if quick else 2,
                      64)
    calls.busy, calls.busy_others = watched.own / run.requests, watched.others / run.requests
    return calls


class _Watched:
    """While entered, strace counts the calls of a process, thread by thread."""

    def __init__(self, stage, pid):
        self._stage, self._pid = stage, pid
        self.own, self.others, self.names = 0, 0, {}

    def __enter__(self):
        others = [task for task in os.listdir(f"/proc/{self._pid}/task") if int(task) != self._pid]
        self._straces = [self._attach("own", [str(self._pid)])]
        if others:
            self._straces.append(self._attach("others", others))
        return self

    def __exit__(self, kind, *_):
        for process, _ in self._straces:
            end(process)
        if kind is None:
            self.own, self.names = self._read(self._straces[0][1])
            if len(self._straces) > 1:
                self.others, _ = self._read(self._straces[1][1])

    def _attach(self, name, tasks):
        path = self._stage.path(f"strace-{name}.txt")
        argv = ["strace", "-q", "-c", "-U", "time,total-time,avg-time,calls,errors,name", "-o", path]
        for task in tasks:
            argv += ["-p", task]
        process = self._stage.load(argv)
        for _ in range(100):
            if all(_traced(self._pid, task) for task in tasks):
                return process, path
            time.sleep(0.02)
        end(process)
        raise Failed(f"strace cannot attach: {process.stdout.read()}")

    @staticmethod
    def _read(path):
        with open(path, encoding="ascii") as file:
            text = file.read()
        total = TOTAL.search(text)
        return (int(total.group(1)) if total else 0), {name: int(n) for n, name in ROW.findall(text)
                                                       if name != "total"}


def _traced(pid, task):
    with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
        return not re.search(r"^TracerPid:\s+0$", file.read(), re.M)
