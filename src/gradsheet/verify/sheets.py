"""The sheets beside the tables: the best learning rate, Gradient check, Derivation, Predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, product
from typing import Any

import numpy as np

from gradsheet.backends.workbook_layout import (
    BACKPROP,
    DERIVATION,
    DIVERGED,
    FALLS,
    GRADIENT_CHECK,
    GRADIENT_CHECK_ROW,
    LEARNING_RATES,
    POINTS,
    PREDICT,
    STAYS,
    Plan,
    Table,
)
from gradsheet.backends.workbook_lessons import ABSOLUTE_TOLERANCE
from gradsheet.backends.workbook_predict import Map, Prediction, class_names
from gradsheet.compiler import gradient_name
from gradsheet.engines import Sheets
from gradsheet.expression import DIVERGENCE_LIMIT, Array, label
from gradsheet.network import target_name
from gradsheet.verify.tables import (
    EQUAL_LOSSES,
    ROUNDING_FLOOR,
    Item,
    Judge,
    SampleColumn,
    column_of,
    floor_of,
    judge_best,
    number_in,
    sample_columns,
)
from gradsheet.verify.verdict import TOLERANCE

SLOPE_TOLERANCE = 1e-4
"""For measured slopes: a central difference divides the rounding of two losses by 2ε."""


def judge_best_rate(judge: Judge, plan: Plan) -> None:
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


def judge_summary(judge: Judge, plan: Plan, losses: Array) -> None:
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


def judge_gradient_check(judge: Judge, plan: Plan, truth: Mapping[str, Array], oracle: Any) -> None:
    """The gradients of the picked iteration, the slopes beside them, and the runs they come from."""
    program, cells = plan.program, judge.sheets[GRADIENT_CHECK]
    iteration, epsilon = (number_in(cells.get((row, 1))) for row in (3, 4))
    position = int(iteration) - 1
    loss = abs(float(truth[program.loss][position]))
    sources = program.of_role("data", "parameter", "forward")
    limit = float(floor_of([truth[q.name][position : position + 1] for q in sources])[0])
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
        for floor in [floor_of([*inputs.values(), values[program.loss]])]
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


def judge_derivation(judge: Judge, plan: Plan, truth: Mapping[str, Array]) -> None:
    """Every line whose first cell names a quantity holds that quantity's value in the first row."""
    names = {label(q.name): q.name for q in plan.program.quantities}
    cells = judge.sheets[DERIVATION]
    numbers = {q.name for q in plan.program.of_role("dealt")}
    floor = floor_of([column[:1] for name, column in truth.items() if name not in numbers])

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


def judge_predict(judge: Judge, plan: Plan, oracle: Any) -> None:
    """The forward pass of the typed input, the maps, and the list of the samples."""
    prediction, cells = Prediction(plan), judge.sheets[PREDICT]
    samples = _written(plan, judge.sheets)
    typed = {n: np.array([number_in(cells.get(place))]) for n, place in prediction.inputs.items()}
    values = _predicted(judge, prediction, -1, typed, oracle)
    floor = floor_of([values[shown.name] for shown in prediction.shown])

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
    judge: Judge, prediction: Prediction, samples: Mapping[str, SampleColumn], oracle: Any
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
        listed.append(("sample", table.first_row, column, found, wanted, floor_of([wanted])))
    judge.compare(PREDICT, "samples", listed)


def _written(plan: Plan, sheets: Sheets) -> dict[str, SampleColumn]:
    """Inputs and targets of all samples by name, as they stand in the sheet."""
    if plan.samples is not None:
        return sample_columns(sheets, plan.samples)
    count, table = plan.program.network.samples, plan.backprop
    found: dict[str, list[float]] = {}
    for quantity in plan.program.of_role("data"):
        number = number_in(sheets[BACKPROP].get((table.first_row, table.columns[quantity.name])))
        found.setdefault(quantity.name.partition("[")[0], []).append(number)
    assert all(len(numbers) == count for numbers in found.values())
    return {
        name: SampleColumn(np.array(numbers), is_standardized=False) for name, numbers in found.items()
    }


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
    floor = floor_of([*points, *numbers]).reshape(POINTS, POINTS)
    found = found.reshape(POINTS, POINTS)
    return axes, [
        ("answer", drawn.row, column, found[:, k], expected[:, k], floor[:, k])
        for k, column in enumerate(columns)
    ]


def _answers(
    prediction: Prediction, numbers: Array, found: Array, samples: Mapping[str, SampleColumn] | None
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
