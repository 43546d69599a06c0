"""From a network to the files a user asked for: here the backends meet.

The workbook backend does not calculate; this module runs the program with the NumPy backend, so that
every formula is written together with the value it must give.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gradsheet.backends import arrays, workbook
from gradsheet.backends.workbook_layout import FORMULAS_WARN, MOST_RATES, Plan, check_size
from gradsheet.compiler import Program, compile_network
from gradsheet.errors import InputError
from gradsheet.files import replacing
from gradsheet.network import Network

LEARNING_RATES = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0)
"""The learning rates that the course compares."""


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
    check_learning_rates((rate, *learning_rates))
    if steps < 2:
        raise InputError(f"steps: {steps} is too few to learn anything; use 2 or more")
    if not 1 <= len(learning_rates) <= MOST_RATES:
        raise InputError(
            f"learning rates: {len(learning_rates)} cannot be told apart in a chart; "
            f"give 1 to {MOST_RATES} (gradsheet sweep takes thousands)"
        )
    program = compile_network(network)
    plan = Plan(program, steps, len(learning_rates))
    if not force:
        check_size(plan)
    trace = _trace(program, plan, rate, learning_rates)
    with replacing(path) as temporary:
        workbook.write(temporary, plan, trace)
    return plan


def is_large(plan: Plan) -> bool:
    """Whether a workbook opens and recalculates noticeably slower than the usual ones."""
    return plan.formulas > FORMULAS_WARN


def check_learning_rates(rates: Sequence[float]) -> None:
    """Raise `InputError` unless every learning rate is a finite number greater than 0."""
    for rate in rates:
        if not 0 < rate <= 1e6:
            raise InputError(
                f"learning rate: {rate!r} must be greater than 0 and at most 1e6; use one such as 0.5"
            )


def _trace(
    program: Program, plan: Plan, learning_rate: float, learning_rates: Sequence[float]
) -> workbook.Trace:
    table = arrays.train(program, plan.steps, learning_rate)
    comparison = arrays.train(program, plan.comparison_steps, np.array(learning_rates, dtype=np.float64))
    inputs = [quantity.name for quantity in program.of_role("data", "parameter")]
    first, last = ({name: float(table[name][row]) for name in inputs} for row in (0, -1))
    return workbook.Trace(
        learning_rate=learning_rate,
        table=table,
        rates=tuple(learning_rates),
        comparison=comparison,
        shifted=arrays.evaluate_shifted(program, first, workbook.EPSILON),
        critical=(
            arrays.critical_learning_rate(program, first),
            arrays.critical_learning_rate(program, last),
        ),
    )
