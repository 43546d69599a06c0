"""Read a workbook that anyone made: the formulas as they were typed, the values as they recalculate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import openpyxl
from openpyxl.worksheet.formula import ArrayFormula

from gradsheet.check.formula import Cell, Reference, Tree, Unreadable, parse, pattern
from gradsheet.engines import CellError, Value, ironcalc

MOST_VISITED = 3_000_000
"""Cells, empty ones included, that are visited in a sheet: about two seconds."""


@dataclass(frozen=True)
class Sheet:
    """One sheet: the value of every cell that is not empty, and the text of every formula.

    Both are keyed by row and column, counted from 0. Values are recalculated, never cached.
    """

    name: str
    values: Mapping[tuple[int, int], Value]
    formulas: Mapping[tuple[int, int], str]

    @cached_property
    def patterns(self) -> Mapping[tuple[int, int], str]:
        """Every formula with offsets in place of relative references: equal where it was filled down."""
        return {place: pattern(text, self.cell(*place)) for place, text in self.formulas.items()}

    def cell(self, row: int, column: int) -> Cell:
        return Cell(self.name, row, column)


@dataclass(frozen=True)
class Book:
    """A workbook: its sheets, its defined names (of single cells), and trees of formulas, made once."""

    path: Path
    sheets: Mapping[str, Sheet]
    names: Mapping[str, Cell]
    _trees: dict[str, Tree | None] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def _folded(self) -> Mapping[str, Sheet]:
        return {name.casefold(): sheet for name, sheet in self.sheets.items()}

    def sheet(self, name: str) -> Sheet | None:
        """A sheet by its name; sheets' names know no capitals."""
        return self._folded.get(name.casefold())

    def value(self, cell: Cell) -> Value | None:
        sheet = self.sheet(cell.sheet)
        return None if sheet is None else sheet.values.get((cell.row, cell.column))

    def number(self, cell: Cell) -> float:
        """The number in a cell; NaN where there is none."""
        value = self.value(cell)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return math.nan
        return float(value)

    def formula(self, cell: Cell) -> str | None:
        sheet = self.sheet(cell.sheet)
        return None if sheet is None else sheet.formulas.get((cell.row, cell.column))

    def pattern(self, cell: Cell) -> str | None:
        """The formula of a cell with relative references as offsets; None where there is no formula."""
        sheet = self.sheet(cell.sheet)
        return None if sheet is None else sheet.patterns.get((cell.row, cell.column))

    def tree(self, cell: Cell) -> Tree | None:
        """The formula of a cell as a tree; None where there is none, or none that can be read."""
        text, key = self.formula(cell), self.pattern(cell)
        if text is None or key is None:
            return None
        if key not in self._trees:
            try:
                self._trees[key] = parse(text, cell)
            except Unreadable:
                self._trees[key] = None
        return self._trees[key]


def read(path: Path) -> Book:
    """Read a workbook: openpyxl gives the formulas, IronCalc recalculates the values.

    Where openpyxl cannot open the file, the formulas come from IronCalc as well.

    Raises `InputError` or `WorkbookError` for a file that cannot be used.
    """
    values = ironcalc.recalculate(path)
    try:
        if any(_stretched(cells) for cells in values.values()):
            raise ValueError("openpyxl would fill millions of cells between them")
        formulas, names = _as_typed(path)
    except Exception:  # openpyxl stumbles over namespaces and styles in many ways
        formulas, names = ironcalc.formulas(path), {}
    sheets = {name: Sheet(name, cells, formulas.get(name, {})) for name, cells in values.items()}
    return Book(path, sheets, names)


def _stretched(cells: Mapping[tuple[int, int], Value]) -> bool:
    """Whether a sheet is far larger than what it holds: openpyxl visits all that lies between."""
    rows = max((row for row, _ in cells), default=0)
    columns = max((column for _, column in cells), default=0)
    return rows * columns > MOST_VISITED


def _as_typed(
    path: Path,
) -> tuple[Mapping[str, Mapping[tuple[int, int], str]], Mapping[str, Cell]]:
    book = openpyxl.load_workbook(path, read_only=True, keep_links=False)
    try:
        formulas: dict[str, dict[tuple[int, int], str]] = {}
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # what a file says of its own size may be far too large
            found = formulas[sheet.title] = {}
            for cell in (cell for row in sheet.iter_rows() for cell in row):
                value = cell.value
                if isinstance(value, ArrayFormula):
                    value = value.text
                if isinstance(value, str) and cell.data_type == "f":
                    found[cell.row - 1, cell.column - 1] = value if value[:1] == "=" else f"={value}"
        names = {}
        for name, defined in book.defined_names.items():
            cell = _named_cell(defined.attr_text or "")
            if cell is not None:
                names[name.casefold()] = cell
        return formulas, names
    finally:
        book.close()


def _named_cell(text: str) -> Cell | None:
    try:
        tree = parse(f"={text}", Cell("", 0, 0))
        return tree.at(Cell("", 0, 0)) if isinstance(tree, Reference) else None
    except Unreadable:
        return None


def texts(sheet: Sheet) -> Iterator[tuple[int, int, str]]:
    """All texts of a sheet that are no errors: row, column, text."""
    for (row, column), value in sheet.values.items():
        if isinstance(value, str) and not isinstance(value, CellError):
            yield row, column, value
