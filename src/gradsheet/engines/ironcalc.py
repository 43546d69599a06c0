"""IronCalc, a spreadsheet engine in a Python wheel: the default, in milliseconds."""

from __future__ import annotations

import os
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ironcalc

from gradsheet.engines import CellError, Changes, Sheets, Value
from gradsheet.engines.package import check_package
from gradsheet.errors import WorkbookError

STACK = 256 * 2**20
"""Bytes of address space. The engine calls itself for every bracket and sign within another, and an
overflow would end the whole program; this holds the longest formula that `check_package` lets pass."""


def recalculate(path: Path, changes: Changes | None = None) -> Sheets:
    """Type the changes in, calculate every formula anew, and return all values.

    Raises `InputError` or `WorkbookError` for a file that cannot be used.
    """
    return next(recalculate_each(path, [changes or {}]))


def recalculate_each(path: Path, series: Iterable[Changes]) -> Iterator[Sheets]:
    """For every set of changes: type it in, calculate every formula anew, and yield all values.

    The workbook is read once, and what was typed in is taken back each time.

    Raises `InputError` or `WorkbookError` for a file that cannot be used.
    """
    with _opened(path) as model:
        names = _sheet_names(model)
    for changes in series:
        with _guarded(path):
            before = [(place, model.get_cell_value(*place)) for place in _places(names, changes)]
            for place, value in zip(_places(names, changes), changes.values(), strict=True):
                _type_in(model, place, value)
            _on_deep_stack(model.evaluate)
            sheets = _values(model, names)
            for place, old in before:
                _type_in(model, place, old)
        yield sheets


def _places(names: list[str], changes: Changes) -> list[tuple[int, int, int]]:
    """The places of changes, as IronCalc counts them."""
    return [(names.index(sheet), row + 1, column + 1) for sheet, row, column in changes]


def _type_in(model: Any, place: tuple[int, int, int], value: Any) -> None:
    """Put a number or a text into a cell, or empty it where there is none."""
    if value is None:
        sheet, row, column = place
        model.range_clear_contents(sheet, row, column, row, column)
    elif isinstance(value, str):
        model.update_cell_with_text(*place, value)
    else:
        model.update_cell_with_number(*place, float(value))


def _values(model: Any, names: list[str]) -> Sheets:
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
    with _guarded(path):
        yield _on_deep_stack(lambda: ironcalc.load_from_xlsx(str(path)))


def _on_deep_stack(work: Callable[[], Any]) -> Any:
    """What ``work`` returns, done in a thread of its own with room for the longest formula."""
    before = threading.stack_size(STACK)
    try:
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(work).result()
    finally:
        threading.stack_size(before)


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Within, the engine is silent, and what fails in it is a `WorkbookError`."""
    try:
        with _silent(1), _silent(2):
            yield
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
