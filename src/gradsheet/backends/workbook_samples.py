"""The sheet Samples: all samples in one place, from which the rows of Backprop take theirs."""

from __future__ import annotations

from gradsheet.backends.workbook_cells import INPUT, Sheet
from gradsheet.backends.workbook_layout import Plan, SampleTable, area, cell
from gradsheet.network import mean_and_deviation


def write_samples(sheet: Sheet, plan: Plan, table: SampleTable) -> None:
    """All samples as they were written, and standardised by formulas where the network sees that."""
    network, styles = plan.program.network, sheet.styles
    sheet.text(0, 0, f"Samples: {network.name}", styles.title)
    note = (
        "The rows of Backprop take their data from here: change a number, and all that sees it follows."
    )
    if table.centred:
        note += " The network sees the columns that are standardised: (x − mean)/(standard deviation)."
    sheet.text(1, 0, note, styles.note)
    sheet.text(table.HEADER_ROW, 0, "number", styles(bold=True, align="center"))
    for column, header in table.headers.items():
        sheet.text(table.HEADER_ROW, column, header, styles.header("data"))
    names = [*network.input_names] or [""] * network.sizes[0]
    names += [*network.output_names] or [""] * network.sizes[-1]
    named = dict(zip(table.written, names, strict=True))
    for columns in (table.written, table.centred, table.standardized):
        for name, column in columns.items():
            sheet.text(table.HEADER_ROW - 1, column, named[name], styles.words("data"))
    for row in range(table.first_row, table.last_row + 1):
        sheet.number(row, 0, row - table.HEADER_ROW, styles(align="center"))
    numbers = (*zip(*network.inputs, strict=True), *zip(*network.targets, strict=True))
    typed = styles(num_format="General", **INPUT)
    for (name, column), values in zip(table.written.items(), numbers, strict=True):
        for row, value in enumerate(values, table.first_row):
            sheet.number(row, column, value, typed)
        if name in table.centred:
            _standardize(sheet, table, name, values)
    last = max(table.headers)
    if table.centred:
        sheet.scientific_where_needed((table.first_row, table.last_row), (len(table.written) + 1, last))
    sheet.xlsx.set_column(0, 0, 18 if table.centred else 12)
    sheet.xlsx.set_column(1, last, 14)
    sheet.words_row(table.HEADER_ROW - 1, names, least=24)
    sheet.xlsx.freeze_panes(table.first_row, 1)
    sheet.print_landscape(table.HEADER_ROW - 1, table.HEADER_ROW)


def _standardize(sheet: Sheet, table: SampleTable, name: str, values: tuple[float, ...]) -> None:
    """Mean, distances from it, standard deviation, and the quotients of the two."""
    styles = sheet.styles
    written, centred, quotient = table.written[name], table.centred[name], table.standardized[name]
    mean, deviation = mean_and_deviation(values)
    bold = styles(num_format="General", bold=True)
    for row, words in ((table.MEAN_ROW, "mean"), (table.DEVIATION_ROW, "standard deviation")):
        sheet.text(row, 0, words, styles.label)
    sheet.formula(table.MEAN_ROW, written, f"=AVERAGE({table.span(written)})", mean, bold)
    distances = table.span(centred)
    # the mean of the squares less the square of the mean would cancel where the mean is large
    root = f"=SQRT(SUMPRODUCT({distances},{distances})/{table.samples})"
    sheet.formula(table.DEVIATION_ROW, written, root, deviation, bold)
    mean_cell, deviation_cell = (
        area(row, written, row, written).split(":")[0] for row in (table.MEAN_ROW, table.DEVIATION_ROW)
    )
    style = styles.number("data")
    for row, value in enumerate(values, table.first_row):
        distance = value - mean
        sheet.formula(row, centred, f"={cell(row, written)}-{mean_cell}", distance, style)
        share = f"={cell(row, centred)}/{deviation_cell}"
        sheet.formula(row, quotient, share, distance / deviation, style)
