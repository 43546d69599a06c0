"""How formulas are read: what a reference means to its table, and what a formula gives.

All that is found is found by trying numbers, so that no spelling of a formula matters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from gradsheet.check.formula import Area, Cell, Number, Reference, Tree, Unreadable, evaluate, leaves
from gradsheet.check.sheets import Book
from gradsheet.check.tables import Table
from gradsheet.expression import Array


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


TRIALS = 6
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
    return {key: generator.uniform(0.4, 1.6, TRIALS) * generator.choice((-1, 1), TRIALS) for key in keys}


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
