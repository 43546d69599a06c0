"""``gradsheet check``: reads flags, calls the public functions, prints. It holds no logic."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradsheet.errors import InputError

if TYPE_CHECKING:
    from gradsheet.check.verdict import Verdict

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("files", nargs=-1, required=True, type=_PATH, metavar="FILE...")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: one object, or a list for several files."
)
@click.option("--report", type=_PATH, help="An HTML report to write: one file that can be sent.")
@click.option("--annotate", type=_PATH,
              help="A copy of the workbook to write, its wrong cells coloured and listed.")  # fmt: skip
@click.option("--csv", "as_csv", type=_PATH, help="A table to write, one line per file.")
@click.option("--sheet", help="Check this sheet only.")
@click.option("--map", "mapping", metavar="w3=G,a_h1=J",
              help="Tell which column holds what, where the headers do not.")  # fmt: skip
def check(
    files: Sequence[Path],
    as_json: bool,
    report: Path | None,
    annotate: Path | None,
    as_csv: Path | None,
    sheet: str | None,
    mapping: str | None,
) -> None:
    """Find the wrong cells of a back-propagation workbook that anyone made.

    FILE is an .xlsx or .xlsm file, or a folder of them. The workbook is recalculated, read as a network,
    and every formula and update judged on its own. Macros are never run.

    Exit code 0: correct; 1: wrong cells were found; 2: a file cannot be used; 3: not understood, so no
    verdict. Of several files the first of 1, 2, 3 that occurs.
    """
    from gradsheet.check import batch
    from gradsheet.check import report as reports
    from gradsheet.check.verdict import to_json
    from gradsheet.files import check_target, replacing

    paths = batch.workbooks(files)
    columns = _columns(mapping)
    for target in (report, annotate, as_csv):
        if target is not None:
            check_target(target)
    if annotate is not None and len(paths) > 1:
        raise InputError("--annotate: takes one workbook at a time; give a single FILE")
    verdicts = _checked(paths, sheet, columns)
    if as_json:
        plain = [to_json(verdict) for verdict in verdicts]
        shown = plain[0] if len(files) == 1 and not files[0].is_dir() else plain
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    elif len(verdicts) == 1:
        click.echo(reports.to_text(verdicts[0]))
    else:
        click.echo(reports.class_table(verdicts))
    if report is not None:
        with replacing(report) as temporary:
            temporary.write_text(reports.to_html(verdicts), encoding="utf-8")
        click.echo(f"wrote {report}", err=True)
    if as_csv is not None:
        with replacing(as_csv) as temporary:
            temporary.write_text(reports.to_csv(verdicts), encoding="utf-8-sig", newline="")
        click.echo(f"wrote {as_csv}", err=True)
    if annotate is not None and verdicts[0].outcome != "unusable":
        from gradsheet.check.annotate import annotate as write_copy

        click.echo(write_copy(paths[0], annotate, verdicts[0]), err=True)
    codes = {verdict.exit_code for verdict in verdicts}
    sys.exit(next((code for code in (1, 2, 3) if code in codes), 0))


def _checked(paths: Sequence[Path], sheet: str | None, columns: Mapping[str, str]) -> list[Verdict]:
    from gradsheet.check.batch import check_all
    from gradsheet.progress import progress_bar

    verdicts = []
    hidden = len(paths) == 1 or not sys.stderr.isatty()
    with progress_bar(total=len(paths), unit="file", disable=hidden, leave=False) as bar:
        for verdict in check_all(paths, sheet=sheet, columns=columns):
            verdicts.append(verdict)
            bar.update()
    return verdicts


def _columns(mapping: str | None) -> dict[str, str]:
    """``w3=G,a_h1=J`` as quantity → column letters."""
    found: dict[str, str] = {}
    for entry in filter(None, re.split(r"[,;\s]+", mapping or "")):
        name, separator, column = entry.partition("=")
        if not separator or not name or not re.fullmatch(r"[A-Za-z]{1,3}", column):
            raise InputError(
                f"--map: {entry!r} is not of the form w3=G; give quantity=COLUMN, with commas"
            )
        found[name] = column.upper()
    return found
