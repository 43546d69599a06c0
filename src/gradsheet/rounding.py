"""How far apart two correct calculations of a network may be, for rounding alone.

Running error analysis (J. H. Wilkinson): every operation rounds its arguments and its result, and hands
the errors of its arguments on, multiplied by its derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from gradsheet.compiler import Program
from gradsheet.expression import OPERATIONS, Array, Expression, Reference, evaluate

ABSOLUTE: Mapping[str, Callable[[Any], Any]] = {
    "softplus": np.ones_like,
    "elu": np.ones_like,
    "normal_share": np.ones_like,
    "gelu": np.abs,
}
"""Operations that add 1 to something, or take it away, in the sheet or in PyTorch: what they round is
not in proportion to their result."""

BENT = frozenset({"relu", "leaky_relu", "absolute", "minimum", "clip", "detached_max"})
"""Operations whose slope is 1 or less, but another one where rounding decides."""
UNIT = 1e-14
"""What is called the relative rounding: some fifty times that of float64, as a sheet may be stored with
15 digits, and takes what differs in the last of them for equal."""


class _Rounded(NamedTuple):
    """A number, and how far it may be off, in multiples of the relative rounding."""

    value: Any
    error: Any = 0.0

    @property
    def size(self) -> Any:
        """The error after one more rounding."""
        return self.error + np.abs(self.value)


class _Operation(NamedTuple):
    value: Callable[..., _Rounded]


def rounding_errors(
    program: Program, values: Mapping[str, Array], given: Mapping[str, float]
) -> dict[str, Array]:
    """By quantity, what forward pass, losses and gradients may be off, in multiples of the relative
    rounding: of what subtracts large numbers from each other, far more than the result is large.

    ``values`` holds all data, parameters and these quantities, arrays of one shape; ``given`` the errors
    of those data that are not exact.
    """
    inputs = program.of_role("data", "parameter")
    known = {q.name: _Rounded(values[q.name], given.get(q.name, 0.0)) for q in inputs}
    with np.errstate(all="ignore"):
        for quantity in program.of_role("forward", "loss", "delta", "gradient"):
            assert quantity.expression is not None
            found = evaluate(quantity.expression, known, _OPERATIONS)
            error = np.nan_to_num(found.error, nan=0.0, posinf=1e300)
            known[quantity.name] = _Rounded(values[quantity.name], error)
    return {name: rounded.size for name, rounded in known.items()}


def _rounded(operation: str) -> _Operation:
    def value(*arguments: Any) -> _Rounded:
        parts = [a if isinstance(a, _Rounded) else _Rounded(a) for a in arguments]
        result = OPERATIONS[operation].value(*(part.value for part in parts))
        names = {f"x{k}": part.value for k, part in enumerate(parts)} | {"y": result}
        error = np.abs(result)
        if operation in ABSOLUTE:
            error = error + ABSOLUTE[operation](parts[0].value)
        if operation == "add" or operation in BENT:
            return _Rounded(result, error + sum(part.size for part in parts))
        for part, slope in zip(parts, _slopes(operation, len(parts)), strict=True):
            slope_here = np.abs(evaluate(slope, names))  # and what it changes by within the rounding
            error = error + (slope_here + UNIT * part.size) * part.size
        return _Rounded(result, error)

    return _Operation(value)


@cache
def _slopes(operation: str, count: int) -> tuple[Expression, ...]:
    arguments = tuple(Reference(f"x{k}") for k in range(count))
    return OPERATIONS[operation].derivative(arguments, Reference("y"))


_OPERATIONS = {name: _rounded(name) for name in OPERATIONS}
