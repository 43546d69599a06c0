"""Judge every cell of a table by its reading, each on its own, so that no error shows in another cell.

A formula is right where it gives the right value on random networks, whatever its spelling. A number
that was pasted in is right where it agrees with the numbers it follows from, to its printed digits.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradsheet.check.formula import Area, Cell, Reference, Unreadable, leaves, parse
from gradsheet.check.reader import Formula, Key, same
from gradsheet.check.reading import Reading, column_numbers, is_backward, new_name
from gradsheet.compiler import gradient_name
from gradsheet.expression import Application, Array, Expression, Previous, evaluate, negate, references
from gradsheet.expression import Reference as Quantity

LIVE_TOLERANCE = 1e-6
"""Relative, for formulas that can only be judged by their value: live formulas agree to 1e-12, and the
smallest genuine error seen in a hand-made workbook is 1.5e-4."""
LEAST = 1e-12
"""Numbers below it are not compared relatively: they are rounding."""


@dataclass(frozen=True)
class Wrong:
    """The cells of one column that are wrong in the same way.

    ``kind``: ``formula`` (it computes something else), ``pasted`` (a number stands among formulas),
    ``value`` (a number, or a formula that cannot be read, that does not follow from the others),
    ``blank`` (nothing stands there), ``slides`` (data that is copied from an empty cell), ``data``
    (other data than given). ``error`` is the largest relative error, NaN where there is none.
    """

    name: str
    place: int
    kind: str
    iterations: tuple[int, ...]
    error: float


@dataclass(frozen=True)
class Judgement:
    """All that is wrong in a table, and how much of it could be judged."""

    reading: Reading
    wrong: tuple[Wrong, ...]
    judged: int
    pasted: tuple[str, ...]
    """Quantities that stand there as numbers, not as formulas."""

    @property
    def columns(self) -> int:
        """How many columns are wrong."""
        return len({wrong.place for wrong in self.wrong})

    @property
    def cells(self) -> int:
        """How many cells are wrong."""
        return sum(len(wrong.iterations) for wrong in self.wrong)


def judge(reading: Reading) -> Judgement:
    """Judge every column that was understood."""
    return _Judge(reading).run()


class _Judge:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.reader = reading.reader
        self.table = reading.table
        self.book = reading.reader.book
        self.length = len(self.table.lines)
        self.verdicts: dict[Hashable, bool | None] = {}
        self.signatures: dict[Cell, int] = {}
        self.local: dict[Hashable, bool] = {}
        self.meanings: dict[Hashable, int] = {}
        self.judged = 0
        self.pasted: list[str] = []

    def run(self) -> Judgement:
        wrong: list[Wrong] = []
        for key, name in self.reading.quantities.items():
            if key.place is None or key.place in self.reader.constant:
                continue
            wrong += self.column(name, key.place) if self.is_judged(name) else self.data(name, key.place)
        return Judgement(self.reading, tuple(wrong), self.judged, tuple(self.pasted))

    def is_judged(self, name: str) -> bool:
        if name.startswith("new_") or self.reading.is_state(name):
            return True
        quantity = self.reading.program[name]
        return quantity.expression is not None or name in self.reading.updated

    def column(self, name: str, place: int) -> Iterator[Wrong]:
        updates = name in self.reading.updated
        first = 1 if updates else 0  # the first weights are given
        if self.reading.is_state(name) and not self.reading.complete:
            first = 1 if self.reading.is_late(name) or self.is_given(name, place) else 0
        live, numbers, blank = [], [], []
        for k in range(first, self.length):
            cell = self.table.cell(place, k)
            if self.book.formula(cell) is not None:
                live.append(k)
            elif self.book.value(cell) is None:
                blank.append(k)
            else:
                numbers.append(k)
        self.judged += len(live) + len(numbers)
        errors = self.errors(name, place)
        by_value = []
        by_formula = []
        for k in live:
            right = self.is_right(name, place, k)
            if right is None:
                by_value.append(k)
            elif not right:
                by_formula.append(k)
        if by_formula:
            yield self.wrong(name, place, "formula", by_formula, errors)
        off = [k for k in by_value if not errors[k] <= LIVE_TOLERANCE]
        if off:
            yield self.wrong(name, place, "value", off, errors)
        slack = self.slack(name, place) if numbers else errors
        if self.is_live and self.reading.is_update(name):
            # a weight that stays 0.25 among formulas was not rounded
            slack = np.full(self.length, LIVE_TOLERANCE)
        off = [k for k in numbers if errors[k] > slack[k]]
        if len(live) > 1 or (live and self.reading.complete):
            stray = [
                k for k in numbers if not (updates and self.restarts(k)) and (k > live[0] or k in off)
            ]
            if stray:
                yield self.wrong(name, place, "pasted", stray, errors)
        elif numbers:
            self.pasted.append(name)
            if off:
                yield self.wrong(name, place, "pasted" if self.is_live else "value", off, errors)
        filled = [*live, *numbers]
        holes = blank
        if not self.reading.complete:
            holes = [k for k in blank if filled and k < max(filled) and self.reading.is_filled(k)]
        if holes:
            yield self.wrong(name, place, "blank", holes, errors)

    def is_given(self, name: str, place: int) -> bool:
        """Whether a state of an optimizer begins with a number of its own, not with a 0 before it: one
        that is typed or stands elsewhere, or the first gradient itself."""
        formula = self.reader.formula(place, 0)
        if formula is None:
            return True
        keys = [self.reader.key(cell, 0) for cell in self.cells(formula)]
        known = {*self.reading.quantities, self.reading.rate}
        usual = self.reader.usual(place)
        shared = set(self.cells(usual)) if usual is not None else set()
        elsewhere = {key.cell for key in keys if key.place is None and key not in known} - shared
        if any(cell is not None and self.book.value(cell) not in (None, 0) for cell in elsewhere):
            return True
        parameter = self.reading.states[name].partition("_")[2]
        slope = self.reading.of(name).worlds[0].get(gradient_name(parameter), np.zeros(1))
        try:
            found = self.reading.of(name).found(formula)
        except Unreadable:
            return True
        first = same(found, slope) or same(found, slope**2)
        return first and self.length > 1 and self.is_right(name, place, 1) is not False

    def data(self, name: str, place: int) -> Iterator[Wrong]:
        """Data that do not hold what is given, or are copied from cells outside the table by a reference
        that slides off them."""
        if name in self.reading.given:
            yield from self.given_data(name, place)
            return
        slid = []
        for k in range(self.length):
            formula = self.reader.formula(place, k)
            if formula is None or not isinstance(formula.tree, Reference):
                return
            source = formula.tree.at(formula.home)
            if self.table.locate(source) is None and math.isnan(self.book.number(source)):
                slid.append(k)
        if slid and slid[0] > 0:
            yield Wrong(name, place, "slides", tuple(slid), math.nan)

    def given_data(self, name: str, place: int) -> Iterator[Wrong]:
        """The cells of a column of data that are not what its given formulas come to."""
        wrong, pasted, errors = [], [], np.zeros(self.length)
        for k, formula in enumerate(self.reading.given[name]):
            cell = self.table.cell(place, k)
            if formula is None or self.book.formula(cell) == formula:
                continue
            tree = parse(formula, cell)
            wanted = self.reader.value(Formula(tree, cell, k), {})
            found = self.book.number(cell)
            errors[k] = abs(found - wanted) / max(abs(found), abs(wanted), LEAST)
            if self.book.formula(cell) is None:
                pasted.append(k)
            elif not errors[k] <= LIVE_TOLERANCE:
                wrong.append(k)
        for kind, cells in (("data", wrong), ("pasted", pasted)):
            if cells:
                yield self.wrong(name, place, kind, cells, errors)

    @cached_property
    def is_live(self) -> bool:
        """Whether most columns hold formulas."""
        places = [
            key.place
            for key, name in self.reading.quantities.items()
            if key.place is not None and self.is_judged(name)
        ]
        live = sum(self.reader.usual(place) is not None for place in places)
        return 2 * live > len(places)

    def wrong(self, name: str, place: int, kind: str, cells: Sequence[int], errors: Array) -> Wrong:
        own = errors[list(cells)]
        own = own[np.isfinite(own)]
        return Wrong(name, place, kind, tuple(cells), float(own.max()) if len(own) else math.nan)

    def restarts(self, k: int) -> bool:
        """Whether all weights of an iteration are typed in: a training that begins anew."""
        places = [self.reading.keys[name].place for name in self.reading.updated]
        cells = [self.table.cell(place, k) for place in places if place is not None]
        return len(cells) > 1 and all(self.book.formula(cell) is None for cell in cells)

    # ------------------------------------------------------------ formulas

    def is_right(self, name: str, place: int, k: int) -> bool | None:
        """Whether the formula of a cell computes the right thing; None where it cannot be told."""
        formula = self.reader.formula(place, k)
        if formula is None:
            return None
        reading, first = self.reading.of(name), k == 0 and self.reading.is_state(name)
        try:
            case = (name, first, self.signature(formula))
            if case not in self.verdicts:
                self.verdicts[case] = same(reading.found(formula), reading.expected(name, first=first))
        except Unreadable:
            return None
        return self.verdicts[case]

    def signature(self, formula: Formula) -> int:
        """Equal for cells whose formulas mean the same: a column that was filled down is judged once."""
        if formula.home not in self.signatures:
            self.signatures[formula.home] = -1  # a circle ends here
            parts: list[Hashable] = [self.book.pattern(formula.home)]
            if not self.is_local_there(formula, parts[0]):
                for cell in self.cells(formula):
                    key = self.reader.key(cell, formula.iteration)
                    tree = self.book.tree(cell)
                    if self.reading.name_of(key) is not None:
                        parts.append(key)
                    elif tree is None:  # a number of its own, such as that of the step
                        parts.append((key, self.book.value(cell)))
                    else:
                        parts.append(self.signature(Formula(tree, cell, formula.iteration)))
            # a number for each meaning: nested tuples would be hashed through again and again
            meaning = self.meanings.setdefault(tuple(parts), len(self.meanings))
            self.signatures[formula.home] = meaning
        return self.signatures[formula.home]

    def is_local_there(self, formula: Formula, pattern: Hashable) -> bool:
        """`is_local`, asked once for all cells that were filled down; not where lines are missing."""
        lines, k, found = self.table.lines, formula.iteration, self.table.locate(formula.home)
        even = k > 0 and lines[k] - lines[k - 1] == lines[1] - lines[0]
        if found is None or not even or self.has_gaps:
            return self.is_local(formula)
        case = (found[0], pattern)
        if case not in self.local:
            self.local[case] = self.is_local(formula)
        return self.local[case]

    @cached_property
    def has_gaps(self) -> bool:
        """Whether data stand in some lines only."""
        cells = (self.table.cell(p, k) for p in self.reader.constant for k in range(self.length))
        return any(self.book.value(cell) is None for cell in cells)

    def is_local(self, formula: Formula) -> bool:
        """Whether a formula reads, but for fixed cells outside the table, only quantities of its own
        iteration or of the one before: then its pattern says it all."""
        lines = self.table.lines
        for cell in self.cells(formula):
            found = self.table.locate(cell)
            if found is None:
                line = cell.column if self.table.turned else cell.row
                if lines[0] <= line <= lines[-1]:
                    return False
                continue
            key = self.reader.key(cell, formula.iteration)
            if self.reading.name_of(key) is None or not -1 <= key.shift <= 0:
                return False
        for leaf in leaves(formula.tree):
            if isinstance(leaf, Reference):
                moving = leaf.column_fixed if self.table.turned else leaf.row_fixed
                outside = self.table.locate(leaf.at(formula.home)) is None
                if moving != outside:
                    return False
        return True

    def cells(self, formula: Formula) -> list[Cell]:
        found: dict[Cell, None] = {}
        for leaf in leaves(formula.tree):
            if isinstance(leaf, Reference):
                found[leaf.at(formula.home)] = None
            elif isinstance(leaf, Area):
                found.update(dict.fromkeys(leaf.at(formula.home)[0]))
        return list(found)

    # ------------------------------------------------------------ numbers

    @cached_property
    def numbers(self) -> Mapping[str, Array]:
        """What the sheet holds for every quantity, by iteration; NaN where nothing stands."""
        return numbers(self.reading)

    def errors(self, name: str, place: int) -> Array:
        """The relative error of every cell of a column, by the numbers of the sheet itself."""
        found = column_numbers(self.reader, place)
        expected = expected_numbers(self.reading, self.numbers, name)
        with np.errstate(all="ignore"):
            size = np.maximum(np.abs(expected), np.abs(found))
            errors = np.abs(found - expected) / size
        errors[(np.abs(expected) < LEAST) & (np.abs(found) < LEAST)] = 0.0
        return np.asarray(errors)

    @cached_property
    def usual_of_updates(self) -> tuple[int, int] | None:
        """The digits that most pasted weights have; None where none is pasted."""
        found = []
        for key, name in self.reading.quantities.items():
            if key.place is not None and name.removeprefix("new_") in self.reading.updated:
                cells = [self.table.cell(key.place, k) for k in range(1, self.length)]
                pasted = [self.book.number(cell) for cell in cells if self.book.formula(cell) is None]
                found += [_digits(value) for value in pasted if math.isfinite(value) and value]
        return _usual(found) if found else None

    @cached_property
    def usual_decimals(self) -> int | None:
        """The decimals of most pasted gradients and losses; None where none is pasted."""
        cells = [
            self.table.cell(key.place, k)
            for key, name in self.reading.quantities.items()
            if key.place is not None and self.is_judged(name) and name not in self.reading.updated
            for k in range(self.length)
        ]
        numbers = [self.book.number(cell) for cell in cells if self.book.formula(cell) is None]
        decimals = [_digits(value)[0] for value in numbers if math.isfinite(value) and value]
        return int(np.median(decimals)) if decimals else None

    def units(self, name: str, place: int) -> Array:
        """Half a unit of the last printed digit of every pasted number; 0 for formulas and givens.

        A number with few digits is one that ends in zeros where the others of its column do not; a zero
        is a number too small for the digits of its column, or of the other pasted columns.
        """
        units = np.zeros(self.length)
        if name not in self.reading.updated and not self.is_judged(name):
            return units
        cells = [self.table.cell(place, k) for k in range(self.length)]
        pasted = [k for k, cell in enumerate(cells) if self.book.formula(cell) is None]
        if name in self.reading.updated:
            pasted = [k for k in pasted if k]
        values = {k: self.book.number(cells[k]) for k in pasted}
        digits = {k: _digits(value) for k, value in values.items() if math.isfinite(value) and value}
        zeros = [k for k, value in values.items() if value == 0]
        if not digits:
            if zeros and self.usual_decimals is not None:
                units[zeros] = 0.5 * 10.0**-self.usual_decimals
            return units
        usual = _usual(digits.values())
        parameter = name.removeprefix("new_")
        if parameter in self.reading.updated and len(set(values.values())) == 1:
            usual = max(usual, self.usual_of_updates or usual)  # 0.25 in all rows was not rounded
        units[zeros] = 0.5 * 10.0 ** -usual[0]
        for k, (decimals, significant) in digits.items():
            if decimals < usual[0] and significant < usual[1]:
                magnitude = math.floor(math.log10(abs(values[k])))
                decimals = min(usual[0], usual[1] - 1 - magnitude)
            units[k] = 0.5 * 10.0**-decimals
        return units

    def slack(self, name: str, place: int) -> Array:
        """How far, relatively, printed digits allow a pasted number to be from the right one."""
        rule, shift = rule_of(self.reading, name)
        values = shifted(self.numbers, shift)
        rate = rate_numbers(self.reading, self.length)
        values["learning_rate"] = rate if not shift else _before(rate)
        expected = expected_numbers(self.reading, self.numbers, name)
        allowed = self.units(name, place)
        with np.errstate(all="ignore"):
            for other in dict.fromkeys(references(rule)):
                key = self.reading.keys.get(other)
                if key is None or key.place is None:
                    continue
                unit = self.units(other, key.place)
                unit = _before(unit) if shift else unit
                moved = evaluate(rule, {**values, other: values[other] + unit})
                back = evaluate(rule, {**values, other: values[other] - unit})
                allowed = allowed + np.maximum(
                    np.abs(moved - evaluate(rule, values)), np.abs(back - evaluate(rule, values))
                )
            return np.asarray(allowed * 1.01 / np.maximum(np.abs(expected), 1e-300) + LIVE_TOLERANCE)


def _digits(value: float) -> tuple[int, int]:
    """How many decimals a number is printed with, and how many significant digits."""
    mantissa, _, exponent = repr(value).partition("e")
    decimals = len(mantissa.partition(".")[2].rstrip("0")) - int(exponent or 0)
    return decimals, len(mantissa.replace(".", "").lstrip("-0").rstrip("0"))


def _usual(digits: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The median of decimals, and of significant digits."""
    decimals, significant = zip(*digits, strict=True)
    return int(np.median(decimals)), int(np.median(significant))


def _before(values: Array) -> Array:
    """Values of the iteration before."""
    return np.concatenate([[np.nan], values[:-1]])


def numbers(reading: Reading) -> Mapping[str, Array]:
    """All quantities that the sheet holds, or that are typed into its formulas, by iteration."""
    length = len(reading.table.lines)
    found = {name: np.full(length, value) for name, value in reading.typed.items()}
    for name, key in reading.keys.items():
        if key.place is not None:
            found[name] = column_numbers(reading.reader, key.place)
            if key.place in reading.reader.constant:
                filled = found[name][~np.isnan(found[name])]
                found[name] = np.where(np.isnan(found[name]), filled[0], found[name])
        else:
            assert key.cell is not None
            found[name] = np.full(length, reading.reader.book.number(key.cell))
    if not reading.is_plain:
        counted = found["past"] + 1 if "past" in found else np.arange(1.0, length + 1)
        found.setdefault("iteration", counted)
    for late, name in reading.states.items():
        if late == name and name in found:
            found[Previous(name).key] = _before(found[name])
        elif late != name and late in found:
            found[name] = np.append(found[late][1:], np.nan)
    with np.errstate(all="ignore"):
        for quantity in reading.program.quantities:
            if quantity.expression is not None and quantity.name not in found:
                found[quantity.name] = np.asarray(evaluate(reading.rules[quantity.name], found))
    return found


def rate_numbers(reading: Reading, length: int) -> Array:
    """The learning rate by iteration; NaN where there is none."""
    rate = reading.rate
    if isinstance(rate, float):
        return np.full(length, rate)
    if rate is None:
        return np.full(length, np.nan)
    if rate.place is not None:
        return column_numbers(reading.reader, rate.place)
    assert rate.cell is not None
    return np.full(length, reading.reader.book.number(rate.cell))


def rule_of(reading: Reading, name: str) -> tuple[Expression, int]:
    """The rule for a quantity, and in which iteration its parts stand: 0, or −1 for an update."""
    if reading.is_update(name):
        parameter, shift = name.removeprefix("new_"), 0 if name.startswith("new_") else -1
        if not reading.is_plain:
            rules = {update.parameter: update.expression for update in reading.program.updates}
            return rules[parameter], shift
        weight, (step, downhill) = Quantity(parameter), step_of(reading, name)
        return weight - step if downhill else weight + step, shift
    return reading.rules[reading.states.get(name, name)], -1 if reading.is_late(name) else 0


def step_of(reading: Reading, name: str) -> tuple[Expression, bool]:
    """The step of an update, such as η·∂E/∂w, and whether it is subtracted."""
    if not reading.is_plain:
        return _taken_off(rule_of(reading, name)[0]), True
    gradient = gradient_name(name.removeprefix("new_"))
    slope: Expression = Quantity(gradient)
    if gradient not in reading.keys:
        slope = reading.rules[gradient]
    downhill = reading.factor > 0 or gradient not in reading.keys
    return Quantity("learning_rate") * slope, downhill


def _taken_off(update: Expression) -> Expression:
    """What the rule of an update takes off the weight that it begins with."""
    match update:
        case Application("subtract", (left, right)):
            return right if isinstance(left, Quantity) else _taken_off(left) + right
        case Application("add", (left, right)):
            return negate(right) if isinstance(left, Quantity) else _taken_off(left) - right
    raise ValueError(f"{update} is no weight with something added or taken off")


def shifted(values: Mapping[str, Array], shift: int) -> dict[str, Array]:
    """The values of the same iteration, or of the one before."""
    return {name: _before(array) if shift else array for name, array in values.items()}


def expected_numbers(reading: Reading, found: Mapping[str, Array], name: str) -> Array:
    """What belongs into every cell of a column, from the other numbers of the sheet."""
    parameter = name.removeprefix("new_")
    if name in reading.updated and new_name(parameter) in reading.keys:
        return _before(found[new_name(parameter)])
    rule, shift = rule_of(reading, name)
    values = shifted(found, shift)
    rate = rate_numbers(reading, len(reading.table.lines))
    values["learning_rate"] = _before(rate) if shift and _is_column(reading.rate) else rate
    scale = reading.factor if is_backward(name) else 1.0
    if reading.is_plain and reading.is_update(name) and gradient_name(parameter) not in reading.keys:
        values["learning_rate"] = values["learning_rate"] * abs(reading.factor)
    with np.errstate(all="ignore"):
        result = scale * np.asarray(evaluate(rule, values), dtype=float)
        expected = np.array(np.broadcast_to(result, len(reading.table.lines)))
        first = reading.program[name].first if name in reading.program else None
        if first is not None:
            expected[0] = np.broadcast_to(evaluate(first, values), len(expected))[0]
    return expected


def _is_column(rate: Any) -> bool:
    return isinstance(rate, Key) and rate.place is not None
