"""Prove a workbook that gradsheet wrote: recalculate it, and compare every number with autograd.

The recalculated numbers are held against PyTorch, never against our own formulas. Every row of a table
is judged on its own weights: PyTorch computes forward pass, loss and gradients from the weights that
stand in the row, takes one optimizer step, and what comes out must stand in the row below. So no error
hides behind an earlier one, and the first row proves the start of the chain.

Every workbook is calculated twice: as it stands, and again with all its input cells changed: learning
rates, weights, inputs and targets. A number pasted over its formula survives the first run and fails the
second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from itertools import chain, product, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradsheet.backends.workbook import CUT
from gradsheet.backends.workbook_layout import (
    BACKPROP,
    BLANK_ROW,
    DERIVATION,
    DIVERGED,
    FALLS,
    GRADIENT_CHECK,
    GRADIENT_CHECK_ROW,
    LEARNING_RATES,
    NETWORK,
    NETWORK_ROW,
    POINTS,
    PREDICT,
    SAMPLES,
    STAYS,
    Plan,
    SampleTable,
    Table,
    cell,
)
from gradsheet.backends.workbook_lessons import ABSOLUTE_TOLERANCE
from gradsheet.backends.workbook_optimizers import COMPARED
from gradsheet.backends.workbook_predict import Map, Prediction, class_names
from gradsheet.compiler import Role, compile_network, gradient_name
from gradsheet.engines import CellError, Changes, Sheets, Value, ironcalc, libreoffice
from gradsheet.errors import NetworkError, WorkbookError
from gradsheet.expression import DIVERGENCE_LIMIT, Array, label
from gradsheet.network import KINKED, Network, activation_name, of_sample, parse, target_name
from gradsheet.optimizers import LEARNING_RATE
from gradsheet.rounding import UNIT, rounding_errors

if TYPE_CHECKING:
    from gradsheet.mnist.workbook_verify import CnnVerdict

ENGINES = {"ironcalc": ironcalc, "libreoffice": libreoffice}
TOLERANCE = 1e-9
"""Largest relative difference that counts as equal."""
ROUNDING_FLOOR = UNIT / TOLERANCE
"""Times what rounding grows from: relative differences are not measured on numbers smaller than this.
Where a − t is all but zero, two correct float64 calculations agree only to about 1e-16 of what was
subtracted; the floor turns 1e-9 relative into 1e-14 of it."""
SATURATED = 1e-100
"""The floor of what a saturated neuron makes all but 0: the sheet's sigmoid stops at 2e-148."""
SMALLEST = 1e-295
"""Below it there is no floor lower: float64 has fewer than nine digits left from 1e-315 on."""
SLOPE_TOLERANCE = 1e-4
"""For measured slopes: a central difference divides the rounding of two losses by 2ε."""
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


def verify(path: Path, engines: Sequence[str] = ("ironcalc",)) -> Verdict | CnnVerdict:
    """Recalculate a workbook that gradsheet wrote and compare it with PyTorch.

    ``engines`` are names of `ENGINES`. A workbook of a network that reads digits is proved by
    `gradsheet.mnist.workbook_verify`.

    Raises `WorkbookError` when gradsheet did not write it, or as an exercise, or its columns were moved,
    `MissingDependencyError` without PyTorch or an engine.
    """
    # The text of a workbook needs no second opinion: it is read once. Opening it is what takes long.
    changes: Changes = {}
    opened = ironcalc.recalculate_each(path, iter(lambda: changes, None))
    text = next(opened)
    if {"Digit", "Layers"} <= text.keys():
        from gradsheet.mnist.workbook_verify import verify_cnn

        return verify_cnn(path, text, engines)
    from gradsheet.backends import autograd  # loads PyTorch: only here, and only when asked for

    if COMPARED in text:
        from gradsheet.verify_optimizers import verify_comparison

        return verify_comparison(path, text, engines, autograd)
    plan = read_plan(path, text)
    if blank := text[NETWORK].get((BLANK_ROW, 1)):
        raise WorkbookError(
            f"{path}: is an exercise, whose {blank} are a student's, and verify proves what gradsheet "
            "wrote; grade it with `gradsheet check`"
        )
    runs = []
    for engine in engines:
        sheets = text if engine == "ironcalc" else ENGINES[engine].recalculate(path)
        check_headers(path, plan, sheets)
        check_inputs(path, plan, sheets)
        runs.append(_judge(plan, sheets, engine, False, autograd))
        changes = changes_of(plan, sheets)
        changed = next(opened) if engine == "ironcalc" else ENGINES[engine].recalculate(path, changes)
        runs.append(_judge(plan, changed, engine, True, autograd))
    return Verdict(str(path), plan.program.network.name, plan.steps, tuple(runs))


# ---------------------------------------------------------------- reading


def read_plan(path: Path, sheets: Sheets) -> Plan:
    """The plan of a workbook that gradsheet wrote, from the text in its sheet Network.

    Raises `WorkbookError` when gradsheet did not write it, or the text was changed.
    """
    text = sheets.get(NETWORK)
    if text is None or BACKPROP not in sheets:
        raise WorkbookError(
            f"{path}: was not written by gradsheet (it has no sheets {BACKPROP} and {NETWORK}); "
            "verify takes workbooks made with `gradsheet workbook` or `gradsheet mnist workbook`"
        )
    try:
        program = compile_network(parse(network_text(text)))
        steps, rates = (int(text[row, 1]) for row in (3, 4))
        if rates == 0 and LEARNING_RATES in sheets:  # or the sheets that compare rates would go unproved
            raise ValueError("it counts no learning rates")
        return Plan(program, steps, rates)
    except (NetworkError, KeyError, ValueError) as error:
        raise WorkbookError(
            f"{path}: its sheet {NETWORK} was edited and cannot be read ({error}); "
            "generate the workbook again"
        ) from None


def network_text(cells: Mapping[tuple[int, int], Value]) -> str:
    """The lines of TOML in the sheet Network."""
    last = max((row for row, column in cells if column == 0), default=0)
    return "\n".join(str(cells.get((row, 0), "")) for row in range(NETWORK_ROW, last + 1))


def check_headers(path: Path, plan: Plan, sheets: Sheets) -> None:
    """Raise `WorkbookError` unless every column stands where gradsheet wrote it."""
    tables = [(t.sheet, t.header_row, t.columns) for t in (plan.backprop, *plan.workings)]
    if plan.samples is not None:
        headers = {name: column for column, name in plan.samples.headers.items()}
        tables.append((SAMPLES, plan.samples.HEADER_ROW, headers))
    for sheet, header_row, columns in tables:
        for name, column in columns.items():
            found = sheets.get(sheet, {}).get((header_row, column))
            if name != plan.CHART and found != label(name):
                raise WorkbookError(
                    f"{path}: {cell(header_row, column, sheet)} should be the header "
                    f"{label(name)!r}, but holds {found!r}; the columns were moved since gradsheet "
                    "wrote them: undo that, or generate the workbook again"
                )


def check_inputs(path: Path, plan: Plan, sheets: Sheets) -> None:
    """Every cell of the user must hold a number that can be computed with.

    Without this, a sheet full of errors would agree with a PyTorch that was fed no numbers either.
    """
    positive = _rate_cells(plan)
    if not plan.table_alone:
        positive += [(GRADIENT_CHECK, 4, 1), (GRADIENT_CHECK, 5, 1)]
    numbers = list(_number_cells(plan))
    if not plan.table_alone:
        numbers += [(PREDICT, *place) for place in Prediction(plan).typed]
    for sheet, row, column in (*positive, *numbers):
        value = sheets.get(sheet, {}).get((row, column))
        least = 0.0 if (sheet, row, column) in positive else -math.inf
        if not least < number_in(value) < math.inf:
            wanted = "a number greater than 0" if least == 0.0 else "a number"
            raise WorkbookError(
                f"{path}: {sheet}!{cell(row, column)} holds {value!r}, but it is an input cell and "
                f"needs {wanted}; type one"
            )
    for row, column in _dealt_cells(plan):
        start = plan.backprop.sheet
        number = sheets[start].get((row, column))
        if number_in(number) not in range(1, plan.program.network.samples + 1):
            raise WorkbookError(
                f"{path}: {start}!{cell(row, column)} holds {number!r}, but it is the number of a "
                f"sample, a whole number from 1 to {plan.program.network.samples}; type one"
            )
    for name, each in {} if plan.samples is None else sample_columns(sheets, plan.samples).items():
        if each.is_standardized and not each.deviation > 0:
            raise WorkbookError(
                f"{path}: in {SAMPLES}, {name} is the same in every sample, and to standardise it is to "
                "divide by 0; type other numbers"
            )
    network_of(path, plan, sheets)
    iteration = number_in(sheets.get(GRADIENT_CHECK, {}).get((3, 1)))
    if not plan.table_alone and iteration not in range(1, plan.steps + 1):
        raise WorkbookError(
            f"{path}: {GRADIENT_CHECK}!{cell(3, 1)} should be the number of an iteration, a whole "
            f"number from 1 to {plan.steps}; type one"
        )


def network_of(path: Path | str, plan: Plan, sheets: Sheets) -> Network:
    """The network with the hyper-parameters that stand in their cells."""
    settings, sheet = {}, plan.settings_sheet
    for name in plan.program.network.settings_in_use:
        row, column = plan.setting_cell(name)
        value = sheets[sheet].get((row, column))
        if not math.isfinite(number_in(value)):
            raise WorkbookError(
                f"{path}: {sheet}!{cell(row, column)} holds {value!r}, but it is an input cell and "
                "needs a number; type one"
            )
        settings[name] = number_in(value)
    try:
        return plan.program.network.learning(settings=settings)
    except NetworkError as error:
        raise WorkbookError(f"{path}: the input cells of {sheet} cannot be used: {error}") from None


def changes_of(plan: Plan, sheets: Sheets) -> Changes:
    """Another number for every input cell of the user."""
    settings = plan.settings_sheet
    changes: dict[tuple[str, int, int], float] = {}
    for position, (sheet, row, column) in enumerate(_rate_cells(plan)):
        changes[sheet, row, column] = number_in(sheets[sheet].get((row, column))) * _factor(position)
    for name, setting in plan.program.network.known_settings.items():
        if name in plan.program.hyperparameters:
            number = number_in(sheets[settings].get(plan.setting_cell(name)))
            other = number + 1 if setting.whole else 0.9 * number or 0.01
            changes[settings, *plan.setting_cell(name)] = min(max(other, setting.least), setting.most)
    for position, (place, name) in enumerate(_number_cells(plan).items()):
        number = number_in(sheets[place[0]].get(place[1:]))
        if name.startswith("t") and plan.program.network.loss.endswith("cross_entropy"):
            # shares of a whole: shrunk towards the even split, they stay between 0 and 1 and sum to 1
            outputs = plan.program.network.sizes[-1]
            changes[place] = 0.9 * number + 0.1 / max(2, outputs)
        else:
            changes[place] = number * _factor(position) if number else 0.015625
    for row, column in _dealt_cells(plan):  # the next sample
        number = number_in(sheets[plan.backprop.sheet].get((row, column)))
        changes[plan.backprop.sheet, row, column] = number % plan.program.network.samples + 1
    if not plan.table_alone:
        for position, typed in enumerate(Prediction(plan).typed):
            number = number_in(sheets[PREDICT].get(typed))
            changes[PREDICT, *typed] = number * _factor(position) if number else 0.015625
    return changes


def _number_cells(plan: Plan) -> dict[tuple[str, int, int], str]:
    """The input cells of data and initial parameters, with the quantity that stands in each."""
    table, samples = plan.backprop, plan.samples
    roles: tuple[Role, ...] = ("data", "parameter") if samples is None else ("parameter",)
    here = plan.program.of_role(*roles)
    cells = {(table.sheet, table.first_row, table.columns[q.name]): q.name for q in here}
    if samples is not None:
        rows = range(samples.first_row, samples.last_row + 1)
        cells |= {(SAMPLES, row, c): name for row in rows for name, c in samples.written.items()}
    return cells


def _dealt_cells(plan: Plan) -> list[tuple[int, int]]:
    """Rows and columns of Backprop where the user types which samples are dealt."""
    if plan.program.network.shuffle_seed is None:
        return []
    rows = range(plan.backprop.first_row, plan.backprop.last_row + 1)
    dealt = [plan.backprop.columns[q.name] for q in plan.program.of_role("dealt")]
    return [(row, column) for row in rows for column in dealt]


def _rate_cells(plan: Plan) -> list[tuple[str, int, int]]:
    compared = [(LEARNING_RATES, plan.RATES_ROW, 1 + number) for number in range(plan.rates)]
    return [(plan.settings_sheet, *plan.setting_cell(LEARNING_RATE)), *compared]


def _factor(position: int) -> float:
    """Another factor for every cell, so that no symmetry of the network survives."""
    return 0.7 + 0.01 * (position % 20)


def number_in(value: Value | None) -> float:
    """The number in a cell; NaN for text, an error or nothing."""
    return value if isinstance(value, float) else math.nan


def column_of(sheets: Sheets, table: Table, column: int) -> Array:
    places = zip(range(table.first_row, table.last_row + 1), repeat(column))
    return np.array([number_in(value) for value in map(sheets.get(table.sheet, {}).get, places)])


# ---------------------------------------------------------------- judging


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


def _judge(plan: Plan, sheets: Sheets, engine: str, changed: bool, oracle: Any) -> Run:
    judge = Judge(sheets)
    rate = number_in(sheets[BACKPROP].get((plan.RATE_ROW, plan.RATE_COLUMN)))
    network = network_of(f"recalculated by {engine}", plan, sheets)
    if plan.samples is not None:
        judge_samples(judge, plan.samples)
    truth = judge_table(judge, plan, plan.backprop, network, rate, oracle)
    for number, table in enumerate(plan.workings):
        column, shown = 1 + number, Table(LEARNING_RATES, plan.LOSSES_HEADER_ROW, {}, table.steps)
        own = number_in(sheets[LEARNING_RATES].get((plan.RATES_ROW, column)))
        losses = judge_table(judge, plan, table, network, own, oracle)[plan.program.shown_loss]
        judge_losses(judge, shown, plan.RATES_ROW + 1, column, plan.program.shown_loss, losses)
        place = (shown.header_row, column)
        found, expected = np.array([number_in(sheets[LEARNING_RATES].get(place))]), np.array([own])
        judge.compare(
            LEARNING_RATES, "losses", [("learning_rate", *place, found, expected, 0 * expected)]
        )
    judge.groups = merged(judge.groups)
    _judge_summary(judge, plan, truth[plan.program.shown_loss])
    if not plan.table_alone:
        _judge_best_rate(judge, plan)
        _judge_gradient_check(judge, plan, truth, oracle)
        _judge_derivation(judge, plan, truth)
        _judge_predict(judge, plan, oracle)
    judge_errors(judge)
    listed = tuple(judge.differences[:LISTED])
    return Run(engine, changed, rate, tuple(judge.groups), listed, judge.differing)


def judge_table(
    judge: Judge, plan: Plan, table: Table, network: Network, rate: float, oracle: Any
) -> Mapping[str, Array]:
    """Judge one table of iterations; return what PyTorch says of it, by quantity."""
    program = plan.program
    found = {name: column_of(judge.sheets, table, column) for name, column in table.columns.items()}
    start = plan.backprop
    inputs = {}
    dealt = {} if plan.samples is None else _dealt(plan, plan.samples, judge.sheets, table.steps)
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
    errors = rounding_errors(program, {**expected, **inputs}, inexact)
    limits = {name: ROUNDING_FLOOR * error + SATURATED for name, error in errors.items()}
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
class _Column:
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


def sample_columns(sheets: Sheets, samples: SampleTable) -> dict[str, _Column]:
    table = Table(SAMPLES, samples.HEADER_ROW, samples.written, samples.samples)
    return {
        name: _Column(column_of(sheets, table, column), name in samples.centred)
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
        floor = np.array(
            [ROUNDING_FLOOR * each.spread * each.deviation]
        )  # of the largest number written
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


def _dealt(plan: Plan, samples: SampleTable, sheets: Sheets, steps: int) -> dict[str, Array]:
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


def _floor(columns: Sequence[Array]) -> Array:
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


def _judge_best_rate(judge: Judge, plan: Plan) -> None:
    """The words: which rate is best, which diverge. The final losses they rest on are proved above."""
    cells, row = judge.sheets[LEARNING_RATES], plan.RATES_ROW
    best = judge_best(judge, LEARNING_RATES, row + 1, range(1, plan.rates + 1))
    if best:
        named = number_in(cells.get((row + 3, 1)))
        rates = [number_in(cells.get((row, column))) for column in best]
        rate = named if named in rates else rates[0]
        found, expected = np.array([named]), np.array([rate])
        items = [("best rate", row + 3, 1, found, expected, 0 * expected)]
        judge.compare(LEARNING_RATES, "best rate", items)


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


def _judge_summary(judge: Judge, plan: Plan, losses: Array) -> None:
    """The first and the last loss above the table of Backprop."""
    cells = judge.sheets[BACKPROP]
    row = plan.summary_row
    found = np.array([number_in(cells.get((k, 1))) for k in (row, row + 1)])
    floor = np.full(2, ROUNDING_FLOOR)
    items = [(plan.program.shown_loss, row, 1, found, losses[[0, -1]], floor)]
    judge.compare(BACKPROP, "summary", items)
    first, last = found
    # Spreadsheet programs take two numbers that are all but equal for equal.
    if np.isfinite(found).all() and abs(last - first) > EQUAL_LOSSES * max(1.0, abs(first)):
        word = FALLS if last < first else STAYS
        if plan.program.can_diverge and not last < DIVERGENCE_LIMIT:
            word = DIVERGED
        judge.same_text(BACKPROP, "verdict", {(row + 2, 1): word})


def _judge_gradient_check(judge: Judge, plan: Plan, truth: Mapping[str, Array], oracle: Any) -> None:
    """The gradients of the picked iteration, the slopes beside them, and the runs they come from."""
    program, cells = plan.program, judge.sheets[GRADIENT_CHECK]
    iteration, epsilon = (number_in(cells.get((row, 1))) for row in (3, 4))
    position = int(iteration) - 1
    loss = abs(float(truth[program.loss][position]))
    sources = program.of_role("data", "parameter", "forward")
    limit = float(_floor([truth[q.name][position : position + 1] for q in sources])[0])
    first, count = GRADIENT_CHECK_ROW + 1, len(plan.checked)
    inputs = {
        q.name: np.full(2 * count, truth[q.name][position]) for q in program.of_role("data", "parameter")
    }
    for number, name in enumerate(plan.checked):
        inputs[name][2 * number : 2 * number + 2] += (epsilon, -epsilon)
    values = oracle.step(program.network, inputs, 1.0).values
    losses = values[program.loss].reshape(count, 2)
    gradients: list[Item] = []
    slopes: list[Item] = []
    for number, name in enumerate(map(gradient_name, plan.checked)):
        # At a ReLU's kink the measured slope is no gradient; it has to be what PyTorch would measure.
        slope = (losses[number, :1] - losses[number, 1:]) / (2 * epsilon)
        analytic = truth[name][position : position + 1]
        for items, column, expected, floor in (
            (gradients, 2, analytic, limit),
            (slopes, 3, slope, ROUNDING_FLOOR * (1 + loss)),
        ):
            row = first + number
            found = np.array([number_in(cells.get((row, column)))])
            items.append((name, row, column, found, expected, np.array([floor])))
    judge.compare(GRADIENT_CHECK, "gradients", gradients)
    judge.compare(GRADIENT_CHECK, "measured slopes", slopes, SLOPE_TOLERANCE)
    moved = Table(GRADIENT_CHECK, first + count + 6, {}, 2 * count)
    items = [
        (q.name, moved.first_row, column, column_of(judge.sheets, moved, column), values[q.name], floor)
        for column, q in enumerate(plan.evaluated, 2)
        for floor in [_floor([*inputs.values(), values[program.loss]])]
    ]
    judge.compare(GRADIENT_CHECK, "moved weights", items)
    _judge_verdicts(judge, plan, truth, position)


def _judge_verdicts(judge: Judge, plan: Plan, truth: Mapping[str, Array], position: int) -> None:
    """What Gradient check says of its numbers: differences, their share of what is allowed, words."""
    cells, first, last = judge.sheets[GRADIENT_CHECK], GRADIENT_CHECK_ROW + 1, len(plan.checked)
    rows = range(first, first + last)
    columns = ([number_in(cells.get((row, column))) for row in rows] for column in range(1, 6))
    values, analytic, measured, differences, shares = map(np.array, columns)
    if not np.isfinite(shares).all():
        return  # an overflow, which shows as an error; reported as such
    relative, rounding = (number_in(cells.get((row, 1))) for row in (5, 6))
    largest = np.maximum(np.abs(analytic), np.abs(measured))
    floor = ROUNDING_FLOOR * largest
    wanted = np.array([truth[name][position] for name in plan.checked])
    allowed = ABSOLUTE_TOLERANCE * (1 + np.abs(truth[plan.program.loss][[position]]))
    items: list[Item] = [
        ("allowed for rounding", 6, 1, np.array([rounding]), allowed, 0 * allowed),
        ("value", first, 1, values, wanted, floor),
        ("difference", first, 4, differences, analytic - measured, floor),
    ]
    if (GRADIENT_CHECK_ROW, 7) not in cells:  # no kinks, which excuse some
        share = np.abs(differences) / (relative * largest + rounding)
        items.append(("difference ÷ allowed", first, 5, shares, share, floor))
    judge.compare(GRADIENT_CHECK, "differences", items)
    words = {(7, 1): "OK" if shares.max() <= 1 else "WRONG"}
    for row, fine in zip(rows, shares <= 1, strict=True):
        found = str(cells.get((row, 6)))
        words[row, 6] = "WRONG" if not fine else found if found in ("OK", "KINK") else "OK"
    judge.same_text(GRADIENT_CHECK, "verdicts", words)


def _judge_derivation(judge: Judge, plan: Plan, truth: Mapping[str, Array]) -> None:
    """Every line whose first cell names a quantity holds that quantity's value in the first row."""
    names = {label(q.name): q.name for q in plan.program.quantities}
    cells = judge.sheets[DERIVATION]
    numbers = {q.name for q in plan.program.of_role("dealt")}
    floor = _floor([column[:1] for name, column in truth.items() if name not in numbers])

    def lines() -> Iterator[Item]:
        for (row, column), text in cells.items():
            if column == 0 and text in names and (row, 2) in cells:
                found = np.array([number_in(cells[row, 2])])
                yield names[str(text)], row, 2, found, truth[names[str(text)]][:1], floor

    judge.compare(DERIVATION, "every line", lines())
    words = {}
    for (row, column), found in cells.items():
        if column == 4 and cells.get((row, 0)) in names:
            place = (plan.backprop.first_row, plan.backprop.columns[names[str(cells[row, 0])]])
            shown, there = number_in(cells.get((row, 2))), number_in(judge.sheets[BACKPROP].get(place))
            near = abs(shown - there) <= 0.5 * TOLERANCE * abs(there)
            words[row, column] = "equals the table" if near else str(found)  # rounding may decide
    judge.same_text(DERIVATION, "verdicts", words)


def _judge_predict(judge: Judge, plan: Plan, oracle: Any) -> None:
    """The forward pass of the typed input, the maps, and the list of the samples."""
    prediction, cells = Prediction(plan), judge.sheets[PREDICT]
    samples = _written(plan, judge.sheets)
    typed = {n: np.array([number_in(cells.get(place))]) for n, place in prediction.inputs.items()}
    values = _predicted(judge, prediction, -1, typed, oracle)
    floor = _floor([values[shown.name] for shown in prediction.shown])

    def item(name: str, row: int, column: int, expected: float) -> Item:
        found = np.array([number_in(cells.get((row, column)))])
        return name, row, column, found, np.array([expected]), floor

    lines = [item(s.name, s.row, s.column, float(values[s.name][0])) for s in prediction.shown]
    judge.compare(PREDICT, "forward pass", lines)
    answers = [float(values[name][0]) for name in prediction.outputs]
    if prediction.predicts_class and np.isfinite(answers).all():
        names = class_names(plan.program.network)
        place = (prediction.class_row, 1)
        ties = [n for n, share in zip(names, answers, strict=True) if share >= max(answers) - TOLERANCE]
        found = cells.get(place)
        judge.same_text(PREDICT, "answer", {place: str(found) if found in ties else ties[0]})
    elif plan.program.network.loss == "binary_cross_entropy":
        decided = [
            (row, a) for row, a in enumerate(answers, prediction.answer_row) if abs(a - 0.5) > TOLERANCE
        ]
        lines = [item("class", row, 2, float(answer >= 0.5)) for row, answer in decided]
        judge.compare(PREDICT, "answer", lines)
    elif "targets" in plan.program.network.standardize:
        own = [samples[target_name(k)].restored(answer) for k, answer in enumerate(answers, 1)]
        lines = [item("as written", row, 2, v) for row, v in enumerate(own, prediction.answer_row)]
        judge.compare(PREDICT, "answer", lines)
    if prediction.maps:
        axes, points = zip(
            *(_map_items(judge, prediction, m, oracle) for m in prediction.maps), strict=True
        )
        judge.compare(PREDICT, "axes of the maps", chain(*axes))
        judge.compare(PREDICT, "maps", chain(*points))
        _judge_list(judge, prediction, samples, oracle)


def _judge_list(
    judge: Judge, prediction: Prediction, samples: Mapping[str, _Column], oracle: Any
) -> None:
    """The list of the samples beside the maps: inputs, target, and what the trained network answers."""
    network = prediction.network
    points = {n: samples[n.partition("[")[0]].written for n in prediction.inputs}
    answers = _predicted(judge, prediction, -1, points, oracle)
    count = network.sizes[-1] if prediction.predicts_class else 1
    targets = np.stack([samples[target_name(k)].written for k in range(1, count + 1)])
    numbers = np.stack([answers[name] for name in prediction.decisive])
    table = Table(PREDICT, prediction.samples_row - 1, {}, network.samples)
    listed: list[Item] = []
    for column, wanted in enumerate((*points.values(), targets, numbers), 1):
        found = column_of(judge.sheets, table, column)
        if column >= 3:
            wanted = _answers(prediction, wanted, found, samples if column == 4 else None)
        listed.append(("sample", table.first_row, column, found, wanted, _floor([wanted])))
    judge.compare(PREDICT, "samples", listed)


def _written(plan: Plan, sheets: Sheets) -> dict[str, _Column]:
    """Inputs and targets of all samples by name, as they stand in the sheet."""
    if plan.samples is not None:
        return sample_columns(sheets, plan.samples)
    count, table = plan.program.network.samples, plan.backprop
    found: dict[str, list[float]] = {}
    for quantity in plan.program.of_role("data"):
        number = number_in(sheets[BACKPROP].get((table.first_row, table.columns[quantity.name])))
        found.setdefault(quantity.name.partition("[")[0], []).append(number)
    assert all(len(numbers) == count for numbers in found.values())
    return {name: _Column(np.array(numbers), is_standardized=False) for name, numbers in found.items()}


def _predicted(
    judge: Judge, prediction: Prediction, step: int, inputs: Mapping[str, Array], oracle: Any
) -> Mapping[str, Array]:
    """What PyTorch makes of inputs with the weights that stand in a row of Backprop, its first or last.

    ``inputs`` are those of the first sample by name, as they are typed; all other samples get the same.
    """
    program, table = prediction.plan.program, prediction.plan.backprop
    columns = _written(prediction.plan, judge.sheets)
    inputs = {name: columns[name.partition("[")[0]].see(typed) for name, typed in inputs.items()}
    row = table.first_row if step == 0 else table.last_row
    count = len(next(iter(inputs.values())))
    known = {}
    for quantity in program.of_role("data", "parameter"):
        place = (row, table.columns.get(quantity.name, -1))  # targets may stand in Samples: none is read
        number = number_in(judge.sheets[BACKPROP].get(place))
        first = prediction.named(quantity.name.partition("[")[0])
        known[quantity.name] = inputs.get(first, np.full(count, number))
    return {**known, **oracle.step(program.network, known, 1.0).values}


def _map_items(
    judge: Judge, prediction: Prediction, drawn: Map, oracle: Any
) -> tuple[list[Item], list[Item]]:
    """The inputs beside a map, and its points column by column."""
    cells = judge.sheets[PREDICT]
    axes: list[Item] = []
    across, up = np.zeros(POINTS), np.zeros(POINTS)
    for number, point, row, column, _ in prediction.axes(drawn):
        place = prediction.ranges[number]
        low, high = (number_in(cells.get((place[0], place[1] + k))) for k in (0, 1))
        share = point * (high - low) / (POINTS - 1)
        value = low + share if number == 0 else high - share
        (across if number == 0 else up)[point] = value
        floor = np.array([ROUNDING_FLOOR * max(1.0, abs(low), abs(high))])
        found = np.array([number_in(cells.get((row, column)))])
        axes.append((f"i{number + 1}", row, column, found, np.array([value]), floor))
    points = [grid.ravel() for grid in np.meshgrid(across, up)]
    inputs = dict(zip(prediction.inputs, points, strict=True))
    values = _predicted(judge, prediction, drawn.step, inputs, oracle)
    numbers = np.stack([values[name] for name in prediction.decisive])
    rows, columns = range(drawn.row, drawn.row + POINTS), range(drawn.column, drawn.column + POINTS)
    found = np.array([number_in(cells.get(place)) for place in product(rows, columns)])
    samples = _written(prediction.plan, judge.sheets)
    expected = _answers(prediction, numbers, found, samples).reshape(POINTS, POINTS)
    floor = _floor([*points, *numbers]).reshape(POINTS, POINTS)
    found = found.reshape(POINTS, POINTS)
    return axes, [
        ("answer", drawn.row, column, found[:, k], expected[:, k], floor[:, k])
        for k, column in enumerate(columns)
    ]


def _answers(
    prediction: Prediction, numbers: Array, found: Array, samples: Mapping[str, _Column] | None
) -> Array:
    """What belongs into cells that hold an output, or the number of the class with the largest one.

    ``numbers`` is of shape (outputs, cells). Of two that are equal but for rounding, either is right.
    With ``samples``, an output is given as their targets are written.
    """
    if not prediction.predicts_class:
        first = np.asarray(numbers[0])
        return first if samples is None else np.asarray(samples[target_name(1)].restored(first))
    largest = numbers.max(axis=0)
    classes = np.nan_to_num(np.clip(found, 1, len(numbers)), nan=1.0).astype(int)
    chosen = np.take_along_axis(numbers, classes[None] - 1, axis=0)[0]
    tied = (found == classes) & (largest - chosen <= TOLERANCE * np.maximum(1.0, np.abs(largest)))
    return np.where(tied, found, numbers.argmax(axis=0) + 1.0)


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


# ---------------------------------------------------------------- reporting


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
