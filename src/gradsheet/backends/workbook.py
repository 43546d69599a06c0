"""Write a `Program` as a live workbook: every number a formula, every formula with its true value.

`write` is the whole of the interface. Every formula is put down
with the value it must give, so that a previewer that does not calculate (a phone, a mail client, pandas)
shows the right numbers too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import xlsxwriter

from gradsheet.backends.workbook_cells import CURVES, GROUPS, INPUT, TO_FILL_IN, Sheet, Styles
from gradsheet.backends.workbook_layout import (
    BACKPROP,
    DERIVATION,
    DIVERGED,
    FALLS,
    GRADIENT_CHECK,
    LEARNING_RATES,
    NETWORK,
    PREDICT,
    README,
    SAMPLES,
    STAYS,
    WORKINGS,
    Content,
    Lesson,
    Plan,
    Table,
    Trace,
    area,
    cell,
    formula_templates,
)
from gradsheet.backends.workbook_lessons import (
    write_derivation,
    write_gradient_check,
    write_network,
    write_read_me,
)
from gradsheet.backends.workbook_predict import write_predict
from gradsheet.backends.workbook_samples import write_samples
from gradsheet.compiler import Program, Quantity
from gradsheet.expression import (
    DIVERGENCE_LIMIT,
    SUMMED_TEXT,
    TEXT,
    Application,
    Array,
    Expression,
    label,
    render,
)
from gradsheet.network import Network, of_sample

CUT = 2.0
"""The linear chart of the learning rates cuts a diverging loss at this multiple of the first loss."""
FOR_YOU = "yours to fill in"
FOLDED_FROM = 300
"""A table of more columns opens with its details folded away."""
WORDS_LIMIT = 150  # characters of a formula in words over a column


def write(path: Path, plan: Plan, trace: Trace, lesson: Lesson | None = None) -> None:
    """Write the workbook, or a lesson, to ``path``; the same arguments give the same bytes."""
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
        _backprop(book, Sheet(book, BACKPROP, styles), plan, trace, lesson)
        if plan.samples is not None:
            write_samples(Sheet(book, SAMPLES, styles), plan, plan.samples)
        if lesson is None:
            _learning_rates(book, Sheet(book, LEARNING_RATES, styles), plan, trace)
            write_predict(Sheet(book, PREDICT, styles), plan, trace)
        if lesson is None or lesson.gradient_check:
            write_gradient_check(Sheet(book, GRADIENT_CHECK, styles), plan, trace)
        if lesson is None:
            write_derivation(Sheet(book, DERIVATION, styles), plan, trace)
            write_read_me(Sheet(book, README, styles), plan)
            _workings(Sheet(book, WORKINGS, styles), plan, trace)
        facts = {"iterations": plan.steps, "compared learning rates": plan.rates}
        write_network(Sheet(book, NETWORK, styles), network, facts, lesson.blank if lesson else ())
    finally:
        book.close()


def words_over(quantity: Quantity, program: Program) -> str:
    """What stands over a column: its formula in words, or what kind of number it is."""
    network = program.network
    text = SUMMED_TEXT if network.is_large else TEXT
    if quantity.rule is not None:
        words = f"{quantity.label} = {render(quantity.rule, text)}"
        if quantity.first is not None:
            words += f"; first row: {render(_taught(quantity.first), text)}"
    elif quantity.expression is not None:
        words = f"{quantity.label} = {render(quantity.expression, text)}"
    elif quantity.role == "dealt":
        words = f"number of sample {quantity.sample or 1} of the batch"
        if network.shuffle_seed is not None:
            words += f", shuffled from seed {network.shuffle_seed}; type another"
    elif quantity.role == "data":
        number = int(quantity.name.partition("[")[0][1:])
        names = network.input_names if quantity.name[0] == "i" else network.output_names
        kind = "input" if quantity.name[0] == "i" else "target"
        words = f"{kind} {number}" + (f": {names[number - 1]}" if names else "")
        if network.batch_size is not None:
            words += f" of sample {label(of_sample('n', quantity.sample or 1, network.slots))}"
        elif quantity.sample is not None:
            words += f", sample {quantity.sample}"
    elif quantity.name in program.trained:
        rule = next(u.expression for u in program.updates if u.parameter == quantity.name)
        words = f"next row: {render(rule, text)}"
    else:
        words = "kept as it is"
    if len(words) > WORDS_LIMIT:
        words = words[:WORDS_LIMIT].rpartition(" ")[0] + " …"
    return words


def _taught(expression: Expression) -> Expression:
    """The rule without its guard against a run that diverges."""
    match expression:
        case Application("hold", (_, rule, _)):
            return rule
    return expression


def write_table(
    sheet: Sheet,
    plan: Plan,
    table: Table,
    learning_rate: str,
    values: Mapping[str, Sequence[float]],
    lesson: Lesson | None = None,
) -> None:
    """Headers and rows of one table of iterations; ``values`` holds a column per quantity."""
    program = plan.program
    for name, (first, following) in formula_templates(plan, table, learning_rate).items():
        quantity, column = program[name], table.columns[name]
        sheet.text(table.header_row, column, quantity.label, sheet.styles.header(quantity.role))
        style = sheet.styles.number(quantity.role)
        cached = values[name]
        for row in range(table.first_row, table.last_row + 1):
            step = row - table.first_row
            template = first if step == 0 else following
            if template is None:
                sheet.number(row, column, cached[step], sheet.styles.number(quantity.role, INPUT))
                continue
            formula = template.format(r=row + 1, p=row, b=plan.backprop.first_row + step + 1)
            content: Content = formula
            if lesson is not None:
                content = lesson.rewrite(name, step, formula, cached[step])
            if content is None:
                sheet.to_fill_in(row, column, quantity.role)
            elif isinstance(content, str):
                sheet.formula(row, column, content, cached[step], style)
            else:
                sheet.number(row, column, content, style)
    columns = (min(table.columns.values()), max(table.columns.values()))
    sheet.scientific_where_needed((table.first_row, table.last_row), columns)


# ---------------------------------------------------------------- Backprop


def _backprop(book: Any, sheet: Sheet, plan: Plan, trace: Trace, lesson: Lesson | None) -> None:
    program, network, table, styles = plan.program, plan.program.network, plan.backprop, sheet.styles
    shown_loss = program.shown_loss
    losses = trace.table[shown_loss]
    first, last = float(losses[0]), float(losses[-1])
    first_cell, last_cell = (
        cell(row, table.columns[shown_loss]) for row in (table.first_row, table.last_row)
    )

    sheet.text(0, 0, f"Back-propagation, live: {network.name}", styles.title)
    sheet.text(1, 0, f"{program.network.summary}. {network.description}".strip(), styles.note)
    sheet.text(plan.RATE_ROW, 0, "learning rate η", styles.label)
    sheet.positive_input(
        plan.RATE_ROW,
        plan.RATE_COLUMN,
        trace.learning_rate,
        "Learning rate η",
        "Type any number greater than 0: every row below and the chart follow.",
    )
    sheet.text(plan.RATE_ROW, 2, "← type another: all rows and the chart follow", styles.hint)
    rate = cell(plan.RATE_ROW, plan.RATE_COLUMN, BACKPROP)
    book.define_name("learning_rate", f"={rate}")
    for name, setting in network.known_settings.items():
        if name in program.hyperparameters:
            row, column = plan.setting_cell(name)
            sheet.text(row, 0, setting_label(name), styles.label)
            value = program.hyperparameters[name]
            title = setting_label(name)
            sheet.input_between(row, column, value, title, setting.least, setting.most, setting.whole)
            sheet.text(row, column + 1, setting.meaning, styles.hint)
            book.define_name(name, f"={cell(row, column, BACKPROP)}")
    number = styles(num_format="0.000000E+00", align="left")
    summary = plan.summary_row
    one, other = cell(summary, 1), cell(summary + 1, 1)
    sheet.text(summary, 0, f"first {shown_loss}", styles.label)
    sheet.formula(summary, 1, f"={first_cell}", first, number)
    sheet.text(summary + 1, 0, f"last {shown_loss}", styles.label)
    sheet.formula(summary + 1, 1, f"={last_cell}", last, number)
    sheet.text(summary + 2, 0, "verdict", styles.label)
    formula, verdict = f'IF({other}<{one},"{FALLS}","{STAYS}")', FALLS if last < first else STAYS
    if program.can_diverge:
        formula = f'IF({below_limit(other)},{formula},"{DIVERGED}")'
        verdict = verdict if last < DIVERGENCE_LIMIT else DIVERGED
    sheet.formula(summary + 2, 1, "=" + formula, verdict, styles(bold=True, font_color="#A8460F"))
    legend = summary + 3
    roles = {program[name].role for name in plan.names}
    shown = [role for role in GROUPS if role in roles]
    sheet.text(legend, 0, "legend", styles.label)
    sheet.text(legend, 1, "input", styles(align="center", **INPUT))
    for column, role in enumerate(shown, 2):
        sheet.text(legend, column, GROUPS[role][0], styles.header(role))
    if lesson is not None:
        _lesson(sheet, plan, trace, lesson)

    over = {name: words_over(program[name], program) for name in table.columns}
    if lesson is not None:
        over |= dict.fromkeys(lesson.blank_names, FOR_YOU)
    for name, column in table.columns.items():
        sheet.text(table.header_row - 1, column, over[name], styles.words(program[name].role))
    sheet.words_row(table.header_row - 1, over.values())
    sheet.text(table.header_row, 0, "iteration", styles(bold=True, align="center"))
    for row in range(table.first_row, table.last_row + 1):
        iteration = row - table.first_row + 1
        if iteration == 1:
            sheet.number(row, 0, 1, styles(align="center"))
        else:
            sheet.formula(row, 0, f"=A{row}+1", iteration, styles(align="center"))
    columns = {name: column.tolist() for name, column in trace.table.items()}
    write_table(sheet, plan, table, "learning_rate", columns, lesson)

    if network.shuffle_seed is not None:
        for quantity in program.of_role("dealt"):
            column = table.columns[quantity.name]
            sheet.whole_inputs(table.first_row, table.last_row, column, 1, network.samples)

    sheet.xlsx.set_column(0, 0, 15)
    sheet.xlsx.set_column(1, len(table.columns), 12.5)
    _blocks(sheet, plan)
    for row in range(1, legend + 1):
        sheet.xlsx.set_row(row, 21)
    sheet.xlsx.set_row(table.header_row, 18)
    kept = 1 + len(plan.blocks[0].names) if plan.blocks else 1  # the loss of a large network stays
    sheet.xlsx.freeze_panes(table.first_row, kept)
    sheet.print_landscape(table.header_row - 1, table.header_row, wide=len(table.columns) > 45)
    sheet.xlsx.repeat_columns(0)

    chart = book.add_chart({"type": "scatter", "subtype": "straight"})
    curves = {program.loss: {"color": CURVES[0], "width": 2}}
    if shown_loss != program.loss:  # the loss of every batch, thin, behind the smoothed one
        thin = {"color": CURVES[5], "width": 0.75}
        curves = {program.loss: thin, shown_loss: curves[program.loss]}
    for name, line in curves.items():
        span = table.span(name)
        chart.add_series(
            {"name": name, "categories": f"={table.iterations}", "values": f"={span}", "line": line}
        )
    names = [*curves, *(["learning rate"] if "rate" in program else [])]
    title = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    chart_look(chart, f"{title} over the iterations", program.loss, log=None, steps=plan.steps)
    chart.set_legend({"none": True})
    if len(names) > 1:
        chart.set_legend({"position": "bottom", "font": {"size": 9}})
    if "rate" in program:
        _chart_rate(chart, plan)
    chart.set_size({"width": 560, "height": 196 + 28 * (len(program.hyperparameters) - 1)})
    place = {"x_offset": 10, "y_offset": 2, "object_position": 3}
    sheet.xlsx.insert_chart(0, 3 + len(shown), chart, place)


def _blocks(sheet: Sheet, plan: Plan) -> None:
    """A band over the columns of a large network, and outlines that fold their details away."""
    row, folded = plan.header_row - 2, bool(plan.blocks) and len(plan.names) > FOLDED_FROM
    for block in plan.blocks:
        first, last = (plan.backprop.columns[block.names[k]] for k in (0, -1))
        role = plan.program[block.names[-1]].role
        style = sheet.styles(
            bold=True, font_color=GROUPS[role][1], bottom=2, border_color=GROUPS[role][1]
        )
        sheet.text(row, first, block.title, style)
        for column in range(first + 1, last + 1):
            sheet.xlsx.write_blank(row, column, None, style)
        if block.detail:
            sheet.xlsx.set_column(first, last, 12.5, None, {"level": 1, "hidden": folded})
            # Excel puts the button that unfolds over the next column; another detail overwrites this.
            sheet.xlsx.set_column(last + 1, last + 1, 12.5, None, {"collapsed": folded})
    hints = ["the data are in Samples"] if plan.data_once else []
    if folded:
        what = "forward pass" if plan.data_once else "data, forward pass"
        hints.append(f"{what} and δ are folded away: press the 2, top left, to see them")
    if hints:
        sheet.text(plan.summary_row, 2, "; ".join(hints), sheet.styles.hint)


def setting_label(name: str) -> str:
    words = name.replace("_", " ")
    return words if label(name) == name else f"{words} {label(name)}"


def _chart_rate(chart: Any, plan: Plan) -> None:
    """The learning rate beside the loss, on an axis of its own."""
    chart.add_series(
        {
            "name": "learning rate",
            "categories": f"={plan.backprop.iterations}",
            "values": f"={plan.backprop.span('rate')}",
            "line": {"color": CURVES[1], "width": 1.5, "dash_type": "dash"},
            "y2_axis": True,
        }
    )
    font = {"size": 9, "bold": False}
    axis = {"name": "η_t", "name_font": font, "num_font": {"size": 9}, "num_format": "General", "min": 0}
    chart.set_y2_axis(axis)


def _lesson(sheet: Sheet, plan: Plan, trace: Trace, lesson: Lesson) -> None:
    """The task in words, left of the chart, and what belongs to single lessons."""
    styles = sheet.styles
    look = {"text_wrap": True, "valign": "vcenter", "indent": 1, "font_size": 10}
    box = styles(**look, border=1, border_color=TO_FILL_IN["border_color"])
    sheet.xlsx.merge_range(3, 2, 4, 8, "", box)
    sheet.text(3, 2, lesson.task, box)
    if lesson.blank:
        sheet.text(6, 8, FOR_YOU, styles(align="center", **TO_FILL_IN))
    if lesson.rate_beside:
        sheet.text(plan.header_row, plan.beside_column, "η", styles(bold=True, align="center"))
        place = (plan.backprop.first_row, plan.beside_column)
        sheet.formula(*place, "=learning_rate", trace.learning_rate, styles(num_format="General"))


def below_limit(address: str) -> str:
    return f"{address}<{DIVERGENCE_LIMIT:.0E}"


def chart_look(chart: Any, title: str, loss: str, log: tuple[float, float] | None, steps: int) -> None:
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
        "name": loss,
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
    shown_loss = program.shown_loss
    losses = trace.comparison[shown_loss]  # (steps, rates)
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
    sheet.text(row_of["final"], 0, f"final {shown_loss}", styles.label)
    sheet.text(row_of["verdict"], 0, "verdict", styles.label)
    sheet.text(row_of["best"], 0, "best rate", styles.label)
    smallest = min((loss for loss in final if math.isfinite(loss)), default=math.inf)
    best_is_fine = smallest < DIVERGENCE_LIMIT
    for column in columns:
        number = column - 1
        hint = "Type any number greater than 0: its curve and its final loss follow."
        sheet.positive_input(rates_row, column, trace.rates[number], "Learning rate", hint)
        own = cell(row_of["final"], column)
        last = plan.workings[number].address(shown_loss, plan.workings[number].last_row)
        sheet.formula(row_of["final"], column, f"={last}", final[number], styles(num_format="0.000E+00"))
        verdict = "diverged"
        if final[number] < DIVERGENCE_LIMIT:
            verdict = "best" if final[number] == smallest else ""
        sheet.formula(
            row_of["verdict"],
            column,
            f'=IF({below_limit(own)},IF({own}=MIN({finals}),"best",""),"diverged")',
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
            loss = workings.address(shown_loss, workings.first_row + step)
            row = table.first_row + step
            style = styles.number("loss")
            sheet.formula(row, column, f"={loss.replace('$', '')}", cached[step], style)
    best = trace.rates[final.index(smallest)] if best_is_fine else "none: all diverge"
    sheet.formula(
        row_of["best"],
        1,
        f"=IF({below_limit(f'MIN({finals})')},INDEX({rates},1,MATCH(MIN({finals}),{finals},0)),"
        '"none: all diverge")',
        best,
        styles(bold=True, align="right", num_format="General"),
    )
    sheet.text(row_of["best"], 2, f"the smallest final {shown_loss} of these rates", styles.hint)
    sheet.text(header_row - 1, 1, f"{shown_loss} by learning rate", styles.label)
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
    sheet.print_landscape(header_row, header_row)
    left = max(plan.rates + 2, 7)
    _critical_rates(sheet, left, trace, program.network)
    for position, (title, log) in enumerate(
        ((f"{shown_loss}, linear scale", None), (f"{shown_loss}, logarithmic scale", decades(losses)))
    ):
        chart = book.add_chart({"type": "scatter", "subtype": "straight"})
        for number in range(plan.rates):
            drawn = plan.CHART if log is None and program.can_diverge else shown_loss
            chart.add_series(
                {
                    "name": f"={cell(rates_row, 1 + number, LEARNING_RATES)}",
                    "categories": f"={table.iterations}",
                    "values": f"={plan.workings[number].span(drawn)}",
                    "line": {"color": CURVES[number % len(CURVES)], "width": 1.75},
                }
            )
        if log is None and program.can_diverge:
            title += f", cut at {CUT:g} × the first loss"
        chart_look(chart, title, shown_loss, log, steps)
        chart.set_legend({"position": "right", "font": {"size": 10}})
        chart.set_size({"width": 640, "height": 340})
        sheet.xlsx.insert_chart(header_row + 1 + 18 * position, left, chart, {"object_position": 3})


def decades(losses: Array) -> tuple[float, float]:
    """Bounds of the log axis: whole decades, with one to spare for rates that are typed in later."""
    shown = losses[np.isfinite(losses) & (losses > 1e-300)]
    if shown.size == 0:
        return 1e-6, 1.0
    top = min(math.ceil(math.log10(float(shown.max()))), math.ceil(math.log10(float(shown[0]))) + 6)
    bottom = max(math.floor(math.log10(float(shown.min()))) - 1, top - 20)
    return 10.0**bottom, 10.0**top


def _critical_rates(sheet: Sheet, left: int, trace: Trace, network: Network) -> None:
    styles = sheet.styles
    heading = "Critical learning rate 2/λmax"
    if network.batch_size is not None:
        heading += " of that iteration's batch"
    descent = (network.optimizer, network.schedule) == ("sgd", "constant")
    if not descent or network.settings_in_use.keys() - {"smoothing"}:
        heading += " of plain gradient descent: what is used here has another limit"
    sheet.text(2, left, heading, styles.heading)
    sheet.xlsx.set_column(left + 4, left + 4, 12)
    for row, (when, rate) in enumerate(zip(("first", "last"), trace.critical, strict=True), 3):
        sheet.text(row, left, f"at the {when} iteration of Backprop", styles.label)
        if math.isfinite(rate):
            sheet.number(row, left + 4, rate, styles(num_format="[<100000]0.0000;0.0000E+00", bold=True))
        else:
            none = "none: the loss curves upwards in no direction here"
            sheet.text(row, left + 4, none if rate > 0 else "the run has diverged", styles.note)
    sheet.texts(
        5,
        left,
        (
            "Computed when this workbook was written, for the inputs as written: not live. "
            "λmax is the largest eigenvalue of the loss's Hessian.",
            "Along its eigenvector a step multiplies the distance from the bottom by 1 − η·λmax: "
            "below 1/λmax it creeps, between 1/λmax and 2/λmax",
            "it overshoots but shrinks, beyond 2/λmax every step leads further away: "
            "the loss oscillates, jumps to flatter ground, or diverges.",
        ),
        styles.note,
    )


# ---------------------------------------------------------------- Workings


def _workings(sheet: Sheet, plan: Plan, trace: Trace) -> None:
    program, styles = plan.program, sheet.styles
    sheet.text(0, 0, "Workings: the trainings behind the sheet Learning rates", styles.title)
    sheet.text(plan.WORKINGS_HEADER_ROW, 0, "iteration", styles(bold=True, align="center"))
    first_losses = trace.comparison[program.shown_loss][0]
    for step in range(plan.comparison_steps):
        row = plan.WORKINGS_HEADER_ROW + 1 + step
        above = f"={cell(plan.backprop.first_row + step, 0, BACKPROP)}".replace("$", "")
        sheet.formula(row, 0, above, step + 1, styles(align="center"))
    for number, table in enumerate(plan.workings):
        columns = {name: values[:, number].tolist() for name, values in trace.comparison.items()}
        write_table(sheet, plan, table, plan.rate_cell(number), columns)
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
            losses = columns[program.shown_loss]
            cut_losses(sheet, plan, table, losses, CUT * float(first_losses[number]))
    sheet.xlsx.set_column(0, 0, 12)
    sheet.xlsx.set_column(1, max(plan.workings[-1].columns.values()), 12.5)
    sheet.xlsx.freeze_panes(plan.WORKINGS_HEADER_ROW + 1, 1)
    sheet.print_landscape(plan.WORKINGS_HEADER_ROW - 1, plan.WORKINGS_HEADER_ROW, wide=True)


def cut_losses(sheet: Sheet, plan: Plan, table: Table, losses: Sequence[float], cap: float) -> None:
    """The column that the linear chart draws, so that a diverging curve does not flatten the rest."""
    column = table.columns[plan.CHART]
    sheet.text(table.header_row, column, plan.CHART, sheet.styles.header("loss"))
    first = table.address(plan.program.shown_loss, table.first_row).split("!")[1]
    for row in range(table.first_row, table.last_row + 1):
        own = cell(row, table.columns[plan.program.shown_loss])
        loss = losses[row - table.first_row]
        value = min(loss, cap) if math.isfinite(loss) else math.nan
        formula = f"=MIN({own},{CUT:g}*{first})"
        sheet.formula(row, column, formula, value, sheet.styles.number("loss"))
