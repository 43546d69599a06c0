"""Write a `Program` as a live workbook: every number a formula, every formula with its true value.

`write` is the whole of the interface; below it stands one function per sheet. Every formula is put down
with the value it must give, so that a previewer that does not calculate (a phone, a mail client, pandas)
shows the right numbers too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import xlsxwriter

from gradsheet.backends.workbook_cells import CURVES, GROUPS, INPUT, Sheet, Styles
from gradsheet.backends.workbook_layout import (
    BACKPROP,
    DERIVATION,
    GRADIENT_CHECK,
    GRADIENT_CHECK_ROW,
    LEARNING_RATES,
    NETWORK,
    NETWORK_ROW,
    README,
    WORKINGS,
    Plan,
    Table,
    area,
    cell,
    formula_templates,
    sheet_notation,
)
from gradsheet.compiler import Chain, Program, Quantity, gradient_name
from gradsheet.expression import DIVERGENCE_LIMIT, TEXT, Array, evaluate, render
from gradsheet.network import to_toml

EPSILON = 1e-5
"""Step of the central differences: about where their two errors, ε² and rounding/ε, are equal."""
RELATIVE_TOLERANCE = 1e-5
ABSOLUTE_TOLERANCE = 1e-10
CUT = 2.0
"""The linear chart of the learning rates cuts a diverging loss at this multiple of the first loss."""
WORDS_LIMIT = 150  # characters of a formula in words over a column


@dataclass(frozen=True)
class Trace:
    """The numbers that the formulas must give, each an array whose first axis is the iteration.

    ``table`` holds every quantity, shape (steps,); ``rates`` the compared learning rates and
    ``comparison`` every quantity for them, shape (comparison steps, rates); ``shifted`` every quantity
    of the first iteration with one parameter after the other moved by ±ε, shape (2 · parameters,).
    ``critical`` is 2/λmax in the first and in the last iteration.
    """

    learning_rate: float
    table: Mapping[str, Array]
    rates: Sequence[float]
    comparison: Mapping[str, Array]
    shifted: Mapping[str, Array]
    critical: tuple[float, float]


def write(path: Path, plan: Plan, trace: Trace) -> None:
    """Write the workbook to ``path``; the same plan and trace give the same bytes."""
    book = xlsxwriter.Workbook(
        str(path),
        # Names are the user's: one that begins with "=" must not become a formula, nor a URL a link.
        {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False},
    )
    try:
        network = plan.program.network
        book.set_properties(
            {
                "title": f"Back-propagation, live: {network.name}",
                "comments": network.description,
                "created": datetime(2000, 1, 1),  # fixed, so that the bytes are reproducible
            }
        )
        styles = Styles(book)
        names = (BACKPROP, LEARNING_RATES, GRADIENT_CHECK, DERIVATION, README, WORKINGS, NETWORK)
        sheets = {name: Sheet(book, name, styles) for name in names}
        _backprop(book, sheets[BACKPROP], plan, trace)
        _learning_rates(book, sheets[LEARNING_RATES], plan, trace)
        _gradient_check(sheets[GRADIENT_CHECK], plan, trace)
        _derivation(sheets[DERIVATION], plan, trace)
        _read_me(sheets[README], plan)
        _workings(sheets[WORKINGS], plan, trace)
        _network(sheets[NETWORK], plan)
    finally:
        book.close()


def _words(quantity: Quantity, program: Program) -> str:
    """What stands over a column: its formula in words, or what kind of number it is."""
    network = program.network
    if quantity.expression is not None:
        words = f"{quantity.label} = {render(quantity.expression, TEXT)}"
    elif quantity.role == "data":
        kind, _, index = quantity.name.partition("[")[0].partition(quantity.name[0])
        number = int(index)
        names = network.input_names if quantity.name[0] == "i" else network.output_names
        kind = "input" if quantity.name[0] == "i" else "target"
        words = f"{kind} {number}" + (f": {names[number - 1]}" if names else "")
        if quantity.sample is not None:
            words += f", sample {quantity.sample}"
    elif quantity.name in program.trained:
        rule = next(u.expression for u in program.updates if u.parameter == quantity.name)
        words = f"next row: {render(rule, TEXT)}"
    else:
        words = "kept as it is"
    return words if len(words) <= WORDS_LIMIT else words[: WORDS_LIMIT - 1].rstrip() + "…"


def _write_table(
    sheet: Sheet,
    plan: Plan,
    table: Table,
    learning_rate: str,
    values: Mapping[str, Sequence[float]],
) -> None:
    """Headers and rows of one table of iterations; ``values`` holds a column per quantity."""
    program = plan.program
    for name, (first, following) in formula_templates(plan, table, learning_rate).items():
        quantity, column = program[name], table.columns[name]
        sheet.text(table.header_row, column, quantity.label, sheet.styles.header(quantity.role))
        style = sheet.styles.number(quantity.role)
        cached = values[name]
        for row in range(table.first_row, table.last_row + 1):
            template = first if row == table.first_row else following
            if template is None:
                is_input = sheet.styles.number(quantity.role, is_input=True)
                sheet.number(row, column, cached[0], is_input)
                continue
            formula = template.format(r=row + 1, p=row)
            sheet.formula(row, column, formula, cached[row - table.first_row], style)
    columns = (min(table.columns.values()), max(table.columns.values()))
    sheet.scientific_where_needed((table.first_row, table.last_row), columns)


# ---------------------------------------------------------------- Backprop


def _backprop(book: Any, sheet: Sheet, plan: Plan, trace: Trace) -> None:
    program, network, table, styles = plan.program, plan.program.network, plan.backprop, sheet.styles
    losses = trace.table[program.loss]
    first, last = float(losses[0]), float(losses[-1])
    first_cell, last_cell = (
        cell(row, table.columns[program.loss]) for row in (table.first_row, table.last_row)
    )

    sheet.text(0, 0, f"Back-propagation, live: {network.name}", styles.title)
    sheet.text(1, 0, f"{_architecture(program)}. {network.description}".strip(), styles.note)
    sheet.text(plan.RATE_ROW, 0, "learning rate η", styles.label)
    sheet.positive_input(
        plan.RATE_ROW,
        plan.RATE_COLUMN,
        trace.learning_rate,
        "Learning rate η",
        "Type any number greater than 0: every row below and the chart follow.",
    )
    sheet.text(plan.RATE_ROW, 2, "← type another: all rows and the chart follow", styles.note)
    rate = cell(plan.RATE_ROW, plan.RATE_COLUMN, BACKPROP)
    book.define_name("learning_rate", f"={rate}")
    number = styles(num_format="0.000000E+00", align="left")
    sheet.text(3, 0, "first E_total", styles.label)
    sheet.formula(3, 1, f"={first_cell}", first, number)
    sheet.text(4, 0, "last E_total", styles.label)
    sheet.formula(4, 1, f"={last_cell}", last, number)
    sheet.text(5, 0, "verdict", styles.label)
    falls, stays = "the loss falls", "the loss has not fallen: try another learning rate"
    formula, verdict = f'IF(B5<B4,"{falls}","{stays}")', falls if last < first else stays
    if program.can_diverge:
        diverged = "diverged: the learning rate is too large; the weights are held"
        formula = f'IF({_below_limit("B5")},{formula},"{diverged}")'
        verdict = verdict if last < DIVERGENCE_LIMIT else diverged
    sheet.formula(5, 1, "=" + formula, verdict, styles(bold=True, font_color="#A8460F"))
    sheet.text(6, 0, "legend", styles.label)
    sheet.text(6, 1, "input", styles(align="center", **INPUT))
    for column, role in enumerate(GROUPS, 2):
        sheet.text(6, column, GROUPS[role][0], styles.header(role))

    longest = 0
    for name, column in table.columns.items():
        words = _words(program[name], program)
        longest = max(longest, len(words))
        sheet.text(table.header_row - 1, column, words, styles.words(program[name].role))
    sheet.text(table.header_row, 0, "iteration", styles(bold=True, align="center"))
    for row in range(table.first_row, table.last_row + 1):
        iteration = row - table.first_row + 1
        if iteration == 1:
            sheet.number(row, 0, 1, styles(align="center"))
        else:
            sheet.formula(row, 0, f"=A{row}+1", iteration, styles(align="center"))
    columns = {name: column.tolist() for name, column in trace.table.items()}
    _write_table(sheet, plan, table, "learning_rate", columns)

    sheet.xlsx.set_column(0, 0, 15)
    sheet.xlsx.set_column(1, len(table.columns), 12.5)
    for row in range(1, 7):
        sheet.xlsx.set_row(row, 21)
    sheet.xlsx.set_row(table.header_row - 1, 11.5 * max(2, min(9, math.ceil(longest / 15))))
    sheet.xlsx.set_row(table.header_row, 18)
    sheet.xlsx.freeze_panes(table.first_row, 1)
    _print_setup(sheet, table.header_row, wide=len(table.columns) > 45)
    sheet.xlsx.repeat_columns(0)

    chart = book.add_chart({"type": "scatter", "subtype": "straight"})
    chart.add_series(
        {
            "name": "E_total",
            "categories": f"={table.iterations}",
            "values": f"={table.span(program.loss)}",
            "line": {"color": CURVES[0], "width": 2},
        }
    )
    _chart_look(chart, "E_total over the iterations", log=None, steps=plan.steps)
    chart.set_legend({"none": True})
    chart.set_size({"width": 560, "height": 196})
    sheet.xlsx.insert_chart(0, 9, chart, {"x_offset": 10, "y_offset": 2, "object_position": 3})


def _architecture(program: Program) -> str:
    network = program.network
    activations = ", ".join(layer.activation.replace("_", " ") for layer in network.layers)
    samples = "one sample" if network.samples == 1 else f"{network.samples} samples, full batch"
    return f"{network.architecture}, {activations}; {network.loss.replace('_', ' ')}; {samples}"


def _below_limit(address: str) -> str:
    return f"{address}<{DIVERGENCE_LIMIT:.0E}"


def _print_setup(sheet: Sheet, header_row: int, *, wide: bool = False) -> None:
    sheet.xlsx.set_landscape()
    sheet.xlsx.set_paper(8)  # A3
    sheet.xlsx.set_margins(0.4, 0.4, 0.5, 0.5)
    sheet.xlsx.fit_to_pages(0 if wide else 1, 0)
    sheet.xlsx.repeat_rows(header_row - 1, header_row)
    sheet.xlsx.set_footer("&L&A&RPage &P of &N")


def _chart_look(chart: Any, title: str, log: tuple[float, float] | None, steps: int) -> None:
    font = {"size": 9, "bold": False}
    chart.set_title({"name": title, "name_font": {"size": 11}, "overlay": False})
    chart.set_x_axis(
        {
            "name": "iteration",
            "name_font": font,
            "num_font": {"size": 9},
            "min": 0,
            "max": steps,
            "major_gridlines": {"visible": False},
        }
    )
    axis: dict[str, Any] = {
        "name": "E_total",
        "name_font": font,
        "num_font": {"size": 9},
        "num_format": "General",
        "major_gridlines": {"visible": True, "line": {"color": "#D9D9D9", "width": 0.5}},
    }
    if log is not None:
        # The bounds of a log axis must be fixed, or programs choose different and odd ones.
        axis |= {"log_base": 10, "min": log[0], "max": log[1], "num_format": "0E+00"}
        axis |= {"crossing": log[0]}
    else:
        axis["min"] = 0
    chart.set_y_axis(axis)


# ---------------------------------------------------------------- Learning rates


def _learning_rates(book: Any, sheet: Sheet, plan: Plan, trace: Trace) -> None:
    program, styles, steps = plan.program, sheet.styles, plan.comparison_steps
    losses = trace.comparison[program.loss]  # (steps, rates)
    final = [float(loss) for loss in losses[-1]]
    columns = range(1, plan.rates + 1)
    rates_row, header_row = plan.RATES_ROW, plan.LOSSES_HEADER_ROW
    table = Table(LEARNING_RATES, header_row, {}, steps)
    row_of = {"final": rates_row + 1, "verdict": rates_row + 2, "best": rates_row + 3}

    rates = area(rates_row, 1, rates_row, plan.rates)
    finals = area(row_of["final"], 1, row_of["final"], plan.rates)

    sheet.text(
        0, 0, f"The learning rate and its impact on the loss: {program.network.name}", styles.title
    )
    shown = "" if steps == plan.steps else f" (the first {steps:,} of {plan.steps:,} iterations)"
    sheet.text(
        1,
        0,
        f"One training a learning rate, from the inputs and initial weights of Backprop{shown}; "
        "the trainings themselves are in Workings.",
        styles.note,
    )
    sheet.text(rates_row, 0, "learning rate η", styles.label)
    sheet.text(row_of["final"], 0, "final E_total", styles.label)
    sheet.text(row_of["verdict"], 0, "verdict", styles.label)
    sheet.text(row_of["best"], 0, "best rate", styles.label)
    smallest = min((loss for loss in final if math.isfinite(loss)), default=math.inf)
    best_is_fine = smallest < DIVERGENCE_LIMIT
    for column in columns:
        number = column - 1
        hint = "Type any number greater than 0: its curve and its final loss follow."
        sheet.positive_input(rates_row, column, trace.rates[number], "Learning rate", hint)
        own = cell(row_of["final"], column)
        last = plan.workings[number].address(program.loss, plan.workings[number].last_row)
        sheet.formula(row_of["final"], column, f"={last}", final[number], styles(num_format="0.000E+00"))
        verdict = "diverged"
        if final[number] < DIVERGENCE_LIMIT:
            verdict = "best" if final[number] == smallest else ""
        sheet.formula(
            row_of["verdict"],
            column,
            f'=IF({_below_limit(own)},IF({own}=MIN({finals}),"best",""),"diverged")',
            verdict,
            styles(bold=True, align="right", font_color="#A8460F"),
        )
        sheet.formula(
            header_row,
            column,
            f"={cell(rates_row, column)}",
            trace.rates[number],
            styles(bold=True, font_color="#FFFFFF", bg_color=CURVES[number % len(CURVES)]),
        )
        cached = losses[:, number].tolist()
        workings = plan.workings[number]
        for step in range(steps):
            loss = workings.address(program.loss, workings.first_row + step)
            row = table.first_row + step
            style = styles.number("loss")
            sheet.formula(row, column, f"={loss.replace('$', '')}", cached[step], style)
    best = trace.rates[final.index(smallest)] if best_is_fine else "none: all diverge"
    sheet.formula(
        row_of["best"],
        1,
        f"=IF({_below_limit(f'MIN({finals})')},INDEX({rates},1,MATCH(MIN({finals}),{finals},0)),"
        '"none: all diverge")',
        best,
        styles(bold=True, align="right", num_format="General"),
    )
    sheet.text(row_of["best"], 2, "the smallest final E_total of these rates", styles.note)
    sheet.text(header_row - 1, 1, "E_total by learning rate", styles.label)
    sheet.text(header_row, 0, "iteration", styles(bold=True, align="center"))
    iteration_column = styles(align="center")
    for step in range(steps):
        row = table.first_row + step
        above = f"={cell(plan.backprop.first_row + step, 0, BACKPROP)}".replace("$", "")
        sheet.formula(row, 0, above, step + 1, iteration_column)
    sheet.scientific_where_needed((table.first_row, table.last_row), (1, plan.rates))

    sheet.xlsx.set_column(0, 0, 15)
    sheet.xlsx.set_column(1, plan.rates, 11.5)
    sheet.xlsx.freeze_panes(header_row + 1, 1)
    _print_setup(sheet, header_row)
    left = max(plan.rates + 2, 7)
    _critical_rates(sheet, left, trace)
    cap = CUT * float(losses[0, 0])
    for position, (title, log) in enumerate(
        (("E_total, linear scale", None), ("E_total, logarithmic scale", _decades(losses)))
    ):
        chart = book.add_chart({"type": "scatter", "subtype": "straight"})
        for number in range(plan.rates):
            drawn = plan.CHART if log is None and program.can_diverge else program.loss
            chart.add_series(
                {
                    "name": f"={cell(rates_row, 1 + number, LEARNING_RATES)}",
                    "categories": f"={table.iterations}",
                    "values": f"={plan.workings[number].span(drawn)}",
                    "line": {"color": CURVES[number % len(CURVES)], "width": 1.75},
                }
            )
        if log is None and program.can_diverge and float(np.nanmax(losses)) > cap:
            title += ", cut at twice the first loss"
        _chart_look(chart, title, log, steps)
        chart.set_legend({"position": "right", "font": {"size": 10}})
        chart.set_size({"width": 640, "height": 340})
        sheet.xlsx.insert_chart(header_row + 1 + 18 * position, left, chart, {"object_position": 3})


def _decades(losses: Array) -> tuple[float, float]:
    """Bounds of the log axis: whole decades, with one to spare for rates that are typed in later."""
    shown = losses[np.isfinite(losses) & (losses > 1e-300)]
    if shown.size == 0:
        return 1e-6, 1.0
    top = min(math.ceil(math.log10(float(shown.max()))), math.ceil(math.log10(float(shown[0]))) + 6)
    bottom = max(math.floor(math.log10(float(shown.min()))) - 1, top - 20)
    return 10.0**bottom, 10.0**top


def _critical_rates(sheet: Sheet, left: int, trace: Trace) -> None:
    styles = sheet.styles
    sheet.text(2, left, "Critical learning rate 2/λmax", styles.heading)
    for row, (when, rate) in enumerate(zip(("first", "last"), trace.critical, strict=True), 3):
        sheet.text(row, left, f"at the {when} iteration of Backprop", styles.label)
        if math.isfinite(rate):
            sheet.number(row, left + 4, rate, styles(num_format="0.0000", bold=True))
        else:
            none = "none: the loss curves upwards in no direction here"
            sheet.text(row, left + 4, none if rate > 0 else "the run has diverged", styles.note)
    sheet.texts(
        5,
        left,
        (
            "Computed when this workbook was written, for the inputs as written: not live. λmax "
            "is the largest "
            "eigenvalue of the loss's Hessian.",
            "Along its eigenvector a step multiplies the distance from the bottom by 1 − η·λmax: "
            "below 1/λmax it "
            "creeps, between 1/λmax and 2/λmax",
            "it overshoots but shrinks, beyond 2/λmax every step leads further away: the loss "
            "oscillates, jumps to "
            "flatter ground, or diverges.",
        ),
        styles.note,
    )


# ---------------------------------------------------------------- Workings


def _workings(sheet: Sheet, plan: Plan, trace: Trace) -> None:
    program, styles = plan.program, sheet.styles
    sheet.text(0, 0, "Workings: the trainings behind the sheet Learning rates", styles.title)
    sheet.text(plan.WORKINGS_HEADER_ROW, 0, "iteration", styles(bold=True, align="center"))
    first_losses = trace.comparison[program.loss][0]
    for step in range(plan.comparison_steps):
        row = plan.WORKINGS_HEADER_ROW + 1 + step
        above = f"={cell(plan.backprop.first_row + step, 0, BACKPROP)}".replace("$", "")
        sheet.formula(row, 0, above, step + 1, styles(align="center"))
    for number, table in enumerate(plan.workings):
        columns = {name: values[:, number].tolist() for name, values in trace.comparison.items()}
        _write_table(sheet, plan, table, plan.rate_cell(number), columns)
        left = min(table.columns.values())
        sheet.text(table.header_row - 1, left, "learning rate η", styles.label)
        sheet.formula(
            table.header_row - 1,
            left + 1,
            f"={plan.rate_cell(number)}",
            trace.rates[number],
            styles(bold=True, align="left"),
        )
        if program.can_diverge:
            _cut_losses(sheet, plan, table, columns[program.loss], CUT * float(first_losses[number]))
    sheet.xlsx.set_column(0, 0, 12)
    sheet.xlsx.set_column(1, max(plan.workings[-1].columns.values()), 11.5)
    sheet.xlsx.freeze_panes(plan.WORKINGS_HEADER_ROW + 1, 1)
    _print_setup(sheet, plan.WORKINGS_HEADER_ROW, wide=True)


def _cut_losses(sheet: Sheet, plan: Plan, table: Table, losses: Sequence[float], cap: float) -> None:
    """The column that the linear chart draws, so that a diverging curve does not flatten the rest."""
    column = table.columns[plan.CHART]
    sheet.text(table.header_row, column, plan.CHART, sheet.styles.header("loss"))
    first = table.address(plan.program.loss, table.first_row).split("!")[1]
    for row in range(table.first_row, table.last_row + 1):
        own = cell(row, table.columns[plan.program.loss])
        loss = losses[row - table.first_row]
        value = min(loss, cap) if math.isfinite(loss) else math.nan
        formula = f"=MIN({own},{CUT:g}*{first})"
        sheet.formula(row, column, formula, value, sheet.styles.number("loss"))


# ---------------------------------------------------------------- Gradient check


def _gradient_check(sheet: Sheet, plan: Plan, trace: Trace) -> None:
    """Analytic against numeric gradients, in the row that the user picks."""
    program, styles, table = plan.program, sheet.styles, plan.backprop
    parameters = program.trained
    values = {name: float(column[0]) for name, column in trace.table.items()}
    results, picked = (
        GRADIENT_CHECK_ROW,
        GRADIENT_CHECK_ROW + len(parameters) + 4,
    )  # header rows of the two tables
    name = GRADIENT_CHECK

    sheet.text(0, 0, "Gradient check: is every ∂E/∂w the slope of the loss?", styles.title)
    sheet.text(
        1,
        0,
        "The table's ∂E/∂w beside the slope measured by moving one weight by ±ε and computing "
        "the whole network "
        "again, below. No calculus is used there.",
        styles.note,
    )
    sheet.text(3, 0, "iteration to check", styles.label)
    sheet.number(3, 1, 1, styles(bold=True, num_format="0", **INPUT))
    sheet.xlsx.data_validation(
        3,
        1,
        3,
        1,
        {
            "validate": "integer",
            "criteria": "between",
            "minimum": 1,
            "maximum": plan.steps,
            "input_title": "Iteration",
            "input_message": f"A whole number from 1 to {plan.steps}.",
            "error_title": "No such iteration",
            "error_message": f"Type a whole number from 1 to {plan.steps}.",
        },
    )
    sheet.text(4, 0, "ε", styles.label)
    hint = "The step of the central differences."
    sheet.positive_input(4, 1, EPSILON, "ε", hint)
    sheet.text(
        4, 2, "larger: the curve bends between w − ε and w + ε; smaller: rounding shows", styles.note
    )
    sheet.text(5, 0, "relative tolerance", styles.label)
    sheet.positive_input(5, 1, RELATIVE_TOLERANCE, "Tolerance", "Of the larger of the two gradients.")
    tolerance = ABSOLUTE_TOLERANCE * (1 + values[program.loss])
    sheet.text(6, 0, "plus, for rounding", styles.label)
    loss_here = cell(picked + 1, 1 + len(_data_and_parameters(program)), name)
    sheet.formula(
        6,
        1,
        f"={ABSOLUTE_TOLERANCE:.0E}*(1+ABS({loss_here.split('!')[1]}))",
        tolerance,
        styles(num_format="0.0E+00", align="right"),
    )
    if any(layer.activation in ("relu", "leaky_relu") for layer in program.network.layers):
        sheet.text(
            6, 2, "a sum within ε of a ReLU's kink at 0 can differ: the slope jumps there", styles.note
        )

    # the network at the picked row
    inputs = _data_and_parameters(program)
    sheet.text(
        picked - 1, 0, "The picked row, and the network with one weight moved by ±ε", styles.heading
    )
    sheet.text(picked, 0, "iteration", styles(bold=True, align="center"))
    sheet.formula(picked + 1, 0, "=$B$4", 1, styles(align="center"))
    place = {}
    for column, item in enumerate((*inputs, program.loss), 1):
        quantity = program[item]
        sheet.text(picked, column, quantity.label, styles.header(quantity.role))
        formula = f"=INDEX({table.span(item)},$B$4)"
        sheet.formula(picked + 1, column, formula, values[item], styles.number(quantity.role))
        place[item] = cell(picked + 1, column, name).split("!")[1]

    evaluated = program.of_role("forward", "loss")
    header = picked + 3
    sheet.text(header, 0, "moved", styles(bold=True, align="center"))
    sheet.text(header, 1, "its value", styles.header("parameter"))
    for column, quantity in enumerate(evaluated, 2):
        sheet.text(header, column, quantity.label, styles.header(quantity.role))
    loss_column = 2 + [quantity.name for quantity in evaluated].index(program.loss)
    shifted = {key: np.broadcast_to(v, 2 * len(parameters)) for key, v in trace.shifted.items()}
    for number, parameter in enumerate(parameters):
        for side, sign in enumerate("+-"):
            row, run = header + 1 + 2 * number + side, number + side * len(parameters)
            sheet.text(row, 0, f"{parameter} {'+' if sign == '+' else '−'} ε", styles(align="center"))
            moved = float(shifted[parameter][run])
            style = styles.number("parameter")
            sheet.formula(row, 1, f"={place[parameter]}{sign}$B$5", moved, style)
            here = {q.name: cell(row, column) for column, q in enumerate(evaluated, 2)}
            here |= {item: place[item] for item in inputs}
            here[parameter] = f"$B{row + 1}"
            notation = sheet_notation(here.__getitem__)
            for column, quantity in enumerate(evaluated, 2):
                assert quantity.expression is not None
                formula = "=" + render(quantity.expression, notation)
                value = float(shifted[quantity.name][run])
                sheet.formula(row, column, formula, value, styles.number(quantity.role))

    # the verdicts
    headers = "weight|value|∂E/∂w in the table|∂E/∂w measured|difference|÷ allowed|verdict"
    for column, text in enumerate(headers.split("|")):
        sheet.text(results, column, text, styles.header("gradient"))
    ratios: list[float] = []
    for number, parameter in enumerate(parameters):
        row, up, down = results + 1 + number, header + 1 + 2 * number, header + 2 + 2 * number
        gradient = gradient_name(parameter)
        analytic = values[gradient]
        losses = shifted[program.loss]
        numeric = float((losses[number] - losses[number + len(parameters)]) / (2 * EPSILON))
        style = styles(num_format="0.000000000E+00", bg_color=GROUPS["gradient"][2])
        sheet.text(row, 0, parameter, styles.label)
        sheet.formula(row, 1, f"={place[parameter]}", values[parameter], styles.number("parameter"))
        sheet.formula(row, 2, f"=INDEX({table.span(gradient)},$B$4)", analytic, style)
        slope = f"=({cell(up, loss_column)}-{cell(down, loss_column)})/(2*$B$5)"
        sheet.formula(row, 3, slope, numeric, style)
        c, d, e, f = (cell(row, column) for column in (2, 3, 4, 5))
        sheet.formula(row, 4, f"={c}-{d}", analytic - numeric, style)
        allowed = RELATIVE_TOLERANCE * max(abs(analytic), abs(numeric)) + tolerance
        ratios.append(abs(analytic - numeric) / allowed)
        share = f"=ABS({e})/($B$6*MAX(ABS({c}),ABS({d}))+$B$7)"
        sheet.formula(row, 5, share, ratios[-1], styles(num_format="0.000"))
        verdict = "OK" if ratios[-1] <= 1 else "WRONG"
        centred = styles(bold=True, align="center")
        sheet.formula(row, 6, f'=IF({f}<=1,"OK","WRONG")', verdict, centred)
    last = results + len(parameters)
    sheet.text(7, 0, "all weights", styles.label)
    overall = f'=IF(MAX({area(results + 1, 5, last, 5)})<=1,"OK","WRONG")'
    sheet.formula(
        7, 1, overall, "OK" if max(ratios) <= 1 else "WRONG", styles(bold=True, align="center")
    )
    for word, background, colour in (("OK", "#E8F2E1", "#3F6B27"), ("WRONG", "#FFC7CE", "#9C0006")):
        look = styles(bg_color=background, font_color=colour)
        rule = {"type": "cell", "criteria": "==", "value": f'"{word}"', "format": look}
        sheet.xlsx.conditional_format(results + 1, 6, last, 6, rule)
        sheet.xlsx.conditional_format(7, 1, 7, 1, rule)
    sheet.xlsx.set_column(0, 0, 18)
    sheet.xlsx.set_column(1, max(7, len(inputs) + 1, len(evaluated) + 2), 17)
    sheet.xlsx.freeze_panes(0, 1)
    _print_setup(sheet, results)


def _data_and_parameters(program: Program) -> list[str]:
    return [quantity.name for quantity in program.of_role("data", "parameter")]


# ---------------------------------------------------------------- Derivation


def _derivation(sheet: Sheet, plan: Plan, trace: Trace) -> None:
    """Per weight the chain of partial derivatives, in words and in the numbers of the first row."""
    program, styles, table = plan.program, sheet.styles, plan.backprop
    values = {name: column[0] for name, column in trace.table.items()}
    notation = sheet_notation(lambda name: table.address(name, table.first_row))
    number = styles(num_format="0.000000000000", bg_color=GROUPS["gradient"][2])

    def line(row: int, quantity: Quantity) -> None:
        """A quantity of the table: its name, its formula in words, its value, a link to its cell."""
        assert quantity.expression is not None
        address = table.address(quantity.name, table.first_row)
        style = styles(num_format="0.000000000000", bg_color=GROUPS[quantity.role][2])
        sheet.text(row, 0, quantity.label, styles.label)
        sheet.text(row, 1, f"= {render(quantity.expression, TEXT)}")
        sheet.formula(row, 2, f"={address}", float(values[quantity.name]), style)
        sheet.link(row, 3, address)

    sheet.text(0, 0, f"Derivation: {program.network.name}", styles.title)
    sheet.text(
        1,
        0,
        "Each ∂E/∂w is a chain of partial derivatives. The numbers are live: they are those of "
        "the first row of "
        "Backprop, E stands for E_total.",
        styles.note,
    )
    row = 3
    for title, quantities in (
        ("Forward pass", program.of_role("forward")),
        ("Loss", program.of_role("loss")),
        ("Shared factors: δ of a neuron is ∂E/∂(its sum)", program.of_role("delta")),
    ):
        sheet.text(row, 0, title, styles.heading)
        for row, quantity in enumerate(quantities, row + 1):  # noqa: B020
            line(row, quantity)
        row += 2
    sheet.text(row, 0, "The chain rule, weight by weight, from the last layer back", styles.heading)
    row += 2
    for gradient in sorted(program.of_role("gradient"), key=lambda q: -(q.layer or 0)):
        chains = [_full_chain(program, chain) for chain in gradient.chains]
        product = " · ".join(factor.label for factor in chains[0])
        more = f" + … ({len(chains)} such terms)" if len(chains) > 1 else ""
        sheet.text(
            row, 0, f"{gradient.label} = {product}{more}", styles(bold=True, font_color="#62308E")
        )
        row += 1
        products, total = [], 0.0
        for chain in chains:
            first, term = row, 1.0
            for factor in chain:
                value = float(evaluate(factor.expression, values))
                sheet.text(row, 0, factor.label)
                sheet.text(row, 1, f"= {render(factor.expression, TEXT)}")
                sheet.formula(row, 2, f"={render(factor.expression, notation)}", value, number)
                row, term = row + 1, term * value
            products.append("*".join(cell(r, 2) for r in range(first, row)))
            if len(chains) > 1:
                sheet.text(row, 0, "their product")
                sheet.formula(row, 2, f"={products[-1]}", term, number)
                products[-1] = cell(row, 2)
                row += 1
            total += term
        assert gradient.expression is not None
        address = table.address(gradient.name, table.first_row)
        sheet.text(row, 0, gradient.label, styles.label)
        sheet.text(row, 1, f"= {render(gradient.expression, TEXT)}")
        style = styles(num_format="0.000000000000", bold=True, bg_color=GROUPS["gradient"][2])
        sheet.formula(row, 2, f"={'+'.join(products)}", total, style)
        sheet.link(row, 3, address)
        same = f"IF(ABS({cell(row, 2)}-{address})<=0.000000001*ABS({address})"
        sheet.formula(
            row,
            4,
            f'={same},"equals the table","differs from the table")',
            "equals the table",
            styles.note,
        )
        row += 2
    sheet.xlsx.set_column(0, 0, 22)
    sheet.xlsx.set_column(1, 1, 62)
    sheet.xlsx.set_column(2, 2, 18)
    sheet.xlsx.set_column(3, 4, 18)
    sheet.xlsx.set_portrait()
    sheet.xlsx.set_paper(9)  # A4
    sheet.xlsx.fit_to_pages(1, 0)
    sheet.xlsx.set_footer("&L&A&RPage &P of &N")


def _full_chain(program: Program, chain: Chain) -> Chain:
    """The chain with its δ spelled out: ∂E/∂a_o1 · ∂a_o1/∂o1 · ∂o1/∂w5."""
    delta, last = chain
    (spelled_out,) = program[f"delta_{delta.by}"].chains
    return (*spelled_out, last)


# ---------------------------------------------------------------- Read me and Network


def _read_me(sheet: Sheet, plan: Plan) -> None:
    network, styles = plan.program.network, sheet.styles
    sections = (
        (
            "What this is",
            (
                f"A neural network ({_architecture(plan.program)}) that learns in front of you.",
                "Every number you see is a formula; only the yellow cells hold typed numbers. "
                "Change one and "
                "everything that depends on it follows.",
            ),
        ),
        (
            "The sheets",
            (
                "Backprop: one row per iteration: data, weights, forward pass, loss, every "
                "∂E/∂w; the next row "
                "starts with the updated weights.",
                "Learning rates: the same training with several learning rates, their loss "
                "curves, and the "
                "critical rate beyond which gradient descent overshoots.",
                "Gradient check: every ∂E/∂w beside the slope of the loss, measured without any "
                "calculus.",
                "Derivation: the chain rule for every weight, in words and in the numbers of the "
                "first row.",
                "Workings: the trainings behind Learning rates. Network: this network as text, "
                "to generate the "
                "workbook again.",
            ),
        ),
        (
            "In class",
            (
                "1. Change the learning rate η on Backprop to 0.1, then to 10. What does the "
                "chart do, and why?",
                "2. On Backprop, follow one gradient cell to the cells it reads (Excel: "
                "Formulas, Trace "
                "precedents). Which arrows are shared by two weights?",
                "3. Spoil one gradient formula in a row, then look at Gradient check for that "
                "row. Does the loss "
                "chart betray the mistake?",
                "4. Set all initial weights of a layer equal. Which gradients become equal, and "
                "what can the "
                "network no longer learn?",
                "5. On Learning rates, look for the largest rate that still learns; compare it "
                "with the critical "
                "rate.",
            ),
        ),
        (
            "How to read it",
            (
                "i input, t target, w weight, b bias, h and o the weighted sums of hidden and "
                "output neurons, "
                "a_… what the activation makes of them.",
                "E_total is the loss; ∂E/∂w its slope along w; δ of a neuron is ∂E/∂(its sum), "
                "which all its "
                "weights share. With several samples, h1[2] is h1 of sample 2.",
                "Iteration k shows the network before its k-th update: the first row is the "
                "network as it was "
                "given.",
            ),
        ),
        (
            "What is guaranteed",
            (
                "The formulas use only what Excel, LibreOffice, Google Sheets and IronCalc "
                "compute alike, and "
                "never the cached values.",
                "gradsheet's tests recalculate such workbooks with two spreadsheet engines and "
                "compare every "
                "value, gradient and update with PyTorch's autograd in float64.",
                "To prove this very file, edited or not: gradsheet verify FILE.xlsx (it compares "
                "to within "
                "1e-9 and names the first cell that differs).",
            ),
        ),
    )
    sheet.text(0, 0, f"Read me: {network.name}", styles.title)
    row = 2
    for title, lines in sections:
        sheet.text(row, 0, title, styles.heading)
        row = sheet.texts(row + 1, 0, lines, styles(text_wrap=True, valign="top")) + 1
    sheet.xlsx.set_column(0, 0, 110)
    sheet.xlsx.set_portrait()
    sheet.xlsx.set_paper(9)  # A4
    sheet.xlsx.fit_to_pages(1, 0)


def _network(sheet: Sheet, plan: Plan) -> None:
    """The network as TOML, one line a cell: what `gradsheet verify` reads to know the columns."""
    sheet.text(0, 0, "The network of this workbook, as gradsheet reads it", sheet.styles.title)
    sheet.text(
        1,
        0,
        "To generate the workbook again, save the lines below as a .toml file and give it to "
        "gradsheet workbook. "
        "Edits to the yellow cells are not written back here.",
        sheet.styles.note,
    )
    facts = (("iterations", plan.steps), ("compared learning rates", plan.rates))
    for row, (label, count) in enumerate(facts, 3):
        sheet.text(row, 0, label, sheet.styles.label)
        sheet.number(row, 1, count)
    style = sheet.styles(font_name="Consolas", font_size=10)
    sheet.texts(NETWORK_ROW, 0, to_toml(plan.program.network).splitlines(), style)
    sheet.xlsx.set_column(0, 0, 30)
