"""From a plan to the printed table: runs the parts and puts their figures together.

Called by bench/run. Knows what the columns mean; how a figure is measured is the parts' business.
"""

import shutil
import sys
from collections import Counter

from . import callgrind, calls, neighbour, rounds, scenarios, table, verdict
from .gateway import Gateway, Unknown
from .scenarios import CALLS, INSTRUCTIONS, TIME
from .verdict import number

HEADER = (
    "", "of bare", "by CPU", "req/s", "p50 ms", "p99 ms", "µs CPU", "µs helper",
    "Ir", "Ir c1", "Ir gate", "Ir helper", "calls", "calls c1", "calls helper", "Redis",
)
ADDED = "+"
NOISY = 1.3  # bare runs that differ by more than this are said to


class Report:
    """Figures by scenario name. `plan` is the scenarios to run; `parts` which kinds of figures."""

    def __init__(self, setting, plan, parts, quick):
        self.setting, self.parts, self.quick = setting, parts, quick
        self.plan = plan
        self.notes, self.gateways, self.timings = [], {}, {}
        self.instructions, self.alone, self.calls = {}, {}, {}
        self.neighbour, self.is_noisy = None, False

    def run(self):
        self._start()
        if CALLS in self.parts and self._have("strace"):
            for gateway in self._counted(CALLS):
                say(f"calls: {gateway.scenario.title}")
                self.calls[gateway.scenario.name] = calls.measure(self.setting, gateway, self.quick)
        if INSTRUCTIONS in self.parts and self._have("valgrind"):
            for gateway in self._counted(INSTRUCTIONS):
                say(f"instructions: {gateway.scenario.title}")
                self._count(gateway.scenario)
        if TIME in self.parts:
            count, seconds = (3, 1) if self.quick else (9, 1)
            self.timings = rounds.measure(self.setting, self.gateways, count, seconds, say)
            self._note_noise()
        if "neighbour" in self.parts and self.setting.has_module():
            count, seconds = (2, 2) if self.quick else (5, 3)
            self.neighbour = neighbour.measure(self.setting, count, seconds, say)

    def _start(self):
        """Starts a gateway for each scenario and each bare neighbour that one needs."""
        for scenario in self.plan:
            if scenario.ours and not self.setting.has_module():
                self.notes.append(f"left out, the module is not built: {scenario.title}")
                continue
            try:
                say(f"start: {scenario.title}")
                gateway = Gateway(self.setting, scenario)
            except Unknown as directive:
                self.notes.append(f"left out, the module has no {directive}: {scenario.title}")
                continue
            gateway.check()
            beside = scenarios.bare(scenario)
            if beside.name not in self.gateways:
                self.gateways[beside.name] = Gateway(self.setting, beside)
                self.gateways[beside.name].check()
            self.gateways[scenario.name] = gateway

    def _counted(self, part):
        """Gateways whose instructions or calls are counted: a bare one where its scenarios are."""
        wanted = [g for g in self.gateways.values() if g.scenario.gate != "bare" and part in g.scenario.parts]
        names = {scenarios.bare(g.scenario).name for g in wanted}
        return [self.gateways[name] for name in sorted(names)] + wanted

    def _count(self, scenario):
        self.instructions[scenario.name] = callgrind.measure(self.setting, scenario, self.quick)
        self.alone[scenario.name] = callgrind.measure(self.setting, scenario, self.quick, connections=1)

    def _have(self, program):
        if shutil.which(program):
            return True
        self.notes.append(f"not counted: {program} is not installed")
        return False

    def _note_noise(self):
        spreads = [t.spread() for name, t in self.timings.items() if t.runs
                   and self.gateways[name].scenario.gate == "bare"]
        self.is_noisy = bool(spreads) and max(spreads) > NOISY
        if self.is_noisy:
            self.notes.append(
                f"NOISY: equal runs of a bare proxy differ by a factor of {max(spreads):.1f}, so something "
                f"else uses the machine; "
                "'of bare', p50 and p99 say little, 'by CPU' more, instructions and calls all."
            )

    # -- figures --

    def rows(self):
        """The table's rows. Instructions and calls of a gate are what it adds to its bare neighbour."""
        rows, shown = [], set()
        for name, gateway in sorted(self.gateways.items(), key=lambda item: self._order(item[1].scenario)):
            if name not in shown:
                shown.add(name)
                rows.append(self._row(gateway.scenario))
        return rows + ([self._neighbour_row()] if self.neighbour else [])

    def _order(self, scenario):
        """Each frame and stream together, its bare proxy first."""
        streams = ["alice", "everyone", "shared", "bearer", "token", "pull", "push"]
        return scenarios.FRAMES.index(scenario.frame), streams.index(scenario.stream), scenario.gate != "bare"

    def _row(self, scenario):
        title = scenario.title
        if scenario.gate == "bare" and scenario.stream != "alice":
            title += f" ({scenario.stream})"
        row = [title, *self._time_cells(scenario)]
        sign = "" if scenario.gate == "bare" else ADDED
        for counts, name in (
            (self.instructions, "own"), (self.alone, "own"), (self.alone, "gate"),
            (self.instructions, "others"),
            (self.calls, "busy"), (self.calls, "alone"), (self.calls, "busy_others"),
        ):
            value = self._added(counts, scenario, name)
            whole = counts is not self.calls
            row.append("" if value is None else f"{value:{sign},.0f}" if whole else f"{value:{sign}.1f}")
        timing = self.timings.get(scenario.name)
        row.append(f"{sum(timing.commands) / len(timing.commands):.2f}" if scenario.ours and timing
                   and timing.runs else "")
        return row

    def _time_cells(self, scenario):
        timing = self.timings.get(scenario.name)
        if not timing or not timing.runs:
            return [""] * 7
        ratio = timing.ratio()
        return [
            "1.00" if ratio is None else f"{ratio:.3f}",
            "1.00" if ratio is None else f"{self._ratio_by_cpu(scenario):.3f}",
            f"{timing.median('per_second'):,.0f}",
            f"{timing.median('p50') / 1000:.2f}",
            f"{timing.median('p99') / 1000:.2f}",
            f"{timing.cpu_median(0):.1f}",
            f"{timing.cpu_median(1):.1f}" if scenario.ours else "",
        ]

    def _neighbour_row(self):
        runs = self.neighbour
        row = [neighbour.FLOOD.title, f"{runs.ratio('per_second'):.3f}", ""]
        row += [f"{runs.median('flooded', 'per_second'):,.0f}"]
        row += [f"{runs.median('idle', p) / 1000:.2f}→{runs.median('flooded', p) / 1000:.2f}"
                for p in ("p50", "p99")]
        return row + [""] * (len(HEADER) - len(row))

    def _added(self, counts, scenario, name):
        """A count of a scenario, less that of its bare neighbour; None where not counted."""
        if scenario.name not in counts:
            return None
        value = getattr(counts[scenario.name], name)
        if scenario.gate == "bare":
            return value
        beside = scenarios.bare(scenario).name
        return value - getattr(counts[beside], name) if beside in counts else None

    def look_up(self, name, figure):
        """A figure by the words of verdict.py; None where not measured."""
        if name == "neighbour":
            return self.neighbour.ratio("p99") if self.neighbour else None
        if name not in self.gateways:
            return None
        return _FIGURES[figure](self, self.gateways[name].scenario)

    def _ratio(self, scenario):
        timing = self.timings.get(scenario.name)
        return timing.ratio() if timing else None

    def _ratio_by_cpu(self, scenario):
        beside = scenarios.bare(scenario).name
        if not self._ratio(scenario):
            return None
        return self.timings[beside].cpu_in_all() / self.timings[scenario.name].cpu_in_all()

    def _slower(self, scenario):
        beside = scenarios.bare(scenario).name
        if not self._ratio(scenario):
            return None
        return self.timings[scenario.name].median("p99") / self.timings[beside].median("p99")

    def _in_all(self, scenario):
        own, others = (self._added(self.instructions, scenario, name) for name in ("own", "others"))
        return None if own is None or others is None else own + others

    def _beside_sha(self, scenario):
        if not {"cached", scenario.name} <= self.alone.keys():
            return None
        return abs(self.alone[scenario.name].own - self.alone["cached"].own)

    def _gate_beside(self, scenario):
        if not {"cached", scenario.name} <= self.alone.keys():
            return None
        return self.alone[scenario.name].gate - self.alone["cached"].gate

    def _ratio_over_sha(self, scenario):
        mine, sha = (self.timings[name].ratio() if name in self.timings else None
                     for name in (scenario.name, "cached"))
        return mine / sha if mine and sha else None

    def print(self, as_markdown):
        draw = table.markdown if as_markdown else table.aligned
        rows, missed = verdict.judge(self.look_up, self.is_noisy)
        print(draw(HEADER, self.rows()))
        print()
        print(draw(("scenario", "figure", "measured", "must", "goal"), rows))
        for note in self.notes:
            print(note)
        return missed

    def print_profile(self, names, limit=40):
        """What a scenario costs more than its bare neighbour, function by function."""
        for name in names:
            if name not in self.instructions:
                continue
            scenario = self.gateways[name].scenario
            added = self.instructions[name].minus(self.instructions[scenarios.bare(scenario).name])
            for title, total, functions in (
                ("nginx's thread, added to bare", added.own, added.own_functions),
                ("other threads", added.others, added.others_functions),
            ):
                print(f"\n{scenario.title}: {title}, {number(total)} instructions a request")
                print("  ".join(f"{module}: {number(cost)}" for module, cost in _by_object(functions)))
                for (module, function), cost in functions.most_common(limit):
                    print(f"{cost:10,.1f}  {module.rsplit('/', 1)[-1]}: {function}")


def _by_object(functions):
    """Sums of the programs and libraries, dearest first."""
    sums = Counter()
    for (module, _), cost in functions.items():
        sums[module.rsplit("/", 1)[-1]] += cost
    return [(module, cost) for module, cost in sums.most_common() if abs(cost) >= 1]


_FIGURES = {
    "ratio": Report._ratio,
    "instructions added, nginx's thread": lambda self, s: self._added(self.instructions, s, "own"),
    "instructions added, c1": lambda self, s: self._added(self.alone, s, "own"),
    "instructions of the gate, c1": lambda self, s: self._added(self.alone, s, "gate"),
    "instructions added in all": Report._in_all,
    "calls added, c64": lambda self, s: self._added(self.calls, s, "busy"),
    "calls added, c1": lambda self, s: self._added(self.calls, s, "alone"),
    "p99 over bare p99": Report._slower,
    "ratio over cached SHA-1": Report._ratio_over_sha,
    "instructions beside cached SHA-1": Report._beside_sha,
    "instructions of the gate beside cached": lambda self, s: self._gate_beside(s),
}


def say(text):
    """Progress, apart from the result."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
