"""Spreadsheet engines: each recalculates a workbook and returns the numbers it found.

An engine is a module with a function ``recalculate(path, changes) -> Sheets`` that never trusts a
cached value. ``changes`` are numbers to type into cells before calculating.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from gradsheet.errors import InputError, WorkbookError


class CellError(str):
    """An error that a sheet shows in place of a number, such as ``#NUM!``."""


Value = float | str | bool | CellError
Sheets = Mapping[str, Mapping[tuple[int, int], Value]]
"""The values of all cells that are not empty: by sheet, then by row and column, counted from 0."""
Changes = Mapping[tuple[str, int, int], float]
"""Numbers to type in: by sheet, row and column, counted from 0."""

EXPANDED_LIMIT = 1_000_000_000  # bytes; a workbook of 500,000 formulas expands to about 60 MB


def check_package(path: Path) -> None:
    """Raise `InputError` or `WorkbookError` unless ``path`` is an .xlsx package of a sane size."""
    try:
        with zipfile.ZipFile(path) as package:
            members = package.infolist()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the name") from None
    except zipfile.BadZipFile:
        raise WorkbookError(
            f"{path}: is not an .xlsx workbook (or is damaged or encrypted); save it as .xlsx again"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if "xl/workbook.xml" not in {member.filename for member in members}:
        raise WorkbookError(f"{path}: is a zip file, but not an .xlsx workbook; give a workbook")
    expanded = sum(member.file_size for member in members)
    if expanded > EXPANDED_LIMIT:
        raise WorkbookError(
            f"{path}: expands to {expanded:,} bytes, more than the {EXPANDED_LIMIT:,} that are safe "
            "to open; give a smaller workbook"
        )
