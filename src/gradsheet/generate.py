"""From a network to the files a user asked for: here the backends meet.

The workbook backend does not calculate; this module runs the program with the NumPy backend, so that
every formula is written together with the value it must give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gradsheet.backends import arrays, workbook
from gradsheet.backends.workbook_layout import (
    FORMULAS_WARN,
    MOST_RATES,
    Plan,
    Trace,
    check_size,
    check_width,
    least_columns,
)
from gradsheet.backends.workbook_lessons import EPSILON
from gradsheet.compiler import Program, compile_network
from gradsheet.errors import InputError
from gradsheet.examples import EXAMPLES
from gradsheet.files import make_folder, replacing
from gradsheet.network import Network
from gradsheet.sweep import checked_learning_rates, sweep

LEARNING_RATES = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0)
"""The learning rates that the course compares."""

DEMO_WORKBOOK = "backprop.xlsx"


def write_workbook(
    network: Network,
    path: Path,
    *,
    learning_rate: float | None = None,
    steps: int = 100,
    learning_rates: Sequence[float] = LEARNING_RATES,
    force: bool = False,
) -> Plan:
    """Write the live workbook of a network; return where everything stands in it.

    ``learning_rate`` defaults to the network's own. ``force`` writes a workbook that is refused for its
    size otherwise.

    Raises `InputError` for a number that cannot be used, `TooLargeError` for a workbook too large.
    """
    rate = network.learning_rate if learning_rate is None else learning_rate
    checked_learning_rates([rate])
    rates = checked_learning_rates(learning_rates)
    if steps < 2:
        raise InputError(f"steps: {steps} is too few to learn anything; use 2 or more")
    if len(rates) > MOST_RATES:
        raise InputError(
            f"learning rates: {len(rates):,} cannot be told apart in a chart; give at most "
            f"{MOST_RATES} (gradsheet sweep takes thousands)"
        )
    check_width(least_columns(network))
    program = compile_network(network)
    plan = Plan(program, steps, len(rates))
    if not force:
        check_size(plan)
    trace = _trace(program, plan, rate, rates)
    with replacing(path) as temporary:
        workbook.write(temporary, plan, trace)
    return plan


def is_large(plan: Plan) -> bool:
    """Whether a workbook opens and recalculates noticeably slower than the usual ones."""
    return plan.formulas > FORMULAS_WARN


def write_derivation(network: Network, path: Path, *, learning_rate: float | None = None) -> None:
    """Write the derivation of a network's gradients as Markdown, LaTeX or HTML, by the suffix.

    Raises `InputError` for another suffix or a learning rate that cannot be used.
    """
    from gradsheet.backends import latex  # loads a converter that no workbook needs

    printers = {".md": latex.to_markdown, ".tex": latex.to_tex, ".html": latex.to_html}
    printer = printers.get(path.suffix.lower())
    if printer is None:
        raise InputError(f"{path}: derivations are written as {', '.join(printers)}; use one of these")
    rate = network.learning_rate if learning_rate is None else learning_rate
    checked_learning_rates([rate])
    program = compile_network(network)
    values = arrays.evaluate_all(program, program.initial)
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
    inputs = [quantity.name for quantity in program.of_role("data", "parameter")]
    first, last = ({name: float(table[name][row]) for name in inputs} for row in (0, -1))
    return Trace(
        learning_rate=learning_rate,
        table=table,
        rates=tuple(learning_rates),
        comparison=comparison,
        shifted=arrays.evaluate_shifted(program, first, EPSILON),
        critical=(
            arrays.critical_learning_rate(program, first),
            arrays.critical_learning_rate(program, last),
        ),
    )
