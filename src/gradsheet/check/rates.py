"""The learning rate of a table: the cell that most updates read, or the number typed into them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from gradsheet.check.formula import Unreadable
from gradsheet.check.labels import read_rate
from gradsheet.check.reader import Formula, Key, Reader, Source
from gradsheet.check.reading import new_name
from gradsheet.compiler import gradient_name


def find_rate(
    reader: Reader, parameters: Mapping[int, str], quantities: Mapping[Key, str]
) -> Source | None:
    """The learning rate: what most updates multiply with, a cell or a number typed into them.

    None where nothing is updated.
    """
    cells: Counter[Key] = Counter()
    numbers: Counter[float] = Counter()
    for place in _updating_places(reader, parameters):
        formula = reader.usual(place)
        if formula is None:
            continue
        try:
            keys = reader.keys(formula)
        except Unreadable:
            continue
        outside = _settings(reader, keys, quantities)
        if not outside:  # a column of steps, Δw = −η·∂E/∂w, may stand between
            behind = (reader.usual(key.place) for key in keys if key.place not in (None, place))
            for step in behind:
                outside += _settings(reader, reader.keys(step), quantities) if step is not None else []
        cells.update(outside)
        if not outside and len(keys) >= 2:
            number = _typed_rate(reader, formula, keys)
            if number is not None:
                numbers[number] += 1
    labelled = labelled_rate(reader)
    most = cells.most_common(1)[0][1] if cells else 0
    if labelled is not None and (cells[labelled] or (not numbers and most <= 1)):
        return labelled if cells or _updating_places(reader, parameters) else None
    if cells and cells.most_common(1)[0][1] >= numbers.total():
        return cells.most_common(1)[0][0]
    return numbers.most_common(1)[0][0] if numbers else _rate_by_numbers(reader, parameters, quantities)


def _rate_by_numbers(
    reader: Reader, parameters: Mapping[int, str], quantities: Mapping[Key, str]
) -> float | None:
    """The learning rate of pasted values: what the steps of most weights are of their gradients."""
    table, book = reader.table, reader.book
    places = {name: key.place for key, name in quantities.items()}
    steps, slopes = [], []
    for place, name in parameters.items():
        gradient, new = places.get(gradient_name(name)), places.get(new_name(name))
        for k in range(min(len(table.lines), 20)):
            if gradient is not None and reader.usual(place) is None:
                after = table.cell(place, k + 1) if k + 1 < len(table.lines) else None
                after = after if new is None else table.cell(new, k)
                step = book.number(table.cell(place, k)) - (book.number(after) if after else math.nan)
                slope = book.number(table.cell(gradient, k))
                if not math.isnan(step) and not math.isnan(slope):
                    steps.append(step)
                    slopes.append(slope)
    large = np.abs(slopes) > 0.1 * np.abs(slopes).max() if any(slopes) else np.zeros(0, dtype=bool)
    if not large.any():
        return None
    rates = np.array(steps)[large] / np.array(slopes)[large]
    middle = float(np.median(rates))
    agreeing = np.abs(rates - middle) < 0.02 * abs(middle)
    return float(f"{middle:.2g}") if middle > 0 and agreeing.mean() > 0.6 else None


def _settings(reader: Reader, keys: Iterable[Key], quantities: Mapping[Key, str]) -> list[Key]:
    """Those of the keys that may be the learning rate."""
    own = [key._replace(shift=0) for key in keys]
    return [key for key in own if key not in quantities and _is_setting(reader, key)]


def _updating_places(reader: Reader, parameters: Mapping[int, str]) -> list[int]:
    labels = reader.table.labels
    new = [place for place, label in labels.items() if label.kind == "new"]
    return [*(place for place in parameters if place not in reader.constant), *new]


def _is_setting(reader: Reader, key: Key) -> bool:
    """Whether a key may be the learning rate: a cell outside the table, or a column of settings."""
    if key.place is None:
        return True
    label = reader.table.labels.get(key.place)
    if label is None:
        return reader.usual(key.place) is None or key.place in reader.constant
    return label.kind == "rate"


def _typed_rate(reader: Reader, formula: Formula, keys: Iterable[Key]) -> float | None:
    """The η of w − η·g for a number typed into the formula: minus its slope by the gradient."""
    own = [key for key in keys if key.place is not None]
    values = {key: np.float64(0.3 + 0.1 * n) for n, key in enumerate(own)}
    try:
        base = reader.value(formula, values)
        slopes = [
            round(float(base - reader.value(formula, {**values, key: values[key] + 1.0})), 9)
            for key in own
        ]
    except (Unreadable, TypeError):
        return None
    rates = [slope for slope in slopes if abs(slope + 1.0) > 1e-9 and slope != 0]
    return abs(rates[0]) if len(rates) == 1 else None


def labelled_rate(reader: Reader) -> Key | None:
    """The number beside or below a text that says "learning rate", the nearest to the table."""
    sheet, found = reader.table.sheet, []
    for (row, column), text in sheet.values.items():
        if not isinstance(text, str) or not read_rate(text):
            continue
        for down, right in ((0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (0, 4)):
            cell = sheet.cell(row + down, column + right)
            if not math.isnan(reader.book.number(cell)) and reader.key(cell, 0).place is None:
                distance = abs(cell.row - reader.table.lines[0]) if not reader.table.turned else 0
                found.append((distance, right + down, cell))
                break
    return Key(None, 0, min(found)[2]) if found else None
