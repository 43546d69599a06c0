"""From a network to the files a user asked for: here the backends meet.

The workbook backend does not calculate; this module runs the program with the NumPy backend, so that
every formula is written together with the value it must give.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gradsheet import mistakes
from gradsheet.backends import arrays, workbook, workbook_optimizers
from gradsheet.backends.workbook_layout import (
    FORMULAS_WARN,
    MOST_RATES,
    POINTS,
    Lesson,
    Plan,
    Trace,
    check_size,
    check_width,
)
from gradsheet.backends.workbook_lessons import EPSILON
from gradsheet.backends.workbook_optimizers import Comparison
from gradsheet.backends.workbook_predict import Prediction
from gradsheet.compiler import Program, Role, compile_network, least_quantities
from gradsheet.engines import ironcalc
from gradsheet.errors import InputError
from gradsheet.examples import EXAMPLES
from gradsheet.expression import Array
from gradsheet.files import make_folder, replacing
from gradsheet.network import Network, mean_and_deviation
from gradsheet.sweep import checked_learning_rates, compared, sweep

LEARNING_RATES = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0)
"""The learning rates that the course compares."""
LARGE_RATES = (0.25, 1.0, 4.0)
"""What a large network compares, as multiples of its own: few, so that many iterations can be shown."""

DEMO_WORKBOOK = "backprop.xlsx"

LARGE = 5_000
"""Quantities of an iteration that take a second to compile."""

BLANKS: Mapping[str, str] = {
    "forward": "the forward pass with its loss",
    "gradients": "every ∂E/∂w (by way of δ or without it)",
    "states": "what the optimizer remembers",
    "updates": "the weights from their second row on",
}
"""The groups of formulas that an exercise can leave blank, in the order of the columns, and what they
are."""
BLANK = ("gradients", "updates")
"""What an exercise leaves blank unless it is told otherwise."""
_BLANK_ROLES: Mapping[str, tuple[Role, ...]] = {
    "forward": ("forward", "loss"),  # also the loss: a softmax's would be an error until it is filled in
    "gradients": ("gradient", "delta"),
    "states": ("state",),
    "updates": (),
}


def write_workbook(
    network: Network,
    path: Path,
    *,
    learning_rate: float | None = None,
    steps: int = 100,
    learning_rates: Sequence[float] | None = None,
    force: bool = False,
) -> Plan:
    """Write the live workbook of a network; return where everything stands in it.

    ``learning_rate`` defaults to the network's own, ``learning_rates`` to `default_rates`. ``force``
    writes a workbook that is refused for its size otherwise.

    Raises `InputError` for a number that cannot be used, `TooLargeError` for a workbook too large.
    """
    if learning_rates is None:
        learning_rates = default_rates(network, learning_rate)
    rates = checked_learning_rates(learning_rates)
    if len(rates) > MOST_RATES:
        raise InputError(
            f"learning rates: {len(rates):,} cannot be told apart in a chart; give at most "
            f"{MOST_RATES} (gradsheet sweep takes thousands)"
        )
    plan, trace = _prepared(network, learning_rate, steps, rates, force)
    with replacing(path, ".xlsx") as temporary:
        workbook.write(temporary, plan, trace)
    return plan


def default_rates(network: Network, learning_rate: float | None = None) -> tuple[float, ...]:
    """The learning rates that a workbook compares where none are given."""
    if not network.is_large:
        return LEARNING_RATES
    (own,) = checked_learning_rates([network.learning_rate if learning_rate is None else learning_rate])
    return tuple(factor * own for factor in LARGE_RATES)


def comparison(
    network: Network,
    optimizers: Sequence[str],
    steps: int,
    settings: Mapping[str, float] | None = None,
) -> Comparison:
    """Where everything will stand in a workbook that compares optimizers, each once.

    Raises `NetworkError` for an unknown optimizer, `TooLargeError` for a workbook too large.
    """
    if steps < 2:
        raise InputError(f"steps: {steps} is too few to learn anything; use 2 or more")
    check_width(least_quantities(network))
    networks = compared(network, optimizers, settings)
    return Comparison(tuple(map(compile_network, networks.values())), steps)


def write_comparison(compared: Comparison, path: Path, rates: Sequence[float]) -> None:
    """Write the live workbook of a `comparison`; ``rates`` holds a learning rate for each optimizer."""
    for rate in rates:
        checked_learning_rates([rate])
    values = [
        arrays.train(program, compared.steps, rate)
        for program, rate in zip(compared.programs, rates, strict=True)
    ]
    with replacing(path, ".xlsx") as temporary:
        workbook_optimizers.write(temporary, compared, rates, values)


def write_exercise(
    network: Network,
    path: Path,
    *,
    blank: Sequence[str] = BLANK,
    learning_rate: float | None = None,
    steps: int = 100,
    force: bool = False,
) -> Plan:
    """Write the table of a workbook with some of its formulas left for a student to fill in.

    ``blank`` names groups of `BLANKS`. The other arguments, and errors, are those of `write_workbook`.
    """
    unknown = [group for group in blank if group not in BLANKS]
    if unknown or not blank:
        shown = f"{unknown[0]!r} is not known" if unknown else "nothing is named"
        raise InputError(f"blank: {shown}; give one or more of {', '.join(BLANKS)}, with commas between")
    plan, trace = _prepared(network, learning_rate, steps, (), force)
    program, groups = plan.program, [group for group in BLANKS if group in blank]
    if "states" in groups and not program.of_role("state"):
        raise InputError(
            f"blank: states are what an optimizer remembers, and {network.optimizer} remembers nothing; "
            "leave them out, or choose another with --optimizer"
        )
    names = {q.name for group in groups for q in program.of_role(*_BLANK_ROLES[group])}
    if "updates" in groups:
        names |= set(program.trained)
    lesson = Lesson(
        # The first row of a weight is an input, and never a formula that could be left out.
        lambda name, step, formula, value: None if name in names else formula,
        f"Your task: fill in the dashed cells: {'; '.join(BLANKS[group] for group in groups)}. "
        "Write the formulas of the first empty row, then fill down to the last. "
        "Then save, and run: gradsheet check FILE",
        blank=tuple(groups),
        blank_names=frozenset(names),
        gradient_check="forward" not in groups,
    )
    actual = _recalculated(plan, trace, lesson)
    with replacing(path, ".xlsx") as temporary:
        workbook.write(temporary, plan, actual, lesson)
    return plan


def write_mistake(
    network: Network,
    path: Path,
    mistake: str,
    *,
    learning_rate: float | None = None,
    steps: int = 100,
    force: bool = False,
) -> Plan:
    """Write the table of a workbook with a mistake of `mistakes.MISTAKES` in it, to be found.

    The other arguments, and errors, are those of `write_workbook`. Raises `InputError`, too, for an
    unknown mistake and for one that makes no difference to the network.
    """
    known = mistakes.find(mistake)
    plan, trace = _prepared(network, learning_rate, steps, (), force)
    lesson = Lesson(
        mistakes.plant(mistake, plan),
        "Your task: one mistake is planted in the table below; find it. It may show in several columns. "
        "The words over the columns are right: compare the formulas with them, also far down. "
        "When you have mended it, save, and run: gradsheet check FILE",
        rate_beside=known.rate_beside,
    )
    wrong = _recalculated(plan, trace, lesson)
    same = (np.allclose(wrong.table[name], right, 1e-6, 1e-12) for name, right in trace.table.items())
    if known.changes_numbers and all(same):
        raise InputError(
            f"mistake: {mistake} changes no number of the network {network.name} in {steps} iterations, "
            "so nobody could find it; use more steps, another mistake or another network"
        )
    with replacing(path, ".xlsx") as temporary:
        workbook.write(temporary, plan, wrong, lesson)
    return plan


def _recalculated(plan: Plan, trace: Trace, lesson: Lesson) -> Trace:
    """The values that a lesson's own formulas give; only a spreadsheet engine can tell them."""
    with tempfile.TemporaryDirectory(prefix="gradsheet-") as folder:
        path = Path(folder) / "lesson.xlsx"
        workbook.write(path, plan, trace, lesson)
        cells = ironcalc.recalculate(path)[plan.backprop.sheet]

    def number(row: int, column: int) -> float:
        value = cells.get((row, column), 0.0)  # an empty cell counts as 0
        return value if isinstance(value, float) else np.nan

    table = plan.backprop
    rows = range(table.first_row, table.last_row + 1)
    columns = {
        name: np.array([number(row, column) for row in rows]) for name, column in table.columns.items()
    }
    return replace(trace, table={**trace.table, **columns})


def _prepared(
    network: Network,
    learning_rate: float | None,
    steps: int,
    rates: Sequence[float],
    force: bool,
) -> tuple[Plan, Trace]:
    """Where everything will stand, and the right values; checks what all workbooks have in common."""
    rate = network.learning_rate if learning_rate is None else learning_rate
    checked_learning_rates([rate])
    if steps < 2:
        raise InputError(f"steps: {steps} is too few to learn anything; use 2 or more")
    least = least_quantities(network)
    check_width(least)
    if least > LARGE and not force:  # what takes long to compile is refused without the work
        check_size(steps * least, steps)
    program = compile_network(network)
    plan = Plan(program, steps, len(rates))
    if not force:
        check_size(plan.formulas, steps)
    return plan, _trace(program, plan, rate, rates)


def is_large(plan: Plan) -> bool:
    """Whether a workbook opens and recalculates noticeably slower than the usual ones."""
    return plan.formulas > FORMULAS_WARN


def write_derivation(network: Network, path: Path, *, learning_rate: float | None = None) -> None:
    """Write the derivation of a network's gradients as Markdown, LaTeX or HTML, by the suffix.

    Raises `InputError` for another suffix or a learning rate that cannot be used.
    """
    from gradsheet.backends import latex, latex_document  # loads a converter that no workbook needs

    printers = {
        ".md": latex_document.to_markdown,
        ".tex": latex_document.to_tex,
        ".html": latex_document.to_html,
    }
    printer = printers.get(path.suffix.lower())
    if printer is None:
        raise InputError(f"{path}: derivations are written as {', '.join(printers)}; use one of these")
    rate = network.learning_rate if learning_rate is None else learning_rate
    checked_learning_rates([rate])
    program = compile_network(network)
    values = {name: float(v) for name, v in next(arrays.iterations(program, 1, rate)).items()}
    # The errata are about the course's own text, so they go with the course's own network.
    text = printer(latex.derivation(program, values, rate, errata=network == EXAMPLES["seed"]))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def demo(folder: Path) -> Iterator[Path]:
    """Write what `gradsheet demo` shows, file by file, and yield each path when it is written."""
    from gradsheet import plots

    network = EXAMPLES["seed"]
    make_folder(folder)
    write_workbook(network, folder / DEMO_WORKBOOK)
    yield folder / DEMO_WORKBOOK
    write_derivation(network, folder / "derivation.md")
    yield folder / "derivation.md"
    plots.plot_sweep(sweep(network, LEARNING_RATES, 100), folder / "learning_rates.png")
    yield folder / "learning_rates.png"


def _trace(program: Program, plan: Plan, learning_rate: float, learning_rates: Sequence[float]) -> Trace:
    table = arrays.train(program, plan.steps, learning_rate)
    comparison = arrays.train(program, plan.comparison_steps, np.array(learning_rates, dtype=np.float64))
    prediction = Prediction(plan)
    inputs = [quantity.name for quantity in program.of_role("data", "parameter")]
    first, last = ({name: float(table[name][row]) for name in inputs} for row in (0, -1))
    shown = dict(zip(prediction.inputs, program.network.seen_inputs[0], strict=True))
    return Trace(
        learning_rate=learning_rate,
        table=table,
        rates=tuple(learning_rates),
        comparison=comparison,
        shifted=arrays.evaluate_shifted(program, first, EPSILON, plan.checked),
        critical=(
            arrays.critical_learning_rate(program, first),
            arrays.critical_learning_rate(program, last),
        ),
        predicted={n: float(v) for n, v in arrays.predict(program, {**last, **shown}).items()},
        maps=[_map_values(prediction, (first, last)[drawn.step]) for drawn in prediction.maps],
        sampled=_sampled(prediction, last) if prediction.maps else (),
    )


def _map_values(prediction: Prediction, weights: Mapping[str, float]) -> Array:
    """What the network answers at the points of a map: rows from the top, columns from the left."""
    (left, right), (bottom, top) = prediction.first_ranges()
    across, up = np.linspace(left, right, POINTS), np.linspace(top, bottom, POINTS)
    return _answers(prediction, weights, np.meshgrid(across, up))


def _answers(prediction: Prediction, weights: Mapping[str, float], inputs: Sequence[Array]) -> Array:
    """What the network answers to inputs as they are written: an output, or the number of a class."""
    network = prediction.network
    seen = list(inputs)
    if "inputs" in network.standardize:
        units = map(mean_and_deviation, zip(*network.inputs, strict=True))
        seen = [(x - mean) / deviation for x, (mean, deviation) in zip(seen, units, strict=True)]
    points = dict(zip(prediction.inputs, seen, strict=True))
    values = arrays.predict(prediction.plan.program, {**weights, **points})
    answers = np.stack([np.broadcast_to(values[n], np.shape(seen[0])) for n in prediction.decisive])
    shown = answers.argmax(axis=0) + 1.0 if prediction.predicts_class else answers[0]
    if "targets" in network.standardize:
        mean, deviation = mean_and_deviation([row[0] for row in network.targets])
        shown = shown * deviation + mean
    return np.asarray(shown, dtype=np.float64)


def _sampled(prediction: Prediction, weights: Mapping[str, float]) -> list[list[float]]:
    """Inputs, target and answer of every sample, as `Prediction.sample_formulas` writes them."""
    network = prediction.network
    targets = np.array(network.targets)
    wanted = targets.argmax(axis=1) + 1.0 if prediction.predicts_class else targets[:, 0]
    inputs = np.array(network.inputs).T
    answers = _answers(prediction, weights, list(inputs))
    rows: list[list[float]] = np.column_stack([*inputs, wanted, answers]).tolist()
    return rows
