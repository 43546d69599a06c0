"""A copy of a workbook in which the wrong cells are coloured and a new sheet lists the findings.

Spreadsheet libraries lose charts, pictures and macros when they save a workbook that they did not make.
So the package is edited as text: of the XML parts that must change, only the bytes that must change;
every other member is copied as it is. An XML parser says where those bytes are.
"""

from __future__ import annotations

import math
import os
import posixpath
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import xlsxwriter
from openpyxl.utils import column_index_from_string, get_column_letter

from gradsheet.check.report import conclusion, counted, error_size, plain
from gradsheet.check.verdict import Finding, Verdict
from gradsheet.engines import ironcalc
from gradsheet.errors import InputError, WorkbookError
from gradsheet.files import replacing

SHEET = "gradsheet findings"
FILL = "FFFF9F94"  # the colour of a wrong cell: black text stays readable on it


class Unusual(Exception):  # noqa: N818  (never shown as such: the findings go into a workbook of their own)
    """A package that cannot be edited safely; says why."""


def annotate(source: Path, target: Path, verdict: Verdict) -> str:
    """Write a copy of ``source`` with its findings shown in it; say in a sentence what was written.

    The copy is recalculated before it is used: all cells of the author must still hold the same
    formulas and values. Where that cannot be had, ``target`` becomes a workbook of the findings alone,
    with links into ``source``.

    Raises `InputError` when ``target`` is ``source``, has another suffix, or cannot be written.
    """
    if target.suffix.lower() != source.suffix.lower():
        raise InputError(
            f"{target}: a copy of a {source.suffix} workbook must be called {source.suffix} too; "
            f"call it {target.stem}{source.suffix}"
        )
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"{target}: is the workbook itself; give the copy another name")
    with replacing(target) as temporary:
        try:
            before = _content(source)
            sheet, coloured, wrong = _write_copy(source, temporary, verdict)
            _compare(before, _content(temporary))
        except (Unusual, WorkbookError, zipfile.BadZipFile, expat.ExpatError, ValueError) as reason:
            _write_separate(source, target, temporary, verdict)
            return (
                f"{target}: a workbook of the findings alone, with links to the cells of {source.name}; "
                f"no copy could be annotated safely ({reason})"
            )
    return (
        f"{target}: a copy of {source.name}; {coloured:,} of {counted(wrong, 'wrong cell')} coloured, "
        f"all findings listed on the new sheet {sheet!r}"
    )


# ---------------------------------------------------------------- is the copy still the same workbook?

_Content = Mapping[str, Mapping[tuple[int, int], object]]


def _content(path: Path) -> tuple[_Content, _Content]:
    """The formulas and the recalculated values of all cells."""
    return ironcalc.formulas(path), ironcalc.recalculate(path)


_UNSTEADY = re.compile(r"\b(RAND|RANDBETWEEN|RANDARRAY|NOW|TODAY)\(", re.IGNORECASE)


def _compare(before: tuple[_Content, _Content], after: tuple[_Content, _Content]) -> None:
    """Raise `Unusual` unless all cells still hold the same formulas and values."""
    formulas = before[0]
    if _changed(formulas, after[0]):
        raise Unusual("its formulas would change")
    changed = _changed(before[1], after[1])
    if any(_UNSTEADY.search(str(text)) for cells in formulas.values() for text in cells.values()):
        # Its formulas have other values each time, so only what was typed in can be compared.
        changed = {(sheet, cell) for sheet, cell in changed if cell not in formulas[sheet]}
    if changed:
        raise Unusual("its values would change")


def _changed(before: _Content, after: _Content) -> set[tuple[str, tuple[int, int]]]:
    return {
        (sheet, cell)
        for sheet, cells in before.items()
        for cell, content in cells.items()
        if after.get(sheet, {}).get(cell) != content
    }


# ---------------------------------------------------------------- what the sheet of findings says

_Style = Literal["title", "header", "link", "text", "line", "number"]


class _Entry(NamedTuple):
    """A cell of the sheet of findings; ``link`` is a place in the user's workbook."""

    content: str | int
    style: _Style
    link: str = ""


_HEADERS = ("sheet", "cells", "quantity", "how many", "stands there", "belongs there", "error", "cause")
_WIDTHS = (16, 18, 18, 12, 48, 48, 18, 48)


def _entries(verdict: Verdict) -> list[list[_Entry]]:
    """The rows of the sheet of findings."""
    rows = [
        [_Entry(f"gradsheet check of {verdict.file}", "title")],
        [_Entry(conclusion(verdict), "title")],
        [],
    ]
    if verdict.findings:
        rows.append([_Entry(header, "header") for header in _HEADERS])
    for finding in verdict.findings:
        areas = _areas(finding)
        rows.append(
            [
                _Entry(finding.sheet, "text"),
                _Entry(finding.cells, "link", _link(finding))
                if areas
                else _Entry(finding.cells, "text"),
                _Entry(finding.quantity, "text"),
                _Entry(finding.count, "number"),
                _Entry(finding.shown or "nothing", "text"),
                _Entry(finding.expected, "text"),
                _Entry(error_size(finding.max_relative_error), "text"),
                _Entry(finding.cause, "text"),
            ]
        )
    rows.append([])
    rows += [[_Entry(sentence, "line")] for sentence in (*verdict.effects, *verdict.notes)]
    return rows


def _height(entries: list[_Entry]) -> int:
    """The height of a row in points. LibreOffice does not fit it to wrapped text by itself."""
    if not entries or entries[0].style == "title":
        return 20
    wrapped = zip(entries, _WIDTHS, strict=False)
    lengths = [len(str(e.content)) / width for e, width in wrapped if e.style in ("link", "text")]
    return min(409, 15 * math.ceil(1.2 * max(lengths, default=0) or 1))  # Excel allows no more


class _Area(NamedTuple):
    """A rectangle of cells; rows and columns count from 1."""

    rows: range
    columns: range


_AREA = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})(?::([A-Z]{1,3})([1-9][0-9]{0,6}))?")


def _areas(finding: Finding) -> list[_Area]:
    """The cells of a finding; none where they are not written as cells."""
    areas = []
    for text in re.split(r"[,\s]+", finding.cells.replace("$", "").strip()):
        match = _AREA.fullmatch(text)
        if match is None:
            return []
        left, top, right, bottom = match[1], match[2], match[3] or match[1], match[4] or match[2]
        columns = range(column_index_from_string(left), column_index_from_string(right) + 1)
        areas.append(_Area(range(int(top), int(bottom) + 1), columns))
    return areas


def _link(finding: Finding) -> str:
    """The first area of a finding, as the target of a hyperlink."""
    (rows, columns), *_ = _areas(finding)
    name = finding.sheet.replace("'", "''")
    first, last = (f"{get_column_letter(columns[i])}{rows[i]}" for i in (0, -1))
    return f"'{name}'!{first}" + ("" if first == last else f":{last}")


# ---------------------------------------------------------------- an XML part, edited as bytes

_ATTRIBUTE = re.compile(rb"""([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")
_START_TAG = re.compile(rb"""<([^\s/>]+)(?:\s+[^\s=]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*/?>""")
_DEPTH = 4  # worksheet, sheetData, row, c: no part has to be known deeper


@dataclass(slots=True)
class _Element:
    """An element and where it stands in the bytes of its part.

    ``name`` is "" where it has another namespace than the root. Attributes with a namespace are keyed
    by namespace, space and name. ``inside`` is where its content ends, None in an empty ``<tag/>``.
    """

    name: str
    attributes: dict[str, str]
    tag: bytes
    start: int
    inside: int | None = None
    end: int = 0
    children: list[_Element] = field(default_factory=list)

    def child(self, name: str) -> _Element:
        found = next((child for child in self.children if child.name == name), None)
        if found is None:
            raise Unusual(f"it has no element {name!r} where every workbook has one")
        return found

    @property
    def prefix(self) -> bytes:
        """``x:`` where the element is called ``x:row``; mostly nothing."""
        head, colon, _ = self.tag[1 : self.tag.find(b">")].partition(b" ")[0].rpartition(b":")
        return head + colon


class _Part:
    """An XML part of a package, and the changes to it."""

    def __init__(
        self, package: zipfile.ZipFile, name: str, done: Callable[[_Part, _Element], None] | None = None
    ) -> None:
        """Read a part; ``done`` is called with every element of a sheet's row when that is complete."""
        if name not in package.NameToInfo:
            raise Unusual(f"it has no part {name}")
        self.name = name
        self.data = package.read(name)
        self._edits: list[tuple[int, int, bytes]] = []
        if b"\0" in self.data[:100]:
            raise Unusual(f"{name} is not written in UTF-8")
        self.root, self.namespace = self._parse(done)

    def _parse(self, done: Callable[[_Part, _Element], None] | None) -> tuple[_Element, str]:
        parser = expat.ParserCreate(namespace_separator=" ")
        path: list[_Element] = []
        depth = 0
        root: _Element | None = None
        namespace = ""

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal depth, root, namespace
            depth += 1
            if depth > _DEPTH:
                return
            space, _, local = name.rpartition(" ")
            if root is None:
                namespace = space
            at = parser.CurrentByteIndex
            tag = _START_TAG.match(self.data, at)
            if tag is None:
                raise Unusual(f"{self.name} has a tag that cannot be read")
            element = _Element(local if space == namespace else "", attributes, tag[0], at)
            if root is None:
                root = element
            else:
                path[-1].children.append(element)
            path.append(element)

        def end(name: str) -> None:
            nonlocal depth
            depth -= 1
            if depth >= _DEPTH:
                return
            element = path.pop()
            if element.tag.endswith(b"/>"):
                element.end = element.start + len(element.tag)
            else:
                element.inside = parser.CurrentByteIndex
                element.end = self.data.index(b">", element.inside) + 1
            if done and depth == 2 and element.name == "row":
                done(self, element)
                element.children.clear()  # a large sheet has a million of them

        def doctype(*_: object) -> None:
            raise Unusual(f"{self.name} declares a document type")

        parser.StartElementHandler, parser.EndElementHandler = start, end
        parser.StartDoctypeDeclHandler = doctype
        parser.Parse(self.data, True)
        assert root is not None  # expat refuses a document without a root
        return root, namespace

    def insert(self, at: int, xml: bytes) -> None:
        self._edits.append((at, at, xml))

    def retag(self, element: _Element, **attributes: object) -> None:
        """Give an element other attributes."""
        end = element.start + len(element.tag)
        self._edits.append((element.start, end, _with(element.tag, **attributes)))

    def append(self, parent: _Element, xml: bytes, **attributes: object) -> None:
        """Add children to an element, and give it other attributes."""
        if parent.inside is None:
            name = parent.tag[1:-2].split()[0]
            tag = _with(parent.tag, **attributes)[:-2] + b">" + xml + b"</" + name + b">"
            self._edits.append((parent.start, parent.end, tag))
        else:
            self.retag(parent, **attributes)
            self.insert(parent.inside, xml)

    def edited(self) -> bytes:
        pieces = []
        at = 0
        for start, end, xml in sorted(self._edits, key=lambda edit: edit[:2]):
            pieces += [self.data[at:start], xml]
            at = end
        return b"".join((*pieces, self.data[at:]))


def _with(tag: bytes, **attributes: object) -> bytes:
    """A start tag with some attributes set."""
    for name, value in attributes.items():
        text = f'{name}="{value}"'.encode("ascii")
        found = (match for match in _ATTRIBUTE.finditer(tag) if match[1] == name.encode())
        match = next(found, None)
        at = match.span() if match else (len(tag) - (2 if tag.endswith(b"/>") else 1),) * 2
        tag = tag[: at[0]] + (b"" if match else b" ") + text + tag[at[1] :]
    return tag


# ---------------------------------------------------------------- the copy


def _write_copy(source: Path, target: Path, verdict: Verdict) -> tuple[str, int, int]:
    """Write the annotated copy.

    Returns the name of the new sheet, how many cells are coloured, and how many are wrong.
    """
    with zipfile.ZipFile(source) as package:
        if any(name.startswith("_xmlsignatures/") for name in package.namelist()):
            raise Unusual("it is signed, and any change would break the signature")
        book = _Part(package, "xl/workbook.xml")
        relations = _Part(package, "xl/_rels/workbook.xml.rels")
        types = _Part(package, "[Content_Types].xml")
        sheets = book.root.child("sheets")
        paths = {
            sheet.attributes.get("name", ""): _target(relations, "Id", _relation_id(sheet))
            for sheet in sheets.children
        }
        styles = _Styles(_Part(package, _target(relations, "Type", "/styles")))
        parts = [book, relations, types, styles.part]
        coloured = wrong = 0
        for name, cells in _cells(verdict.findings).items():
            if name not in paths:
                raise Unusual(f"it has no sheet {name!r}")
            colours = _Colours(cells, styles.coloured)
            parts.append(_Part(package, paths[name], colours))
            coloured += colours.count
            wrong += sum(map(len, cells.values()))

        title = _unused((SHEET, *(f"{SHEET} {n}" for n in range(2, 1000))), paths)
        path = _unused((f"xl/worksheets/sheet{n}.xml" for n in count(1)), package.namelist())
        content = _sheet_xml(verdict, book.namespace, styles)
        _enter(book, relations, types, title, path)
        styles.finish()
        changed = {part.name: part.edited() for part in parts}
        _copy(package, target, changed | {path: content})
    return title, coloured, wrong


def _cells(findings: Iterable[Finding]) -> Mapping[str, Mapping[int, set[int]]]:
    """The wrong cells: by sheet and row, the columns."""
    sheets: dict[str, dict[int, set[int]]] = {}
    for finding in findings:
        for rows, columns in _areas(finding):
            if len(rows) * len(columns) > 1_000_000:
                raise Unusual(f"the area {finding.cells} is too large")
            for row in rows:
                sheets.setdefault(finding.sheet, {}).setdefault(row, set()).update(columns)
    return sheets


def _relation_id(sheet: _Element) -> str:
    """The ``r:id`` of a sheet."""
    return sheet.attributes.get(f"{_RELATIONS} id", "")


_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def _target(relations: _Part, attribute: str, end: str) -> str:
    """The path of the part whose relation has an attribute that ends so."""
    for relation in relations.root.children:
        value = relation.attributes.get(attribute, "")
        if value == end or (attribute == "Type" and value.endswith(end)):
            path = posixpath.join("/xl", relation.attributes.get("Target", ""))
            return posixpath.normpath(path).lstrip("/")
    raise Unusual("one of its parts is not listed")


def _unused(names: Iterable[str], used: Iterable[str]) -> str:
    taken = {name.casefold() for name in used}
    return next(name for name in names if name.casefold() not in taken)


def _enter(book: _Part, relations: _Part, types: _Part, title: str, path: str) -> None:
    """Enter the new sheet in the three lists that a package keeps of its sheets."""
    sheets = book.root.child("sheets")
    sibling = sheets.child("sheet")
    spellings = (match[1] for match in _ATTRIBUTE.finditer(sibling.tag) if match[1].endswith(b":id"))
    relation = next(
        (r for r in relations.root.children if r.attributes.get("Type", "").endswith("/worksheet")), None
    )
    spelling = next(spellings, None)
    if spelling is None or relation is None:
        raise Unusual("its list of sheets cannot be read")
    ids = {r.attributes.get("Id", "") for r in relations.root.children}
    numbers = {sheet.attributes.get("sheetId", "") for sheet in sheets.children}
    new_id = _unused((f"rId{n}" for n in count(1)), ids)
    number = _unused((str(n) for n in count(1)), numbers)
    book.append(
        sheets,
        b"<%ssheet name=%s sheetId=%s %s=%s/>"
        % (sibling.prefix, *_quoted(title, number), spelling, *_quoted(new_id)),
    )
    relations.append(
        relations.root,
        b"<%sRelationship Id=%s Type=%s Target=%s/>"
        % (relation.prefix, *_quoted(new_id, relation.attributes["Type"], f"/{path}")),
    )
    types.append(
        types.root,
        b"<%sOverride PartName=%s ContentType=%s/>"
        % (types.root.prefix, *_quoted(f"/{path}", f"{_TYPE}spreadsheetml.worksheet+xml")),
    )


_TYPE = "application/vnd.openxmlformats-officedocument."


def _quoted(*values: str) -> list[bytes]:
    return [quoteattr(value).encode() for value in values]


class _Colours:
    """Gives wrong cells another style while their sheet is read; ``count`` is how many it has done."""

    def __init__(self, cells: Mapping[int, set[int]], style: Callable[[int], int]) -> None:
        self.count = 0
        self._cells = cells
        self._style = style
        self._row = 0

    def __call__(self, part: _Part, row: _Element) -> None:
        """A row is complete. Its empty cells need not be there: such a one is added if it is wrong."""
        self._row = int(row.attributes.get("r", self._row + 1))
        wanted = self._cells.get(self._row)
        if not wanted:
            return
        there = {_column(cell): cell for cell in row.children if cell.name == "c"}
        for column in sorted(wanted & there.keys()):
            style = self._style(int(there[column].attributes.get("s", 0)))
            part.retag(there[column], s=style)
            self.count += 1
        if row.inside is None:
            return
        for column in sorted(wanted - there.keys()):
            at = min((there[c].start for c in there if c > column), default=row.inside)
            place = f"{get_column_letter(column)}{self._row}"
            style = self._style(int(row.attributes.get("s", 0)))
            part.insert(at, b'<%sc r="%s" s="%d"/>' % (row.prefix, place.encode(), style))
            self.count += 1


def _column(cell: _Element) -> int:
    return int(column_index_from_string(cell.attributes["r"].rstrip("0123456789")))


class _Styles:
    """The formats of a workbook, extended by those that annotating needs."""

    def __init__(self, part: _Part) -> None:
        self.part = part
        self._new: dict[str, list[bytes]] = {"fonts": [], "fills": [], "cellXfs": []}
        self._lists = {name: part.root.child(name) for name in self._new}
        for name, child in (("fonts", "font"), ("fills", "fill"), ("cellXfs", "xf")):
            if any(element.name != child for element in self._lists[name].children):
                raise Unusual(f"its list of {name} holds something else")
        self._clones: dict[int, int] = {}
        self._fill: int | None = None
        bold = self._add("fonts", '<font><b/><sz val="11"/><name val="Calibri"/></font>')
        title = self._add("fonts", '<font><b/><sz val="14"/><name val="Calibri"/></font>')
        link = self._add(
            "fonts", '<font><u/><sz val="11"/><color rgb="FF0563C1"/><name val="Calibri"/></font>'
        )
        text = self._add("fonts", '<font><sz val="11"/><name val="Calibri"/></font>')
        wrap = '<alignment vertical="top" wrapText="1"/>'
        top = '<alignment vertical="top"/>'
        middle = '<alignment horizontal="center" vertical="top"/>'
        # With quotePrefix, a text such as =A1 stays a text even when somebody edits it.
        self.own: Mapping[_Style, int] = {
            "title": self._format(title, 'quotePrefix="1"', ""),
            "header": self._format(bold, "", wrap),
            "link": self._format(link, 'quotePrefix="1"', wrap),
            "text": self._format(text, 'quotePrefix="1"', wrap),
            "line": self._format(text, 'quotePrefix="1"', top),
            "number": self._format(text, "", middle),
        }

    def _add(self, name: str, xml: str) -> int:
        """Add an entry to a list; return its number."""
        parent = self._lists[name]
        self._new[name].append(re.sub(rb"<(?=/?\w)(/?)", rb"<\1" + parent.prefix, xml.encode()))
        return len(parent.children) + len(self._new[name]) - 1

    def _format(self, font: int, attributes: str, alignment: str) -> int:
        return self._add(
            "cellXfs",
            f'<xf numFmtId="0" fontId="{font}" fillId="0" borderId="0" applyFont="1" '
            f'applyAlignment="1" {attributes}>{alignment}</xf>',
        )

    def coloured(self, style: int) -> int:
        """The style of a wrong cell that had ``style``: all the same, but for its fill."""
        if style not in self._clones:
            formats = self._lists["cellXfs"].children
            if not 0 <= style < len(formats):
                raise Unusual(f"a cell has the style {style}, which there is not")
            if self._fill is None:
                self._fill = self._add(
                    "fills",
                    f'<fill><patternFill patternType="solid"><fgColor rgb="{FILL}"/>'
                    '<bgColor indexed="64"/></patternFill></fill>',
                )
            old = formats[style]
            rest = self.part.data[old.start + len(old.tag) : old.end]
            self._new["cellXfs"].append(_with(old.tag, fillId=self._fill, applyFill=1) + rest)
            self._clones[style] = len(formats) + len(self._new["cellXfs"]) - 1
        return self._clones[style]

    def finish(self) -> None:
        for name, new in self._new.items():
            parent = self._lists[name]
            if new:
                self.part.append(parent, b"".join(new), count=len(parent.children) + len(new))


_TEXT_LIMIT = 32_767  # characters in a cell


def _sheet_xml(verdict: Verdict, namespace: str, styles: _Styles) -> bytes:
    """The sheet of findings. All texts are inline strings, which no program takes for formulas."""
    rows, links = [], []
    for row, entries in enumerate(_entries(verdict), 1):
        cells = ""
        for column, entry in enumerate(entries, 1):
            place = f"{get_column_letter(column)}{row}"
            cell = f'r="{place}" s="{styles.own[entry.style]}"'
            if isinstance(entry.content, int):
                cells += f"<c {cell}><v>{entry.content}</v></c>"
            else:
                text = escape(_cell_text(entry.content))
                cells += f'<c {cell} t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
            if entry.link:
                links.append(f'<hyperlink ref="{place}" location={quoteattr(entry.link)}/>')
        rows.append(f'<row r="{row}" ht="{_height(entries)}" customHeight="1">{cells}</row>')
    columns = "".join(
        f'<col min="{n}" max="{n}" width="{width}" customWidth="1"/>'
        for n, width in enumerate(_WIDTHS, 1)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        f'<worksheet xmlns="{namespace}"><sheetPr><pageSetUpPr fitToPage="1"/></sheetPr>'
        f'<sheetFormatPr defaultRowHeight="15"/><cols>{columns}</cols>'
        f"<sheetData>{''.join(rows)}</sheetData>"
        + (f"<hyperlinks>{''.join(links)}</hyperlinks>" if links else "")
        + '<pageSetup orientation="landscape" fitToHeight="0"/></worksheet>'
    ).encode()


def _cell_text(text: str) -> str:
    """Text as a cell of the file holds it: there, ``_x0041_`` would mean the letter A."""
    return re.sub("_(?=x[0-9A-Fa-f]{4}_)", "_x005F_", plain(text)[:_TEXT_LIMIT])


def _copy(package: zipfile.ZipFile, target: Path, changed: Mapping[str, bytes]) -> None:
    """Write a package again: changed and new members as given, all others byte for byte."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for member in package.infolist():
            entry = zipfile.ZipInfo(member.filename, member.date_time)
            entry.compress_type, entry.external_attr = member.compress_type, member.external_attr
            copy.writestr(entry, changed.get(member.filename, package.read(member)))
        for name in changed.keys() - package.NameToInfo.keys():
            copy.writestr(name, changed[name])


# ---------------------------------------------------------------- a workbook of the findings alone


def _write_separate(source: Path, target: Path, temporary: Path, verdict: Verdict) -> None:
    data = BytesIO()
    with xlsxwriter.Workbook(data, {"in_memory": True}) as book:
        looks: dict[str, dict[str, Any]] = {
            "title": {"bold": True, "font_size": 14},
            "header": {"bold": True, "text_wrap": True},
            "link": {"font_color": "#0563C1", "underline": 1, "text_wrap": True},
            "text": {"text_wrap": True},
            "line": {},
            "number": {"align": "center"},
        }
        formats = {
            name: book.add_format(
                {"valign": "top", "quote_prefix": name not in ("header", "number")} | look
            )
            for name, look in looks.items()
        }
        sheet = book.add_worksheet(SHEET)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        for column, width in enumerate(_WIDTHS):
            sheet.set_column(column, column, width)
        for row, entries in enumerate(_entries(verdict)):
            sheet.set_row(row, _height(entries))
            for column, (content, style, link) in enumerate(entries):
                if isinstance(content, int):
                    sheet.write_number(row, column, content, formats[style])
                elif link:
                    url = f"external:{_relative(source, target)}#{link}"
                    sheet.write_url(row, column, url, formats[style], plain(content))
                else:
                    sheet.write_string(row, column, plain(content)[:_TEXT_LIMIT], formats[style])
    changed = {}
    with zipfile.ZipFile(data) as package:
        if target.suffix.lower() == ".xlsm":  # Excel opens no .xlsm that calls itself an .xlsx
            types = package.read("[Content_Types].xml")
            changed["[Content_Types].xml"] = types.replace(
                f"{_TYPE}spreadsheetml.sheet.main+xml".encode(),
                b"application/vnd.ms-excel.sheet.macroEnabled.main+xml",
            )
        _copy(package, temporary, changed)


def _relative(source: Path, target: Path) -> str:
    """The way from ``target`` to ``source``, written so that a file's name is never taken for a link."""
    path = os.path.relpath(source.resolve(), target.resolve().parent).replace(os.sep, "/")
    return re.sub(r"[\x00-\x7f]+", lambda match: quote(match[0]), plain(path))
