"""From the formulas of a table to its neurons and layers.

The formulas have the last word; labels help. A column is a *sum* where it is linear in the parameters
with other cells as coefficients, an *activation* where it is a known function of one sum. Sums that
read the outputs of other neurons make the layers. All of it is found by trying numbers, so that no
spelling of a formula matters.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice, pairwise, permutations
from typing import Any, NamedTuple

import numpy as np

from gradsheet.check.formula import (
    Apply,
    Area,
    Cell,
    Number,
    Reference,
    Tree,
    Unreadable,
    evaluate,
    leaves,
    subtrees,
    with_part,
)
from gradsheet.check.labels import Label, plain, read_label
from gradsheet.check.sheets import Book
from gradsheet.check.tables import Table
from gradsheet.expression import OPERATIONS, Array
from gradsheet.network import ACTIVATIONS


class NotUnderstood(Exception):  # noqa: N818  (an outcome, not an error)
    """A table that cannot be read as a network; the message says why."""


class Key(NamedTuple):
    """What a reference means to the cell that holds it.

    A place of the same table, ``shift`` iterations later (−1: in the row above); or, with ``place``
    None, a cell outside the iterations.
    """

    place: int | None
    shift: int = 0
    cell: Cell | None = None


Source = Key | float
"""Where a number comes from: a key, or a value that is typed into a formula."""


class Formula(NamedTuple):
    """A formula with the cell that holds it, and the iteration of that cell."""

    tree: Tree
    home: Cell
    iteration: int


DRAWS = 6
"""Random points at which two formulas are compared while the structure is sought."""
CLOSE = 1e-5
"""Largest difference, relative to the largest value, between formulas that count as the same: leaves
room for an e typed as 2.71828."""


def same(a: Any, b: Any) -> bool:
    """Whether two arrays of values are equal but for rounding and a short e."""
    try:
        a, b = np.broadcast_arrays(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    except (TypeError, ValueError):
        return False
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    scale = max(np.abs(a).max(), np.abs(b).max(), 1e-12)
    return bool((np.abs(a - b) <= CLOSE * scale).all())


def points(keys: Iterable[Key]) -> dict[Key, Array]:
    """Random values for every key, away from 0 and of both signs."""
    generator = np.random.default_rng(0)
    return {key: generator.uniform(0.4, 1.6, DRAWS) * generator.choice((-1, 1), DRAWS) for key in keys}


@dataclass(frozen=True)
class Reader:
    """Evaluates the formulas of one table for any values of the cells they read."""

    book: Book
    table: Table

    def key(self, cell: Cell, iteration: int) -> Key:
        """What ``cell`` means to a formula of ``iteration``."""
        cell = self.aliases.get(cell, cell)
        found = self.table.locate(cell)
        if found is None or found[0] in self.loose:
            return Key(None, 0, cell)
        place, other = found
        if place in self.constant and self.book.value(cell) is None:
            return Key(None, 0, cell)  # data that stand in the first line only: here is 0
        return Key(place, 0 if place in self.constant else other - iteration)

    @cached_property
    def loose(self) -> frozenset[int]:
        """Places that are no part of the table: single numbers beside it, such as a learning rate, or
        cells that formulas of all iterations read at a fixed place."""
        kept = set()
        for place in self.table.places:
            cells = [self.table.cell(place, k) for k in range(len(self.table.lines))]
            filled = [cell for cell in cells if not math.isnan(self.book.number(cell))]
            typed = not any(self.book.formula(cell) for cell in cells)
            label = self.table.labels.get(place)
            beside = label is None or (label.kind == "rate" and len(cells) > 1)
            if beside and typed and (len(filled) == 1 or place in self._anchored):
                kept.add(place)
        return frozenset(kept)

    @cached_property
    def _anchored(self) -> frozenset[int]:
        """Places that most formulas reading them read in one fixed iteration."""
        fixed: Counter[int] = Counter()
        for place in self.table.places:
            formula = self.usual(place)
            for leaf in leaves(formula.tree) if formula is not None else ():
                if isinstance(leaf, Reference) and formula is not None:
                    found = self.table.locate(leaf.at(formula.home))
                    if found is not None:
                        anchored = leaf.column_fixed if self.table.turned else leaf.row_fixed
                        fixed[found[0]] += 1 if anchored else -1
        return frozenset(place for place, count in fixed.items() if count > 0)

    @cached_property
    def constant(self) -> frozenset[int]:
        """Places of data: the same number in all iterations, typed or copied, nothing that learns."""
        gradients = {label.key for label in self.table.labels.values() if label.kind == "gradient"}
        kept = set()
        for place in self.table.places:
            label = self.table.labels.get(place)
            # y1 may be an output, or a target that is copied down
            data = ("input", "target", "forward", "parameter", "rate")
            if label is not None and label.kind not in data:
                continue
            learns = label is not None and label.kind == "parameter"
            if learns and label is not None and (label.key[0] != "b" or label.key in gradients):
                continue
            cells = [self.table.cell(place, k) for k in range(len(self.table.lines))]
            numbers = np.array([self.book.number(cell) for cell in cells])
            numbers = numbers[~np.isnan(numbers)]
            same_number = len(numbers) and np.ptp(numbers) <= 1e-9 * np.abs(numbers).max()
            if same_number and all(self._carried(cell) for cell in cells):
                kept.add(place)
        return frozenset(kept)

    def _carried(self, cell: Cell) -> bool:
        """Whether a cell holds a number, or a mere copy of another cell."""
        return self.book.formula(cell) is None or isinstance(self.book.tree(cell), Reference | Number)

    @cached_property
    def aliases(self) -> Mapping[Cell, Cell]:
        """Cells outside the table that a column of data only copies: the column stands for them."""
        found: dict[Cell, Cell] = {}
        for place in self.constant:
            first = self.table.cell(place, 0)
            tree = self.book.tree(first)
            if isinstance(tree, Reference) and self.table.locate(tree.at(first)) is None:
                found.setdefault(tree.at(first), first)
        return found

    def keys(self, formula: Formula) -> list[Key]:
        """What a formula reads directly, each once; empty cells and texts are left out.

        Raises `Unreadable` for a reference to a whole column.
        """
        keys: dict[Key, None] = {}
        for leaf in leaves(formula.tree):
            cells: list[Cell] = []
            if isinstance(leaf, Reference):
                cells = [leaf.at(formula.home)]
            elif isinstance(leaf, Area):
                cells = leaf.at(formula.home)[0]
            elif leaf.name.casefold() in self.book.names:
                cells = [self.book.names[leaf.name.casefold()]]
            for cell in cells:
                if self.book.formula(cell) is not None or not math.isnan(self.book.number(cell)):
                    keys[self.key(cell, formula.iteration)] = None
        return list(keys)

    def value(self, formula: Formula, known: Mapping[Key, Any]) -> Any:
        """The value of a formula: ``known`` values, else what the cells hold or compute themselves.

        Raises `Unreadable`.
        """
        return self._value(formula, known, 0, {})

    def _value(
        self, formula: Formula, known: Mapping[Key, Any], depth: int, done: dict[Cell, Any]
    ) -> Any:
        """``done`` holds the cells that were evaluated on the way: each is evaluated once."""
        if depth > DEEPEST:
            raise Unreadable("cells that refer to each other in a long chain or a circle")

        def read(cell: Cell | str) -> Any:
            if isinstance(cell, str):
                named = self.book.names.get(cell.casefold())
                if named is None:
                    raise Unreadable(f"the name {cell}")
                cell = named
            key = self.key(cell, formula.iteration)
            if key in known:
                return known[key]
            if self.book.formula(cell) is not None:
                inner = self.book.tree(cell)
                if inner is None:
                    raise Unreadable(f"the formula in {cell.address}")
                if cell not in done:
                    inside = Formula(inner, cell, formula.iteration)
                    done[cell] = self._value(inside, known, depth + 1, done)
                return done[cell]
            value = self.book.value(cell)
            return "" if value is None else value if isinstance(value, str) else float(value)

        return evaluate(formula.tree, formula.home, read)

    def formula(self, place: int, iteration: int) -> Formula | None:
        """The formula of a cell of the table; None where there is none that can be read."""
        cell = self.table.cell(place, iteration)
        tree = self.book.tree(cell)
        return None if tree is None else Formula(tree, cell, iteration)

    def usual(self, place: int) -> Formula | None:
        """The formula that most cells of a place hold, where its row is most like the others."""
        if place not in self._usual:
            texts = self._patterns.get(place, [])
            formulas = (
                self.formula(place, next(k for k in self._typical if texts[k] == text))
                for text, _ in Counter(filter(None, texts)).most_common(3)
            )
            self._usual[place] = next((found for found in formulas if found is not None), None)
        return self._usual[place]

    @cached_property
    def _usual(self) -> dict[int, Formula | None]:
        return {}

    @cached_property
    def _patterns(self) -> Mapping[int, list[str | None]]:
        """The patterns of every place, by iteration."""
        lines, patterns = range(len(self.table.lines)), self.table.sheet.patterns
        return {
            place: [patterns.get(self.table.cell(place, k)[1:]) for k in lines]
            for place in self.table.places
        }

    @cached_property
    def _typical(self) -> list[int]:
        """All iterations, those first that hold the usual formula in most places.

        A first row that alone is right must not be read beside what was filled down wrong, and one that
        is like the others reads a row above that is no part of the table. Weights, which are given
        there, do not count.
        """
        alike = [0] * len(self.table.lines)
        for texts in self._patterns.values():
            if texts[0] is None:
                continue
            usual = Counter(filter(None, texts)).most_common(1)[0][0]
            alike = [count + (text == usual) for count, text in zip(alike, texts, strict=True)]
        return sorted(range(len(alike)), key=lambda k: (-alike[k], k == 0))

    def remembers(self, place: int) -> bool:
        """Whether a place follows from itself in the iteration before, by its usual formula."""
        formula = self.usual(place)
        try:
            return formula is not None and Key(place, -1) in self.keys(formula)
        except Unreadable:
            return False

    def behind(self, place: int) -> set[int]:
        """All places of the same iteration that a place reads, directly or through others."""
        if place not in self._behind:
            self._behind[place] = self._find_behind(place)
        return self._behind[place]

    @cached_property
    def _behind(self) -> dict[int, set[int]]:
        return {}

    def _find_behind(self, place: int) -> set[int]:
        found: set[int] = set()
        stack = [place]
        while stack:
            for read in self.reads(stack.pop()):
                if read not in found:
                    found.add(read)
                    stack.append(read)
        return found

    def reads(self, place: int) -> list[int]:
        """The places of the same iteration that the usual formula of a place reads directly."""
        formula = self.usual(place)
        if formula is None:
            return []
        try:
            keys = self.keys(formula)
        except Unreadable:
            return []
        return [key.place for key in keys if key.place is not None and key.shift == 0]


DEEPEST = 60
"""How many cells may hand a value on before one of the table is reached."""


# ---------------------------------------------------------------- neurons


@dataclass
class Neuron:
    """A neuron as the sheet has it: the places of its sum and of its output (either may be missing), its
    terms (parameter, source), its biases, and its activation where it is a known one."""

    sum_place: int | None
    place: int | None
    terms: list[tuple[Key, Source]]
    biases: list[Source]
    activation: str | None = None

    @property
    def places(self) -> tuple[int, ...]:
        return tuple(p for p in (self.place, self.sum_place) if p is not None)


OF_ONE_SUM = tuple(name for name in ACTIVATIONS if name != "softmax")
"""The activations that a column shows by itself: a softmax needs the sums of its whole layer."""

_Z = np.array([-2.3, -1.1, -0.4, 0.3, 0.9, 2.1])
_DUMMY = Reference("\0", 0, 0, True, True)  # stands for a sum that was cut out of a formula
_DUMMY_KEY = Key(None, 0, Cell("\0", 0, 0))


def labelled_cells(reader: Reader, kind: str) -> dict[int, Key]:
    """Numbers outside the table with a label of a kind to the left or above: their keys by number."""
    found: dict[int, Key] = {}
    for (row, column), text in sorted(reader.table.sheet.values.items()):
        label = read_label(text) if isinstance(text, str) and len(text) <= 60 else None
        if label is None or label.kind != kind or not label.key.isdigit():
            continue
        for down, right in ((0, 1), (1, 0)):
            cell = reader.table.sheet.cell(row + down, column + right)
            key = reader.key(cell, 0)
            if key.place is None and not math.isnan(reader.book.number(cell)):
                found.setdefault(int(label.key), key)
                break
    return dict(sorted(found.items()))


def known_activation(values: Any) -> str | None:
    """The activation that gives these values at `_Z`."""
    for name in OF_ONE_SUM:
        if same(values, _Z if name == "identity" else OPERATIONS[name].value(_Z)):
            return name
    return None


def find_parameters(reader: Reader) -> dict[int, str]:
    """The places of weights and biases with their names: by their headers, or because each is what it
    was in the iteration before, changed by something else, and is used."""
    labels = reader.table.labels
    named = {place: label.key for place, label in labels.items() if label.kind == "parameter"}
    used = {place for other in reader.table.places for place in reader.reads(other)}
    for place in reader.table.places:
        formula, header = reader.usual(place), reader.table.headers.get(place, "")
        if place in named or place not in used or formula is None:
            continue
        label = labels.get(place)
        if label is None and read_label(header):
            continue  # of another table, beside this one
        if label is not None and label.kind not in ("total", "loss", "forward"):
            continue
        try:
            keys = reader.keys(formula)
        except Unreadable:
            continue
        if Key(place, -1) in keys and any(key.place not in (place, None) for key in keys):
            if not _keeps_itself(reader, formula, keys, Key(place, -1)):
                continue  # an average, as of momentum
            match = re.fullmatch(r"([uv])\[?_?(\d.*)", plain(header))
            key = match[1] + re.sub(r"[^a-z0-9]+", "_", match[2]).strip("_") if match else ""
            named[place] = key or f"w{len(named) + 1}"
    repeated = {name for name, count in Counter(named.values()).items() if count > 1}
    for place in [place for place, name in named.items() if name in repeated]:
        named[place] += f"_{reader.table.name(place)}"
    return named


def _keeps_itself(reader: Reader, formula: Formula, keys: Sequence[Key], own: Key) -> bool:
    """Whether a formula is the value before plus something else, not a share of it."""
    values: dict[Key, Any] = dict(points(keys))
    try:
        change = reader.value(formula, {**values, own: values[own] + 1.0}) - reader.value(
            formula, values
        )
    except (Unreadable, TypeError):
        return True
    return same(change, 1.0)


def find_neurons(reader: Reader, parameters: Iterable[int]) -> list[Neuron]:
    """All neurons of a table, in the order of their columns."""
    return _NeuronFinder(reader, parameters).find() or _NumberFinder(reader, parameters).find()


class _NeuronFinder:
    def __init__(self, reader: Reader, parameters: Iterable[int]) -> None:
        self.reader = reader
        self.parameters = {Key(place) for place in parameters}
        names = reader.table.labels
        self.biases = {Key(p) for p in parameters if p in names and names[p].key.startswith("b")}
        self.by_place: dict[int, Neuron] = {}

    def find(self) -> list[Neuron]:
        labels = self.reader.table.labels
        skipped = ("gradient", "slope", "loss", "total", "new", "rate", "step", "parameter", "target")
        waiting = {}
        for place in self.reader.table.places:
            formula = self.reader.usual(place)
            if formula is not None and (place not in labels or labels[place].kind not in skipped):
                waiting[place] = formula
        found = True
        while found:  # an activation is known only after its sum
            found = False
            for place, formula in list(waiting.items()):
                try:
                    if self.classify(place, formula):
                        del waiting[place]
                        found = True
                except Unreadable:
                    del waiting[place]
        for place, formula in waiting.items():
            self.refuse_softmax(place, formula)
            self.hand_over(place, formula)
        unique = {id(neuron): neuron for neuron in self.by_place.values()}
        return self.without_backward(list(unique.values()))

    def hand_over(self, place: int, formula: Formula) -> None:
        """An output that was computed from the sum of another neuron, a_h2 = σ(h1), belongs to the one
        neuron of the layer that has none."""
        label = self.reader.table.labels.get(place)
        if label is not None and label.kind != "forward":
            return
        try:
            read = [self.by_place[k.place or 0] for k in self.reader.keys(formula) if k in self.sums]
            if len(read) != 1 or read[0].place is None:
                return
            if known_activation(self.reader.value(formula, {Key(read[0].sum_place): _Z})) is None:
                return
        except Unreadable:
            return
        other = read[0]
        inputs = {source for _, source in other.terms}
        without = {
            id(neuron): neuron
            for neuron in self.by_place.values()
            if neuron.place is None and {source for _, source in neuron.terms} == inputs
        }
        if len(without) != 1:
            return
        neuron = next(iter(without.values()))
        number = _number(label)
        if number is not None and number == self.number(other.sum_place) != self.number(other.place):
            # the one that took its place is the wrong one
            neuron.place, other.place = other.place, place
        else:
            neuron.place = place
        for each in (neuron, other):
            self.by_place[each.place or 0] = each

    def number(self, place: int | None) -> int | None:
        return _number(self.reader.table.labels.get(place if place is not None else -1))

    def refuse_softmax(self, place: int, formula: Formula) -> None:
        """An output that reads several sums, and nothing else, is no activation of one neuron."""
        try:
            keys = self.reader.keys(formula)
        except Unreadable:
            return
        label = self.reader.table.labels.get(place)
        named = label is None or label.kind == "forward"
        if named and len(keys) > 1 and all(Key(k.place) in self.sums and k.shift == 0 for k in keys):
            raise NotUnderstood(
                f"column {self.reader.table.name(place)} reads several neurons, as a softmax does"
            )

    @property
    def sums(self) -> set[Key]:
        return {Key(n.sum_place) for n in self.by_place.values() if n.sum_place is not None}

    def classify(self, place: int, formula: Formula) -> bool:
        """Try to read a place as a sum, as an activation of a known sum, or as both in one."""
        keys = self.reader.keys(formula)
        if self.parameters.intersection(keys):
            neuron = self.linear(formula)
            if neuron is not None:
                neuron.sum_place = place
            else:
                neuron = self.composite(formula)
                if neuron is None:
                    return False
                neuron.place = place
            self.by_place[place] = neuron
            return True
        sums = [key for key in keys if key.place in self.by_place]
        if len(sums) != 1 or any(key.place is not None and key not in sums for key in keys):
            return False
        neuron = self.by_place[sums[0].place or 0]
        label = self.reader.table.labels.get(place)
        activation = known_activation(self.reader.value(formula, {sums[0]: _Z}))
        if sums[0] != Key(neuron.sum_place) or neuron.place is not None:
            return False
        named = label is not None and label.kind == "forward"
        if not activation and not named and self.is_loss(formula, sums[0]):
            return False
        neuron.place, neuron.activation = place, activation
        self.by_place[place] = neuron
        return True

    def is_loss(self, formula: Formula, key: Key) -> bool:
        """Whether a function of one sum is a parabola: a loss with its target typed in."""
        values = self.reader.value(formula, {key: _Z})
        return same(np.polyval(np.polyfit(_Z, np.broadcast_to(values, _Z.shape), 2), _Z), values)

    def linear(self, formula: Formula, sign: float = 1.0) -> Neuron | None:
        """A sum's terms and biases, or None where the formula is no sum (times ``sign``)."""
        keys = self.reader.keys(formula)
        parameters = [key for key in keys if key in self.parameters]
        others = [key for key in keys if key not in self.parameters]
        values = points(keys)
        moved = {key: value + 0.7 * (key in self.parameters) for key, value in values.items()}
        neuron = Neuron(None, None, [], [])
        rest = sign * self.reader.value(formula, values)
        for key in parameters:
            slope = sign * self.slope(formula, values, key)
            if not same(slope, sign * self.slope(formula, moved, key)):
                return None  # a product of parameters
            if same(1 + slope, 1.0):
                continue  # it cancels out, as in a change since the start, w − w
            rest = rest - slope * values[key]
            # two where one weight stands in two terms; a minus between terms is a mistake to be named
            sources = _adding_up_to(slope, others, values) or _adding_up_to(-slope, others, values)[:1]
            if len(sources) == 1 and self.is_one(sources[0]) and key in self.biases:
                neuron.biases.append(key)
            elif sources:
                neuron.terms += [(key, source) for source in sources]
            elif same(slope, 1.0):
                neuron.biases.append(key)
            elif same(slope, np.broadcast_to(slope, DRAWS)[0]):
                neuron.terms.append((key, float(np.broadcast_to(slope, DRAWS)[0])))
            else:
                return None
        if not same(1 + rest, 1.0):
            fixed: Source | None = next((o for o in others if same(rest, values[o])), None)
            if fixed is None and same(rest, np.broadcast_to(rest, DRAWS)[0]):
                fixed = float(np.broadcast_to(rest, DRAWS)[0])
            if fixed is None:
                return None
            neuron.biases.append(fixed)
        return neuron if neuron.terms else None

    def is_one(self, key: Key) -> bool:
        """Whether a cell is the input 1 that some draw for a bias."""
        cell = key.cell if key.place is None else self.reader.table.cell(key.place, 0)
        fixed = key.place is None or key.place in self.reader.constant
        return fixed and cell is not None and self.reader.book.number(cell) == 1

    def slope(self, formula: Formula, values: Mapping[Key, Array], key: Key) -> Any:
        moved = {**values, key: values[key] + 1.0}
        return self.reader.value(formula, moved) - self.reader.value(formula, values)

    def composite(self, formula: Formula) -> Neuron | None:
        """A sum inside an activation, such as 1/(1+EXP(-(w1*i1+w2*i2)))."""
        wanted = self.parameters.intersection(self.reader.keys(formula))
        for part in subtrees(formula.tree):
            inner = formula._replace(tree=part)
            if not isinstance(part, Apply) or not wanted <= set(self.reader.keys(inner)):
                continue
            outer = formula._replace(tree=with_part(formula.tree, part, _DUMMY))
            if any(key.place is not None for key in self.reader.keys(outer)):
                continue
            for sign in (1.0, -1.0):  # the minus of EXP(-x) may be spread over the terms
                neuron = self.linear(inner, sign)
                if neuron is not None:
                    values = self.reader.value(outer, {_DUMMY_KEY: sign * _Z})
                    neuron.activation = known_activation(values)
                    if neuron.activation is not None:
                        return neuron
        return None

    def without_backward(self, neurons: list[Neuron]) -> list[Neuron]:
        """Leave out what looks like a sum but belongs to the backward pass: δ_o1·w5 + δ_o2·w7 comes
        after the sums that w5 and w7 are for."""
        behind = {id(neuron): self.reader.behind(neuron.places[-1]) for neuron in neurons}

        def uses(neuron: Neuron) -> set[Key]:
            return {parameter for parameter, _ in neuron.terms}

        return [
            neuron
            for neuron in neurons
            if not uses(neuron)
            <= {
                parameter
                for other in neurons
                if other is not neuron and behind[id(neuron)].intersection(other.places)
                for parameter in uses(other)
            }
        ]


def _adding_up_to(slope: Any, others: Sequence[Key], values: Mapping[Key, Array]) -> list[Key]:
    """The one cell, or the two, that a slope is the value, or the sum, of."""
    single = next((other for other in others if same(slope, values[other])), None)
    if single is not None:
        return [single]
    pairs = combinations(others, 2)
    return next(([a, b] for a, b in pairs if same(slope, values[a] + values[b])), [])


class _NumberFinder:
    """Finds the neurons of a table that was pasted as values: by the numbers, with the headers' help."""

    MOST_ROWS = 12
    MOST_TRIALS = 50_000
    LEAST_AGREEMENT = 0.6  # the others may hold a mistake

    def __init__(self, reader: Reader, parameters: Iterable[int]) -> None:
        table = reader.table
        rows = range(min(len(table.lines), self.MOST_ROWS))
        labels = table.labels
        self.weights = [Key(p) for p in parameters if p in labels and labels[p].key[0] != "b"]
        self.weights.sort(key=lambda key: _natural(labels[key.place or 0].key))
        self.biases = [Key(p) for p in parameters if p in labels and Key(p) not in self.weights]
        self.inputs = [Key(p) for p in labels if labels[p].kind == "input"]
        self.inputs = self.inputs or list(labelled_cells(reader, "input").values())
        self.forward = [Key(p) for p in labels if labels[p].kind == "forward"]
        self.numbers: dict[Key, Array] = {}
        for key in (*self.weights, *self.biases, *self.inputs, *self.forward):
            cells = (key.cell if key.place is None else table.cell(key.place, k) for k in rows)
            self.numbers[key] = np.array([reader.book.number(cell) for cell in cells if cell])

    def find(self) -> list[Neuron]:
        outputs: dict[Key, tuple[Key, str]] = {}
        for key in self.forward:
            for other in self.forward:
                name = self.activation(key, other)
                if name is not None:
                    outputs.setdefault(key, (other, name))
        taken = {other for other, _ in outputs.values()}
        waiting = [key for key in self.forward if key not in taken]
        neurons: list[Neuron] = []
        sources, unused = list(self.inputs), list(self.weights)
        while waiting and sources:
            layer: dict[Key, Neuron] = {}
            for key in waiting:
                neuron = self.sum(key, sources, unused)
                if neuron is not None:
                    if key in outputs:
                        neuron.place, neuron.activation = outputs[key][0].place, outputs[key][1]
                    layer[key] = neuron
                    unused = [w for w in unused if w not in [weight for weight, _ in neuron.terms]]
            if not layer:
                break
            neurons += layer.values()
            waiting = [key for key in waiting if key not in layer]
            sources = [Key(neuron.places[0]) for neuron in layer.values()]
        return neurons

    def activation(self, key: Key, other: Key) -> str | None:
        """The activation that makes the numbers of one column those of the other."""
        if key == other:
            return None
        for name in OF_ONE_SUM:
            if name != "identity":
                values = OPERATIONS[name].value(self.numbers[key])
                if self.agreement(values, self.numbers[other], 1) > self.LEAST_AGREEMENT:
                    return name
        return None

    def sum(self, key: Key, sources: Sequence[Key], weights: Sequence[Key]) -> Neuron | None:
        """The weights, and the bias if any, that make a column the weighted sum of the sources."""
        trials = list(islice(permutations(weights, len(sources)), self.MOST_TRIALS))
        trials.sort(key=lambda chosen: list(chosen) != [w for w in weights if w in chosen])
        best: tuple[float, Neuron | None] = (self.LEAST_AGREEMENT, None)
        for bias in (None, *self.biases):
            for chosen in trials:
                total = 0.0 if bias is None else self.numbers[bias]
                for weight, source in zip(chosen, sources, strict=True):
                    total = total + self.numbers[weight] * self.numbers[source]
                agreement = self.agreement(total, self.numbers[key], len(sources))
                if agreement > best[0]:
                    terms: list[tuple[Key, Source]] = list(zip(chosen, sources, strict=True))
                    best = (agreement, Neuron(key.place, None, terms, [] if bias is None else [bias]))
                if agreement == 1:
                    return best[1]
        return best[1]

    def agreement(self, computed: Any, shown: Any, terms: int) -> float:
        """The share of rows that agree as far as the printed digits go (at worst four decimals)."""
        known = ~np.isnan(computed) & ~np.isnan(shown)
        if not known.any():
            return 0.0
        decimals = [len(f"{value:.12f}".rstrip("0").partition(".")[2]) for value in shown[known]]
        unit = min(1e-4, 10.0 ** (1 - float(np.median(decimals))))
        close = np.abs(computed - shown)[known] <= 2 * (1 + terms) * unit
        return float(close.mean())


# ---------------------------------------------------------------- layers


@dataclass(frozen=True)
class Layers:
    """The network of a table: inputs, and by layer its neurons, weights, biases and activation.

    ``weights`` is by layer, neuron and input; ``biases`` by layer: none, one a neuron, or one that all
    share. ``doubt`` says what speaks against an activation that is only assumed, for the layer
    ``assumed``: it counts only where all that follows from it is right.
    """

    inputs: tuple[Source, ...]
    neurons: tuple[tuple[Neuron, ...], ...]
    weights: tuple[tuple[tuple[Key, ...], ...], ...]
    biases: tuple[tuple[Source, ...], ...]
    activations: tuple[str, ...]
    assumed: int | None = None
    doubt: str = ""

    @property
    def sizes(self) -> tuple[int, ...]:
        return (len(self.inputs), *map(len, self.neurons))


def arrange(reader: Reader, neurons: Sequence[Neuron], parameters: Mapping[int, str]) -> list[Layers]:
    """Possible readings of a table as a dense network, the most likely first.

    There are two where the formulas fit one network, but the numbering of most weights another; and
    one for each activation of a layer in which none is known.

    Raises `NotUnderstood`.
    """
    layers = _by_depth(reader, neurons)
    inputs = _inputs(reader, layers[0])
    sources: list[list[object]] = [list(inputs)]
    sources += [[id(neuron) for neuron in layer] for layer in layers[:-1]]
    owner = {place: id(neuron) for neuron in neurons for place in neuron.places}
    observed: dict[tuple[int, int, int], Key] = {}
    for depth, layer in enumerate(layers):
        for j, neuron in enumerate(layer):
            for parameter, source in neuron.terms:
                known: object = source
                if depth and isinstance(source, Key):
                    known = owner.get(source.place if source.place is not None else -1)
                if known in sources[depth]:
                    where = (depth, j, sources[depth].index(known))
                    observed.setdefault(where, parameter)
    sizes = [len(inputs), *map(len, layers)]
    wanted = [
        (depth, j, i)
        for depth, layer in enumerate(layers)
        for j in range(len(layer))
        for i in range(sizes[depth])
    ]
    bijective = set(observed) == set(wanted) and len(set(observed.values())) == len(wanted)
    readings = [observed] if bijective else []
    numbered = _by_number(parameters, sizes, observed)
    if numbered is not None and numbered != observed:
        readings.append(numbered)
    if not readings:
        raise NotUnderstood(
            f"its {len(neurons)} neurons do not fit together as dense layers with one weight per input"
        )
    biases = _biases(layers, parameters)
    known, assumed, doubt = _activations(reader, layers)
    return [
        Layers(
            tuple(inputs),
            tuple(map(tuple, layers)),
            tuple(
                tuple(tuple(weights[d, j, i] for i in range(sizes[d])) for j in range(len(layer)))
                for d, layer in enumerate(layers)
            ),
            biases,
            activations,
            assumed,
            doubt,
        )
        for weights in readings
        for activations in known
    ]


def _by_depth(reader: Reader, neurons: Sequence[Neuron]) -> list[list[Neuron]]:
    owner = {place: neuron for neuron in neurons for place in neuron.places}
    depths: dict[int, int] = {}

    def depth(neuron: Neuron, above: tuple[int, ...] = ()) -> int:
        if id(neuron) in above:
            raise NotUnderstood("its neurons feed each other in a circle")
        if id(neuron) not in depths:
            found = Counter(
                depth(owner[source.place], (*above, id(neuron))) + 1
                if isinstance(source, Key) and source.place in owner
                else 0
                for _, source in neuron.terms
            )
            depths[id(neuron)] = max(found, key=lambda d: (found[d], d))
        return depths[id(neuron)]

    if not neurons:
        raise NotUnderstood("no weighted sum of inputs was found in it")
    for neuron in neurons:
        depth(neuron)
    layers = [[n for n in neurons if depths[id(n)] == d] for d in range(max(depths.values()) + 1)]
    if not all(layers):
        raise NotUnderstood("one of its layers has no neurons")
    return [_in_order(reader, layer) for layer in layers]


def _in_order(reader: Reader, layer: list[Neuron]) -> list[Neuron]:
    numbers = [
        next((n for p in neuron.places if (n := _number(reader.table.labels.get(p))) is not None), None)
        for neuron in layer
    ]
    if None in numbers or len(set(numbers)) < len(layer):
        return sorted(layer, key=lambda neuron: min(neuron.places))
    return [layer[k] for k in np.argsort(np.array(numbers, dtype=int))]


def _number(label: Label | None) -> int | None:
    """The number at the end of a label: 2 of ``a_h2``."""
    match = re.search(r"(\d+)[a-z]*$", label.key) if label is not None else None
    return int(match[1]) if match else None


def _inputs(reader: Reader, layer: Sequence[Neuron]) -> list[Source]:
    uses = Counter(source for neuron in layer for source in {source for _, source in neuron.terms})
    count = Counter(len(neuron.terms) for neuron in layer).most_common(1)[0][0]

    def labelled(source: Source) -> bool:
        label = _label(reader, source)
        return label is not None and label.kind == "input"

    best = sorted(uses, key=lambda source: (-uses[source], not labelled(source)))[:count]
    numbers = [_number(_label(reader, source)) for source in best]
    if all(map(labelled, best)) and None not in numbers and len(set(numbers)) == len(best):
        return [best[k] for k in np.argsort(np.array(numbers, dtype=int))]
    order = list(uses)
    return sorted(
        best, key=lambda s: (s.place is None, s) if isinstance(s, Key) else (True, order.index(s))
    )


def _label(reader: Reader, source: Source) -> Label | None:
    if isinstance(source, Key) and source.place is not None:
        return reader.table.labels.get(source.place)
    return None


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", name)]


def _by_number(
    parameters: Mapping[int, str],
    sizes: Sequence[int],
    observed: Mapping[tuple[int, int, int], Key],
) -> dict[tuple[int, int, int], Key] | None:
    """The weights as their numbers run, where that agrees with most formulas: neuron by neuron
    (h1 = w1·i1 + w2·i2) or input by input (h1 = w1·i1 + w3·i2), up or down."""
    names = {place: name for place, name in parameters.items() if not name.startswith("b")}
    places = sorted(names, key=lambda place: _natural(names[place]))
    if len(places) != sum(a * b for a, b in pairwise(sizes)):
        return None
    best: tuple[int, dict[tuple[int, int, int], Key]] = (0, {})
    for order in (places, places[::-1]):
        for neuron_first in (True, False):
            assigned: dict[tuple[int, int, int], Key] = {}
            rest = iter(order)
            for depth, (inputs, outputs) in enumerate(pairwise(sizes)):
                outer, inner = (outputs, inputs) if neuron_first else (inputs, outputs)
                for a in range(outer):
                    for b in range(inner):
                        j, i = (a, b) if neuron_first else (b, a)
                        assigned[depth, j, i] = Key(next(rest))
            agreeing = sum(assigned[where] == key for where, key in observed.items())
            if agreeing > best[0]:
                best = (agreeing, assigned)
    return best[1] if best[0] > 0.6 * len(best[1]) else None


def _biases(
    layers: Sequence[Sequence[Neuron]], parameters: Mapping[int, str]
) -> tuple[tuple[Source, ...], ...]:
    """The biases of every layer as the formulas add them; where these do not fit together, or leave
    one out, as the biases are numbered."""
    try:
        biases = tuple(_biases_of_layer(layer) for layer in layers)
        shared = Counter(bias for own in biases for bias in own if isinstance(bias, Key))
        if any(count > 1 for count in shared.values()):
            raise NotUnderstood("two of its layers add the same bias")
    except NotUnderstood:
        numbered = _biases_by_number(layers, parameters)
        if numbered is None:
            raise
        return numbered
    named = {Key(place) for place, name in parameters.items() if name.startswith("b")}
    if named - shared.keys():
        return _biases_by_number(layers, parameters) or biases
    return biases


def _biases_by_number(
    layers: Sequence[Sequence[Neuron]], parameters: Mapping[int, str]
) -> tuple[tuple[Source, ...], ...] | None:
    """One bias a neuron, or one a layer, as they are numbered, where most neurons add theirs."""
    names = {place: name for place, name in parameters.items() if name.startswith("b")}
    order = [Key(place) for place in sorted(names, key=lambda place: _natural(names[place]))]
    found: tuple[tuple[Source, ...], ...]
    if len(order) == sum(map(len, layers)):
        rest = iter(order)
        found = tuple(tuple(islice(rest, len(layer))) for layer in layers)
    elif len(order) == len(layers):
        found = tuple((bias,) for bias in order)
    else:
        return None
    agreeing = sum(
        neuron.biases == [own[k % len(own)]]
        for layer, own in zip(layers, found, strict=True)
        for k, neuron in enumerate(layer)
    )
    return found if agreeing > 0.6 * sum(map(len, layers)) else None


def _biases_of_layer(layer: Sequence[Neuron]) -> tuple[Source, ...]:
    lists = [neuron.biases for neuron in layer]
    if any(len(biases) > 1 for biases in lists):
        raise NotUnderstood("a neuron adds more than one number to its weighted sum")
    given = [biases[0] for biases in lists if biases]
    if len(given) * 2 < len(layer) or not given:
        return ()
    if len(set(given)) == 1 and len(layer) > 1:
        return (given[0],)
    if len(given) == len(layer) == len(set(given)):
        return tuple(given)
    raise NotUnderstood("some neurons of a layer have a bias and others have none")


def _activations(
    reader: Reader, layers: Sequence[Sequence[Neuron]]
) -> tuple[list[tuple[str, ...]], int | None, str]:
    """The activations by layer; where those of one layer are none that is known, all that they may be,
    the layer, and what was found in it."""
    everywhere = Counter(n.activation for layer in layers for n in layer if n.activation)
    found: list[str] = []
    unknown: list[tuple[int, str]] = []
    for depth, layer in enumerate(layers):
        counts = Counter("identity" if neuron.place is None else neuron.activation for neuron in layer)
        known = {name: count for name, count in counts.items() if name is not None}
        if not known or 2 * counts[None] > len(layer):
            place = next(n.place for n in layer if n.place is not None)
            formula = reader.book.formula(reader.usual(place).home)  # type: ignore[union-attr]
            where = reader.table.name(place)
            unknown.append((depth, f"the activation in column {where} is none that is known: {formula}"))
            found.append("")
            continue
        found.append(max(known, key=lambda name: (known[name], everywhere[name])))
    if not unknown:
        return [tuple(found)], None, ""
    (depth, doubt), *more = unknown
    if more:
        raise NotUnderstood(doubt)
    slopes = (name for name in OF_ONE_SUM if name != "identity")
    possible = [(*found[:depth], name, *found[depth + 1 :]) for name in slopes]
    return possible, depth, doubt
