"""Instructions a request, by callgrind: of nginx's own thread and of its other threads.

Called by report.py. Two runs with different numbers of requests; their difference divided by the
difference in requests is what one costs, and start-up, warm-up and shutdown cancel. Instructions
are of user space: the kernel's work shows as system calls (calls.py) and as CPU time (rounds.py).
"""

import glob
import os
import re
import time
from collections import Counter
from dataclasses import dataclass, field

from testkit.process import Failed

from . import streams
from .client import Client
from .gateway import Gateway

CALLGRIND = ["valgrind", "-q", "--tool=callgrind", "--separate-threads=yes", "--fair-sched=yes"]
# What of nginx is no help to the module, but the rest of the request. Debian's nginx has no names for what is
# its own to one file, as filters are.
GOES_ON = re.compile(r"0x|ngx_http_\w+_filter$"
                     r"|ngx_http_(core_run_phases|finalize_request|run_posted_requests)$")
POSITION = re.compile(r"^(fl|fi|fe|fn|ob|cfl|cfi|cfn|cob)=(?:\((\d+)\))?\s*(.*)$")


@dataclass
class Instructions:
    """Instructions a request."""

    own: float = 0.0  # nginx's thread
    others: float = 0.0
    own_functions: Counter = field(default_factory=Counter)  # (object, function) -> instructions, itself only
    others_functions: Counter = field(default_factory=Counter)
    gate: float = 0.0  # nginx's thread: the module's own, and of what it calls (Profile.gate)

    def minus(self, bare):
        """What this costs more than `bare`, function by function."""
        own, others = Counter(self.own_functions), Counter(self.others_functions)
        own.subtract(bare.own_functions)
        others.subtract(bare.others_functions)
        return Instructions(self.own - bare.own, self.others - bare.others, own, others, self.gate)


@dataclass
class Profile:
    """What a thread has done."""

    functions: Counter = field(default_factory=Counter)  # (object, function) -> instructions, itself only
    calls: Counter = field(default_factory=Counter)  # (caller, callee) -> with all that the callee calls

    def minus(self, other):
        functions, calls = Counter(self.functions), Counter(self.calls)
        functions.subtract(other.functions)
        calls.subtract(other.calls)
        return Profile(functions, calls)

    def each(self, count):
        """The same for one of so many requests."""
        def share(counter):
            return Counter({key: value / count for key, value in counter.items() if value})
        return Profile(share(self.functions), share(self.calls))

    def gate(self, module):
        """Instructions of the module, and of what it calls in nginx and in libraries; not of what nginx goes
        on with from there, as the next filter. Where a heap finds its room does not move this figure, unlike
        the difference to a bare proxy."""
        def is_gate(place):
            return os.path.basename(place[0]) == os.path.basename(module)
        itself = sum(cost for place, cost in self.functions.items() if is_gate(place))
        return itself + sum(cost for (caller, callee), cost in self.calls.items()
                            if is_gate(caller) and not is_gate(callee) and not GOES_ON.match(callee[1]))


def measure(setting, scenario, quick, connections=64):
    """Instructions of one scenario, in a process of its own."""
    few = min(128, max(connections, scenario.requests // 4))
    # The heap is never twice in the same state after a long warm-up: the more are counted, the less it tells.
    many = few + min(scenario.requests, 256 if quick else 4_096)
    warm = streams.warm_up(scenario, connections)
    first = _run(setting, scenario, connections, warm, few)
    second = _run(setting, scenario, connections, warm, many)
    own, others = (b.minus(a).each(many - few) for a, b in zip(first, second))
    return Instructions(sum(own.functions.values()), sum(others.functions.values()), own.functions,
                        others.functions, own.gate(setting.module))


def _run(setting, scenario, connections, warm, count):
    """(own thread's, other threads') Profile of a run with `warm + count` requests."""
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
    own, others = Profile(), Profile()
    for path in sorted(glob.glob(out + "*")):
        thread = re.search(r"-(\d+)$", path)
        if thread:  # the file without a number sums them up, or is empty
            read(path, own if int(thread.group(1)) == 1 else others)
    if not own.functions:
        raise Failed(f"callgrind wrote nothing for {scenario.name}:\n{gateway.log()}")
    return own, others


def read(path, profile):
    """Adds what one callgrind.out file says to a profile."""
    names, now, called = {}, {"ob": "", "fn": ""}, {}
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
                if space in now:
                    (called if line.startswith("c") else now)[space] = names.get((space, number), name)
            elif line.startswith("calls="):
                after_call = True  # the next line is the callee's, inclusive
            elif line[:1] in "0123456789+-*" and line[:1]:
                cost, place = int(line.split()[-1]), (now["ob"], now["fn"])
                if after_call:
                    # Without an object it is in the caller's.
                    profile.calls[place, (called.get("ob", now["ob"]), called["fn"])] += cost
                    called = {}
                else:
                    profile.functions[place] += cost
                after_call = False
