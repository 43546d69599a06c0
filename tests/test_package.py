"""The guard before every workbook: honest files pass, all others are refused at once in one sentence."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import openpyxl
import pytest
import xlsxwriter
from click.testing import CliRunner

from gradsheet.backends.workbook_layout import FORMULAS_REFUSE
from gradsheet.cli import main
from gradsheet.engines import ironcalc, libreoffice, package
from gradsheet.engines.package import check_package
from gradsheet.errors import InputError, WorkbookError

SHEET = "xl/worksheets/sheet1.xml"
TYPES = "[Content_Types].xml"
needs_libreoffice = pytest.mark.skipif(libreoffice.find() is None, reason="LibreOffice is not installed")


def written() -> dict[str, bytes]:
    """The parts of an honest workbook."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        sheet = book.add_worksheet("Network")
        sheet.write_number("A1", 20)
        sheet.write_formula("B1", "=A1+1", None, 777)
    with zipfile.ZipFile(file) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


BOOK = written()


def zipped(parts: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as target:
        for name, content in parts.items():
            target.writestr(name, content)
    return file.getvalue()


def with_part(content: bytes, name: str = SHEET) -> bytes:
    return zipped({**BOOK, name: content})


def with_cells(cells: bytes) -> bytes:
    return with_part(re.sub(b"<sheetData>.*</sheetData>", lambda _: b"<sheetData>" + cells, BOOK[SHEET]))


def zipped_by_hand(*members: tuple[str, bytes, int, int]) -> bytes:
    """A zip that may lie: names, deflated contents, the sizes and checksums that it claims for them."""
    files, directory = b"", b""
    for name, packed, size, checksum in members:
        claims = struct.pack("<5H3L2H", 20, 0, 8, 0, 0, checksum, len(packed), size, len(name), 0)
        directory += b"PK\1\2" + struct.pack("<H", 20) + claims
        directory += struct.pack("<3H2L", 0, 0, 0, 0, len(files)) + name.encode()
        files += b"PK\3\4" + claims + name.encode() + packed
    count = len(members)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(files), 0)
    return files + directory + end


def deflated(content: bytes) -> tuple[bytes, int, int]:
    return zlib.compress(content, wbits=-15), len(content), zlib.crc32(content)


def deflated_zeros(megabytes: int) -> bytes:
    """As many zeros as one likes, made at once: a deflated block that ends with a full flush repeats."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * megabytes + b"\3\0"


def understated(megabytes: int) -> bytes:
    """A bomb that claims to be small, with the checksum of what a reader sees that believes it."""
    bomb = (SHEET, deflated_zeros(megabytes), 1000, zlib.crc32(bytes(1000)))
    return zipped_by_hand(("xl/workbook.xml", *deflated(b"<workbook/>")), bomb)


def overlapping() -> bytes:
    """Two members whose directory entries point at the same bytes."""
    data = bytearray(
        zipped_by_hand((SHEET, *deflated(b"<a/>")), ("xl/workbook.xml", *deflated(b"<a/>")))
    )
    second = data.rindex(b"PK\1\2")
    data[second + 42 : second + 46] = bytes(4)
    return bytes(data)


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def ole(*streams: str) -> bytes:
    names = b"".join(name.encode("utf-16-le").ljust(128, b"\0") for name in ("Root Entry", *streams))
    return package._OLE + bytes(1016) + names + bytes(512)


def types(name: str) -> bytes:
    return f'<Types><Override PartName="{name}" ContentType="x"/></Types>'.encode()


LAUGHS = b'<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><worksheet>&b;</worksheet>'
EXCEL_2003 = b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"/>'
GOOD = zipped(BOOK)

NO_WORKBOOKS = {
    "nothing": (b"", "is empty; copy or download it again"),
    "zeros": (bytes(5000), "is empty"),
    "csv": (b"w1,w2\n0.15,0.2\n", r"is not an \.xlsx workbook but plain text, such as a \.csv file"),
    "pdf": (b"%PDF-1.7\n\0", "but a PDF document"),
    "html": (b"\xef\xbb\xbf\n <html><table/></html>", "but an HTML or XML document"),
    "xml of Excel 2003": (EXCEL_2003, "but an HTML or XML document"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0", "but a picture"),
    "program": (b"\x7fELF\0\0", "but another kind of file"),
    "zip": (zipped({"a.txt": b"a"}), "but a zip file"),
    "empty zip": (zipped({}), "but a zip file"),
    "docx": (zipped({TYPES: types("/word/document.xml")}), "but a Word document"),
    "pptx": (zipped({TYPES: types("/ppt/presentation.xml")}), "but a PowerPoint presentation"),
    "xlsb": (
        zipped({TYPES: b'<Override ContentType="vnd.ms-excel.sheet.binary.macroEnabled.main"/>'}),
        r"but a binary workbook \(\.xlsb\)",
    ),
    "ods": (zipped({"mimetype": b"", "content.xml": b""}), r"but an OpenDocument file \(such as"),
    "xls": (ole("Workbook"), r"is an old \.xls workbook; open it in a spreadsheet program and save"),
    "xls of Excel 95": (ole("Book"), r"is an old \.xls workbook"),
    "doc": (ole("WordDocument"), "but an old Office document"),
    "encrypted": (ole("EncryptionInfo", "EncryptedPackage"), "is encrypted with a password; open it"),
}
DAMAGED = {
    "cut at the end": (GOOD[:-30], r"is damaged or cut off \(its table of contents is missing"),
    "cut in the middle": (GOOD[: len(GOOD) // 2], "is damaged or cut off"),
    "cut out of the middle": (GOOD[:900] + GOOD[1100:], "is damaged or cut off"),
    "flipped bit": (damaged(GOOD, GOOD.index(b"sheet1.xml") + 60), "sheet1.xml' is not what its table"),
    "wrong checksum": (
        zipped_by_hand(("xl/workbook.xml", deflated(b"<a/>")[0], 4, 99)),
        "'xl/workbook.xml' is not what its table of contents says",
    ),
    "broken header": (damaged(GOOD, GOOD.rindex(b"PK\3\4")), "is not where it should be"),
    "strange packing": (zipped(BOOK, zipfile.ZIP_LZMA), "is packed in a way that no workbook is"),
    "password": (
        re.sub(rb"(?s)(PK\x01\x02.{4})\x00", b"\\1\x01", GOOD),
        "is a zip with a password; take the password off",
    ),
    "same name twice": (
        zipped({**BOOK, "xl/theme/THEMES.xml": b"<a/>"}).replace(b"THEMES.xml", b"theme1.xml"),
        "holds 'xl/theme/theme1.xml' twice",
    ),
}
BOMBS = {
    "parts": (zipped({f"{k}": b"" for k in range(package.PART_LIMIT + 1)}), "has more than 5,000 parts"),
    "4 GB of zeros": (
        zipped_by_hand((SHEET, deflated_zeros(4000), 4000 << 20, 0)),
        "expands to 4,194,304,000 bytes, more than the 150,000,000",
    ),
    "packed too well": (
        zipped_by_hand((SHEET, deflated_zeros(100), 100 << 20, 0)),
        "looks like a zip bomb: 'xl/worksheets/sheet1.xml' expands from .* to 104,857,600",
    ),
    "understated": (understated(4000), "sheet1.xml' is not what its table of contents says"),
    "overlapping": (overlapping(), "its parts overlap"),
    "entities": (with_part(LAUGHS), "looks like an XML bomb: '.*sheet1.xml' has a document type"),
    "entities in any part": (with_part(LAUGHS, "xl/sharedStrings.dat"), "has a document type"),
    "entities in UTF-16": (
        with_part(('<?xml version="1.0" encoding="UTF-16"?>' + LAUGHS.decode()).encode("utf-16")),
        "has a document type",
    ),
    "entities in UTF-16-BE": (with_part(LAUGHS.decode().encode("utf-16-be")), "has a document type"),
    "entities after spaces": (with_part(b" " * 200_000 + LAUGHS), "has a document type"),
    "nesting": (with_cells(b"<a>" * 1_000_000), "looks like an XML bomb: .* nests 1,000 elements"),
    "cells": (with_cells(b"<c />" * 1_000_001), "has more than 1,000,000 cells, .*; give a smaller"),
    "cells with a prefix": (with_cells(b"<x:c />" * 1_000_001), "has more than 1,000,000 cells"),
    "a formula of 5 MB": (
        with_cells(b'<c r="A1"><f>' + b"(" * 5_000_000 + b"</f></c>"),
        "has a formula of more than 32,768 bytes in 'xl/worksheets/sheet1.xml'",
    ),
    "a formula between two pieces": (
        with_cells(b" " * 50_000 + b'<c r="A1"><x:f t="array">' + b"(" * 33_000 + b"</x:f></c>"),
        "has a formula of more than 32,768 bytes",
    ),
    "a name of 33 kB": (
        with_part(b"<definedName name='n'>" + b"-" * 33_000 + b"</definedName>", "xl/names"),
        "has a formula of more than 32,768 bytes in 'xl/names'",
    ),
    "cells of two sheets": (
        zipped({**BOOK, "a": b"<a>" + b"<c />" * 600_000, "b": b"<a>" + b"<c />" * 600_000}),
        "has more than 1,000,000 cells",
    ),
}
BAD = {**NO_WORKBOOKS, **DAMAGED, **BOMBS}


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "given.xlsx"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path, kind):
    data, message = BAD[kind]
    path = saved(tmp_path, data)
    with pytest.raises(WorkbookError, match=message) as caught:
        check_package(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    assert re.search(r"; (copy|give|open|take|do not open|save) ", sentence), (
        "it does not say what to do"
    )


@pytest.mark.parametrize("kind", BAD)
def test_verify_ends_with_code_2_for_a_bad_file(tmp_path, kind):
    pytest.importorskip("torch")
    data, message = BAD[kind]
    result = CliRunner().invoke(main, ["verify", str(saved(tmp_path, data))])
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert re.match(rf"Error: .*given\.xlsx: .*{message}", result.output)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.xlsx: there is no such file; check the name"):
        check_package(tmp_path / "none.xlsx")
    with pytest.raises(InputError, match="is a folder and cannot be read; give a file in it"):
        check_package(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read \(File name too long\)"):
        check_package(tmp_path / ("x" * 5000))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is a device or a pipe"):
        check_package(tmp_path / "pipe")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with open(tmp_path / "large.xlsx", "wb") as file:
        file.truncate(10**12)  # 1 TB on paper, nothing on disk
    with pytest.raises(WorkbookError, match="has 1,000,000,000,000 bytes, more than the 100,000,000"):
        check_package(tmp_path / "large.xlsx")


@pytest.mark.parametrize("shift", range(12))
def test_no_document_type_hides_between_two_pieces(tmp_path, shift):
    comment = b"<!--".ljust(package._PIECE - 3 - shift, b"-") + b"-->"
    with pytest.raises(WorkbookError, match="has a document type"):
        check_package(saved(tmp_path, with_part(comment + LAUGHS)))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak so")
def test_the_worst_files_cost_two_seconds_and_300_megabytes_at_most(tmp_path):
    paths = []
    for number, (data, _) in enumerate(BOMBS.values()):
        paths.append(tmp_path / f"{number}.xlsx")
        paths[-1].write_bytes(data)
    code = (
        "import re, sys, time\n"
        "from pathlib import Path\n"
        "from gradsheet.engines import ironcalc\n"
        "from gradsheet.errors import WorkbookError\n"
        "slowest = 0\n"
        "for path in sys.argv[1:]:\n"
        "    start = time.monotonic()\n"
        "    try:\n"
        "        ironcalc.recalculate(Path(path))\n"
        "        sys.exit(f'{path} was opened')\n"
        "    except WorkbookError:\n"
        "        slowest = max(slowest, time.monotonic() - start)\n"
        # not ru_maxrss, which remembers the peak of the process that started this one
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())\n"
        "print(slowest, peak[1])"
    )
    command = [sys.executable, "-c", code, *map(str, paths)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    seconds, kilobytes = map(float, run.stdout.split())
    assert seconds < 3 * 2  # slack: the machine may be busy
    assert kilobytes * 1024 < 100e6  # the rest is for what else a program has loaded


# ---------------------------------------------------------------- honest files


@pytest.mark.parametrize(
    "formula",
    ["(" * 16_000 + "1" + ")" * 16_000, "1" + "^1" * 16_000, "-" * 32_000 + "1", "1" + "%" * 32_000],
    ids=["brackets", "powers", "signs", "percents"],
)
def test_the_longest_formulas_overflow_no_stack(tmp_path, formula):
    path = tmp_path / "deep.xlsx"
    with xlsxwriter.Workbook(path) as book:
        book.add_worksheet("Sheet").write_formula("A1", f"={formula}")
    code = "import sys; from pathlib import Path; from gradsheet.engines import ironcalc\n"
    code += "print(ironcalc.recalculate(Path(sys.argv[1]))['Sheet'][0, 0])"
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, "it ended the program"
    assert float(run.stdout) in (0.0, 1.0)


def prefixed(content: bytes) -> bytes:
    """The same XML with a name for its namespace, as some programs write it."""
    content = re.sub(rb"<(/?)(\w)", rb"<\1x:\2", content)
    return content.replace(b'xmlns="http', b'xmlns:x="http')


def test_what_other_programs_write_is_accepted(tmp_path):
    openpyxl.Workbook().save(tmp_path / "openpyxl.xlsx")
    check_package(tmp_path / "openpyxl.xlsx")
    check_package(saved(tmp_path, GOOD))
    check_package(saved(tmp_path, zipped(BOOK, zipfile.ZIP_STORED)))


def test_namespaces_with_names_are_accepted(tmp_path):
    named = ("xl/workbook.xml", "xl/styles.xml", SHEET)
    parts = {name: prefixed(data) if name in named else data for name, data in BOOK.items()}
    assert b"<x:c r=" in parts[SHEET]
    assert ironcalc.recalculate(saved(tmp_path, zipped(parts))) == {"Network": {(0, 0): 20, (0, 1): 21}}


@pytest.mark.parametrize(
    "content_type",
    [
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.template.main+xml",
        "application/vnd.ms-excel.sheet.macroEnabled.main+xml",
        "application/vnd.ms-excel.template.macroEnabled.main+xml",
    ],
)
def test_the_workbook_may_stand_anywhere_in_the_package(tmp_path, content_type):
    listed = f'<Types><Override PartName="/book.xml" ContentType="{content_type}"/></Types>'
    for encoding in ("utf-8", "utf-16"):
        check_package(saved(tmp_path, zipped({TYPES: listed.encode(encoding), "book.xml": b"<a/>"})))


def test_macros_and_pictures_are_bytes_that_nobody_looks_into(tmp_path):
    extra = {"xl/vbaProject.bin": package._OLE + LAUGHS, "xl/media/image1.svg": LAUGHS}
    assert ironcalc.recalculate(saved(tmp_path, zipped({**BOOK, **extra})))["Network"][0, 1] == 21


def test_as_many_formulas_as_gradsheet_itself_writes_are_accepted(tmp_path):
    rows = (
        f'<row r="{row}">'
        + "".join(
            f'<c r="{column}{row}" s="3"><f>A{row}-learning_rate*B{row}</f><v>{row / 7}</v></c>'
            for column in "ABCDEFGHIJ"
        )
        + "</row>"
        for row in range(1, FORMULAS_REFUSE // 10 + 1)
    )
    cells = "".join(rows).encode()
    assert cells.count(b"<f>") == FORMULAS_REFUSE
    check_package(saved(tmp_path, with_cells(cells + b"</sheetData></worksheet>")))


@needs_libreoffice
@pytest.mark.libreoffice
def test_libreoffice_s_files_are_told_apart(tmp_path):
    path = saved(tmp_path, GOOD)
    (tmp_path / "out").mkdir()
    check_package(libreoffice.convert(path, "xlsx", tmp_path / "out"))
    with pytest.raises(WorkbookError, match=r"is an old \.xls workbook"):
        check_package(libreoffice.convert(path, "xls", tmp_path / "out"))
    with pytest.raises(WorkbookError, match=r"is not an \.xlsx workbook but an OpenDocument file"):
        check_package(libreoffice.convert(path, "ods", tmp_path / "out"))


# ---------------------------------------------------------------- what passes the guard and is damaged


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (SHEET, BOOK[SHEET][: len(BOOK[SHEET]) // 2], "XML Error: .*"),
        (SHEET, BOOK[SHEET].replace(b'"B1"', b'"B%s"' % (b"9" * 9000)), "XML Error: Invalid cell.*"),
        ("xl/styles.xml", b"<styleSheet/>", "index out of bounds.*"),  # a panic of its Rust code
        ("xl/_rels/workbook.xml.rels", b"<Relationships/>", "no entry found for key"),  # another
    ],
)
@pytest.mark.parametrize("read", [ironcalc.recalculate, ironcalc.formulas])
def test_damaged_xml_is_one_sentence_and_nothing_else_is_printed(
    tmp_path, capfd, read, name, content, message
):
    path = saved(tmp_path, with_part(content, name))
    with pytest.raises(
        WorkbookError, match=rf"IronCalc cannot use it \({message}\); save it as"
    ) as caught:
        read(path)
    assert len(str(caught.value)) < len(str(path)) + 300
    os.write(2, b"stderr works as before")
    assert capfd.readouterr().err == "stderr works as before"


def test_nothing_is_printed_for_a_feature_that_the_engine_does_not_know(tmp_path, capfd):
    styles = BOOK["xl/styles.xml"].replace(b"<font>", b'<font><vertAlign val="superscript"/>', 1)
    assert b"vertAlign" in styles
    ironcalc.recalculate(saved(tmp_path, with_part(styles, "xl/styles.xml")))
    os.write(1, b"stdout works as before")
    assert capfd.readouterr().out == "stdout works as before"
