"""The sheet Samples: all samples in one place, from which the rows of Backprop take theirs by number."""

from __future__ import annotations

from gradsheet.backends.workbook_cells import INPUT, Sheet
from gradsheet.backends.workbook_layout import Plan, SampleTable


def write_samples(sheet: Sheet, plan: Plan, table: SampleTable) -> None:
    """All samples with their numbers: every cell an input that the rows of Backprop follow."""
    network, styles = plan.program.network, sheet.styles
    sheet.text(0, 0, f"Samples: {network.name}", styles.title)
    sheet.text(
        1,
        0,
        "Backprop takes the samples of a batch from here, by their numbers: change one, and every row "
        "that sees it follows.",
        styles.note,
    )
    names = [*network.input_names] or [""] * network.sizes[0]
    names += [*network.output_names] or [""] * network.sizes[-1]
    sheet.text(table.HEADER_ROW, 0, "number", styles(bold=True, align="center"))
    for (name, column), words in zip(table.columns.items(), names, strict=True):
        sheet.text(table.HEADER_ROW - 1, column, words, styles.words("data"))
        sheet.text(table.HEADER_ROW, column, name, styles.header("data"))
    samples = zip(network.inputs, network.targets, strict=True)
    for row, (inputs, targets) in enumerate(samples, table.first_row):
        sheet.number(row, 0, row - table.HEADER_ROW, styles(align="center"))
        for column, value in enumerate((*inputs, *targets), 1):
            sheet.number(row, column, value, styles.number("data", INPUT))
    sheet.scientific_where_needed((table.first_row, table.last_row), (1, len(table.columns)))
    sheet.xlsx.set_column(0, 0, 12)
    sheet.xlsx.set_column(1, len(table.columns), 12.5)
    sheet.xlsx.set_row(table.HEADER_ROW - 1, 24)
    sheet.xlsx.freeze_panes(table.first_row, 1)
    sheet.print_landscape(table.HEADER_ROW - 1, table.HEADER_ROW)
