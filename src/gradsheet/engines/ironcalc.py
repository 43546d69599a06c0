"""IronCalc, a spreadsheet engine in a Python wheel: the default, in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ironcalc

from gradsheet.engines import CellError, Changes, Sheets, Value, check_package
from gradsheet.errors import WorkbookError


def recalculate(path: Path, changes: Changes | None = None) -> Sheets:
    """Type the changes in, calculate every formula anew, and return all values.

    Raises `WorkbookError` for a file that the engine cannot open.
    """
    model = _open(path)
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
    model = _open(path)
    names = _sheet_names(model)
    found: dict[str, dict[tuple[int, int], str]] = {name: {} for name in names}
    for index, row, column in model.get_all_cells():
        formula = model.get_cell_formula(index, row, column)
        if formula is not None:
            found[names[index]][row - 1, column - 1] = formula
    return found


def _open(path: Path) -> Any:
    check_package(path)
    try:
        return ironcalc.load_from_xlsx(str(path))
    except BaseException as error:  # its Rust panics are no `Exception`s
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise WorkbookError(
            f"{path}: IronCalc cannot open it ({error}); save it as .xlsx again"
        ) from None


def _sheet_names(model: Any) -> list[str]:
    return [sheet["name"] for sheet in model.get_worksheets_properties()]
