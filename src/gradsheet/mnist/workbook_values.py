"""What every formula of a CNN's workbook must give, from numbers that PyTorch computed.

The writer puts these values beside the formulas; the proof holds the recalculated ones against them.
No formula is read here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradsheet.mnist import workbook_places as at
from gradsheet.mnist.layers import Array, Parameters
from gradsheet.mnist.workbook_places import Place
from gradsheet.mnist.workbook_plan import Plan, layer_table

Cell = float | str
Values = dict[str, dict[Place, Cell]]
"""By sheet, then by row and column, counted from 0."""


@dataclass(frozen=True)
class Question:
    """What the user asks the sheet Explain: a block by its name, a channel, a row and a column."""

    block: str
    channel: int
    row: int
    column: int


@dataclass(frozen=True)
class State:
    """What the user chose, and what the network makes of it.

    ``pick`` is the number of the picked entry, from 0, ``label`` its true digit or "?"; ``pixels`` are
    the grey values as the network sees them, (28, 28); ``maps`` the numbers of each block, (channels,
    rows, columns).
    """

    pick: int
    label: int | str
    pixels: Array
    maps: tuple[Array, ...]
    parameters: Parameters
    question: Question

    @property
    def logits(self) -> Array:
        return self.maps[-1].ravel()


def block_maps(plan: Plan, outputs: list[Array]) -> tuple[Array, ...]:
    """Of the outputs of all layers, input first, those that end a block: (channels, rows, columns)."""
    maps = []
    for part in plan.parts:
        last = part.block.then[-1] if part.block.then else part.block.layer
        maps.append(outputs[0 if last is None else last + 1].reshape(part.block.shape))
    return tuple(maps)


def softmax(logits: Array) -> tuple[Array, Array]:
    """exp(logit − largest logit), and the probabilities."""
    exponentials = np.exp(logits - logits.max())
    return exponentials, exponentials / exponentials.sum()


def expected_values(plan: Plan, state: State) -> Values:
    """The value of every formula."""
    values: Values = {at.DIGITS: {at.PICK_PLACE: float(state.pick + 1)}, at.DIGIT: _digit(state)}
    for part, maps in zip(plan.parts, state.maps, strict=True):
        values[part.maps.sheet] = {part.maps.place(*place): value for place, value in _numbers(maps)}
    for number, part in enumerate(plan.parts):
        if part.packed is not None and part.packed.own:
            source = state.maps[number - 1]
            values[part.packed.sheet] = {
                part.packed.place(*place): value for place, value in _numbers(source)
            }
    columns = zip(state.logits, *softmax(state.logits), strict=True)
    values[at.SOFTMAX] = {
        at.softmax_place(digit, k): float(value)
        for digit, row in enumerate(columns)
        for k, value in enumerate(row, 1)
    }
    values[at.EXPLAIN] = _explained(plan, state)
    return values


def _numbers(maps: Array) -> list[tuple[tuple[int, int, int], float]]:
    channels, rows, columns = maps.shape
    places = [(c, y, x) for c in range(channels) for y in range(rows) for x in range(columns)]
    return list(zip(places, maps.ravel().tolist(), strict=True))


def _digit(state: State) -> dict[Place, Cell]:
    read = int(state.logits.argmax())
    verdict = "" if state.label == "?" else "right" if state.label == read else "misread"
    label = state.label if isinstance(state.label, str) else float(state.label)
    values: dict[Place, Cell] = {
        at.READ_PLACE: float(read),
        at.LABEL_PLACE: label,
        at.VERDICT_PLACE: verdict,
    }
    for row in range(at.SIDE):
        for column in range(at.SIDE):
            values[at.seen(row, column)] = float(state.pixels[row, column])
    _, probabilities = softmax(state.logits)
    for digit in range(at.CLASSES):
        row = at.PROBABILITY_ROW + digit
        values[row, at.RESULT_COLUMN + 1] = float(probabilities[digit])
        values[row, at.RESULT_COLUMN + 2] = float(state.logits[digit])
    return values


def _explained(plan: Plan, state: State) -> dict[Place, Cell]:
    """The sheet Explain, for the question of the state."""
    question = state.question
    number = next(k for k, part in enumerate(plan.parts) if part.block.name == question.block)
    part, source, maps = plan.parts[number], state.maps[number - 1], state.maps[number]
    assert part.layer is not None
    assert part.block.layer is not None
    start = part.layer.window_start(question.row, question.column)
    weight = state.parameters[part.block.layer, "weight"][question.channel]
    facts = dict(zip(at.LAYER_COLUMNS, layer_table(plan)[part.block.layer], strict=True))
    facts |= {"first row": start[0], "first column": start[1], "products": weight.size}
    values: dict[Place, Cell] = {place: float(facts[name]) for name, place in at.FACTS.items()}
    for (row, _), size in zip(
        (at.CHANNEL_CELL, at.ROW_CELL, at.COLUMN_CELL), part.block.shape, strict=True
    ):
        values[row, 2] = float(size - 1)

    lines = _products(source, weight, start)
    for term in range(plan.terms):
        line: tuple[Cell, ...] = lines[term] if term < len(lines) else ("",) * 6
        values |= {(plan.first_term_row + term, k): value for k, value in enumerate(line, 1)}

    def single(number: int, name: str) -> float:
        return float(state.parameters[number, name][question.channel])

    total = sum(line[-1] for line in lines)
    bias = single(part.block.layer, "bias") if part.layer.bias else 0.0
    current = total + bias
    values |= {(at.SUM_ROW, 1): total, (at.SUM_ROW + 1, 1): current, (at.SUM_ROW + 1, 2): bias}
    for step in range(plan.steps):
        after = part.block.then[step] if step < len(part.block.then) else None
        kind = "" if after is None else plan.layers[after].kind
        gain: Cell = ""
        shift: Cell = ""
        if kind == "ReLU":
            current = max(0.0, current)
        elif after is not None:
            gain, shift = single(after, "gain"), single(after, "shift")
            current = current * gain + shift
        row = at.SUM_ROW + 2 + step
        values |= {(row, 0): kind, (row, 1): current, (row, 2): gain, (row, 3): shift}
    values[plan.result_row, 1] = float(maps[question.channel, question.row, question.column])
    values[plan.result_row + 1, 1] = "equal"
    return values


def _products(source: Array, weight: Array, start: Place) -> list[tuple[float, ...]]:
    """Of every product of a window: row, column and channel of the input, input, weight, product.

    ``source`` are the maps that are read and ``weight`` a kernel, both (channels, rows, columns).
    """
    lines: list[tuple[float, ...]] = []
    for i, j, c in np.ndindex(weight.shape[1], weight.shape[2], weight.shape[0]):
        y, x = start[0] + i, start[1] + j
        inside = 0 <= y < source.shape[1] and 0 <= x < source.shape[2]
        value, own = float(source[c, y, x]) if inside else 0.0, float(weight[c, i, j])
        lines.append((float(y), float(x), float(c), value, own, value * own))
    return lines
