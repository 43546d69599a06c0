"""Mistakes that people make in back-propagation sheets, to be planted for a "find the bug" lesson.

A mistake of the calculus is a wrong `Program`; a mistake of the sheet, such as a missing ``$``, changes
single formulas. Both become a `Rewrite`, which the workbook backend lays over the cells of its table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from gradsheet import network as net
from gradsheet.backends.workbook_layout import Plan, Rewrite, cell, formula_templates
from gradsheet.compiler import (
    Program,
    Quantity,
    Update,
    compile_network,
    gradient_name,
    with_learning,
)
from gradsheet.errors import InputError
from gradsheet.examples import EXAMPLES
from gradsheet.expression import (
    Application,
    Constant,
    Expression,
    Reference,
    add,
    apply,
    divide,
    multiply,
    references,
    substitute,
    subtract,
)
from gradsheet.network import KINKED
from gradsheet.optimizers import LEARNING_RATE

Plant = Callable[[Plan], Rewrite | None]
"""Makes the rewrite that plants a mistake; None where the network has no place for it."""


@dataclass(frozen=True)
class Mistake:
    """One known mistake. ``needs`` says which networks it fits.

    ``changes_numbers`` is false where all numbers stay right until an input is changed; ``rate_beside``
    is true where it needs the learning rate beside the table.
    """

    description: str
    needs: str
    plant: Plant
    changes_numbers: bool = True
    rate_beside: bool = False


def find(name: str) -> Mistake:
    """A mistake by its name.

    Raises `InputError` when there is none of that name.
    """
    if name not in MISTAKES:
        raise InputError(
            f"mistake: {name!r} is not known; use one of {', '.join(MISTAKES)} "
            "(gradsheet examples --mistakes explains them)"
        )
    return MISTAKES[name]


def plant(name: str, plan: Plan) -> Rewrite:
    """What plants the mistake into the table of a workbook.

    Raises `InputError` for an unknown mistake or a network that it does not fit.
    """
    mistake = find(name)
    rewrite = mistake.plant(plan)
    if rewrite is None:
        fitting = ", ".join(fitting_examples(name))
        raise InputError(
            f"mistake: {name} does not fit the network {plan.program.network.name}, for it needs "
            f"{mistake.needs}; "
            + (f"use one of {fitting}" if fitting else "no example is like that: change one")
        )
    return rewrite


def fitting_examples(name: str) -> list[str]:
    """The built-in networks that a mistake can be planted into."""
    return [
        example
        for example, network in EXAMPLES.items()
        if MISTAKES[name].plant(Plan(compile_network(network), 2, 0)) is not None
    ]


# ---------------------------------------------------------------- mistakes of the calculus

Edit = Callable[[Program], Iterable[Quantity | Update]]
"""Gives the quantities and updates of a program that a mistake changes, as it has them."""


def _wrong(edit: Edit) -> Plant:
    """Plants what ``edit`` returns in place of the program's quantities and updates of these names."""

    def plant(plan: Plan) -> Rewrite | None:
        program, edited = plan.program, list(edit(plan.program))
        quantities = {item.name: item for item in edited if isinstance(item, Quantity)}
        updates = {item.parameter: item for item in edited if isinstance(item, Update)}
        wrong = replace(
            program,
            quantities=tuple(quantities.get(q.name, q) for q in program.quantities),
            updates=tuple(updates.get(u.parameter, u) for u in program.updates),
        )
        table = plan.backprop
        templates = formula_templates(replace(plan, program=wrong), table, LEARNING_RATE)

        def rewrite(name: str, step: int, formula: str, value: float) -> str:
            first, following = templates[name]
            row = table.first_row + step
            assert following is not None
            return ((step == 0 and first) or following).format(r=row + 1, p=row)

        return rewrite if edited else None

    return plant


def _deltas(program: Program, layer: int, neuron: int) -> list[Quantity]:
    """δ of a neuron, counted from 1, in every sample."""
    network = program.network
    total = net.sum_name(network, layer, neuron)
    samples = range(1, network.slots + 1)
    return [program[f"delta_{net.of_sample(total, sample, network.slots)}"] for sample in samples]


def _wrong_neuron(program: Program) -> Iterable[Quantity]:
    for layer, spec in enumerate(program.network.layers[:-1]):
        if spec.neurons > 1 and spec.activation not in ("identity", "softmax"):
            pairs = zip(_deltas(program, layer, 2), _deltas(program, layer, 1), strict=True)
            for own, other in pairs:
                (error, _), (_, slope) = own.chains[0], other.chains[0]
                yield replace(own, expression=multiply(error.expression, slope.expression))
            return


def _wrong_pairing(program: Program) -> Iterable[Quantity]:
    for layer, weights in enumerate(net.weight_names(program.network)[1:]):
        both = range(1, min(len(weights), len(weights[0])))
        # The followers' δ come back over the first column of their weights, not over the first row.
        swapped: dict[Expression, Expression] = {
            Reference(weights[k][0]): Reference(weights[0][k]) for k in both
        }
        if swapped:
            yield from _substituted(_deltas(program, layer, 1), swapped)
            return


def _substituted(
    quantities: Iterable[Quantity], known: Mapping[Expression, Expression]
) -> Iterable[Quantity]:
    for quantity in quantities:
        assert quantity.expression is not None
        yield replace(quantity, expression=substitute(quantity.expression, known))


def _missing_brackets(program: Program) -> Iterable[Quantity]:
    if program.network.loss in ("mean_absolute_error", "huber"):
        return  # their a − t stands within a function: its brackets cannot be left out
    for delta in _output_deltas(program):
        assert delta.expression is not None
        output, target = _without_brackets(delta.expression)
        if subtract(output, target) != delta.expression:
            yield replace(delta, expression=subtract(output, target))


def _without_brackets(expression: Expression) -> tuple[Expression, Expression]:
    """What stands left and right of the minus when the brackets around a − t are left out."""
    match expression:
        case Application("divide", (numerator, denominator)):
            left, right = _without_brackets(numerator)
            return left, divide(right, denominator)
        case Application("multiply", factors):
            k = next(k for k, factor in enumerate(factors) if _difference(factor) is not None)
            left, right = _without_brackets(factors[k])
            return multiply(*factors[:k], left), multiply(right, *factors[k + 1 :])
        case Application("subtract", (left, right)):
            return left, right
        case Application("add", (first, *others)):  # behind a softmax: one term an output
            left, right = _without_brackets(first)
            return left, subtract(right, add(*others))
    raise TypeError(f"holds no a − t: {expression}")


def _target_times_output(program: Program) -> Iterable[Quantity]:
    for delta in _output_deltas(program):
        difference = _difference(delta.expression)
        assert isinstance(difference, Application)
        output, target = difference.arguments
        yield from _substituted([delta], {difference: multiply(target, output)})


def _output_deltas(program: Program) -> list[Quantity]:
    return _deltas(program, len(program.network.layers) - 1, 1)


def _difference(expression: Expression | None) -> Expression | None:
    """The a − t in the δ of an output."""
    match expression:
        case Application("subtract", (_, Reference(name))) if name.startswith("t"):
            return expression
        case Application(_, arguments):
            return next(filter(None, map(_difference, arguments)), None)
    return None


def _missing_slope(program: Program, *, kinked: bool) -> Iterable[Quantity]:
    """δ without the derivative of the activation, in the first layer whose δ has one."""
    for layer, spec in enumerate(program.network.layers):
        deltas = [d for k in range(1, spec.neurons + 1) for d in _deltas(program, layer, k)]
        one_way = len(deltas[0].chains) == 1  # not behind a softmax
        if one_way and len(deltas[0].chains[0]) == 2 and (spec.activation in KINKED) == kinked:
            for delta in deltas:
                yield replace(delta, expression=delta.chains[0][0].expression)
            return


def _weights(program: Program) -> list[Update]:
    return [update for update in program.updates if update.parameter.startswith("w")]


def _with_rule(update: Update, rule: Expression) -> Update:
    guarded = substitute(update.guarded, {update.expression: rule})
    return replace(update, expression=rule, guarded=guarded)


def _other_gradient(program: Program) -> Iterable[Quantity | Update]:
    weights = _weights(program)
    if len(weights) > 1:
        update, first = weights[min(2, len(weights) - 1)], weights[0]
        own, other = (Reference(gradient_name(u.parameter)) for u in (update, first))
        if own.name in references(update.expression):
            yield _with_rule(update, substitute(update.expression, {own: other}))
        yield from _in_states(program, lambda rule: substitute(rule, {own: other}))


def _wrong_sign(program: Program) -> Iterable[Update]:
    for update in program.updates:
        yield _with_rule(update, _uphill(update.expression))


def _uphill(rule: Expression) -> Expression:
    """The rule with its steps added in place of subtracted."""
    match rule:
        case Application("subtract", (rest, step)):
            return add(_uphill(rest), step)
    return rule


def _biases_stay(program: Program) -> Iterable[Update]:
    for update in program.updates:
        if update.parameter.startswith("b"):
            yield Update(update.parameter, Reference(update.parameter), Reference(update.parameter))


# ---------------------------------------------------------------- mistakes of an optimizer


def _in_states(program: Program, edit: Callable[[Expression], Expression]) -> Iterable[Quantity]:
    """The states of the optimizer whose rule is changed by ``edit``."""
    for state in program.of_role("state"):
        changed = [None if e is None else edit(e) for e in (state.expression, state.first, state.rule)]
        if changed[0] != state.expression:
            expression, first, rule = changed
            yield replace(state, expression=expression, first=first, rule=rule)


def _in_updates(program: Program, edit: Callable[[Expression], Expression]) -> Iterable[Update]:
    """The updates whose rule is changed by ``edit``."""
    for update in program.updates:
        changed = edit(update.expression)
        if changed != update.expression:
            yield _with_rule(update, changed)


def _everywhere(expression: Expression, edit: Callable[[Expression], Expression | None]) -> Expression:
    """The expression with every part, from the inside out, replaced by what ``edit`` makes of it."""
    if isinstance(expression, Application):
        arguments = tuple(_everywhere(argument, edit) for argument in expression.arguments)
        expression = Application(expression.operation, arguments)
    return edit(expression) or expression


def uncorrected(part: Expression) -> Expression | None:
    """The average in a quotient average/(1 − βᵗ); None of another expression."""
    match part:
        case Application("divide", (state, Application("subtract", (_, Application("power", _))))):
            return state
    return None


def _epsilon_inside(part: Expression) -> Expression | None:
    match part:
        case Application("add", (Application("sqrt", (radicand,)), Reference("epsilon") as epsilon)):
            return apply("sqrt", add(radicand, epsilon))
    return None


def _undampened(part: Expression) -> Expression | None:
    match part:
        case Application("multiply", (Application("subtract", (Constant(1.0), Reference())), seen)):
            return None if isinstance(seen, Application) and seen.operation == "square" else seen
    return None


def _decay_coupled(program: Program) -> Iterable[Quantity | Update]:
    """λ·w added to the gradient, as in Adam, in place of taken off the weight, as in AdamW."""
    network = program.network
    if network.optimizer == "adamw" and "weight_decay" in network.settings_in_use:
        coupled = with_learning(program, network.learning("adam"), program.trained)
        yield from coupled.of_role("state")
        yield from coupled.updates


# ---------------------------------------------------------------- mistakes of the sheet


def _pointed(formula: str, address: str, other: str) -> str:
    """The formula with one of its references pointing elsewhere."""
    return re.sub(rf"\b{address}\b", other, formula)


def _updated_too_early(plan: Plan) -> Rewrite | None:
    program, columns = plan.program, plan.backprop.columns
    layers = len(program.network.layers)
    hidden = {q.name for q in program.of_role("delta") if q.layer == layers - 2}
    weights = [columns[name] for row in net.weight_names(program.network)[-1] for name in row]

    def rewrite(name: str, step: int, formula: str, value: float) -> str:
        row = plan.backprop.first_row + step
        if name in hidden:
            for column in weights:
                formula = _pointed(formula, cell(row, column), cell(row + 1, column))
        return formula

    return rewrite if hidden else None


def _sliding_learning_rate(plan: Plan) -> Rewrite | None:
    if plan.program.network.schedule != "constant":
        return None  # then a column stands between it and the updates

    def rewrite(name: str, step: int, formula: str, value: float) -> str:
        if name in plan.program.trained and step > 0:
            above = cell(plan.backprop.first_row + step - 1, plan.beside_column)
            formula = _pointed(formula, LEARNING_RATE, above)
        return formula

    return rewrite


def _unanchored(plan: Plan) -> Rewrite:
    delta = _output_deltas(plan.program)[0]
    assert delta.expression is not None
    outputs = (n for n in references(delta.expression) if plan.program[n].role == "forward")
    table, column = plan.backprop, plan.backprop.columns[next(outputs)]
    first = "$".join(("", *re.findall(r"[A-Z]+|\d+", cell(table.first_row, column))))

    def rewrite(name: str, step: int, formula: str, value: float) -> str:
        own = cell(table.first_row + step, column)
        return _pointed(formula, own, first) if name == delta.name else formula

    return rewrite


def _pasted_constants(plan: Plan) -> Rewrite:
    pasted = gradient_name(plan.program.trained[0])

    def rewrite(name: str, step: int, formula: str, value: float) -> str | float:
        return value if name == pasted and step >= plan.steps // 2 else formula

    return rewrite


def _repeated_rows(plan: Plan) -> Rewrite:
    table = plan.backprop

    def rewrite(name: str, step: int, formula: str, value: float) -> str:
        if name in plan.program.trained and step >= plan.steps // 2:
            formula = "=" + cell(table.first_row + step - 1, table.columns[name])
        return formula

    return rewrite


# ---------------------------------------------------------------- all of them


@dataclass(frozen=True)
class LearningMistake:
    """A known mistake in an optimizer: what it changes, and its cause in words."""

    edit: Edit
    description: str
    needs: str


LEARNING_MISTAKES: Mapping[str, LearningMistake] = {
    "no-bias-correction": LearningMistake(
        lambda program: _in_updates(program, lambda rule: _everywhere(rule, uncorrected)),
        "Adam without bias correction: m and v are not divided by 1 − βᵗ",
        "Adam or AdamW: --optimizer adam",
    ),
    "epsilon-inside-root": LearningMistake(
        lambda program: _in_updates(program, lambda rule: _everywhere(rule, _epsilon_inside)),
        "ε stands inside the root: √(v + ε) for √v + ε",
        "an optimizer with ε behind a root: --optimizer adam",
    ),
    "dampening-forgotten": LearningMistake(
        lambda program: _in_states(program, lambda rule: _everywhere(rule, _undampened)),
        "dampening is forgotten: the gradient counts in full, not as 1 − τ or 1 − β",
        "an average of gradients, or momentum with dampening: --optimizer momentum_average",
    ),
    "decay-coupled": LearningMistake(
        _decay_coupled,
        "the weight decay is coupled: λ·w is added to the gradient, not taken off w",
        "AdamW: --optimizer adamw",
    ),
}
"""What public code gets wrong in optimizers: `gradsheet.check` looks for the same."""

_ANY = "any network"
_SLOPED = "a layer whose δ holds the slope of sigmoid or tanh"

MISTAKES: Mapping[str, Mistake] = {
    "wrong-neuron": Mistake(
        "δ of the second hidden neuron has the slope of the first: a_h1·(1 − a_h1)",
        "a hidden layer of two or more neurons with a slope",
        _wrong(_wrong_neuron),
    ),
    "wrong-pairing": Mistake(
        "δ of the first hidden neuron sums over wrong weights: w5, w6 for w5, w7",
        "two or more neurons in a hidden layer and in the layer behind it",
        _wrong(_wrong_pairing),
    ),
    "missing-brackets": Mistake(
        "δ of the first output lacks its brackets: a − t·a·(1 − a)",
        "an output whose δ is more than a − t",
        _wrong(_missing_brackets),
    ),
    "missing-slope": Mistake(
        "the derivative of sigmoid or tanh is left out of the δ of a layer",
        _SLOPED,
        _wrong(lambda program: _missing_slope(program, kinked=False)),
    ),
    "missing-mask": Mistake(
        "ReLU's derivative, 0 for a negative sum, is left out of the δ of a layer",
        "a layer with ReLU",
        _wrong(lambda program: _missing_slope(program, kinked=True)),
    ),
    "updated-weights-too-early": Mistake(
        "the hidden δ use the output weights of the next row, updated already",
        "a hidden layer",
        _updated_too_early,
    ),
    "other-gradient": Mistake(
        "one weight is updated with the gradient of another: w3 with ∂E/∂w1",
        "two or more weights",
        _wrong(_other_gradient),
    ),
    "target-times-output": Mistake(
        "δ of the first output has t·a where a − t belongs",
        _ANY,
        _wrong(_target_times_output),
    ),
    "sliding-learning-rate": Mistake(
        "the reference to the learning rate lacks its $ and slides into empty cells",
        "a learning rate without a schedule",
        _sliding_learning_rate,
        rate_beside=True,
    ),
    "unanchored": Mistake(
        "δ of the first output reads the first row's a in every row: a $ too many",
        _ANY,
        _unanchored,
    ),
    "pasted-constants": Mistake(
        "halfway down, numbers stand in the place of one gradient's formulas",
        _ANY,
        _pasted_constants,
        changes_numbers=False,
    ),
    "repeated-rows": Mistake(
        "halfway down, the weights are copied from the row above without an update",
        _ANY,
        _repeated_rows,
    ),
    "bias-never-updated": Mistake(
        "the weights learn, the biases stay as they are",
        "biases that are trained",
        _wrong(_biases_stay),
    ),
    "wrong-sign": Mistake(
        "the updates go uphill: w + η·∂E/∂w for w − η·∂E/∂w",
        _ANY,
        _wrong(_wrong_sign),
    ),
    **{
        name: Mistake(mistake.description, mistake.needs, _wrong(mistake.edit))
        for name, mistake in LEARNING_MISTAKES.items()
    },
}
