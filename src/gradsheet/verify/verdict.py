"""What was found out about a workbook, and how it is told."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from gradsheet.engines import Value

TOLERANCE = 1e-9
"""Largest relative difference that counts as equal."""


@dataclass(frozen=True)
class Difference:
    """A cell that does not hold what PyTorch says, or the cell that comes closest to failing."""

    sheet: str
    cell: str
    quantity: str
    found: Value | None
    expected: float
    relative: float


@dataclass(frozen=True)
class Group:
    """How many cells of one kind were compared, and the worst of them."""

    sheet: str
    name: str
    compared: int
    worst: Difference | None
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class Run:
    """One recalculation: the engine, whether inputs were changed first, and what came out.

    ``learning_rate`` is None where a workbook has several.
    """

    engine: str
    changed: bool
    learning_rate: float | None
    groups: tuple[Group, ...]
    differences: tuple[Difference, ...]
    differing: int

    @property
    def compared(self) -> int:
        return sum(group.compared for group in self.groups)

    @property
    def worst(self) -> Difference | None:
        """The largest relative difference of all but the measured slopes, which are approximate."""
        exact = [group for group in self.groups if group.tolerance == TOLERANCE]
        return largest(group.worst for group in exact)


@dataclass(frozen=True)
class Verdict:
    """What was found out about a workbook. ``proved`` means that no cell differed in any run."""

    file: str
    network: str
    steps: int
    runs: tuple[Run, ...]

    @property
    def proved(self) -> bool:
        return not any(run.differing for run in self.runs)

    @property
    def worst(self) -> Difference | None:
        """The largest relative difference over all runs."""
        return largest(run.worst for run in self.runs)


def largest(differences: Iterable[Difference | None]) -> Difference | None:
    """The largest difference of those that there are."""
    found = [difference for difference in differences if difference is not None]
    return max(found, key=lambda difference: difference.relative, default=None)


@singledispatch
def to_text(verdict: Any) -> str:
    """The verdict for a terminal."""
    raise NotImplementedError(type(verdict))


@to_text.register
def _(verdict: Verdict) -> str:
    """The verdict for a terminal: a table by group for every run, then one sentence."""
    lines = [f"{verdict.file}: {verdict.network}, {verdict.steps:,} iterations"]
    for run in verdict.runs:
        how = "with every input cell changed" if run.changed else "as it stands"
        rate = "" if run.learning_rate is None else f" (η = {run.learning_rate:g})"
        lines += ["", f"{run.engine}, {how}{rate}"]
        lines.append(f"  {'sheet':<15} {'group':<19} {'cells':>9}  largest relative difference")
        for group in run.groups:
            worst = ""
            if group.worst is not None:
                worst = f"{group.worst.relative:.1e}  {group.worst.quantity} in {group.worst.cell}"
            lines.append(f"  {group.sheet:<15} {group.name:<19} {group.compared:>9,}  {worst}".rstrip())
        for difference in run.differences:
            lines.append(
                f"  WRONG {difference.sheet}!{difference.cell} {difference.quantity}: "
                f"holds {difference.found!r}, PyTorch says {difference.expected!r}"
            )
        if run.differing > len(run.differences):
            lines.append(f"  … and {run.differing - len(run.differences):,} more cells")
    compared = sum(run.compared for run in verdict.runs)
    if verdict.proved:
        sentence = f"PROVED: all {compared:,} recalculated numbers equal PyTorch autograd; "
        sentence += _where(verdict.worst)
    else:
        wrong = sum(run.differing for run in verdict.runs)
        sentence = (
            f"WRONG: {wrong:,} of {compared:,} recalculated numbers differ from PyTorch autograd; "
        )
        sentence += _where(verdict.worst)
    return "\n".join([*lines, "", f"{sentence} (tolerance {TOLERANCE:g} relative)."])


def _where(worst: Difference | None) -> str:
    if worst is None:
        return "nothing was compared"
    place = f"{worst.sheet}!{worst.cell}"
    return f"the largest difference is {worst.relative:.1e}, of {worst.quantity} in {place}"


@singledispatch
def to_json(verdict: Any) -> dict[str, Any]:
    """The verdict as plain data; numbers that are not finite become None."""
    raise NotImplementedError(type(verdict))


@to_json.register
def _(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain data; numbers that are not finite become None."""

    def plain(difference: Difference | None) -> dict[str, Any] | None:
        if difference is None:
            return None
        return {
            "sheet": difference.sheet,
            "cell": difference.cell,
            "quantity": difference.quantity,
            "found": difference.found,
            "expected": difference.expected if math.isfinite(difference.expected) else None,
            "relative": difference.relative if math.isfinite(difference.relative) else None,
        }

    return {
        "file": verdict.file,
        "verdict": "proved" if verdict.proved else "wrong",
        "network": verdict.network,
        "iterations": verdict.steps,
        "tolerance": TOLERANCE,
        "largest_difference": plain(verdict.worst),
        "runs": [
            {
                "engine": run.engine,
                "changed": run.changed,
                "learning_rate": run.learning_rate,
                "compared": run.compared,
                "differing": run.differing,
                "groups": [
                    {
                        "sheet": group.sheet,
                        "group": group.name,
                        "compared": group.compared,
                        "largest_difference": plain(group.worst),
                    }
                    for group in run.groups
                ],
                "differences": [plain(difference) for difference in run.differences],
            }
            for run in verdict.runs
        ],
    }
