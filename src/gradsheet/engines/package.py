"""The guard before every workbook: nothing parses or calculates a file that has not passed it.

An .xlsx or .xlsm file is a zip of XML parts. The guard inflates every part once, in pieces that it
forgets again, and parses nothing: a bomb is refused before it can go off, and a macro stays dead bytes.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from gradsheet.errors import InputError, WorkbookError

FILE_LIMIT = 100_000_000  # bytes; the file is held in memory, and 500,000 formulas take 6 MB
PART_LIMIT = 5_000  # a sheet has some five parts (charts, drawings, relations): 1,000 sheets are enough
EXPANDED_LIMIT = 150_000_000  # bytes, inflated in a second; 1,000,000 cells with formulas take 90 MB
CELL_LIMIT = 1_000_000  # twice what gradsheet itself agrees to write
# Deflate packs 1,000 bytes into one at best, and bombs come close to that. Real sheets reach 10, sheets
# of empty rows 40, of equal cells without addresses 300. Small parts cannot hurt, however well packed.
RATIO_LIMIT, RATIO_FREE = 400, 10_000_000
# Elements in elements. IronCalc recurses, and 100,000 overflow its stack, which ends the whole program.
DEPTH_LIMIT = 1_000

# Bytes; Excel takes 8,192 characters. The stack of an engine has to hold all brackets of a formula.
FORMULA_LIMIT = 32_768
_LONG_FORMULA = re.compile(rb"<(?:\w+:)?(?:f|formula[12]?|definedName)[ >][^<]{%d}" % FORMULA_LIMIT)

# Bytes that are inflated and looked at together. They stay in the processor's cache, and elements that
# both open and close inside them, where nothing counts their depth, cannot overflow a parser's stack.
_PIECE = 1 << 16
_AGAIN = "open it in a spreadsheet program and save it as .xlsx again"
_CLEAN = "do not open it, but ask its author for another copy"
_OTHER = "give a workbook saved as .xlsx or .xlsm"

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_STARTS = (  # what a file that is no zip begins with, and what it is then
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"<", "an HTML or XML document"),
)
_TYPES = (  # what the list of content types of a zip may name, and what the file is then
    (b"sheet.binary", "a binary workbook (.xlsb)"),
    (b"/word/", "a Word document"),
    (b"/ppt/", "a PowerPoint presentation"),
)
_WORKBOOK_TYPES = (  # of .xlsx and of .xlsm, of sheets and of templates
    b"spreadsheetml.sheet.main",
    b"spreadsheetml.template.main",
    b"sheet.macroEnabled.main",
    b"template.macroEnabled.main",
)


def check_package(path: Path) -> None:
    """Raise `InputError` or `WorkbookError` unless a file is an .xlsx or .xlsm workbook of sane size."""
    data = _read(path)
    try:
        _check(data)
    except WorkbookError as error:
        raise WorkbookError(f"{path}: {error}") from None


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder and cannot be read; give a file in it")
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is a device or a pipe and cannot be read; give a file")
        size = path.stat().st_size
        if size > FILE_LIMIT:
            raise WorkbookError(
                f"{path}: has {size:,} bytes, more than the {FILE_LIMIT:,} that are safe to open; "
                "give a smaller workbook"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the name") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _check(data: bytes) -> None:
    if not data.startswith(b"PK"):
        raise WorkbookError(_what_else(data))
    # Python's reader makes an object of every member, so they are counted before it sees them.
    if data.count(b"PK\1\2") > PART_LIMIT:
        raise WorkbookError(
            f"has more than {PART_LIMIT:,} parts, which no honest workbook has; {_CLEAN}"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            parts = sorted(package.infolist(), key=lambda part: part.header_offset)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error):
        raise _damaged("its table of contents is missing or broken") from None
    _check_directory(parts, len(data))
    _check_kind(data, {part.filename: part for part in parts})
    cells = 0
    for part in parts:
        cells += _check_part(part, _inflate(data, part))
        if cells > CELL_LIMIT:
            raise WorkbookError(
                f"has more than {CELL_LIMIT:,} cells, more than are safe; give a smaller workbook"
            )


def _what_else(data: bytes) -> str:
    """What a file is that is not even a zip."""
    if data.count(0) == len(data):  # of zeros alone: what a download leaves that never came
        return "is empty; copy or download it again"
    if data.startswith(_OLE):  # a file system in a file; its directory holds names in UTF-16
        if "EncryptedPackage".encode("utf-16-le") in data:
            return "is encrypted with a password; open it, take the password off and save it again"
        if any(name.encode("utf-16-le") in data for name in ("Workbook", "Book")):
            return f"is an old .xls workbook; {_AGAIN}"
        return f"is not an .xlsx workbook but an old Office document; {_OTHER}"
    head = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    kind = next((kind for start, kind in _STARTS if head.startswith(start)), None)
    if kind is None:
        kind = "another kind of file" if b"\0" in head else "plain text, such as a .csv file"
    return f"is not an .xlsx workbook but {kind}; {_OTHER}"


def _check_directory(parts: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse what the table of contents alone gives away."""
    names = [part.filename for part in parts]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _damaged(f"it holds {_quoted(twice)} twice")
    if any(part.flag_bits & 1 for part in parts):
        raise WorkbookError("is a zip with a password; take the password off and save it again")
    ends = [part.header_offset + 30 + part.compress_size for part in parts]
    starts = [*(part.header_offset for part in parts), size][1:]
    if any(end > start for end, start in zip(ends, starts, strict=True)):
        raise _damaged("its parts overlap")
    expanded = sum(part.file_size for part in parts)
    if expanded > EXPANDED_LIMIT:
        raise WorkbookError(
            f"expands to {expanded:,} bytes, more than the {EXPANDED_LIMIT:,} that are safe to open; "
            "give a smaller workbook"
        )
    for part in parts:
        if part.file_size > max(RATIO_FREE, RATIO_LIMIT * part.compress_size):
            raise WorkbookError(
                f"looks like a zip bomb: {_quoted(part.filename)} expands from {part.compress_size:,} "
                f"bytes to {part.file_size:,}; {_CLEAN}"
            )


def _check_kind(data: bytes, parts: dict[str, zipfile.ZipInfo]) -> None:
    """Refuse a zip that is no workbook. The workbook itself may stand anywhere in the package."""
    listed = parts.get("[Content_Types].xml")
    pieces = () if listed is None else islice(_inflate(data, listed), 32)  # 5,000 parts take 16
    types = b"".join(pieces).replace(b"\0", b"")
    if "xl/workbook.xml" in parts or any(name in types for name in _WORKBOOK_TYPES):
        return
    kind = next((kind for name, kind in _TYPES if name in types), "a zip file")
    if "mimetype" in parts and "content.xml" in parts:
        kind = "an OpenDocument file (such as .ods)"
    raise WorkbookError(f"is not an .xlsx workbook but {kind}; {_OTHER}")


def _inflate(data: bytes, part: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of a part in pieces, never more of it than the table of contents says.

    Python's own reader stops in silence where that size is reached; engines go on. Here a part that
    is larger is an error.
    """
    start = part.header_offset
    header = data[start : start + 30]
    if len(header) < 30 or not header.startswith(b"PK\3\4"):
        raise _damaged(f"{_quoted(part.filename)} is not where it should be")
    start += 30 + sum(struct.unpack("<HH", header[26:]))  # past the name and the extra field
    packed = memoryview(data)[start : start + part.compress_size]
    if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise WorkbookError(f"is packed in a way that no workbook is; {_AGAIN}")
    size = check = 0
    try:
        for piece in _unpacked(packed, part.compress_type):
            size += len(piece)
            if size > part.file_size:
                break
            check = zlib.crc32(piece, check)
            yield piece
    except zlib.error:
        size = -1
    if (size, check) != (part.file_size, part.CRC):
        raise _damaged(f"{_quoted(part.filename)} is not what its table of contents says")


def _unpacked(packed: memoryview, how: int) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for at in range(0, len(packed), _PIECE):
        rest = bytes(packed[at : at + _PIECE])
        if how == zipfile.ZIP_STORED:
            yield rest
            continue
        while piece := inflater.decompress(rest, _PIECE):
            yield piece
            rest = inflater.unconsumed_tail


def _check_part(part: zipfile.ZipInfo, pieces: Iterator[bytes]) -> int:
    """Read a part to its end; refuse XML that is dangerous to parse. Returns how many cells it has."""
    cells = depth = 0
    xml = None
    rest = b""
    for piece in pieces:
        text = rest + piece.replace(b"\0", b"")  # UTF-16 without its null bytes is ASCII
        if xml is None:
            # By content, for any part may be called anything. Only pictures (.svg) may declare a type.
            head = text.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
            xml = not part.filename.lower().endswith(".svg") and head[:1] in (b"", b"<")
        if not xml:
            continue
        # Up to the last tag, so that none is cut in two; unless that would keep more and more.
        cut = text.rfind(b"<")
        cut = len(text) if cut < 0 or len(text) - cut > _PIECE else cut
        text, rest = text[:cut], text[cut:]
        if _LONG_FORMULA.search(text):
            raise WorkbookError(
                f"has a formula of more than {FORMULA_LIMIT:,} bytes in {_quoted(part.filename)}, "
                "which no spreadsheet program writes; give another copy"
            )
        cells, depth = cells + _cells(text), depth + _depth(text, part.filename)
        if cells > CELL_LIMIT:
            break
        if depth > DEPTH_LIMIT:
            raise WorkbookError(
                f"looks like an XML bomb: {_quoted(part.filename)} nests {DEPTH_LIMIT:,} elements; "
                f"{_CLEAN}"
            )
    return cells


def _cells(text: bytes) -> int:
    """How many cells begin in a piece of a sheet; ``:c`` is a cell whose namespace has a name."""
    return text.count(b"<c ") + text.count(b":c ")


def _depth(text: bytes, name: str) -> int:
    """How many more elements a piece of XML opens than it closes; ``<?xml`` counts as one."""
    if b"<!DOCTYPE" in text:  # without one, no entity can be declared
        raise WorkbookError(
            f"looks like an XML bomb: {_quoted(name)} has a document type, which no workbook needs; "
            f"{_CLEAN}"
        )
    return text.count(b"<") - 2 * text.count(b"</") - text.count(b"/>")


def _damaged(why: str) -> WorkbookError:
    return WorkbookError(f"is damaged or cut off ({why}); copy or download it again")


def _quoted(name: str) -> str:
    """The name of a part, fit to print: it may be 65,535 characters of anything."""
    return repr(name if len(name) <= 60 else name[:60] + "…")
