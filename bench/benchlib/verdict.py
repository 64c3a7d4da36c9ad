"""The 'must' and the 'goal' of each figure, as a table, and whether a run met them.

Called by report.py with a function that looks a figure up. A figure that was not measured (a
scenario that --quick leaves out, a feature the module lacks) is said so, and is no miss.
"""

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Bound:
    """A figure of a scenario and its bounds. `at_least`: more is better."""

    scenario: str
    figure: str
    must: Optional[float]
    goal: Optional[float]
    at_least: bool = False

    def holds(self, value, bound):
        return value >= bound if self.at_least else value <= bound


# A hit does all its work on nginx's thread and batches nothing, so one connection counts it best.
BOUNDS = (
    Bound("asks", "ratio", 0.72, 0.80, at_least=True),
    Bound("asks", "instructions added, nginx's thread", 9_000, 6_500),
    Bound("asks", "instructions added in all", 22_000, 16_000),
    Bound("asks", "calls added, c64", None, 2.5),
    Bound("asks", "p99 over bare p99", None, 2.0),
    Bound("cached", "ratio", 0.94, 0.97, at_least=True),
    Bound("cached", "instructions of the gate, c1", 3_200, 2_500),
    Bound("cached", "instructions added, c1", 3_500, None),
    Bound("cached", "calls added, c1", 0, 0),
    Bound("cached_10k", "ratio", 0.92, 0.95, at_least=True),
    Bound("cached_10k", "instructions added, c1", 4_500, 3_000),
    Bound("cached_expired", "ratio", 0.90, None, at_least=True),
    Bound("cached_expired", "instructions added, c1", 5_000, None),
    Bound("cached_changes", "ratio", 0.90, None, at_least=True),
    Bound("cached_bcrypt", "ratio over cached SHA-1", 0.98, None, at_least=True),
    Bound("cached_bcrypt", "instructions beside cached SHA-1", 100, None),
    Bound("cached_argon2id", "ratio over cached SHA-1", 0.98, None, at_least=True),
    Bound("cached_argon2id", "instructions beside cached SHA-1", 100, None),
    Bound("cached_usage", "instructions of the gate beside cached", 150, None),
    Bound("cached_bearer", "instructions added, c1", 6_000, None),
    Bound("cached_bearer", "calls added, c1", 0, None),
    # Beside a page that nginx has in its configuration.
    Bound("token", "ratio", 0.5, None, at_least=True),
    Bound("cached_groups_50", "instructions added, c1", 30_000, None),
    Bound("cached_pull", "ratio", None, 0.98, at_least=True),
    Bound("cached_push", "ratio", None, 0.98, at_least=True),
    Bound("neighbour", "p99 flooded over idle", 2.0, None),
)


# What a machine that others use moves.
TIMES = ("ratio", "ratio over cached SHA-1", "p99 over bare p99", "p99 flooded over idle")


def judge(look_up, is_noisy):
    """Rows (scenario, figure, value, must, goal) as text, and how many a 'must' missed: no time, where the
    machine is too noisy to judge."""
    rows, missed = [], 0
    for bound in BOUNDS:
        value = look_up(bound.scenario, bound.figure)
        must, bad = _verdict(bound, value, bound.must, is_noisy)
        goal, _ = _verdict(bound, value, bound.goal, is_noisy)
        missed += bad
        rows.append((bound.scenario, bound.figure, "not measured" if value is None else number(value), must,
                     goal))
    return rows, missed


def _verdict(bound, value, limit, is_noisy):
    if limit is None:
        return "", False
    text = ("≥ " if bound.at_least else "≤ ") + number(limit)
    if value is None:
        return text, False
    if is_noisy and bound.figure in TIMES:
        return f"{text} noisy", False
    held = bound.holds(value, limit)
    return f"{text} {'pass' if held else 'MISS'}", not held


def number(value):
    """A figure as a person would write it."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
