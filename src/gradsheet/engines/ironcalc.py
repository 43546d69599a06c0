"""IronCalc, a spreadsheet engine in a Python wheel: the default, in milliseconds."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ironcalc

from gradsheet.engines import CellError, Changes, Sheets, Value
from gradsheet.engines.package import check_package
from gradsheet.errors import WorkbookError


def recalculate(path: Path, changes: Changes | None = None) -> Sheets:
    """Type the changes in, calculate every formula anew, and return all values.

    Raises `InputError` or `WorkbookError` for a file that cannot be used.
    """
    with _opened(path) as model:
        names = _sheet_names(model)
        for (sheet, row, column), number in (changes or {}).items():
            model.update_cell_with_number(names.index(sheet), row + 1, column + 1, number)
        model.evaluate()
        sheets: dict[str, dict[tuple[int, int], Value]] = {name: {} for name in names}
        for index, row, column in model.get_all_cells():
            value = model.get_cell_value(index, row, column)
            if isinstance(value, str) and value.startswith("#"):
                kind = model.get_cell_type(index, row, column)
                value = CellError(value) if kind == ironcalc.CellType.ErrorValue else value
            if value is not None:
                sheets[names[index]][row - 1, column - 1] = value
        return sheets


def formulas(path: Path) -> Mapping[str, Mapping[tuple[int, int], str]]:
    """The text of every formula: by sheet, then by row and column, counted from 0."""
    with _opened(path) as model:
        names = _sheet_names(model)
        found: dict[str, dict[tuple[int, int], str]] = {name: {} for name in names}
        for index, row, column in model.get_all_cells():
            formula = model.get_cell_formula(index, row, column)
            if formula is not None:
                found[names[index]][row - 1, column - 1] = formula
        return found


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The workbook as IronCalc's model; what fails in the engine meanwhile is a `WorkbookError`."""
    check_package(path)
    try:
        with _silent(1), _silent(2):
            yield ironcalc.load_from_xlsx(str(path))
    except (
        BaseException
    ) as error:  # its Rust panics are no `Exception`s, and their class has no public name
        if not isinstance(error, ironcalc.WorkbookError) and type(error).__name__ != "PanicException":
            raise
        why = textwrap.shorten(str(error), 200)
        raise WorkbookError(f"{path}: IronCalc cannot use it ({why}); save it as .xlsx again") from None


@contextmanager
def _silent(stream: int) -> Iterator[None]:
    """Discard what goes to stdout (1) or stderr (2), past Python.

    The engine prints features that it does not know to stdout, where they would spoil our JSON, and
    Rust reports a panic on stderr before it is an error.
    """
    try:
        kept = os.dup(stream)
    except OSError:  # it is closed
        yield
        return
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), stream)
    try:
        yield
    finally:
        os.dup2(kept, stream)
        os.close(kept)


def _sheet_names(model: Any) -> list[str]:
    return [sheet["name"] for sheet in model.get_worksheets_properties()]
