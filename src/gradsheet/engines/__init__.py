"""Spreadsheet engines: each recalculates a workbook and returns the numbers it found.

An engine is a module with a function ``recalculate(path, changes) -> Sheets`` that never trusts a
cached value. ``changes`` are numbers or texts to type into cells before calculating.
``recalculate_each(path, series)`` does so for every set of changes in a series, each typed into the
workbook as it was.
"""

from __future__ import annotations

from collections.abc import Mapping


class CellError(str):
    """An error that a sheet shows in place of a number, such as ``#NUM!``."""


Value = float | str | bool | CellError
Sheets = Mapping[str, Mapping[tuple[int, int], Value]]
"""The values of all cells that are not empty: by sheet, then by row and column, counted from 0."""
Changes = Mapping[tuple[str, int, int], float | str]
"""Numbers and texts to type in: by sheet, row and column, counted from 0."""
