"""A workbook that compares optimizers: one live training of each, from the same data and weights.

A `Comparison` says where everything stands, before anything is written; `write` writes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xlsxwriter

from gradsheet.backends.workbook import (
    CUT,
    below_limit,
    chart_look,
    cut_losses,
    decades,
    setting_label,
    words_over,
    write_table,
)
from gradsheet.backends.workbook_cells import CURVES, INPUT, Sheet, Styles
from gradsheet.backends.workbook_layout import (
    FORMULAS_REFUSE,
    NETWORK,
    SAMPLES,
    Plan,
    Table,
    area,
    cell,
    check_width,
)
from gradsheet.backends.workbook_lessons import write_network
from gradsheet.backends.workbook_samples import write_samples
from gradsheet.compiler import Program
from gradsheet.errors import TooLargeError
from gradsheet.expression import DIVERGENCE_LIMIT, Array
from gradsheet.optimizers import LEARNING_RATE, OPTIMIZERS

COMPARED = "Optimizers"
START = "Start"
TRAININGS = "Trainings"


@dataclass(frozen=True)
class Training(Plan):
    """The places of the training of one optimizer, the ``number``-th of the comparison, from 0.

    Its hyper-parameters stand in a column of their own, ``settings`` are the names of the rows; its data
    and first weights in the sheet Start, where other workbooks have Backprop.
    """

    number: int = 0
    left: int = 0
    settings: tuple[str, ...] = ()

    HEADER_ROW = 3
    """Header row of the sheets Start and Trainings, and of the optimizers in the sheet Optimizers."""

    @property
    def settings_sheet(self) -> str:
        return COMPARED

    def setting_cell(self, name: str) -> tuple[int, int]:
        return self.HEADER_ROW + 1 + self.settings.index(name), 1 + self.number

    def setting_reference(self, name: str) -> str:
        return cell(*self.setting_cell(name), COMPARED)

    @cached_property
    def backprop(self) -> Table:
        data = [q.name for q in self.program.of_role("dealt", "data") if q.name in self.names]
        inputs = {*data, *(q.name for q in self.program.of_role("parameter"))}
        names = sorted(inputs, key=self.names.index)
        columns = {name: k for k, name in enumerate(sorted(names, key=lambda n: n not in data), 1)}
        batches = self.program.network.batch_size is not None
        return Table(START, self.HEADER_ROW, columns, self.steps if batches else 1)

    @cached_property
    def table(self) -> Table:
        names = (*self.trained_names, self.CHART)
        columns = {name: self.left + k for k, name in enumerate(names)}
        return Table(TRAININGS, self.HEADER_ROW, columns, self.steps)

    @cached_property
    def workings(self) -> tuple[Table, ...]:
        return (self.table,)


@dataclass(frozen=True)
class Comparison:
    """The places of the whole workbook; ``programs`` are the same network with one optimizer each.

    Raises `TooLargeError` for more than opens comfortably.
    """

    programs: tuple[Program, ...]
    steps: int

    def __post_init__(self) -> None:
        check_width(max(self.trainings[-1].table.columns.values()) + 1)
        if self.formulas > FORMULAS_REFUSE:
            fitting = max(1, int(self.steps * FORMULAS_REFUSE / self.formulas))
            raise TooLargeError(
                f"the workbook would have about {self.formulas:,} formulas, more than the "
                f"{FORMULAS_REFUSE:,} that open comfortably; use --steps {fitting} or less, or fewer "
                "optimizers"
            )

    @cached_property
    def settings(self) -> tuple[str, ...]:
        """The hyper-parameters of all optimizers: a row each, with a cell where an optimizer has it."""
        return tuple(dict.fromkeys(name for one in self.programs for name in one.hyperparameters))

    @cached_property
    def trainings(self) -> tuple[Training, ...]:
        found: list[Training] = []
        left = 1  # behind the numbers of the iterations
        for number, program in enumerate(self.programs):
            found.append(Training(program, self.steps, 0, number, left, self.settings))
            left = max(found[-1].table.columns.values()) + 2
        return tuple(found)

    @property
    def final_row(self) -> int:
        """The row of the final losses; verdicts and the best optimizer follow below."""
        return Training.HEADER_ROW + 1 + len(self.settings)

    @property
    def losses(self) -> Table:
        """The table of losses, without its columns: one for each optimizer, from column 1."""
        return Table(COMPARED, self.final_row + 5, {}, self.steps)

    @property
    def formulas(self) -> int:
        """About how many formula cells the workbook will have."""
        widths = (len(one.trained_names) + 1 + one.program.can_diverge for one in self.trainings)
        start = self.trainings[0]
        dealt = len(start.backprop.columns) * start.backprop.steps
        samples = 0 if start.samples is None else start.samples.formulas
        return self.steps * (2 + sum(widths)) + dealt + samples


def write(
    path: Path, comparison: Comparison, rates: Sequence[float], values: Sequence[Mapping[str, Array]]
) -> None:
    """Write the workbook to ``path``; the same arguments give the same bytes.

    ``rates`` are the learning rates of the optimizers, ``values`` the numbers that the formulas of their
    trainings must give: every quantity by name, shape (steps,).
    """
    network = comparison.programs[0].network
    book = xlsxwriter.Workbook(
        str(path), {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    )
    try:
        properties = {"title": f"Optimizers compared: {network.name}", "comments": network.description}
        book.set_properties({**properties, "created": datetime(2000, 1, 1)})
        styles = Styles(book)
        _optimizers(book, Sheet(book, COMPARED, styles), comparison, rates, values)
        _start(Sheet(book, START, styles), comparison.trainings[0], values[0])
        if (samples := comparison.trainings[0].samples) is not None:
            write_samples(Sheet(book, SAMPLES, styles), comparison.trainings[0], samples)
        _trainings(Sheet(book, TRAININGS, styles), comparison, values)
        names = [one.network.optimizer for one in comparison.programs]
        facts: dict[str, int | str] = {
            "iterations": comparison.steps,
            "compared optimizers": ", ".join(names),
        }
        write_network(Sheet(book, NETWORK, styles), network, facts)
    finally:
        book.close()


# ---------------------------------------------------------------- Optimizers


def _optimizers(
    book: Any,
    sheet: Sheet,
    comparison: Comparison,
    rates: Sequence[float],
    values: Sequence[Mapping[str, Array]],
) -> None:
    styles, trainings = sheet.styles, comparison.trainings
    network, shown_loss = comparison.programs[0].network, comparison.programs[0].shown_loss
    last = len(trainings)
    sheet.text(0, 0, f"Optimizers compared: {network.name}", styles.title)
    where = "the data and the initial weights of the sheet Start"
    if trainings[0].data_once:
        where = "the data in Samples and the initial weights in Start"
    sheet.text(
        1,
        0,
        f"One training an optimizer, from {where}; the trainings themselves, with what each optimizer "
        "remembers, are in Trainings.",
        styles.note,
    )
    sheet.text(2, 0, "Type other numbers into the yellow cells: all sheets follow.", styles.note)
    header, row = Training.HEADER_ROW, Training.HEADER_ROW + 1
    sheet.text(header, 0, "optimizer", styles.label)
    for name in comparison.settings:
        sheet.text(
            row, 0, "learning rate η" if name == LEARNING_RATE else setting_label(name), styles.label
        )
        row += 1
    for training, rate in zip(trainings, rates, strict=True):
        sheet.text(
            header, 1 + training.number, training.program.network.optimizer, _curve(styles, training)
        )
        _settings(sheet, training, rate)
    _verdicts(sheet, comparison, values)

    table = comparison.losses
    sheet.text(table.header_row - 1, 1, f"{shown_loss} by optimizer", styles.label)
    sheet.text(table.header_row, 0, "iteration", styles(bold=True, align="center"))
    for step in range(comparison.steps):
        above = f"={cell(trainings[0].table.first_row + step, 0, TRAININGS)}".replace("$", "")
        sheet.formula(table.first_row + step, 0, above, step + 1, styles(align="center"))
    for training, numbers in zip(trainings, values, strict=True):
        column, loss = 1 + training.number, training.program.shown_loss
        name = f"={cell(header, column)}"
        optimizer = training.program.network.optimizer
        sheet.formula(table.header_row, column, name, optimizer, _curve(styles, training))
        sheet.xlsx.set_column(column, column, max(13, len(optimizer) + 3))
        for step, value in enumerate(numbers[loss].tolist()):
            above = training.table.address(loss, training.table.first_row + step).replace("$", "")
            sheet.formula(table.first_row + step, column, f"={above}", value, styles.number("loss"))
    sheet.scientific_where_needed((table.first_row, table.last_row), (1, last))
    sheet.xlsx.set_column(0, 0, 17)
    sheet.xlsx.freeze_panes(header + 1, 1)
    sheet.print_landscape(table.header_row, table.header_row)

    every = np.stack(
        [numbers[one.program.shown_loss] for one, numbers in zip(trainings, values, strict=True)]
    )
    cuts = comparison.programs[0].can_diverge
    linear = f"{shown_loss}, linear scale" + (f", cut at {CUT:g} × the first loss" if cuts else "")
    logarithmic = f"{shown_loss}, logarithmic scale"
    charts = ((linear, None), (logarithmic, decades(every.T)))
    for position, (title, log) in enumerate(charts):
        chart = book.add_chart({"type": "scatter", "subtype": "straight"})
        for training in trainings:
            drawn = Plan.CHART if log is None and cuts else training.program.shown_loss
            chart.add_series(
                {
                    "name": f"={cell(header, 1 + training.number, COMPARED)}",
                    "categories": f"={table.iterations}",
                    "values": f"={training.table.span(drawn)}",
                    "line": {"color": CURVES[training.number % len(CURVES)], "width": 1.75},
                }
            )
        chart_look(chart, title, shown_loss, log, comparison.steps)
        chart.set_legend({"position": "right", "font": {"size": 10}})
        chart.set_size({"width": 640, "height": 340})
        place = (table.header_row + 18 * position, last + 2)
        sheet.xlsx.insert_chart(*place, chart, {"object_position": 3})


def _curve(styles: Styles, training: Training) -> Any:
    """A header in the colour of the training's curve."""
    colour = CURVES[training.number % len(CURVES)]
    return styles(bold=True, font_color="#FFFFFF", bg_color=colour, align="center")


def _settings(sheet: Sheet, training: Training, rate: float) -> None:
    """The input cells of an optimizer."""
    network = training.program.network
    for name, value in training.program.hyperparameters.items():
        row, column = training.setting_cell(name)
        if name == LEARNING_RATE:
            hint = "Type any number greater than 0: its curve and its final loss follow."
            sheet.positive_input(row, column, rate, "Learning rate", hint)
        else:
            known = network.known_settings[name]
            title = setting_label(name)
            sheet.input_between(row, column, value, title, known.least, known.most, known.whole)


def _verdicts(sheet: Sheet, comparison: Comparison, values: Sequence[Mapping[str, Array]]) -> None:
    """Final losses, what became of each training, and the best optimizer."""
    styles, trainings = sheet.styles, comparison.trainings
    row, last = comparison.final_row, len(trainings)
    finals = area(row, 1, row, last)
    final = [float(v[one.program.shown_loss][-1]) for one, v in zip(trainings, values, strict=True)]
    smallest = min((loss for loss in final if math.isfinite(loss)), default=math.inf)
    bold = styles(bold=True, align="right", font_color="#A8460F")
    shown_loss = comparison.programs[0].shown_loss
    for offset, text in enumerate((f"final {shown_loss}", "verdict", "best")):
        sheet.text(row + offset, 0, text, styles.label)
    for training, loss in zip(trainings, final, strict=True):
        column, own = 1 + training.number, cell(row, 1 + training.number)
        address = training.table.address(training.program.shown_loss, training.table.last_row)
        sheet.formula(row, column, f"={address}", loss, styles(num_format="0.000E+00"))
        verdict = "diverged" if not loss < DIVERGENCE_LIMIT else "best" if loss == smallest else ""
        formula = f'=IF({below_limit(own)},IF({own}=MIN({finals}),"best",""),"diverged")'
        sheet.formula(row + 1, column, formula, verdict, bold)
    names = area(Training.HEADER_ROW, 1, Training.HEADER_ROW, last)
    best = "none: all diverge"
    if smallest < DIVERGENCE_LIMIT:
        best = trainings[final.index(smallest)].program.network.optimizer
    sheet.formula(
        row + 2,
        1,
        f"=IF({below_limit(f'MIN({finals})')},INDEX({names},1,MATCH(MIN({finals}),{finals},0)),"
        '"none: all diverge")',
        best,
        bold,
    )
    hint = f"the smallest final {shown_loss}; another learning rate may change that"
    sheet.text(row + 2, 2, hint, styles.hint)


# ---------------------------------------------------------------- Start and Trainings


def _start(sheet: Sheet, training: Training, values: Mapping[str, Array]) -> None:
    """The data and the first weights, which all trainings share."""
    styles, program, table = sheet.styles, training.program, training.backprop
    what = "the initial weights" if training.data_once else "the data and the initial weights"
    sheet.text(0, 0, f"Start: {what} of all trainings", styles.title)
    _iterations(sheet, table)
    for name, column in table.columns.items():
        quantity = program[name]
        kind = "initial value" if quantity.role == "parameter" else words_over(quantity, program)
        sheet.text(table.header_row - 1, column, kind, styles.words(quantity.role))
        if quantity.role == "parameter":
            sheet.text(table.header_row, column, quantity.label, styles.header(quantity.role))
            initial, style = program.initial[name], styles.number(quantity.role, INPUT)
            sheet.number(table.first_row, column, initial, style)
    data = {n: c for n, c in table.columns.items() if program[n].role != "parameter"}
    if data:
        numbers = {name: values[name].tolist() for name in data}
        write_table(sheet, training, replace(table, columns=data), "", numbers)
    if program.network.shuffle_seed is not None:
        for quantity in program.of_role("dealt"):
            column, most = table.columns[quantity.name], program.network.samples
            sheet.whole_inputs(table.first_row, table.last_row, column, 1, most)
    sheet.xlsx.set_row(table.header_row - 1, 46)
    sheet.xlsx.set_column(0, len(table.columns), 12.5)
    sheet.xlsx.freeze_panes(table.first_row, 1)
    sheet.print_landscape(table.header_row - 1, table.header_row, wide=True)


def _iterations(sheet: Sheet, table: Table) -> None:
    """The first column, from which formulas read the number of the iteration."""
    sheet.text(table.header_row, 0, "iteration", sheet.styles(bold=True, align="center"))
    sheet.number(table.first_row, 0, 1, sheet.styles(align="center"))
    for row in range(table.first_row + 1, table.last_row + 1):
        number = row - table.header_row
        sheet.formula(row, 0, f"=A{row}+1", number, sheet.styles(align="center"))


def _trainings(sheet: Sheet, comparison: Comparison, values: Sequence[Mapping[str, Array]]) -> None:
    styles, first = sheet.styles, comparison.trainings[0].table
    sheet.text(0, 0, "Trainings: one row an iteration, one block of columns an optimizer", styles.title)
    _iterations(sheet, first)
    for training, numbers in zip(comparison.trainings, values, strict=True):
        program, table, left = training.program, training.table, training.left
        optimizer = program.network.optimizer
        sheet.text(1, left, f"{optimizer}: {OPTIMIZERS[optimizer].words}", styles.heading)
        for name in training.trained_names:
            words = words_over(program[name], program)
            sheet.text(
                table.header_row - 1, table.columns[name], words, styles.words(program[name].role)
            )
        columns = {name: column.tolist() for name, column in numbers.items()}
        write_table(sheet, training, table, training.setting_reference(LEARNING_RATE), columns)
        if program.can_diverge:
            loss = columns[program.shown_loss]
            cut_losses(sheet, training, table, loss, CUT * loss[0])
    sheet.xlsx.set_column(0, 0, 12)
    sheet.xlsx.set_column(1, max(comparison.trainings[-1].table.columns.values()), 12.5)
    sheet.xlsx.set_row(first.header_row - 1, 80)
    sheet.xlsx.freeze_panes(first.header_row + 1, 1)
    sheet.print_landscape(first.header_row - 1, first.header_row, wide=True)
