"""How far apart two correct calculations of a network may be, for rounding alone.

Running error analysis (J. H. Wilkinson): every operation rounds its arguments and its result, and hands
the errors of its arguments on, multiplied by its derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """A number, and its size: its absolute value, and how far it may be off in multiples of the relative
    rounding."""

    value: Any
    size: Any


class _Operation(NamedTuple):
    value: Callable[..., _Rounded]


def rounding_sizes(
    program: Program, values: Mapping[str, Array], given: Mapping[str, float]
) -> dict[str, Array]:
    """The size of every number of forward pass, losses and gradients: times `UNIT`, it is what two
    correct calculations may differ by. Where large numbers cancel, it is far more than the result.

    ``values`` holds all data, parameters and these quantities, arrays of one shape; ``given`` what the
    data that are not exact may be off, in multiples of `UNIT`.
    """
    known = {
        q.name: _Rounded(values[q.name], np.abs(values[q.name]) + given.get(q.name, 0.0))
        for q in program.of_role("data", "parameter")
    }
    with np.errstate(all="ignore"):
        for quantity in program.of_role("forward", "loss", "delta", "gradient"):
            assert quantity.expression is not None
            found = evaluate(quantity.expression, known, _OPERATIONS)
            known[quantity.name] = _Rounded(values[quantity.name], found.size)
    return {name: np.nan_to_num(rounded.size, posinf=1e300) for name, rounded in known.items()}


def _rounded(operation: str) -> _Operation:
    def value(*arguments: Any) -> _Rounded:
        parts = [a if isinstance(a, _Rounded) else _Rounded(a, np.abs(a)) for a in arguments]
        values = [part.value for part in parts]
        result = OPERATIONS[operation].value(*values)
        size = 2 * np.abs(result)  # itself and its rounding
        if operation in ABSOLUTE:
            size = size + ABSOLUTE[operation](values[0])
        if operation == "add" or operation in BENT:
            return _Rounded(result, size + sum(part.size for part in parts))
        for part, slope in zip(parts, _slopes(operation, values, result), strict=True):
            size = size + (np.abs(slope) + UNIT * part.size) * part.size  # it may change on the way
        return _Rounded(result, size)

    return _Operation(value)


def _slopes(operation: str, values: Sequence[Any], result: Any) -> Sequence[Any]:
    """The partial derivatives of an operation with respect to its arguments."""
    if operation == "multiply" and len(values) == 2:  # most of all operations
        return values[::-1]
    known = {f"x{k}": each for k, each in enumerate(values)} | {"y": result}
    return [evaluate(slope, known) for slope in _derivatives(operation, len(values))]


@cache
def _derivatives(operation: str, count: int) -> tuple[Expression, ...]:
    arguments = tuple(Reference(f"x{k}") for k in range(count))
    return OPERATIONS[operation].derivative(arguments, Reference("y"))


_OPERATIONS = {name: _rounded(name) for name in OPERATIONS}
