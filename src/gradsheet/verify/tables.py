"""Tables of iterations, recalculated, against what PyTorch says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from gradsheet.backends.workbook import CUT
from gradsheet.backends.workbook_layout import SAMPLES, Plan, SampleTable, Table, cell
from gradsheet.compiler import Role
from gradsheet.engines import CellError, Sheets, Value
from gradsheet.expression import DIVERGENCE_LIMIT, Array, label
from gradsheet.network import KINKED, Network, activation_name, of_sample, target_name
from gradsheet.rounding import UNIT, rounding_sizes
from gradsheet.verify.verdict import TOLERANCE, Difference, Group

ROUNDING_FLOOR = UNIT / TOLERANCE
"""Times what rounding grows from: relative differences are not measured on numbers smaller than this.
Where a − t is all but zero, two correct float64 calculations agree only to about 1e-16 of what was
subtracted; the floor turns 1e-9 relative into 1e-14 of it."""
SATURATED = 1e-100
"""The floor of what a saturated neuron makes all but 0: the sheet's sigmoid stops at 2e-148."""
SMALLEST = 1e-295
"""Below it there is no floor lower: float64 has fewer than nine digits left from 1e-315 on."""
EQUAL_LOSSES = 1e-14
"""Final losses that differ by no more, or by this share of them, are all the best one."""
LISTED = 20
"""How many differing cells are kept for the report."""

Item = tuple[str, int, int, Array, Array, Array]
"""A quantity; row and column of its first cell; then row by row what was found, what was expected, and
the floor."""

GROUPS: tuple[Role, ...] = (
    "rate", "dealt", "data", "parameter", "forward", "loss", "smoothed", "gradient", "delta", "state",
)  # fmt: skip


def number_in(value: Value | None) -> float:
    """The number in a cell; NaN for text, an error or nothing."""
    return value if isinstance(value, float) else math.nan


def column_of(sheets: Sheets, table: Table, column: int) -> Array:
    places = zip(range(table.first_row, table.last_row + 1), repeat(column))
    return np.array([number_in(value) for value in map(sheets.get(table.sheet, {}).get, places)])


class Judge:
    """Collects comparisons, group by group."""

    def __init__(self, sheets: Sheets) -> None:
        self.sheets = sheets
        self.groups: list[Group] = []
        self.differences: list[Difference] = []
        self.differing = 0

    def compare(
        self,
        sheet: str,
        group: str,
        items: Iterable[Item],
        tolerance: float = TOLERANCE,
    ) -> None:
        """Compare columns of cells with what they should hold."""
        compared, worst = 0, None
        for quantity, row, column, found, expected, floor in items:
            with np.errstate(invalid="ignore", over="ignore"):
                scale = np.maximum(np.maximum(np.abs(found), np.abs(expected)), floor)
                relative = np.abs(found - expected) / scale
            # A number that overflows in float64 is an error in a sheet: both say the same.
            both = ~np.isfinite(expected) & ~np.isfinite(found)
            relative = np.where(
                both | (found == expected), 0.0, np.where(np.isnan(relative), np.inf, relative)
            )
            compared += len(relative)
            if worst is not None and relative.max() <= min(worst.relative, tolerance):
                continue
            for position in (int(relative.argmax()), *np.flatnonzero(relative > tolerance)[:LISTED]):
                difference = Difference(
                    sheet,
                    cell(row + int(position), column),
                    label(quantity),
                    self.sheets.get(sheet, {}).get((row + int(position), column)),
                    float(expected[position]),
                    float(relative[position]),
                )
                if worst is None or difference.relative > worst.relative:
                    worst = difference
                if difference.relative > tolerance and difference not in self.differences:
                    self.differences.append(difference)
            self.differing += int((relative > tolerance).sum())
        self.groups.append(Group(sheet, group, compared, worst, tolerance))

    def same_text(self, sheet: str, group: str, expected: Mapping[tuple[int, int], str]) -> None:
        """Compare words, such as a verdict: equal or infinitely different."""
        cells = self.sheets.get(sheet, {})
        wrong = [place for place, text in expected.items() if (cells.get(place) or "") != text]
        for row, column in wrong:
            found = cells.get((row, column))
            reason = f"{group} (should be {expected[row, column]!r})"
            self.differences.append(
                Difference(sheet, cell(row, column), reason, found, math.nan, math.inf)
            )
        self.differing += len(wrong)
        worst = self.differences[-1] if wrong else None
        self.groups.append(Group(sheet, group, len(expected), worst))


def judge_table(
    judge: Judge, plan: Plan, table: Table, network: Network, rate: float, oracle: Any
) -> Mapping[str, Array]:
    """Judge one table of iterations; return what PyTorch says of it, by quantity."""
    program = plan.program
    found = {name: column_of(judge.sheets, table, column) for name, column in table.columns.items()}
    start = plan.backprop
    inputs = {}
    dealt = {} if plan.samples is None else dealt_values(plan, plan.samples, judge.sheets, table.steps)
    for quantity in program.of_role("data", "parameter"):
        if quantity.name in dealt:
            values = dealt[quantity.name]
            if quantity.name in start.columns:
                values = column_of(judge.sheets, start, start.columns[quantity.name])
            inputs[quantity.name] = np.resize(values, table.steps)
            continue
        first = number_in(judge.sheets[start.sheet].get((start.first_row, start.columns[quantity.name])))
        inputs[quantity.name] = found.get(quantity.name, np.full(table.steps, first))
        if quantity.name in found:  # its first row is Backprop's, whatever table this is
            inputs[quantity.name] = np.concatenate([[first], inputs[quantity.name][1:]])
    # The optimizer is judged on the states, gradients and rates that stand in the sheet: of a gradient
    # that is 0 but for rounding, some make a step that is not.
    states = program.of_role("state")
    before = {q.name: np.concatenate([[0.0], found[q.name][:-1]]) for q in states}
    rates = oracle.learning_rates(network, rate, table.steps)
    shown = found.get("rate", rates)
    step = oracle.step(
        network,
        inputs,
        np.where(np.isfinite(shown), shown, rates),
        gradients={q.name: found[q.name] for q in program.of_role("gradient")},
        before=before,
        iterations=np.arange(1, table.steps + 1),
    )
    loss = step.values[program.loss] if program.can_diverge else np.zeros(table.steps)
    parameters = program.of_role("parameter")
    decays = "weight_decay" in program.hyperparameters
    expected = dict(step.values) | {q.name: rates for q in program.of_role("rate")}
    spreads = {}
    if plan.samples is not None:
        columns = sample_columns(judge.sheets, plan.samples)
        spreads = {name: columns[name.partition("[")[0]].spread for name in dealt if name in inputs}
    inexact = {name: spread for name, spread in spreads.items() if name not in start.columns}
    sizes = rounding_sizes(program, {**expected, **inputs}, inexact)
    limits = {name: ROUNDING_FLOOR * size + SATURATED for name, size in sizes.items()}
    limits |= {name: ROUNDING_FLOOR * spreads.get(name, 1.0) * np.abs(dealt[name]) for name in dealt}
    expected |= dealt
    for smoothed in program.of_role("smoothed"):
        kept, losses = network.settings["smoothing"], expected[program.loss]
        following = kept * found[smoothed.name][:-1] + (1 - kept) * losses[1:]
        expected[smoothed.name] = np.concatenate([losses[:1], following])
        limits[smoothed.name] = limits[program.loss]
    for name, column in inputs.items():
        if name in dealt:
            continue
        following = column
        if name in step.updated:
            held = ~(loss + decays * np.abs(column) < DIVERGENCE_LIMIT)
            following = np.where(held, column, step.updated[name])
        expected[name] = np.concatenate([column[:1], following[:-1]])
    decayed = {
        q.name: network.settings.get("weight_decay", 0.0) * np.abs(inputs[q.name]) for q in parameters
    }
    for state in states:
        expected[state.name] = np.where(
            loss < DIVERGENCE_LIMIT, step.states[state.name], before[state.name]
        )
        # A state may be far smaller than what it is computed from, but for the state before and for a
        # weight decay that cancels the gradient; v and s are of squares.
        letter, _, name = state.name.partition("_")
        seen = (decayed[name] * np.maximum(1.0, rates)) ** (2 if letter in ("v", "s") else 1)
        limits[state.name] = ROUNDING_FLOOR * (np.abs(before[state.name]) + seen) + SMALLEST
    for quantity in parameters:  # a weight follows from the one above, however large the data are
        size = np.abs(inputs[quantity.name]) + rates * decayed[quantity.name]
        limits[quantity.name] = ROUNDING_FLOOR * np.concatenate([size[:1], size[:-1]]) + SMALLEST
    no_slope = _has_no_slope(plan, found, expected, limits)
    for quantity in program.of_role("delta", "gradient"):
        limits[quantity.name] = np.where(no_slope, np.inf, limits[quantity.name])
    highest = max(rate, network.settings.get("minimum_rate", 0.0))  # a cosine may rise to its minimum
    limits |= {q.name: np.full(table.steps, ROUNDING_FLOOR * highest) for q in program.of_role("rate")}
    for group in GROUPS:
        names = [q.name for q in program.of_role(group) if q.name in table.columns]
        if not names:
            continue
        items = (
            (name, table.first_row, table.columns[name], found[name], expected[name], limits[name])
            for name in names
        )
        judge.compare(table.sheet, _GROUP_NAMES[group], items)
    header = (table.header_row, table.columns.get(plan.CHART, -1))
    if judge.sheets[table.sheet].get(header) == plan.CHART:  # it is where a run can diverge
        losses = found[program.shown_loss]
        drawn, floor = np.minimum(losses, CUT * losses[0]), np.zeros(table.steps)
        item = (plan.CHART, table.first_row, table.columns[plan.CHART], found[plan.CHART], drawn, floor)
        judge.compare(table.sheet, "chart", [item])
    for quantity in program.of_role("delta", "gradient"):  # excused here, excused wherever it is shown
        if quantity.name in found:
            shown, right = found[quantity.name], expected[quantity.name]
            expected[quantity.name] = np.where(no_slope, shown, right)
    return expected


@dataclass(frozen=True)
class SampleColumn:
    """A column of Samples as NumPy has it: as it was written, and as the network has to see it."""

    written: Array
    is_standardized: bool

    @property
    def mean(self) -> float:
        return float(self.written.mean())

    @property
    def deviation(self) -> float:
        return float(self.written.std())

    @property
    def spread(self) -> float:
        """How many digits are lost, as a factor, when the mean is taken from numbers all alike."""
        if not self.is_standardized:
            return 1.0
        return max(1.0, float(np.abs(self.written).max()) / self.deviation)

    @property
    def seen(self) -> Array:
        return self.see(self.written)

    def see(self, written: Array) -> Array:
        """What the network sees of any numbers of this column."""
        return (written - self.mean) / self.deviation if self.is_standardized else written

    def restored(self, seen: Any) -> Any:
        """Numbers that the network gives, as they are written."""
        return seen * self.deviation + self.mean if self.is_standardized else seen


def sample_columns(sheets: Sheets, samples: SampleTable) -> dict[str, SampleColumn]:
    table = Table(SAMPLES, samples.HEADER_ROW, samples.written, samples.samples)
    return {
        name: SampleColumn(column_of(sheets, table, column), name in samples.centred)
        for name, column in samples.written.items()
    }


def judge_samples(judge: Judge, samples: SampleTable) -> None:
    """What is standardised, with its mean and its standard deviation."""
    items: list[Item] = []
    cells = judge.sheets[SAMPLES]
    table = Table(SAMPLES, samples.HEADER_ROW, {}, samples.samples)
    for name, each in sample_columns(judge.sheets, samples).items():
        if not each.is_standardized:
            continue
        # of the largest number written
        floor = np.array([ROUNDING_FLOOR * each.spread * each.deviation])
        for row, quantity, expected in (
            (samples.MEAN_ROW, f"mean of {name}", each.mean),
            (samples.DEVIATION_ROW, f"standard deviation of {name}", each.deviation),
        ):
            column = samples.written[name]
            found = np.array([number_in(cells.get((row, column)))])
            items.append((quantity, row, column, found, np.array([expected]), floor))
        for columns, wanted, scale in (
            (samples.centred, each.written - each.mean, each.deviation),
            (samples.standardized, each.seen, 1.0),
        ):
            found = column_of(judge.sheets, table, columns[name])
            limit = np.full(samples.samples, ROUNDING_FLOOR * each.spread * scale)
            items.append((name, table.first_row, columns[name], found, wanted, limit))
    judge.compare(SAMPLES, "standardised data", items)


def dealt_values(plan: Plan, samples: SampleTable, sheets: Sheets, steps: int) -> dict[str, Array]:
    """The number of every sample dealt and its data, by quantity: row by row of Backprop."""
    network, table = plan.program.network, plan.backprop
    numbers = np.resize(np.arange(1, network.samples + 1), (steps, network.slots))
    if network.shuffle_seed is not None:  # what is typed there is right
        typed = [table.columns[q.name] for q in plan.program.of_role("dealt")]
        columns = [column_of(sheets, table, column)[:steps] for column in typed]
        numbers = np.stack(columns, axis=1).astype(int)
    values = {name: each.seen for name, each in sample_columns(sheets, samples).items()}
    dealt = {}
    for quantity in plan.program.of_role("dealt", "data"):
        own = numbers[:, (quantity.sample or 1) - 1]
        name = quantity.name.partition("[")[0]
        dealt[quantity.name] = values[name][own - 1] if name in values else own.astype(float)
    return dealt


def _has_no_slope(
    plan: Plan, found: Mapping[str, Array], expected: Mapping[str, Array], limits: Mapping[str, Array]
) -> npt.NDArray[np.bool_]:
    """Per row, whether the sum of a ReLU, or an absolute error, is 0 but for rounding, which then
    decides about its slope.

    Sheet and PyTorch may round to different sides, and IronCalc takes 1e-16 > 0 for false: both are
    right, and the gradients of such a row prove nothing. A sum of exactly 0 in both has its slope.
    """
    network = plan.program.network
    bends = [
        (found[q.name], expected[q.name], limits[q.name])
        for q in plan.program.of_role("forward")
        if q.layer is not None
        and network.layers[q.layer].activation in KINKED
        and not q.name.startswith("a_")
        and q.name in found
    ]
    if network.loss == "mean_absolute_error":
        last = len(network.layers) - 1
        for sample, k in product(range(1, network.slots + 1), range(1, network.sizes[-1] + 1)):
            output, target = (
                of_sample(name, sample, network.slots)
                for name in (activation_name(network, last, k), target_name(k))
            )
            rounding = limits[output] + ROUNDING_FLOOR * np.abs(expected[target])
            shown, right = found[output] - expected[target], expected[output] - expected[target]
            bends.append((shown, right, rounding))
    result = np.zeros(len(expected[plan.program.loss]), dtype=bool)
    for one, other, limit in bends:
        tiny = np.maximum(np.abs(one), np.abs(other)) <= TOLERANCE * np.maximum(limit, ROUNDING_FLOOR)
        result |= tiny & ((one != 0) | (other != 0))
    return result


def floor_of(columns: Sequence[Array]) -> Array:
    """Per row, below which number differences are not relative (see `ROUNDING_FLOOR`)."""
    largest = np.maximum(1.0, np.nan_to_num(np.abs(np.stack(columns)), posinf=1e100).max(axis=0))
    return np.asarray(ROUNDING_FLOOR * np.minimum(largest, 1e100) ** 2)


_GROUP_NAMES: Mapping[Role, str] = {
    "dealt": "dealt samples",
    "smoothed": "smoothed loss",
    "rate": "learning rate",
    "state": "optimizer",
    "data": "data",
    "parameter": "updated weights",
    "forward": "forward pass",
    "loss": "loss",
    "gradient": "gradients",
    "delta": "shared δ",
}


def judge_losses(
    judge: Judge, table: Table, final_row: int, column: int, name: str, losses: Array
) -> None:
    """A column of a table of losses, and the final loss above it."""
    found = column_of(judge.sheets, table, column)
    final = np.array([number_in(judge.sheets[table.sheet].get((final_row, column)))])
    floor = np.full(len(losses), ROUNDING_FLOOR)
    judge.compare(
        table.sheet,
        "losses",
        (
            (name, table.first_row, column, found, losses, floor),
            (f"final {name}", final_row, column, final, losses[-1:], floor[:1]),
        ),
    )


def judge_best(judge: Judge, sheet: str, final_row: int, columns: Iterable[int]) -> list[int]:
    """The verdicts below a row of final losses; returns the columns that may be called the best."""
    cells = judge.sheets[sheet]
    final = {column: number_in(cells.get((final_row, column))) for column in columns}
    if any(math.isnan(loss) for loss in final.values()):
        return []  # an overflow, which shows as an error; reported as such
    fine = {column: loss for column, loss in final.items() if loss < DIVERGENCE_LIMIT}
    smallest = min(fine.values(), default=math.nan)
    # Spreadsheet programs take two numbers that are all but 0 for equal: any of such losses is the best.
    close = EQUAL_LOSSES * max(1.0, smallest)
    ties = [column for column, loss in fine.items() if loss - smallest <= close]
    verdicts = {
        (final_row + 1, column): "diverged" if column not in fine else "best" if loss == smallest else ""
        for column, loss in final.items()
        if len(ties) < 2 or column not in ties
    }
    if not fine:
        verdicts[final_row + 2, 1] = "none: all diverge"
    judge.same_text(sheet, "verdicts", verdicts)
    return ties


def judge_errors(judge: Judge) -> None:
    """No cell of any sheet may show an error, but where a number truly overflows."""
    listed = {(difference.sheet, difference.cell) for difference in judge.differences}
    overflowed = any(
        group.worst is not None and not math.isfinite(group.worst.expected) for group in judge.groups
    )
    for sheet, cells in judge.sheets.items():
        errors = [place for place, value in cells.items() if isinstance(value, CellError)]
        for row, column in errors:
            place, value = (sheet, cell(row, column)), cells[row, column]
            if place not in listed and not overflowed:
                judge.differences.append(Difference(*place, "an error", value, math.nan, math.inf))
                judge.differing += 1


def merged(groups: Sequence[Group]) -> list[Group]:
    """One group for all learning rates in place of one for each."""
    found: dict[tuple[str, str], Group] = {}
    for group in groups:
        if group.compared == 0:
            continue
        key = (group.sheet, group.name)
        before = found.get(key, Group(*key, 0, None))
        worst = max((g.worst for g in (before, group) if g.worst is not None), key=lambda d: d.relative)
        found[key] = Group(*key, before.compared + group.compared, worst)
    return list(found.values())
