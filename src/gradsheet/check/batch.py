"""Check many workbooks at once: in parallel, each in a process that can be stopped."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from gradsheet.check.verdict import Verdict
from gradsheet.errors import GradsheetError, InputError

SUFFIXES = (".xlsx", ".xlsm")
TIME_LIMIT = 60.0
"""Seconds for one workbook; a large one takes about ten."""


def workbooks(paths: Sequence[Path]) -> list[Path]:
    """The files among ``paths``, and all workbooks in the folders among them, sorted.

    Raises `InputError` for a path that does not exist, or a folder without workbooks.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise InputError(f"{path}: there is no such file; check the name")
            found.append(path)
            continue
        inside = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(("~$", "."))
        )
        if not inside:
            raise InputError(f"{path}: holds no .xlsx or .xlsm file; give another folder")
        found += inside
    return found


def check_all(
    paths: Sequence[Path],
    *,
    sheet: str | None = None,
    columns: Mapping[str, str] | None = None,
    time_limit: float = TIME_LIMIT,
) -> Iterator[Verdict]:
    """The verdict on every file, in order. A file that cannot be used has the outcome ``unusable``.

    ``sheet`` and ``columns`` are those of `examine.check`; ``time_limit`` is in seconds for one file.
    """
    workers = max(1, min(len(paths), os.cpu_count() or 1))
    context = multiprocessing.get_context("spawn")  # the only way to start that every system has
    with ProcessPool(max_workers=workers, context=context, initializer=_silence) as pool:
        futures = [
            pool.schedule(_check, args=(path, sheet, dict(columns or {})), timeout=time_limit)
            for path in paths
        ]
        for path, future in zip(paths, futures, strict=True):
            try:
                yield future.result()
            except TimeoutError:
                reason = f"it takes more than {time_limit:g} seconds to check; give a smaller workbook"
                yield Verdict(str(path), "unusable", reason=reason)
            except ProcessExpired:
                reason = "the check of it broke down; open it in a spreadsheet program and save it again"
                yield Verdict(str(path), "unusable", reason=reason)


def _silence() -> None:
    """IronCalc prints remarks on what it skips; they would get between the lines of a report."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)


def _check(path: Path, sheet: str | None, columns: Mapping[str, str]) -> Verdict:
    from gradsheet.check.examine import check

    try:
        return check(path, sheet=sheet, columns=columns)
    except GradsheetError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return Verdict(str(path), "unusable", reason=reason)
    except Exception as error:  # a fault of ours must not take the other files with it, nor be hidden
        reason = f"gradsheet itself failed on it ({type(error).__name__}: {error}); please report it"
        return Verdict(str(path), "not understood", reason=reason)
