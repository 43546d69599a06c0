"""Annotated copies of workbooks: what is coloured and listed, and that nothing else has changed."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import openpyxl
import pytest
import xlsxwriter
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from openpyxl.utils import get_column_letter
from openxml_audit import OpenXmlValidator

from gradsheet.check import annotate as module
from gradsheet.check.annotate import FILL, SHEET, annotate
from gradsheet.check.verdict import Finding, Verdict
from gradsheet.engines import ironcalc, libreoffice
from gradsheet.errors import InputError

SHEETS = ("Run 1", 'It\'s <é> & "2"')
WRONG = {"Run 1": {"C2", "C3", "C4", "E6"}, SHEETS[1]: {"B2"}}

_CHUNK = [
    b"IHDR" + struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0),
    b"IDAT" + zlib.compress(b"\0\0"),
    b"IEND",
]
PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in _CHUNK
)


def finding(sheet: str, cells: str, count: int, **changes: str) -> Finding:
    made = Finding(
        sheet, "dE/dw3", cells, count, "=A2*B2", "=A2*D2", "the wrong neuron's derivative", 0.1
    )
    return replace(made, **changes)


VERDICT = Verdict(
    "anna.xlsx",
    "wrong",
    findings=(finding("Run 1", "C2:C4, $E$6", 4), finding(SHEETS[1], "B2", 1, shown="", expected="0.5")),
    effects=("=The final loss is 0.2 instead of 0.1.",),
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two sheets with a chart, a picture, formats and shared strings; row 6 has no cell in column E."""
    path = tmp_path / "anna.xlsx"
    with xlsxwriter.Workbook(path) as book:
        percent = book.add_format(
            {"num_format": "0.00%", "bold": True, "bg_color": "#00FF00", "border": 1}
        )
        for name in SHEETS:
            sheet = book.add_worksheet(name)
            sheet.write_row(0, 0, ["a", "b", "product"])
            for row in range(1, 6):
                sheet.write_number(row, 0, row)
                sheet.write_number(row, 1, 0.5, percent)
                sheet.write_formula(row, 2, f"=A{row + 1}*B{row + 1}", percent if row % 2 else None)
            chart = book.add_chart({"type": "line"})
            chart.add_series({"values": [name, 1, 2, 5, 2]})
            sheet.insert_chart("F2", chart)
        (tmp_path / "one.png").write_bytes(PNG)
        sheet.insert_image("F20", str(tmp_path / "one.png"))
        sheet.write_blank("E7", None, percent)
        book.define_name("eta", "='Run 1'!$B$2")
    return path


def edited(path: Path, change: Callable[[str, str], str | bytes | None]) -> Path:
    """Change the parts of a package; None leaves a part out."""
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in parts.items():
            if name.endswith((".xml", ".rels")):
                changed = change(name, content.decode())
                if changed is None:
                    continue
                content = changed if isinstance(changed, bytes) else changed.encode()
            package.writestr(name, content)
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as package:
        return {name: package.read(name) for name in package.namelist()}


def coloured(path: Path) -> dict[str, set[str]]:
    book = openpyxl.load_workbook(path)
    found = {
        sheet.title: {
            c.coordinate for row in sheet.iter_rows() for c in row if c.fill.fgColor.rgb == FILL
        }
        for sheet in book
    }
    return {sheet: cells for sheet, cells in found.items() if cells}


def complaints(path: Path) -> list[str]:
    return sorted(str(error) for error in OpenXmlValidator().validate(str(path)).errors)


# ---------------------------------------------------------------- the copy


def test_exactly_the_wrong_cells_are_coloured(source, tmp_path):
    target = tmp_path / "out.xlsx"
    sentence = annotate(source, target, VERDICT)
    assert coloured(target) == WRONG
    assert sentence == (
        f"{target}: a copy of anna.xlsx; 5 of 5 wrong cells coloured, "
        "all findings listed on the new sheet 'gradsheet findings'"
    )


def test_a_coloured_cell_keeps_the_rest_of_its_format(source, tmp_path):
    annotate(source, tmp_path / "out.xlsx", VERDICT)
    for name in SHEETS:
        before = openpyxl.load_workbook(source)[name]
        after = openpyxl.load_workbook(tmp_path / "out.xlsx")[name]
        for row in before.iter_rows():
            for cell in row:
                copy = after[cell.coordinate]
                assert copy.value == cell.value
                assert copy.number_format == cell.number_format
                assert repr(copy.font) == repr(cell.font)  # openpyxl calls no two of them equal
                assert repr(copy.border) == repr(cell.border)
                assert repr(copy.alignment) == repr(cell.alignment)
                if cell.coordinate not in WRONG[name]:
                    assert repr(copy.fill) == repr(cell.fill)


def test_all_other_parts_are_the_same_bytes(source, tmp_path):
    annotate(source, tmp_path / "out.xlsx", VERDICT)
    before, after = members(source), members(tmp_path / "out.xlsx")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        "[Content_Types].xml", "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/styles.xml",
        "xl/worksheets/sheet1.xml", "xl/worksheets/sheet2.xml",
    }  # fmt: skip
    assert set(after) - set(before) == {"xl/worksheets/sheet3.xml"}
    assert {"xl/charts/chart1.xml", "xl/charts/chart2.xml", "xl/media/image1.png"} < set(before)


def test_a_sheet_without_findings_is_the_same_bytes(source, tmp_path):
    annotate(source, tmp_path / "out.xlsx", replace(VERDICT, findings=VERDICT.findings[:1]))
    before, after = members(source), members(tmp_path / "out.xlsx")
    assert before["xl/worksheets/sheet2.xml"] == after["xl/worksheets/sheet2.xml"]


def test_the_copy_opens_without_repair(source, tmp_path):
    annotate(source, tmp_path / "out.xlsx", VERDICT)
    assert complaints(source) == complaints(tmp_path / "out.xlsx") == []


def test_all_formulas_and_values_are_the_same(source, tmp_path):
    annotate(source, tmp_path / "out.xlsx", VERDICT)
    for read in (ironcalc.formulas, ironcalc.recalculate):
        before, after = read(source), read(tmp_path / "out.xlsx")
        assert {name: after[name] for name in before} == before
        assert list(after) == [*before, SHEET]


@pytest.mark.libreoffice
def test_libreoffice_opens_the_copy_with_its_charts(source, tmp_path):
    if libreoffice.find() is None:
        pytest.skip("LibreOffice is not installed")
    annotate(source, tmp_path / "out.xlsx", VERDICT)
    (tmp_path / "saved").mkdir()
    saved = libreoffice.convert(tmp_path / "out.xlsx", "xlsx", tmp_path / "saved")
    assert coloured(saved) == WRONG
    book = openpyxl.load_workbook(saved)
    assert [len(sheet._charts) for sheet in book] == [1, 1, 0]
    assert [len(sheet._images) for sheet in book] == [0, 1, 0]
    assert book[SHEET]["B5"].hyperlink.location.lstrip("#").replace("$", "") == "'Run 1'!C2:C4"


def test_a_correct_workbook_gets_the_sheet_and_no_colour(source, tmp_path):
    sentence = annotate(source, tmp_path / "out.xlsx", Verdict("anna.xlsx", "correct"))
    assert "0 of 0 wrong cells coloured" in sentence
    assert coloured(tmp_path / "out.xlsx") == {}
    assert openpyxl.load_workbook(tmp_path / "out.xlsx")[SHEET]["A2"].value.startswith("CORRECT")


def test_a_second_copy_gets_a_second_sheet(source, tmp_path):
    annotate(source, tmp_path / "one.xlsx", VERDICT)
    annotate(tmp_path / "one.xlsx", tmp_path / "two.xlsx", VERDICT)
    names = openpyxl.load_workbook(tmp_path / "two.xlsx").sheetnames
    assert names == [*SHEETS, "gradsheet findings", "gradsheet findings 2"]
    assert coloured(tmp_path / "two.xlsx") == WRONG
    assert complaints(tmp_path / "two.xlsx") == []


def test_macros_are_kept(source, tmp_path):
    macro = tmp_path / "vba.bin"
    macro.write_bytes(b"\xd0\xcf\x11\xe0 not to be run")
    with xlsxwriter.Workbook(tmp_path / "anna.xlsm") as book:
        book.add_worksheet("Run 1").write_row("A2", [1, 2, 3, 4])
        book.add_vba_project(str(macro))
    target = tmp_path / "out.xlsm"
    annotate(tmp_path / "anna.xlsm", target, replace(VERDICT, findings=VERDICT.findings[:1]))
    assert members(target)["xl/vbaProject.bin"] == macro.read_bytes()
    assert b"macroEnabled" in members(target)["[Content_Types].xml"]
    assert openpyxl.load_workbook(target).sheetnames == ["Run 1", SHEET]


def test_random_numbers_do_not_stand_in_the_way(tmp_path):
    with xlsxwriter.Workbook(tmp_path / "anna.xlsx") as book:
        sheet = book.add_worksheet("Run 1")
        for row in range(100):  # some of them draw the same number twice, and look steady
            sheet.write_formula(row, 2, "=RANDBETWEEN(1,2)")
    verdict = replace(VERDICT, findings=(finding("Run 1", "C2:C3", 2),))
    assert "2 of 2 wrong cells coloured" in annotate(
        tmp_path / "anna.xlsx", tmp_path / "out.xlsx", verdict
    )


# ---------------------------------------------------------------- the list


def test_the_list_says_what_was_found(source, tmp_path):
    annotate(source, tmp_path / "out.xlsx", VERDICT)
    sheet = openpyxl.load_workbook(tmp_path / "out.xlsx")[SHEET]
    rows = [[cell.value for cell in row if cell.value is not None] for row in sheet.iter_rows()]
    assert rows == [
        ["gradsheet check of anna.xlsx"],
        ["WRONG: 2 columns (5 cells)"],
        [],
        ["sheet", "cells", "quantity", "how many", "stands there", "belongs there", "error", "cause"],
        [
            "Run 1",
            "C2:C4, $E$6",
            "dE/dw3",
            4,
            "=A2*B2",
            "=A2*D2",
            "up to 10 %",
            VERDICT.findings[0].cause,
        ],
        [SHEETS[1], "B2", "dE/dw3", 1, "nothing", "0.5", "up to 10 %", VERDICT.findings[0].cause],
        [],
        ["=The final loss is 0.2 instead of 0.1."],
    ]


def test_the_list_links_to_the_cells(source, tmp_path):
    annotate(source, tmp_path / "out.xlsx", VERDICT)
    sheet = openpyxl.load_workbook(tmp_path / "out.xlsx")[SHEET]
    assert [sheet[cell].hyperlink.location for cell in ("B5", "B6")] == [
        "'Run 1'!C2:C4",
        "'It''s <é> & \"2\"'!B2",
    ]


@pytest.mark.parametrize("separate", [False, True])
def test_what_strangers_wrote_is_neither_formula_nor_link(source, tmp_path, separate):
    text = '=HYPERLINK("http://example.org","x")&<b>\x0b\ud800_x0041_ http://example.org'
    made = Finding("Run 1", text, "C2", 1, text, text, text, None)
    unknown = (finding("nowhere", "A1", 1),) if separate else ()
    verdict = Verdict(
        text, "wrong", findings=(made, replace(made, cells=text), *unknown), effects=(text,)
    )
    sentence = annotate(source, tmp_path / "out.xlsx", verdict)
    assert ("alone" in sentence) == separate
    assert not ironcalc.formulas(tmp_path / "out.xlsx")[SHEET]
    sheet = openpyxl.load_workbook(tmp_path / "out.xlsx")[SHEET]
    if not separate:
        assert b"_x005F_x0041_" in members(tmp_path / "out.xlsx")["xl/worksheets/sheet3.xml"]
    shown = text.replace("\x0b", " ").replace("\ud800", "\ufffd")
    assert {sheet[cell].data_type for cell in ("C5", "E5", "F5", "H5", "B6")} == {"s"}
    assert ironcalc.recalculate(tmp_path / "out.xlsx")[SHEET][4, 4].replace("_x005F_", "_") == shown
    assert [cell.coordinate for row in sheet.iter_rows() for cell in row if cell.hyperlink] == (
        ["B5", "B7"] if separate else ["B5"]
    )
    assert complaints(tmp_path / "out.xlsx") == []


def test_a_text_longer_than_a_cell_is_cut(source, tmp_path):
    verdict = replace(VERDICT, findings=(finding("Run 1", "C2", 1, cause="x" * 40_000),))
    annotate(source, tmp_path / "out.xlsx", verdict)
    assert len(openpyxl.load_workbook(tmp_path / "out.xlsx")[SHEET]["H5"].value) == 32_767


# ---------------------------------------------------------------- unusual ways to write XML


def prefixed(name: str, text: str) -> str:
    """Every element of the sheets, the styles and the list of sheets gets a prefix."""
    if not re.match(r"xl/(worksheets/sheet|workbook\.xml|styles)", name):
        return text
    text = re.sub(r"<(/?)(?=[a-zA-Z])(?![\w]+:)", r"<\1x:", text)
    return text.replace(" xmlns=", " xmlns:x=")


def single_quoted(name: str, text: str) -> str:
    return re.sub(r'="([^"\']*)"', r" = '\1' ", text) if name.startswith("xl/") else text


def commented(name: str, text: str) -> str:
    if not name.startswith("xl/worksheets/sheet"):
        return text
    return text.replace("<c ", '<!-- <c r="C2" s="9"/> --><c ')


def uncounted(name: str, text: str) -> str:
    """Rows without their numbers follow one another."""
    return re.sub('<row r="[0-9]+"', "<row", text) if name.startswith("xl/worksheets/sheet") else text


def elsewhere(name: str, text: str) -> str:
    """Targets of relations counted from the root; byte order mark."""
    if name == "xl/_rels/workbook.xml.rels":
        text = text.replace('Target="', 'Target="/xl/')
    return "\ufeff" + text if name.startswith("xl/worksheets/sheet") else text


@pytest.mark.parametrize("spelling", [prefixed, single_quoted, commented, uncounted, elsewhere])
def test_every_spelling_of_xml_can_be_annotated(source, tmp_path, spelling):
    edited(source, spelling)
    target = tmp_path / "out.xlsx"
    assert "5 of 5 wrong cells coloured" in annotate(source, target, VERDICT)
    assert list(ironcalc.recalculate(target)) == [*SHEETS, SHEET]
    assert complaints(target) == complaints(source)
    # openpyxl does not know all of them: the file is brought back to the ordinary spelling.
    if spelling is prefixed:
        edited(target, lambda _, text: re.sub(r"<(/?)x:", r"<\1", text).replace(" xmlns:x=", " xmlns="))
    assert coloured(target) == WRONG


def test_a_row_that_is_not_there_is_left_out(source, tmp_path):
    verdict = replace(VERDICT, findings=(finding("Run 1", "C2,C90", 2),))
    assert "1 of 2 wrong cells coloured" in annotate(source, tmp_path / "out.xlsx", verdict)
    assert coloured(tmp_path / "out.xlsx") == {"Run 1": {"C2"}}


def test_added_cells_stand_in_the_order_of_their_columns(source, tmp_path):
    edited(source, lambda _, text: re.sub('<c r="B3".*?</c>', "", text))
    verdict = replace(VERDICT, findings=(finding("Run 1", "B3,D3,C3", 3),))
    annotate(source, tmp_path / "out.xlsx", verdict)
    sheet = members(tmp_path / "out.xlsx")["xl/worksheets/sheet1.xml"].decode()
    assert re.findall('<c r="([A-Z])3"', sheet) == ["A", "B", "C", "D"]  # Excel repairs any other


def test_the_lists_of_the_package_count_and_name_what_was_added(source, tmp_path):
    annotate(source, tmp_path / "out.xlsx", VERDICT)
    parts = members(tmp_path / "out.xlsx")
    styles = parts["xl/styles.xml"].decode()
    for name, child in (("fonts", "font"), ("fills", "fill"), ("cellXfs", "xf")):
        count, content = re.search(rf'<{name} count="(\d+)"[^>]*>(.*?)</{name}>', styles, re.S).groups()
        assert int(count) == len(re.findall(rf"<{child}[ >]", content))
    types = parts["[Content_Types].xml"].decode()
    kinds = re.findall(r'PartName="/xl/worksheets/sheet\d.xml" ContentType="([^"]+)"', types)
    assert len(kinds) == 3
    assert len(set(kinds)) == 1


@settings(
    max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)  # a file each: no shrinking
@given(
    there=st.sets(st.tuples(st.integers(1, 8), st.integers(1, 30)), min_size=1),
    wrong=st.sets(st.tuples(st.integers(1, 8), st.integers(1, 30)), min_size=1),
    spelling=st.sampled_from([lambda _, text: text, single_quoted, commented]),
)
def test_any_cells_of_any_rows_can_be_wrong(tmp_path_factory, there, wrong, spelling):
    folder = tmp_path_factory.mktemp("any")
    with xlsxwriter.Workbook(folder / "a.xlsx") as book:
        sheet = book.add_worksheet("S")
        styles = [None, *(book.add_format({"num_format": "0." + "0" * n}) for n in range(1, 4))]
        sheet.write_string("AZ50", "openxml-audit wants a workbook of inline strings to have others too")
        for row, column in there:
            sheet.write_formula(row - 1, column - 1, f"={row}+{column}", styles[(row + column) % 4])
    edited(folder / "a.xlsx", spelling)
    names = {cell: f"{get_column_letter(cell[1])}{cell[0]}" for cell in there | wrong}
    cells = ",".join(names[cell] for cell in wrong)
    verdict = replace(VERDICT, findings=(finding("S", cells, len(wrong)),))
    annotate(folder / "a.xlsx", folder / "b.xlsx", verdict)
    rows = {row for row, _ in there}
    expected = {names[cell] for cell in wrong if cell[0] in rows}
    assert coloured(folder / "b.xlsx") == ({"S": expected} if expected else {})
    sheet = openpyxl.load_workbook(folder / "b.xlsx")["S"]
    for row, column in there:
        cell = sheet.cell(row, column)
        assert cell.value == f"={row}+{column}"
        assert cell.number_format == ("General", "0.0", "0.00", "0.000")[(row + column) % 4]
    assert complaints(folder / "a.xlsx") == complaints(folder / "b.xlsx")


# ---------------------------------------------------------------- where it cannot be done


def utf16(name: str, text: str) -> str | bytes:
    return text.encode("utf-16") if name == "[Content_Types].xml" else text


def strict(name: str, text: str) -> str:
    """The other kind of OOXML, with namespaces of its own: IronCalc does not know it."""
    head = "http://schemas.openxmlformats.org/"
    text = text.replace(
        f"{head}spreadsheetml/2006/main", "http://purl.oclc.org/ooxml/spreadsheetml/main"
    )
    return text.replace(
        f"{head}officeDocument/2006/relationships",
        "http://purl.oclc.org/ooxml/officeDocument/relationships",
    )


def no_such_style(name: str, text: str) -> str:
    return re.sub(r'(<c r="C2") s="\d+"', r'\1 s="99"', text)


def strange_style(name: str, text: str) -> str:
    return text.replace(' s="1"', ' s="one"', 1) if name.startswith("xl/worksheets/sheet") else text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (utf16, "[Content_Types].xml is not written in UTF-8"),
        (strict, "IronCalc cannot use it"),
        (strange_style, "invalid literal"),
        (no_such_style, "a cell has the style 99, which there is not"),
    ],
)
def test_an_unusual_package_gets_a_workbook_of_the_findings_alone(source, tmp_path, change, why):
    edited(source, change)
    target = tmp_path / "out.xlsx"
    sentence = annotate(source, target, VERDICT)
    assert sentence.startswith(f"{target}: a workbook of the findings alone")
    assert why in sentence
    book = openpyxl.load_workbook(target)
    assert book.sheetnames == [SHEET]
    assert book[SHEET]["E5"].value == "=A2*B2"
    assert book[SHEET]["E5"].data_type == "s"
    assert book[SHEET]["B5"].hyperlink.target == "anna.xlsx"
    assert book[SHEET]["B5"].hyperlink.location == "'Run 1'!C2:C4"
    assert complaints(target) == []


def test_a_signed_workbook_is_not_changed(source, tmp_path):
    with zipfile.ZipFile(source, "a") as package:
        package.writestr("_xmlsignatures/sig1.xml", "<Signature/>")
    assert "it is signed" in annotate(source, tmp_path / "out.xlsx", VERDICT)


def test_a_finding_on_an_unknown_sheet_is_not_guessed(source, tmp_path):
    verdict = replace(VERDICT, findings=(finding("Run 3", "C2", 1),))
    assert "it has no sheet 'Run 3'" in annotate(source, tmp_path / "out.xlsx", verdict)


def test_an_enormous_area_is_not_coloured(source, tmp_path):
    verdict = replace(VERDICT, findings=(finding("Run 1", "A1:XFD1048576", 1),))
    assert "A1:XFD1048576 is too large" in annotate(source, tmp_path / "out.xlsx", verdict)


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("A2*B2", "A2+B2", "its formulas would change"),
        ("<v>3</v>", "<v>4</v>", "its values would change"),
    ],
)
def test_a_copy_that_is_not_the_same_workbook_is_thrown_away(
    source, tmp_path, monkeypatch, old, new, why, random
):
    if random:
        edited(source, lambda _, text: text.replace("A6*B6", "RAND()"))
    write = module._write_copy

    def damaging(source: Path, target: Path, verdict: Verdict) -> tuple[str, int, int]:
        written = write(source, target, verdict)
        edited(target, lambda name, text: text.replace(old, new) if "sheet1.xml" in name else text)
        return written

    monkeypatch.setattr(module, "_write_copy", damaging)
    assert why in annotate(source, tmp_path / "out.xlsx", VERDICT)
    assert openpyxl.load_workbook(tmp_path / "out.xlsx").sheetnames == [SHEET]


@pytest.mark.parametrize("name", ["a# b%20é.xlsx", "mailto:x.xlsx", "#x!A1.xlsx", "a&<b>'.xlsx"])
def test_the_name_of_a_file_is_never_taken_for_a_link(source, tmp_path, name):
    source = source.rename(tmp_path / name)
    (tmp_path / "sub").mkdir()
    target = tmp_path / "sub" / "out.xlsx"
    annotate(source, target, replace(VERDICT, findings=(finding("Run 3", "C2", 1),)))
    link = openpyxl.load_workbook(target)[SHEET]["B5"].hyperlink
    assert re.fullmatch(r"\.\.[\\/][^:#]+", link.target)
    assert link.location == "'Run 3'!C2"
    assert complaints(target) == []


def test_the_findings_alone_of_a_workbook_with_macros_can_be_opened(source, tmp_path):
    source = source.rename(tmp_path / "anna.xlsm")
    verdict = replace(VERDICT, findings=(finding("Run 3", "C2", 1),))
    annotate(source, tmp_path / "out.xlsm", verdict)
    # Excel refuses a file whose suffix and content type differ.
    assert (
        b"application/vnd.ms-excel.sheet.macroEnabled.main+xml"
        in members(tmp_path / "out.xlsm")["[Content_Types].xml"]
    )
    assert openpyxl.load_workbook(tmp_path / "out.xlsm").sheetnames == [SHEET]


# ---------------------------------------------------------------- mistakes of the user


def test_the_copy_must_have_the_suffix_of_the_workbook(source, tmp_path):
    with pytest.raises(InputError, match=r"a copy of a \.xlsx workbook .* call it out\.xlsx"):
        annotate(source, tmp_path / "out.xlsm", VERDICT)


def test_a_workbook_is_never_overwritten_with_its_copy(source, tmp_path):
    before = source.read_bytes()
    (tmp_path / "sub").mkdir()
    with pytest.raises(InputError, match="is the workbook itself"):
        annotate(source, tmp_path / "sub" / ".." / "anna.xlsx", VERDICT)
    assert source.read_bytes() == before


def test_a_workbook_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        annotate(tmp_path / "none.xlsx", tmp_path / "out.xlsx", VERDICT)
    assert list(tmp_path.iterdir()) == []
