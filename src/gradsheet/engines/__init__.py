"""Spreadsheet engines: each recalculates a workbook and returns the numbers it found.

An engine is a module with a function ``recalculate(path, changes) -> Sheets`` that never trusts a
cached value. ``changes`` are numbers to type into cells before calculating.
"""

from __future__ import annotations

from collections.abc import Mapping


class CellError(str):
    """An error that a sheet shows in place of a number, such as ``#NUM!``."""


Value = float | str | bool | CellError
Sheets = Mapping[str, Mapping[tuple[int, int], Value]]
"""The values of all cells that are not empty: by sheet, then by row and column, counted from 0."""
Changes = Mapping[tuple[str, int, int], float]
"""Numbers to type in: by sheet, row and column, counted from 0."""
