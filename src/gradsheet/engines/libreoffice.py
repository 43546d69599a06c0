"""LibreOffice without a window: the second opinion, a full spreadsheet program."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gradsheet.engines import CellError, Changes, Sheets, Value
from gradsheet.engines.package import check_package
from gradsheet.errors import EngineError, MissingDependencyError

TIMEOUT = 300  # seconds
PROGRAMS = (
    "soffice",
    "libreoffice",
    "/Applications/LibreOffice.app/Contents/MacOS/soffice",
    "C:/Program Files/LibreOffice/program/soffice.exe",
)

# By default LibreOffice trusts the cached values of files that it did not write itself; 0 is "always
# recalculate". Found by experiment: a workbook with wrong cached values keeps them otherwise.
_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Office.Calc/Formula/Load">
<prop oor:name="OOXMLRecalcMode" oor:op="fuse"><value>0</value></prop></item>
</oor:items>
"""


def find() -> str | None:
    """The path of the LibreOffice program, or None where it is not installed."""
    return next((found for program in PROGRAMS if (found := shutil.which(program))), None)


def recalculate(path: Path, changes: Changes | None = None) -> Sheets:
    """Type the changes in, calculate every formula anew, and return all values.

    Raises `MissingDependencyError` without LibreOffice, `EngineError` when it fails.
    """
    return next(recalculate_each(path, [changes or {}]))


def recalculate_each(path: Path, series: Iterable[Changes]) -> Iterator[Sheets]:
    """For every set of changes: type it in, calculate every formula anew, and yield all values.

    What was typed in is taken back each time. Raises what `recalculate` raises.
    """
    check_package(path)
    book = None
    for changes in series:
        with tempfile.TemporaryDirectory(prefix="gradsheet-") as folder:
            source = Path(folder) / "source.xlsx"
            if changes:
                book = book or _read(path)
                _save_changed(book, changes, source)
            else:
                shutil.copyfile(path, source)
            sheets = _values(convert(source, "xlsx", Path(folder) / "recalculated"))
        yield sheets


def convert(path: Path, format_name: str, folder: Path) -> Path:
    """Recalculate a workbook and save it in another format (xlsx, pdf, …) into ``folder``.

    Raises `MissingDependencyError` without LibreOffice, `EngineError` when it fails.
    """
    program = find()
    if program is None:
        raise MissingDependencyError(
            "LibreOffice is not installed; install its calc package, or use --engine ironcalc"
        )
    with tempfile.TemporaryDirectory(prefix="gradsheet-profile-") as profile:
        (Path(profile) / "user").mkdir()
        (Path(profile) / "user" / "registrymodifications.xcu").write_text(_PROFILE, encoding="utf-8")
        command = [program, f"-env:UserInstallation={Path(profile).as_uri()}", "--headless"]
        command += ["--convert-to", format_name, "--outdir", str(folder), str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"{path}: LibreOffice took longer than {TIMEOUT} s; it was stopped"
            ) from None
    target = folder / f"{path.stem}.{format_name}"
    if done.returncode != 0 or not target.exists():
        raise EngineError(f"{path}: LibreOffice could not convert it: {done.stderr.strip()[:300]}")
    return target


def _read(path: Path, **options: bool) -> Any:
    import openpyxl  # takes a tenth of a second, which IronCalc alone need not wait for

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of formats that openpyxl does not know
        return openpyxl.load_workbook(path, **options)


def _save_changed(book: Any, changes: Changes, target: Path) -> None:
    """Save with changed numbers and texts; the copy has no charts, which no formula reads."""
    cells = {place: book[place[0]].cell(place[1] + 1, place[2] + 1) for place in changes}
    before = {place: cell.value for place, cell in cells.items()}
    for place, cell in cells.items():
        cell.value = changes[place]
    book.save(target)
    for place, cell in cells.items():
        cell.value = before[place]


def _values(path: Path) -> Sheets:
    book = _read(path, data_only=True)
    sheets: dict[str, dict[tuple[int, int], Value]] = {}
    for sheet in book.worksheets:
        cells: dict[tuple[int, int], Value] = {}
        for row in sheet.iter_rows():
            for item in row:
                if item.value is not None:
                    value = item.value
                    if item.data_type == "e":
                        value = CellError(value)
                    elif isinstance(value, int) and not isinstance(value, bool):
                        value = float(value)
                    cells[item.row - 1, item.column - 1] = value
        sheets[sheet.title] = cells
    return sheets
