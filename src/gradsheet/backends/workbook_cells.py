"""The cells of a workbook: how they look, and how text, inputs and formulas are put into them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from xlsxwriter.format import Format
from xlsxwriter.utility import xl_rowcol_to_cell_fast
from xlsxwriter.worksheet import CellFormulaTuple, Worksheet

from gradsheet.backends.workbook_layout import cell

GROUPS: Mapping[str, tuple[str, str, str]] = {  # name, colour of the header, colour of the cells
    "dealt": ("dealt samples", "#1B4B72", "#EDF3F8"),
    "data": ("data", "#1F5F99", "#E3EEF8"),
    "parameter": ("weights", "#3F6B27", "#E8F2E1"),
    "forward": ("forward pass", "#8A6300", "#FFF6DC"),
    "loss": ("loss", "#A8460F", "#FCE9DD"),
    "smoothed": ("smoothed loss", "#7A4A00", "#FBF0E6"),
    "gradient": ("gradients", "#62308E", "#EFE6F6"),
    "delta": ("shared δ", "#4A4A4A", "#EEEEEE"),
    "state": ("optimizer", "#0F6B6B", "#DFF1F1"),
    "rate": ("learning rate", "#7A1F5C", "#F6E3EF"),
}
CURVES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A6300")
INPUT = {"bg_color": "#FFFF99", "font_color": "#0000CC", "border": 1, "border_color": "#B0A000"}
TO_FILL_IN = {"bg_color": "#FFFDE6", "border": 3, "border_color": "#C0392B"}


class Styles:
    """The workbook's cell formats, each made once."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._made: dict[tuple[tuple[str, Any], ...], Format] = {}

    def __call__(self, **properties: Any) -> Format:
        key = tuple(sorted(properties.items()))
        if key not in self._made:
            self._made[key] = self._book.add_format(properties)
        return self._made[key]

    def number(self, role: str, look: Mapping[str, Any] | None = None) -> Format:
        """A number of a group: more decimals where the numbers are small by nature."""
        if role == "dealt":
            return self(num_format="0", align="center", **(look or {"bg_color": GROUPS[role][2]}))
        decimals = 8 if role in ("gradient", "delta", "loss", "smoothed", "state") else 6
        return self(num_format="0." + "0" * decimals, **(look or {"bg_color": GROUPS[role][2]}))

    def header(self, role: str) -> Format:
        return self(
            bold=True, font_color="#FFFFFF", bg_color=GROUPS[role][1], align="center", valign="vcenter"
        )

    def words(self, role: str) -> Format:
        return self(
            font_size=8, font_color=GROUPS[role][1], text_wrap=True, align="center", valign="bottom"
        )

    @property
    def title(self) -> Format:
        return self(bold=True, font_size=16)

    @property
    def heading(self) -> Format:
        return self(bold=True, font_size=12, font_color="#1F5F99")

    @property
    def label(self) -> Format:
        return self(bold=True)

    @property
    def note(self) -> Format:
        """An explanation on a line of its own."""
        return self(italic=True, font_color="#595959")

    @property
    def hint(self) -> Format:
        """An explanation to the right of a number."""
        return self(italic=True, font_color="#595959", indent=1)


class PlainWorksheet(Worksheet):  # type: ignore[misc]
    """A worksheet that takes a formula as it is.

    XlsxWriter looks through every formula for about 140 newer functions that need a prefix in the
    file, for dynamic arrays and for characters to escape; we use none of the first two, and the searches
    take four fifths of the time.
    """

    def write_formula(
        self, row: int, col: int, formula: str, cell_format: Format | None = None, value: Any = 0
    ) -> int:
        self._check_dimensions(row, col)
        self.table[row][col] = CellFormulaTuple(formula.removeprefix("="), cell_format, value)
        return 0

    def _write_cell(self, row: int, col: int, cell: Any) -> None:
        if type(cell) is not CellFormulaTuple or type(cell.value) is not float or not cell.format:
            super()._write_cell(row, col, cell)
            return
        formula = cell.formula
        if "<" in formula or ">" in formula or "&" in formula:
            formula = escape(formula)
        place, style = xl_rowcol_to_cell_fast(row, col), cell.format._get_xf_index()
        self.fh.write(f'<c r="{place}" s="{style}"><f>{formula}</f><v>{cell.value}</v></c>')


class Sheet:
    """One worksheet: puts text, inputs and formulas with their values into cells counted from 0."""

    def __init__(self, book: Any, name: str, styles: Styles) -> None:
        self.name = name
        self.styles = styles
        self.xlsx = book.add_worksheet(name, PlainWorksheet)
        self.xlsx.hide_gridlines(2)

    def text(self, row: int, column: int, text: str, style: Format | None = None) -> None:
        self.xlsx.write_string(row, column, text, style)

    def texts(self, row: int, column: int, lines: Iterable[str], style: Format | None = None) -> int:
        """Write lines under each other; return the row after the last one."""
        for row, line in enumerate(lines, row):  # noqa: B020
            self.text(row, column, line, style)
        return row + 1

    def number(self, row: int, column: int, value: float, style: Format | None = None) -> None:
        self.xlsx.write_number(row, column, value, style)

    def formula(
        self, row: int, column: int, formula: str, value: float | str, style: Format | None = None
    ) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            value = "#NUM!"  # what a sheet shows; "nan" in the file would be taken as damage
        self.xlsx.write_formula(row, column, formula, style, value)

    def to_fill_in(self, row: int, column: int, role: str) -> None:
        """An empty cell, made ready for the number that a student's formula will give."""
        self.xlsx.write_blank(row, column, None, self.styles.number(role, TO_FILL_IN))

    def link(self, row: int, column: int, address: str) -> None:
        self.xlsx.write_url(
            row,
            column,
            f"internal:{address.replace('$', '')}",
            self.styles(font_color="#0563C1", underline=1),
            address.replace("$", ""),
        )

    def scientific_where_needed(self, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        """Scientific notation where the fixed decimals of an area would show ### or only zeros.

        Numbers in between have fewer decimals: with eight, 12345.6 is wider than a column.
        """
        corner = cell(rows[0], columns[0])
        for test, number_format in (  # the first that is true counts
            (f"=ABS({corner})>=100000", "0.0000E+00"),
            (f"=AND({corner}<>0,ABS({corner})<0.0001)", "0.0000E+00"),
            (f"=ABS({corner})>=1000", "0.0000"),
        ):
            rule = {"type": "formula", "criteria": test, "format": self.styles(num_format=number_format)}
            self.xlsx.conditional_format(rows[0], columns[0], rows[1], columns[1], rule)

    def positive_input(self, row: int, column: int, value: float, title: str, hint: str) -> None:
        """An input cell that takes numbers greater than 0 only."""
        rule = {
            "validate": "decimal",
            "criteria": ">",
            "value": 0,
            "input_title": title,
            "input_message": hint,
            "error_title": "Not a number greater than 0",
            "error_message": "Type a number greater than 0, such as 0.5.",
        }
        self._input(row, column, value, rule)

    def input_between(
        self, row: int, column: int, value: float, title: str, least: float, most: float, whole: bool
    ) -> None:
        """An input cell that takes numbers from ``least`` to ``most``."""
        number = "a whole number" if whole else "a number"
        wanted = f"{number} from {least:g} to {most:g}"
        rule = {
            "validate": "integer" if whole else "decimal",
            "criteria": "between",
            "minimum": int(least) if whole else least,
            "maximum": int(most) if whole else most,
            "input_title": title,
            "input_message": f"Type {wanted}: every row below follows.",
            "error_title": "Out of range",
            "error_message": f"Type {wanted}.",
        }
        self._input(row, column, value, rule)

    def whole_inputs(self, first: int, last: int, column: int, least: int, most: int) -> None:
        """Let the input cells of a column take whole numbers from ``least`` to ``most`` only."""
        rule = {
            "validate": "integer",
            "criteria": "between",
            "minimum": least,
            "maximum": most,
            "error_title": "Out of range",
            "error_message": f"Type a whole number from {least} to {most}.",
        }
        self.xlsx.data_validation(first, column, last, column, rule)

    def typed(self, row: int, column: int, value: float) -> None:
        """An input cell for any number."""
        self.number(row, column, value, self.styles(num_format="General", bold=True, **INPUT))

    def _input(self, row: int, column: int, value: float, rule: Mapping[str, Any]) -> None:
        self.typed(row, column, value)
        self.xlsx.data_validation(row, column, row, column, dict(rule))

    def words_row(self, row: int, words: Iterable[str], least: float = 23) -> None:
        """Make the row of words over the headers as high as the longest needs, up to nine lines."""
        lines = math.ceil(max(map(len, words), default=0) / 15)  # no program grows the row itself
        self.xlsx.set_row(row, max(least, 11.5 * min(9, lines)))

    def print_landscape(self, first_header: int, last_header: int, *, wide: bool = False) -> None:
        """Print on A3, headers repeated; one page wide, unless the table is too ``wide`` to be read."""
        self.xlsx.set_landscape()
        self.xlsx.set_paper(8)  # A3
        self.xlsx.set_margins(0.4, 0.4, 0.5, 0.5)
        self.xlsx.fit_to_pages(0 if wide else 1, 0)
        self.xlsx.repeat_rows(first_header, last_header)
        self.xlsx.set_footer("&L&A&RPage &P of &N")

    def print_portrait(self) -> None:
        """Print on A4, one page wide."""
        self.xlsx.set_portrait()
        self.xlsx.set_paper(9)  # A4
        self.xlsx.set_margins(0.4, 0.4, 0.5, 0.5)
        self.xlsx.fit_to_pages(1, 0)
        self.xlsx.set_footer("&L&A&RPage &P of &N")
