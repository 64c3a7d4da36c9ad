"""Instructions a request, by callgrind: of nginx's own thread and of its other threads.

Called by report.py. Two runs with different numbers of requests; their difference divided by the
difference in requests is what one costs, and start-up, warm-up and shutdown cancel. Instructions
are of user space: the kernel's work shows as system calls (calls.py) and as CPU time (rounds.py).
"""

import glob
import re
import time
from collections import Counter
from dataclasses import dataclass, field

from testkit.process import Failed

from . import streams
from .client import Client
from .gateway import Gateway

CALLGRIND = ["valgrind", "-q", "--tool=callgrind", "--separate-threads=yes", "--fair-sched=yes"]
POSITION = re.compile(r"^(fl|fi|fe|fn|ob|cfl|cfi|cfn|cob)=(?:\((\d+)\))?\s*(.*)$")


@dataclass
class Instructions:
    """Instructions a request."""

    own: float = 0.0  # nginx's thread
    others: float = 0.0
    own_functions: Counter = field(default_factory=Counter)  # (object, function) -> instructions, itself only
    others_functions: Counter = field(default_factory=Counter)

    def minus(self, bare):
        """What this costs more than `bare`, function by function."""
        own, others = Counter(self.own_functions), Counter(self.others_functions)
        own.subtract(bare.own_functions)
        others.subtract(bare.others_functions)
        return Instructions(self.own - bare.own, self.others - bare.others, own, others)


def measure(setting, scenario, quick, connections=64):
    """Instructions of one scenario, in a process of its own."""
    few = min(128, max(connections, scenario.requests // 4))
    # The heap is never twice in the same state after a long warm-up: the more are counted, the less it tells.
    many = few + min(scenario.requests, 256 if quick else 4_096)
    warm = streams.warm_up(scenario, connections)
    first = _run(setting, scenario, connections, warm, few)
    second = _run(setting, scenario, connections, warm, many)
    counters = []
    for a, b in zip(first, second):
        counter = Counter(b)
        counter.subtract(a)
        counters.append(Counter({key: value / (many - few) for key, value in counter.items() if value}))
    own, others = counters
    return Instructions(sum(own.values()), sum(others.values()), own, others)


def _run(setting, scenario, connections, warm, count):
    """(own thread's, other threads') Counter of a run with `warm + count` requests."""
    out = setting.stage.path("callgrind.out")
    for old in glob.glob(out + "*"):
        setting.stage.remove(old)
    before = [*CALLGRIND, f"--callgrind-out-file={out}"]
    gateway = Gateway(setting, scenario, {setting.stage.nginx_cpu}, before, foreground=True)
    try:
        with Client(gateway.port, streams.lines(scenario.stream), connections) as client:
            client.send(warm)
            time.sleep(scenario.pause)
            client.send(count)
    finally:
        gateway.stop()
    own, others = Counter(), Counter()
    for path in sorted(glob.glob(out + "*")):
        thread = re.search(r"-(\d+)$", path)
        if thread:  # the file without a number sums them up, or is empty
            (own if int(thread.group(1)) == 1 else others).update(functions(path))
    if not own:
        raise Failed(f"callgrind wrote nothing for {scenario.name}:\n{gateway.log()}")
    return own, others


def functions(path):
    """(object, function) -> instructions spent in itself, from one callgrind.out file."""
    costs, names, now = Counter(), {}, {"ob": "", "fn": ""}
    after_call = False
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            position = POSITION.match(line)
            if position:
                kind, number, name = position.groups()
                kind = kind[1:] if kind.startswith("c") else kind
                space = kind if kind in ("ob", "fn") else "fl"
                if number and name:
                    names[space, number] = name
                if space in now and not line.startswith("c"):
                    now[space] = names.get((space, number), name)
            elif line.startswith("calls="):
                after_call = True  # the next line is the callee's, inclusive
            elif line[:1] in "0123456789+-*" and line[:1]:
                if not after_call:
                    costs[now["ob"], now["fn"]] += int(line.split()[-1])
                after_call = False
    return costs
