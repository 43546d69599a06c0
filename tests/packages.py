"""Tamper with the XML of a workbook the way no honest program would, to see whether anyone notices."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

_CELL = re.compile(r'<c r="([A-Z]+[0-9]+)"([^>]*)(?<!/)>(.*?)</c>')  # not an empty cell: <c …/>


def rewritten(source: Path, target: Path, change: Callable[[str, str, str, str], str]) -> Path:
    """Copy a workbook; ``change(sheet, cell, attributes, content)`` gives the new XML of every cell."""
    with zipfile.ZipFile(source) as package:
        names = re.findall(r'<sheet name="([^"]+)"', package.read("xl/workbook.xml").decode())
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
            for member in package.namelist():
                content = package.read(member)
                match = re.fullmatch(r"xl/worksheets/sheet([0-9]+)\.xml", member)
                if match:
                    sheet = names[int(match[1]) - 1]
                    text = _CELL.sub(lambda m, s=sheet: change(s, m[1], m[2], m[3]), content.decode())
                    content = text.encode()
                copy.writestr(member, content)
    return target


def poisoned(source: Path, target: Path) -> Path:
    """A copy in which every formula claims a wrong value."""

    def change(sheet: str, cell: str, attributes: str, content: str) -> str:
        if "<f>" in content:
            content = re.sub(r"<v>.*?</v>", "<v>777.25</v>", content)
            attributes = attributes.replace(' t="str"', "")
        return f'<c r="{cell}"{attributes}>{content}</c>'

    return rewritten(source, target, change)


def with_formula(source: Path, target: Path, place: str, formula: str) -> Path:
    """A copy in which the formula of one cell, such as ``Backprop!Y20``, is another."""
    return _with_content(source, target, place, f"<f>{formula}</f><v>0</v>")


def with_number(source: Path, target: Path, place: str, number: float) -> Path:
    """A copy in which a number was pasted into one cell."""
    return _with_content(source, target, place, f"<v>{number!r}</v>")


def _with_content(source: Path, target: Path, place: str, replacement: str) -> Path:
    wanted_sheet, wanted_cell = place.split("!")
    hits = []

    def change(sheet: str, cell: str, attributes: str, content: str) -> str:
        if (sheet, cell) == (wanted_sheet, wanted_cell):
            hits.append(cell)
            content = replacement
        return f'<c r="{cell}"{attributes}>{content}</c>'

    rewritten(source, target, change)
    assert hits, f"{place} was not found"
    return target


def cached_values(path: Path) -> dict[str, dict[str, str]]:
    """The cached value of every formula cell, as text, by sheet and cell."""
    found: dict[str, dict[str, str]] = {}

    def change(sheet: str, cell: str, attributes: str, content: str) -> str:
        if "<f>" in content:
            match = re.search(r"<v>(.*?)</v>", content)
            found.setdefault(sheet, {})[cell] = match[1] if match else ""
        return f'<c r="{cell}"{attributes}>{content}</c>'

    rewritten(path, path.with_suffix(".copy"), change)
    return found
