"""The sheets around the table: Gradient check, Derivation, Read me and Network."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from xlsxwriter.utility import xl_col_to_name

from gradsheet.backends.workbook_cells import GROUPS, INPUT, Sheet
from gradsheet.backends.workbook_layout import (
    BLANK_ROW,
    GRADIENT_CHECK_ROW,
    NETWORK_ROW,
    SAMPLES,
    Plan,
    Trace,
    area,
    cell,
    layer_title,
    sheet_notation,
)
from gradsheet.compiler import Chain, Program, Quantity, gradient_name
from gradsheet.expression import SUMMED_TEXT, TEXT, Array, evaluate, references, render
from gradsheet.matrices import backward_formulas, forward_formulas, matrix_text
from gradsheet.network import KINKED, Network, to_toml

EPSILON = 1e-5
"""Step of the central differences: about where their two errors, ε² and rounding/ε, are equal."""
RELATIVE_TOLERANCE = 1e-5
ABSOLUTE_TOLERANCE = 1e-10
WORDS_WIDTH = 62
"""Characters that fit beside each other in the column of words."""
KINK_TOLERANCE = 1e-4
"""A slope to one side is good to about ε, relatively; the smallest mistake of interest is 2.6e-4."""


# ---------------------------------------------------------------- Gradient check


def write_gradient_check(sheet: Sheet, plan: Plan, trace: Trace) -> None:
    """Analytic against measured gradients of the plan's checked weights, in the row the user picks."""
    count = len(plan.checked)
    picked_row = GRADIENT_CHECK_ROW + count + 5
    values = {name: float(column[0]) for name, column in trace.table.items()}
    shifted = {name: np.broadcast_to(v, 2 * count) for name, v in trace.shifted.items()}
    _controls(sheet, plan)
    place = _picked_row(sheet, plan, picked_row, values)
    losses = _moved_weights(sheet, plan, picked_row + 2, place, shifted)
    _verdicts(sheet, plan, place, losses, values, shifted[plan.program.loss])
    columns = max(9, len(place), 2 + len(plan.evaluated))
    sheet.xlsx.set_column(0, 0, 18)
    sheet.xlsx.set_column(1, columns, 17)
    sheet.xlsx.freeze_panes(0, 1)
    wide = plan.program.network.is_large
    sheet.print_landscape(GRADIENT_CHECK_ROW, GRADIENT_CHECK_ROW, wide=wide)


def _controls(sheet: Sheet, plan: Plan) -> None:
    styles = sheet.styles
    count, trained = len(plan.checked), len(plan.program.trained)
    sheet.text(0, 0, "Gradient check: is every ∂E/∂w the slope of the loss?", styles.title)
    explanation = (
        "The table's ∂E/∂w beside the slope measured by moving one weight by ±ε and computing the "
        "whole network again, below. No calculus is used there."
    )
    sheet.text(1, 0, explanation, styles.note)
    if count < trained:
        some = (
            f"Each takes two computations of the whole network, so {count} of the {trained} weights and "
            "biases are measured, spread over all layers; the others are not checked here."
        )
        sheet.text(2, 0, some, styles.note)
    sheet.text(3, 0, "iteration to check", styles.label)
    sheet.number(3, 1, 1, styles(bold=True, num_format="0", **INPUT))
    wanted = f"a whole number from 1 to {plan.steps}."
    rule = {
        "validate": "integer",
        "criteria": "between",
        "minimum": 1,
        "maximum": plan.steps,
        "input_title": "Iteration",
        "input_message": wanted.capitalize(),
        "error_title": "No such iteration",
        "error_message": f"Type {wanted}",
    }
    sheet.xlsx.data_validation(3, 1, 3, 1, rule)
    sheet.text(4, 0, "ε", styles.label)
    sheet.positive_input(4, 1, EPSILON, "ε", "The step of the central differences.")
    errors = "larger: the curve bends between w − ε and w + ε; smaller: rounding shows"
    sheet.text(4, 2, errors, styles.hint)
    sheet.text(5, 0, "relative tolerance", styles.label)
    sheet.positive_input(5, 1, RELATIVE_TOLERANCE, "Tolerance", "Of the larger of the two gradients.")
    sheet.text(6, 0, "plus, for rounding", styles.label)
    sheet.text(7, 0, "all weights" if count == trained else "all of these", styles.label)
    if _has_kinks(plan.program):
        what = "a ReLU" if _has_relu(plan.program) else "an error"
        kink = (
            f"KINK: {what} is at 0, where the slope jumps; ∂E/∂w lies between the slopes to both sides"
        )
        sheet.text(7, 2, kink, styles.hint)


def _has_kinks(program: Program) -> bool:
    return _has_relu(program) or program.network.loss == "mean_absolute_error"


def _has_relu(program: Program) -> bool:
    return any(layer.activation in KINKED for layer in program.network.layers)


def _picked_row(sheet: Sheet, plan: Plan, row: int, values: Mapping[str, float]) -> dict[str, str]:
    """Data, parameters and loss of the picked iteration; returns the cell of each.

    Data that stand in Samples alone are the same in every iteration, and are read there.
    """
    program, styles = plan.program, sheet.styles
    title = "The picked row, and the network with one weight moved by ±ε"
    sheet.text(row - 2, 0, title, styles.heading)
    sheet.text(row - 1, 0, "iteration", styles(bold=True, align="center"))
    sheet.formula(row, 0, "=$B$4", 1, styles(align="center"))
    place = {q.name: cell(*plan.sample_cell(q.name), SAMPLES) for q in plan.data_once}
    shown = [*program.of_role("data", "parameter"), program[program.loss]]
    for column, quantity in enumerate((q for q in shown if q.name not in place), 1):
        sheet.text(row - 1, column, quantity.label, styles.header(quantity.role))
        formula = f"=INDEX({plan.backprop.span(quantity.name)},$B$4)"
        sheet.formula(row, column, formula, values[quantity.name], styles.number(quantity.role))
        place[quantity.name] = area(row, column, row, column).split(":")[0]
    return place


def _moved_weights(
    sheet: Sheet,
    plan: Plan,
    header_row: int,
    place: Mapping[str, str],
    shifted: Mapping[str, Array],
) -> list[tuple[str, str]]:
    """The network once with every checked weight + ε, once with it − ε; returns the losses' cells."""
    program, styles, count = plan.program, sheet.styles, len(plan.checked)
    column_of = {quantity.name: column for column, quantity in enumerate(plan.evaluated, 2)}
    here = dict(place) | {n: f"{xl_col_to_name(column)}{{r}}" for n, column in column_of.items()}
    sheet.text(header_row, 0, "moved", styles(bold=True, align="center"))
    sheet.text(header_row, 1, "its value", styles.header("parameter"))
    for quantity in plan.evaluated:
        header = styles.header(quantity.role)
        sheet.text(header_row, column_of[quantity.name], quantity.label, header)

    def template(quantity: Quantity, places: Mapping[str, str]) -> str:
        assert quantity.expression is not None
        notation = sheet_notation(places.__getitem__, ranges=program.network.is_large)
        return f"={render(quantity.expression, notation)}"

    unmoved = {quantity.name: template(quantity, here) for quantity in plan.evaluated}
    users: dict[str, list[Quantity]] = defaultdict(list)  # parameter → the formulas it stands in
    for quantity in plan.evaluated:
        assert quantity.expression is not None
        for name in set(references(quantity.expression)):
            users[name].append(quantity)
    values = {quantity.name: shifted[quantity.name].tolist() for quantity in plan.evaluated}
    losses = []
    for number, parameter in enumerate(plan.checked):
        rows = (header_row + 1 + 2 * number, header_row + 2 + 2 * number)
        loss_column = column_of[program.loss]
        losses.append((cell(rows[0], loss_column), cell(rows[1], loss_column)))
        moved_here = {**here, parameter: "B{r}"}
        templates = unmoved | {q.name: template(q, moved_here) for q in users[parameter]}
        for row, sign, run in zip(rows, "+−", (number, number + count), strict=True):
            sheet.text(row, 0, f"{parameter} {sign} ε", styles(align="center"))
            moved = f"={place[parameter]}{sign.replace('−', '-')}$B$5"
            sheet.formula(row, 1, moved, float(shifted[parameter][run]), styles.number("parameter"))
            for quantity in plan.evaluated:
                name, style = quantity.name, styles.number(quantity.role)
                formula = templates[name].replace("{r}", str(row + 1))
                sheet.formula(row, column_of[name], formula, values[name][run], style)
    return losses


@dataclass(frozen=True)
class _Slopes:
    """The numbers of one line of verdicts, computed as its formulas do."""

    analytic: float
    up: float  # the loss with the weight + ε
    here: float
    down: float

    @property
    def measured(self) -> float:
        return (self.up - self.down) / (2 * EPSILON)

    @property
    def sides(self) -> tuple[float, float]:
        return (self.here - self.down) / EPSILON, (self.up - self.here) / EPSILON

    @property
    def allowed(self) -> float:
        return RELATIVE_TOLERANCE * max(abs(self.analytic), abs(self.measured)) + self.rounding

    @property
    def rounding(self) -> float:
        return ABSOLUTE_TOLERANCE * (1 + abs(self.here))

    def share(self, kinks: bool) -> float:
        """The difference as a share of what is allowed; at a kink, of what is outside the two slopes."""
        share = abs(self.analytic - self.measured) / self.allowed
        if not kinks:
            return share
        left, right = self.sides
        outside = max(0.0, min(left, right) - self.analytic, self.analytic - max(left, right))
        return min(share, outside / (KINK_TOLERANCE * max(abs(left), abs(right)) + self.rounding))

    def verdict(self, kinks: bool) -> str:
        if abs(self.analytic - self.measured) <= self.allowed:
            return "OK"
        return "KINK" if self.share(kinks) <= 1 else "WRONG"


def _verdicts(
    sheet: Sheet,
    plan: Plan,
    place: Mapping[str, str],
    losses: list[tuple[str, str]],
    values: Mapping[str, float],
    shifted: Array,
) -> None:
    program, styles, kinks = plan.program, sheet.styles, _has_kinks(plan.program)
    header_row, count = GRADIENT_CHECK_ROW, len(plan.checked)
    headers = ["weight", "value", "∂E/∂w in the table", "∂E/∂w measured", "difference"]
    headers += ["÷ allowed", "verdict", *(["slope to the left", "slope to the right"] if kinks else [])]
    for column, text in enumerate(headers):
        sheet.text(header_row, column, text, styles.header("gradient"))
    style = styles(num_format="0.000000000E+00", bg_color=GROUPS["gradient"][2])
    centred = styles(bold=True, align="center")
    lines = []
    for number, (parameter, (up, down)) in enumerate(zip(plan.checked, losses, strict=True)):
        row, gradient, here = header_row + 1 + number, gradient_name(parameter), place[program.loss]
        line = _Slopes(
            values[gradient],
            float(shifted[number]),
            values[program.loss],
            float(shifted[number + count]),
        )
        lines.append(line)
        c, d, e, f, _, h, i = (cell(row, column) for column in range(2, 9))
        sheet.text(row, 0, parameter, styles.label)
        sheet.formula(row, 1, f"={place[parameter]}", values[parameter], styles.number("parameter"))
        formula = f"=INDEX({plan.backprop.span(gradient)},$B$4)"
        sheet.formula(row, 2, formula, line.analytic, style)
        sheet.formula(row, 3, f"=({up}-{down})/(2*$B$5)", line.measured, style)
        sheet.formula(row, 4, f"={c}-{d}", line.analytic - line.measured, style)
        allowed = f"($B$6*MAX(ABS({c}),ABS({d}))+$B$7)"
        share, verdict = f"ABS({e})/{allowed}", f'IF({f}<=1,"OK","WRONG")'
        if kinks:
            sheet.formula(row, 7, f"=({here}-{down})/$B$5", line.sides[0], style)
            sheet.formula(row, 8, f"=({up}-{here})/$B$5", line.sides[1], style)
            outside = f"MAX(0,MIN({h},{i})-{c},{c}-MAX({h},{i}))"
            share = f"MIN({share},{outside}/({KINK_TOLERANCE}*MAX(ABS({h}),ABS({i}))+$B$7))"
            verdict = f'IF({f}<=1,IF(ABS({e})<={allowed},"OK","KINK"),"WRONG")'
        sheet.formula(row, 5, f"={share}", line.share(kinks), styles(num_format="0.000"))
        sheet.formula(row, 6, f"={verdict}", line.verdict(kinks), centred)
    last = header_row + count
    rounding = f"={ABSOLUTE_TOLERANCE:.0E}*(1+ABS({place[program.loss]}))"
    sheet.formula(6, 1, rounding, lines[0].rounding, styles(num_format="0.0E+00", align="right"))
    overall = f'=IF(MAX({area(header_row + 1, 5, last, 5)})<=1,"OK","WRONG")'
    wrong = any(line.verdict(kinks) == "WRONG" for line in lines)
    sheet.formula(7, 1, overall, "WRONG" if wrong else "OK", centred)
    for word, background, colour in (
        ("OK", "#E8F2E1", "#3F6B27"),
        ("KINK", "#FFF6DC", "#8A6300"),
        ("WRONG", "#FFC7CE", "#9C0006"),
    ):
        look = styles(bg_color=background, font_color=colour)
        rule = {"type": "cell", "criteria": "==", "value": f'"{word}"', "format": look}
        sheet.xlsx.conditional_format(header_row + 1, 6, last, 6, rule)
        sheet.xlsx.conditional_format(7, 1, 7, 1, rule)


# ---------------------------------------------------------------- Derivation


def write_derivation(sheet: Sheet, plan: Plan, trace: Trace) -> None:
    """Per weight the chain of partial derivatives, in words and in the numbers of the first row; of a
    large network all layers in matrices, and one weight of each."""
    program, styles = plan.program, sheet.styles
    values = {name: float(column[0]) for name, column in trace.table.items()}
    large = program.network.is_large
    sheet.text(0, 0, f"Derivation: {program.network.name}", styles.title)
    sheet.text(
        1,
        0,
        "Each ∂E/∂w is a chain of partial derivatives. The numbers are live: they are those of the "
        "first row of Backprop, E stands for E_total.",
        styles.note,
    )
    row = 3
    if large:
        row = _matrices(sheet, program, row)
    else:
        for title, quantities in (
            ("Forward pass", program.of_role("forward")),
            ("Loss", program.of_role("loss")),
            ("Shared factors: δ of a neuron is ∂E/∂(its sum)", program.of_role("delta")),
        ):
            sheet.text(row, 0, title, styles.heading)
            for row, quantity in enumerate(quantities, row + 1):  # noqa: B020
                _line(sheet, plan, row, quantity, values)
            row += 2
    how = "one weight of each layer" if large else "weight by weight"
    sheet.text(row, 0, f"The chain rule, {how}, from the last layer back", styles.heading)
    row += 2
    for name in plan.derived:
        row = _chain_rule(sheet, plan, row, program[gradient_name(name)], values) + 2
    sheet.xlsx.set_column(0, 0, 22)
    sheet.xlsx.set_column(1, 1, WORDS_WIDTH)
    sheet.xlsx.set_column(2, 2, 18)
    sheet.xlsx.set_column(3, 4, 18)
    sheet.print_portrait()


def _matrices(sheet: Sheet, program: Program, row: int) -> int:
    """The formulas of all layers in matrices; returns the row after them."""
    network, styles = program.network, sheet.styles
    notation = matrix_text(network.slots)
    notes = (
        "W⁽¹⁾ holds the weights of the first layer, a row for each neuron, b⁽¹⁾ its biases; x are the "
        "inputs, z the sums, a the outputs, t the targets, δ is ∂E/∂z.",
        "⊙, powers and functions work entry by entry; ᵀ turns rows into columns"
        + ("; [k] is sample k, Σₖ adds up all samples." if network.slots > 1 else "."),
    )
    row = sheet.texts(row, 0, notes, styles.note)
    layers = range(len(network.layers))
    parts = [("Forward pass, a layer at a time", list(forward_formulas(program)))]
    for layer in reversed(layers):
        title = f"Backward: {layer_title(network, layer).lower()}"
        parts.append((title, list(backward_formulas(program, layer))))
    for title, formulas in parts:
        sheet.text(row, 0, title, styles.heading)
        for row, formula in enumerate(formulas, row + 1):  # noqa: B020
            sheet.text(row, 0, notation.reference(formula.name), styles.label)
            sheet.text(row, 1, f"= {render(formula.expression, notation)}")
        row += 2
    sheet.text(row, 0, "Loss and update", styles.heading)
    first = program.updates[0]
    loss = program[program.loss]
    assert loss.expression is not None
    shown = [(loss.label, loss.expression)]
    for state in program.of_role("state"):
        if state.rule is not None and state.name.endswith(f"_{first.parameter}"):
            shown.append((state.label, state.rule))
    shown.append((f"next {first.parameter}", first.expression))
    for row, (name, expression) in enumerate(shown, row + 1):  # noqa: B020
        sheet.text(row, 0, name, styles.label)
        sheet.text(row, 1, f"= {render(expression, SUMMED_TEXT)}")
    sheet.text(row + 1, 0, "All other weights and biases are updated alike.", styles.note)
    return row + 3


def _line(sheet: Sheet, plan: Plan, row: int, quantity: Quantity, values: Mapping[str, float]) -> None:
    """A quantity of the table: its name, its formula in words, its value, a link to its cell."""
    assert quantity.expression is not None
    address = plan.backprop.address(quantity.name, plan.backprop.first_row)
    style = sheet.styles(num_format="0.000000000000", bg_color=GROUPS[quantity.role][2])
    sheet.text(row, 0, quantity.label, sheet.styles.label)
    sheet.text(row, 1, f"= {render(quantity.expression, TEXT)}")
    sheet.formula(row, 2, f"={address}", values[quantity.name], style)
    sheet.link(row, 3, address)


def _chain_rule(
    sheet: Sheet, plan: Plan, row: int, gradient: Quantity, values: Mapping[str, float]
) -> int:
    """The factors of one gradient, in words and live numbers; returns the row of the result."""
    program, styles, table = plan.program, sheet.styles, plan.backprop
    notation = sheet_notation(
        lambda name: plan.address(name, table.first_row), ranges=program.network.is_large
    )
    number = styles(num_format="0.000000000000", bg_color=GROUPS["gradient"][2])
    chains = [full for chain in gradient.chains for full in _full_chains(program, chain)]
    product = " · ".join(factor.label for factor in chains[0])
    more = f" + … ({len(chains)} such terms)" if len(chains) > 1 else ""
    sheet.text(row, 0, f"{gradient.label} = {product}{more}", styles(bold=True, font_color="#62308E"))
    row += 1
    products, total = [], 0.0
    for chain in chains:
        first, term = row, 1.0
        for factor in chain:
            value = float(evaluate(factor.expression, values))
            sheet.text(row, 0, factor.label)
            full = render(factor.expression, TEXT)
            fits = len(full) <= WORDS_WIDTH or not program.network.is_large
            sheet.text(row, 1, f"= {full if fits else render(factor.expression, SUMMED_TEXT)}")
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
    text = SUMMED_TEXT if program.network.is_large else TEXT
    sheet.text(row, 1, f"= {render(gradient.expression, text)}")
    style = styles(num_format="0.000000000000", bold=True, bg_color=GROUPS["gradient"][2])
    sheet.formula(row, 2, f"={'+'.join(products)}", total, style)
    sheet.link(row, 3, address)
    same = f"IF(ABS({cell(row, 2)}-{address})<=0.000000001*ABS({address})"
    sheet.formula(
        row, 4, f'={same},"equals the table","differs from the table")', "equals the table", styles.note
    )
    return row


def _full_chains(program: Program, chain: Chain) -> list[Chain]:
    """The chain with its δ spelled out: ∂E/∂a_o1 · ∂a_o1/∂o1 · ∂o1/∂w5; several behind a softmax."""
    delta, last = chain
    return [(*way, last) for way in program[f"delta_{delta.by}"].chains]


# ---------------------------------------------------------------- Read me and Network


_OPTIMIZER = (
    "What the optimizer remembers of a weight, such as m_w1, has seen the gradient of its own row, and "
    "makes the weight of the next; η_t is the learning rate of the row, t its iteration."
)


_SAMPLES = (
    "Samples: all samples, standardised where the network sees them so; Backprop takes its data there."
)
_BATCHES = (
    "Each update sees one batch; n is the number of a sample dealt, and all that its row shows is of "
    "this batch. Every batch has another loss: E_smooth, an average with memory, shows whether it falls."
)


def write_read_me(sheet: Sheet, plan: Plan) -> None:
    network, styles = plan.program.network, sheet.styles
    checked = f"{len(plan.checked)} ∂E/∂w" if network.is_large else "every ∂E/∂w"
    sections = (
        (
            "What this is",
            (
                f"A neural network ({network.summary}) that learns in front of you.",
                "Every number you see is a formula; only the yellow cells hold typed numbers. Change "
                "one and everything that depends on it follows.",
            ),
        ),
        (
            "The sheets",
            (
                "Backprop: one row per iteration: data, weights, forward pass, loss, every ∂E/∂w; the "
                "next row starts with the updated weights.",
                *(() if plan.samples is None else (_SAMPLES,)),
                "Learning rates: the same training with several learning rates, their loss curves, "
                "and the critical rate beyond which gradient descent overshoots.",
                "Predict: type an input and see the forward pass with the trained weights; for two "
                "inputs a map of the answers before and after the training.",
                f"Gradient check: {checked} beside the slope of the loss, measured without any "
                "calculus.",
                "Derivation: the chain rule for every weight, in words and in the numbers of the "
                "first row.",
                "Workings: the trainings behind Learning rates. Network: this network as text, to "
                "generate the workbook again.",
            ),
        ),
        (
            "In class",
            (
                "1. Change the learning rate η on Backprop to a tenth, then to ten times what it was. "
                "What does the chart do, and why?",
                "2. On Backprop, follow one gradient cell to the cells it reads (Excel: Formulas, "
                "Trace precedents). Which arrows are shared by two weights?",
                "3. Spoil one gradient formula in a row, then look at Gradient check for that row. "
                "Does the loss chart betray the mistake?",
                "4. Set all initial weights of a layer equal. Which gradients become equal, and what "
                "can the network no longer learn?",
                "5. On Learning rates, look for the largest rate that still learns; compare it with "
                "the critical rate.",
            ),
        ),
        (
            "How to read it",
            (
                "i input, t target, w weight, b bias, h and o the weighted sums of hidden and output "
                "neurons, a_… what the activation makes of them.",
                "E_total is the loss; ∂E/∂w its slope along w; δ of a neuron is ∂E/∂(its sum), which "
                "all its weights share. With several samples, h1[2] is h1 of sample 2.",
                "Iteration k shows the network before its k-th update: the first row is the network "
                "as it was given.",
                *(() if network.is_plain else (_OPTIMIZER,)),
                *(() if network.batch_size is None else (_BATCHES,)),
            ),
        ),
        (
            "What is guaranteed",
            (
                "The formulas use only what Excel, LibreOffice, Google Sheets and IronCalc compute "
                "alike, and never the cached values.",
                "gradsheet's tests recalculate such workbooks with two spreadsheet engines and "
                "compare every value, gradient and update with PyTorch's autograd in float64.",
                "To prove this very file, edited or not: gradsheet verify FILE.xlsx (it compares to "
                "within 1e-9 and names the first cell that differs).",
            ),
        ),
    )
    sheet.text(0, 0, f"Read me: {network.name}", styles.title)
    row = 2
    for title, lines in sections:
        sheet.text(row, 0, title, styles.heading)
        row += 1
        for line in lines:
            sheet.text(row, 0, line, styles(text_wrap=True, valign="top"))
            sheet.xlsx.set_row(row, 15 * math.ceil(len(line) / 82))  # no program grows the row itself
            row += 1
        row += 1
    sheet.xlsx.set_column(0, 0, 76)  # as wide as the page: LibreOffice does not shrink one column
    sheet.print_portrait()


def write_network(
    sheet: Sheet, network: Network, facts: Mapping[str, int | str], blank: Sequence[str] = ()
) -> None:
    """The network as TOML, one line a cell: what `gradsheet verify` reads to know the columns."""
    sheet.text(0, 0, "The network of this workbook, as gradsheet reads it", sheet.styles.title)
    sheet.text(
        1,
        0,
        "To generate the workbook again, save the lines below as a .toml file and give it to "
        "gradsheet workbook. Edits to the yellow cells are not written back here.",
        sheet.styles.note,
    )
    for row, (label, fact) in enumerate(facts.items(), 3):
        sheet.text(row, 0, label, sheet.styles.label)
        if isinstance(fact, int):
            sheet.number(row, 1, fact)
        else:
            sheet.text(row, 1, fact)
    if blank:
        sheet.text(BLANK_ROW, 0, "left blank for the student", sheet.styles.label)
        sheet.text(BLANK_ROW, 1, ", ".join(blank))
    style = sheet.styles(font_name="Consolas", font_size=10)
    sheet.texts(NETWORK_ROW, 0, to_toml(network).splitlines(), style)
    sheet.xlsx.set_column(0, 0, 30)
