"""Scalar expressions: a small tree, and for every operation its value and its derivative side by side.

An expression is a `Constant`, a `Reference` to a named quantity, its `Previous` value, or an
`Application` of an operation.
Order and grouping of terms stay as they were written, because a reader will meet them in a sheet and
in a derivation. Building is done with the ordinary operators and the functions of this module; only
what a teacher would leave out on paper (a term 0, a factor 1, a double minus) is left out here.

>>> h1 = Reference("w1") * Reference("i1") + Reference("w2") * Reference("i2")
>>> print(h1)
w1·i1 + w2·i2
>>> print(differentiate(h1, "w2"))
i2
>>> print(differentiate(apply("sigmoid", Reference("h1")), "h1", Reference("a_h1")))
a_h1·(1 − a_h1)

Values are NumPy float64 scalars or arrays, so one call evaluates many learning rates at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

EXPONENT_LIMIT = 340
"""A sigmoid stops here, at 2e-148: EXP overflows float64 beyond 709, and in LibreOffice even the square
of a number below 1e-154 is an error."""

DIVERGENCE_LIMIT = 1e15
"""A run whose loss reaches this has diverged: its weights are held, so that no cell overflows."""


class Expression:
    """Base of the four kinds of node. Immutable, compared by structure."""

    __slots__ = ()

    def __add__(self, other: Expression | float) -> Expression:
        return add(self, _expression(other))

    def __radd__(self, other: float) -> Expression:
        return add(_expression(other), self)

    def __sub__(self, other: Expression | float) -> Expression:
        return subtract(self, _expression(other))

    def __rsub__(self, other: float) -> Expression:
        return subtract(_expression(other), self)

    def __mul__(self, other: Expression | float) -> Expression:
        return multiply(self, _expression(other))

    def __rmul__(self, other: float) -> Expression:
        return multiply(_expression(other), self)

    def __truediv__(self, other: Expression | float) -> Expression:
        return divide(self, _expression(other))

    def __rtruediv__(self, other: float) -> Expression:
        return divide(_expression(other), self)

    def __neg__(self) -> Expression:
        return negate(self)

    def __str__(self) -> str:
        return render(self, TEXT)


@dataclass(frozen=True, slots=True)
class Constant(Expression):
    """A number that belongs to the formula itself, such as the ½ of a half squared error."""

    value: float
    __str__ = Expression.__str__


@dataclass(frozen=True, slots=True)
class Reference(Expression):
    """The value of a named quantity, such as ``w5``."""

    name: str
    __str__ = Expression.__str__


@dataclass(frozen=True, slots=True)
class Previous(Expression):
    """The value of a named quantity in the iteration before, such as a state of an optimizer."""

    name: str
    __str__ = Expression.__str__

    @property
    def key(self) -> str:
        """What it goes by among the values of an iteration."""
        return f"previous {self.name}"


@dataclass(frozen=True, slots=True)
class Application(Expression):
    """An operation, by its name in `OPERATIONS`, applied to its arguments."""

    operation: str
    arguments: tuple[Expression, ...]
    __str__ = Expression.__str__


ZERO = Constant(0.0)
ONE = Constant(1.0)


class Operation(NamedTuple):
    """What an operation does: its value, and its partial derivative with respect to each argument.

    ``value`` takes and returns float64 scalars or arrays of one shape. ``derivative`` takes the
    arguments and the result as expressions, and returns one expression per argument.
    """

    value: Callable[..., Any]
    derivative: Callable[[tuple[Expression, ...], Expression], tuple[Expression, ...]]


def _sum(*terms: Any) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _product(*factors: Any) -> Any:
    total = factors[0]
    for factor in factors[1:]:
        total = total * factor
    return total


def _largest(*values: Any) -> Any:
    largest = values[0]
    for value in values[1:]:
        largest = np.maximum(largest, value)
    return largest


def _product_derivative(arguments: tuple[Expression, ...], _: Expression) -> tuple[Expression, ...]:
    others = (arguments[:k] + arguments[k + 1 :] for k in range(len(arguments)))
    return tuple(multiply(*factors) for factors in others)


LEAKY_SLOPE = 0.01
"""Slope of the leaky ReLU for negative sums; the default of PyTorch."""

HUBER_DELTA = 1.0
"""Where the Huber loss turns from a parabola into a straight line; the default of PyTorch."""

GELU_SCALE, GELU_CUBE = float(np.sqrt(8 / np.pi)), 0.044715
"""GELU's tanh form, x·½·(1 + tanh(√(2/π)·(x + 0.044715·x³))), is x·σ(√(8/π)·x·(1 + 0.044715·x²))."""


def _sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-np.maximum(a, -EXPONENT_LIMIT)))


def _normal_share(a: Any) -> Any:
    return _sigmoid(GELU_SCALE * a * (1 + GELU_CUBE * a * a))


# Ties follow PyTorch: the derivative of ReLU at 0 is 0, that of leaky ReLU at 0 is its slope, that of
# the absolute value at 0 is 0.
OPERATIONS: Mapping[str, Operation] = {
    "add": Operation(
        value=_sum,
        derivative=lambda x, y: tuple(ONE for _ in x),
    ),
    "subtract": Operation(
        value=lambda a, b: a - b,
        derivative=lambda x, y: (ONE, Constant(-1.0)),
    ),
    "multiply": Operation(
        value=_product,
        derivative=_product_derivative,
    ),
    "divide": Operation(
        value=lambda a, b: a / b,
        derivative=lambda x, y: (1 / x[1], -(x[0] / square(x[1]))),
    ),
    "negate": Operation(
        value=lambda a: -a,
        derivative=lambda x, y: (Constant(-1.0),),
    ),
    "square": Operation(
        value=lambda a: a * a,
        derivative=lambda x, y: (2 * x[0],),
    ),
    "exp": Operation(
        value=np.exp,
        derivative=lambda x, y: (y,),
    ),
    "log": Operation(
        value=np.log,
        derivative=lambda x, y: (1 / x[0],),
    ),
    "sigmoid": Operation(
        value=_sigmoid,
        derivative=lambda x, y: (y * (1 - y),),
    ),
    "tanh": Operation(
        value=np.tanh,
        derivative=lambda x, y: (1 - square(y),),
    ),
    "relu": Operation(
        value=lambda a: np.maximum(a, 0.0),
        derivative=lambda x, y: (apply("step", x[0]),),
    ),
    "step": Operation(  # 1 where the argument is positive, else 0
        value=lambda a: np.where(a > 0, 1.0, 0.0),
        derivative=lambda x, y: (ZERO,),
    ),
    "leaky_relu": Operation(
        value=lambda a: np.where(a > 0, a, LEAKY_SLOPE * a),
        derivative=lambda x, y: (apply("leaky_step", x[0]),),
    ),
    "leaky_step": Operation(  # 1 where the argument is positive, else the slope
        value=lambda a: np.where(a > 0, 1.0, LEAKY_SLOPE),
        derivative=lambda x, y: (ZERO,),
    ),
    "softplus": Operation(  # ln(1 + eˣ), written so that it cannot overflow
        value=lambda a: np.maximum(a, 0.0) + np.log(1 + np.exp(-np.abs(a))),
        derivative=lambda x, y: (apply("sigmoid", x[0]),),
    ),
    "elu": Operation(  # x where it is positive, else eˣ − 1
        value=lambda a: np.maximum(a, 0.0) + np.expm1(np.minimum(a, 0.0)),
        derivative=lambda x, y: (apply("exp", apply("minimum", ZERO, x[0])),),
    ),
    "minimum": Operation(
        value=np.minimum,
        derivative=lambda x, y: (apply("step", x[1] - x[0]), 1 - apply("step", x[1] - x[0])),
    ),
    "sqrt": Operation(
        value=np.sqrt,
        derivative=lambda x, y: (1 / (2 * y),),
    ),
    "power": Operation(
        value=np.power,
        derivative=lambda x, y: (x[1] * apply("power", x[0], x[1] - 1), y * apply("log", x[0])),
    ),
    "floor": Operation(
        value=np.floor,
        derivative=lambda x, y: (ZERO,),
    ),
    "cos": Operation(
        value=np.cos,
        derivative=lambda x, y: (apply("cos", x[0] + np.pi / 2),),
    ),
    "silu": Operation(  # x·σ(x)
        value=lambda a: a * _sigmoid(a),
        derivative=lambda x, y: (apply("sigmoid", x[0]) + y * (1 - apply("sigmoid", x[0])),),
    ),
    "gelu": Operation(  # x·Φ(x)
        value=lambda a: a * _normal_share(a),
        derivative=lambda x, y: (
            apply("normal_share", x[0])
            + y * (1 - apply("normal_share", x[0])) * _normal_exponent_slope(x[0]),
        ),
    ),
    "normal_share": Operation(  # Φ, the share of the normal distribution below x, as GELU takes it
        value=_normal_share,
        derivative=lambda x, y: (y * (1 - y) * _normal_exponent_slope(x[0]),),
    ),
    "absolute": Operation(
        value=np.abs,
        derivative=lambda x, y: (apply("sign", x[0]),),
    ),
    "sign": Operation(  # 1, 0 or −1
        value=np.sign,
        derivative=lambda x, y: (ZERO,),
    ),
    # Half the square up to delta, a straight line beyond: clip(x)·(x − ½·clip(x)) is both.
    "huber": Operation(
        value=lambda a: _clip(a) * (a - 0.5 * _clip(a)),
        derivative=lambda x, y: (apply("clip", x[0]),),
    ),
    "clip": Operation(  # between −delta and delta
        value=lambda a: _clip(a),
        derivative=lambda x, y: (apply("step", HUBER_DELTA - apply("absolute", x[0])),),
    ),
    # ``hold(x, new, old)`` is new while x is below the limit; old from there on, and where x is not
    # a number.
    "hold": Operation(
        value=lambda x, new, old: np.where(x < DIVERGENCE_LIMIT, new, old),
        derivative=lambda x, y: (
            ZERO,
            apply("hold", x[0], ONE, ZERO),
            apply("hold", x[0], ZERO, ONE),
        ),
    ),
    # The guard of a softmax, subtracted from every exponent so that none overflows. No result
    # depends on it, so it counts as a constant (what autograd libraries call "detached").
    "detached_max": Operation(
        value=_largest,
        derivative=lambda x, y: tuple(ZERO for _ in x),
    ),
}


def _clip(a: Any) -> Any:
    return np.minimum(np.maximum(a, -HUBER_DELTA), HUBER_DELTA)


def _normal_exponent_slope(x: Expression) -> Expression:
    """The derivative of √(8/π)·x·(1 + 0.044715·x²), what stands in the σ of `_normal_share`."""
    return GELU_SCALE * (1 + 3 * GELU_CUBE * square(x))


def softmax_slope(shares: Sequence[Expression], share: int, total: int) -> Expression:
    """∂(share j)/∂(sum k) of a softmax, in terms of the shares: a_j·(1 − a_j) for j = k, else −a_j·a_k.

    It is no `Operation`: a sheet spreads a softmax over several cells, one EXP in each.
    """
    own, other = shares[share], shares[total]
    return own * (1 - own) if share == total else -(own * other)


def _expression(value: Expression | float) -> Expression:
    return value if isinstance(value, Expression) else Constant(float(value))


def apply(operation: str, *arguments: Expression) -> Expression:
    """Apply an operation of `OPERATIONS` as it stands, nothing left out."""
    return Application(operation, arguments)


def _parts(expression: Expression, operation: str) -> tuple[Expression, ...]:
    """The arguments of ``expression`` where it is that operation, else the expression alone."""
    if isinstance(expression, Application) and expression.operation == operation:
        return expression.arguments
    return (expression,)


def add(*terms: Expression) -> Expression:
    """The sum of the terms, zeros left out, a negative term written as a subtraction."""
    kept: list[Expression] = []
    for term in terms:
        for part in _parts(term, "add"):
            match part:
                case Application("negate", (inner,)) if kept:
                    kept = [subtract(_sum_of(kept), inner)]
                case _ if part != ZERO:
                    kept.append(part)
    return _sum_of(kept)


def _sum_of(terms: list[Expression]) -> Expression:
    if len(terms) > 1:
        return Application("add", tuple(terms))
    return terms[0] if terms else ZERO


def subtract(left: Expression, right: Expression) -> Expression:
    """``left − right``."""
    if right == ZERO:
        return left
    if left == ZERO:
        return negate(right)
    return Application("subtract", (left, right))


def negate(expression: Expression) -> Expression:
    """``−expression``; a difference is turned round instead, as one would on paper."""
    match expression:
        case Constant(value):
            return Constant(-value)
        case Application("negate", (inner,)):
            return inner
        case Application("subtract", (left, right)):
            return Application("subtract", (right, left))
    return Application("negate", (expression,))


def multiply(*factors: Expression) -> Expression:
    """The product of the factors, numbers collected in front, factors 1 left out."""
    number = 1.0
    kept: list[Expression] = []
    for factor in factors:
        for part in _parts(factor, "multiply"):
            if isinstance(part, Application) and part.operation == "negate":
                number = -number
                part = part.arguments[0]
            for piece in _parts(part, "multiply"):
                if isinstance(piece, Constant):
                    number *= piece.value
                else:
                    kept.append(piece)
    if number == 0.0:
        return ZERO
    if not kept:
        return Constant(number)
    if number < 0 and (turned := _first_difference(kept)) is not None:
        kept[turned] = negate(kept[turned])
        number = -number
    # 1/Z · e  is written  e/Z
    match kept[0]:
        case Application("divide", (Constant(1.0), denominator)) if len(kept) > 1:
            return divide(multiply(Constant(number), *kept[1:]), denominator)
        case Application("divide", (numerator, denominator)) if number != 1.0:
            kept[0] = divide(multiply(Constant(number), numerator), denominator)
            number = 1.0
    if number == -1.0:
        return negate(multiply(*kept))
    if number != 1.0:
        kept.insert(0, Constant(number))
    return kept[0] if len(kept) == 1 else Application("multiply", tuple(kept))


def _first_difference(factors: list[Expression]) -> int | None:
    for position, factor in enumerate(factors):
        if isinstance(factor, Application) and factor.operation == "subtract":
            return position
    return None


def divide(numerator: Expression, denominator: Expression) -> Expression:
    """``numerator / denominator``, whole numbers that cancel are cancelled."""
    if denominator == ONE or numerator == ZERO:
        return numerator
    if isinstance(denominator, Constant) and denominator != ZERO:
        front, *rest = _parts(numerator, "multiply")
        if isinstance(front, Constant):
            if front.value % denominator.value == 0:
                return multiply(Constant(front.value / denominator.value), *rest)
            if denominator.value % front.value == 0 and front != ONE and rest:
                return divide(multiply(*rest), Constant(denominator.value / front.value))
    return Application("divide", (numerator, denominator))


def square(expression: Expression) -> Expression:
    """``expression²``."""
    return Application("square", (expression,))


def references(expression: Expression) -> Iterator[str]:
    """The names an expression refers to, in the order of reading, repeats included."""
    match expression:
        case Reference(name):
            yield name
        case Application(_, arguments):
            for argument in arguments:
                yield from references(argument)


def parts(expression: Expression) -> Iterator[Expression]:
    """The expression and all that it is made of, the whole before its parts."""
    yield expression
    if isinstance(expression, Application):
        for argument in expression.arguments:
            yield from parts(argument)


def substitute(expression: Expression, known: Mapping[Expression, Expression]) -> Expression:
    """Replace every subexpression that is a key of ``known``, largest first."""
    if expression in known:
        return known[expression]
    if isinstance(expression, Application):
        arguments = tuple(substitute(argument, known) for argument in expression.arguments)
        return Application(expression.operation, arguments)
    return expression


_BUILDERS: Mapping[str, Callable[..., Expression]] = {
    "add": add,
    "subtract": subtract,
    "multiply": multiply,
    "divide": divide,
    "negate": negate,
}


def filled(expression: Expression, known: Mapping[Expression, Expression]) -> Expression:
    """As `substitute`, and what becomes superfluous (a term 0, a factor 1) is left out."""
    if expression in known:
        return known[expression]
    if isinstance(expression, Application):
        arguments = (filled(argument, known) for argument in expression.arguments)
        build = _BUILDERS.get(expression.operation)
        return build(*arguments) if build else apply(expression.operation, *arguments)
    return expression


def differentiate(expression: Expression, name: str, result: Expression | None = None) -> Expression:
    """The partial derivative of ``expression`` with respect to the quantity ``name``.

    All other names count as constants. ``result`` names the value of the whole expression where a
    quantity holds it, so that σ′ is written a·(1 − a) and not with σ spelled out again.
    """
    return partial_derivatives(expression, result).get(name, ZERO)


def partial_derivatives(
    expression: Expression, result: Expression | None = None
) -> dict[str, Expression]:
    """The partial derivatives with respect to all names at once; those that are 0 are left out."""
    match expression:
        case Reference(name):
            return {name: ONE}
        case Application(operation, arguments):
            paths: dict[str, list[Expression]] = defaultdict(list)
            outer = OPERATIONS[operation].derivative(arguments, result or expression)
            for partial, argument in zip(outer, arguments, strict=True):
                for name, inner in partial_derivatives(argument).items():
                    paths[name].append(multiply(partial, inner))
            sums = {name: add(*terms) for name, terms in paths.items()}
            return {name: total for name, total in sums.items() if total != ZERO}
    return {}


def evaluate(
    expression: Expression, values: Mapping[str, Any], operations: Mapping[str, Any] = OPERATIONS
) -> Any:
    """The value of ``expression``; ``values`` holds a float64 scalar or array for every name."""
    match expression:  # the frequent ones first
        case Reference(name):
            return values[name]
        case Application(operation, arguments):
            known = [  # most are names: looked up here, they need no call
                values[argument.name]
                if type(argument) is Reference
                else evaluate(argument, values, operations)
                for argument in arguments
            ]
            return operations[operation].value(*known)
        case Constant(value):
            return np.float64(value)
        case Previous():
            return values[expression.key]
    raise TypeError(f"not an expression: {expression!r}")


# ---------------------------------------------------------------- printing

SUM, PRODUCT, POWER, ATOM = range(1, 5)
"""How tightly a printed form holds together: what is looser than its place gets brackets."""


class Form(NamedTuple):
    """How one operation is printed.

    ``template`` holds ``{0}``, ``{1}`` … for the operands, or ``{*}`` for all of them with
    ``separator`` between. ``binds`` is how tightly the whole holds together, ``needs`` how tightly
    each operand must (the last one holds for all further operands).
    """

    template: str
    binds: int
    needs: tuple[int, ...] = (SUM,)
    separator: str = ", "


class Notation(NamedTuple):
    """All that a printing backend has to say: names, numbers, brackets, and a form per operation.

    ``previous`` is the name of a quantity in the iteration before. ``gather`` may print a run of
    operands alike as one: it takes the operation and, factor by factor, the names in the run (w1 w2 and
    i1 i2 for the terms w1·i1, w2·i2), and returns the text with how tightly it binds, or None.
    ``of_atoms`` holds the forms of operations that look otherwise where every operand is an atom.
    """

    reference: Callable[[str], str]
    previous: Callable[[str], str]
    constant: Callable[[float], str]
    brackets: str
    forms: Mapping[str, Form]
    gather: Callable[[str, Sequence[tuple[str, ...]]], tuple[str, int] | None] | None = None
    of_atoms: Mapping[str, Form] = {}


def render(expression: Expression, notation: Notation) -> str:
    """Print an expression in a notation, with the brackets it needs and no more."""
    return _render(expression, notation)[0]


def _render(expression: Expression, notation: Notation) -> tuple[str, int]:
    match expression:
        case Constant(value):
            return notation.constant(value), ATOM if value >= 0 else SUM
        case Reference(name):
            return notation.reference(name), ATOM
        case Previous(name):
            return notation.previous(name), ATOM
        case Application(operation, arguments):
            form = notation.forms[operation]
            printed = list(_operands(operation, arguments, notation))
            if operation == "add" and len(printed) == 1:
                return printed[0]
            if operation in notation.of_atoms and all(binds == ATOM for _, binds in printed):
                form = notation.of_atoms[operation]
            operands = []
            for position, (text, binds) in enumerate(printed):
                needed = form.needs[min(position, len(form.needs) - 1)]
                operands.append(text if binds >= needed else notation.brackets.format(text))
            if "{*}" in form.template:
                return form.template.replace("{*}", form.separator.join(operands)), form.binds
            return form.template.format(*operands), form.binds
    raise TypeError(f"not an expression: {expression!r}")


def _operands(
    operation: str, arguments: tuple[Expression, ...], notation: Notation
) -> Iterator[tuple[str, int]]:
    """The operands as they are printed, runs of them as one where the notation gathers these."""
    if notation.gather is None or operation not in ("add", "detached_max"):
        yield from (_render(argument, notation) for argument in arguments)
        return
    for _, run in groupby(arguments, lambda argument: len(_names(argument))):
        terms = list(run)
        gathered = None
        if len(terms) > 1 and _names(terms[0]):
            gathered = notation.gather(operation, list(zip(*map(_names, terms), strict=True)))
        yield from [gathered] if gathered else (_render(term, notation) for term in terms)


def _names(expression: Expression) -> tuple[str, ...]:
    """The factors of a term, where all of them are names."""
    factors = _parts(expression, "multiply")
    names = tuple(factor.name for factor in factors if isinstance(factor, Reference))
    return names if len(names) == len(factors) else ()


SYMBOLS: Mapping[str, str] = {
    "learning_rate": "η",
    "rate": "η_t",
    "iteration": "t",
    "momentum": "μ",
    "dampening": "τ",
    "weight_decay": "λ",
    "alpha": "α",
    "beta1": "β1",
    "beta2": "β2",
    "epsilon": "ε",
    "smoothing": "β",
}
"""The letters of the rules of optimizers; any other hyper-parameter goes by its name."""


@cache
def label(name: str) -> str:
    """A name as a sheet prints it: ``dE_dw5`` → ``∂E/∂w5``, ``delta_h1`` → ``δ_h1``."""
    if name in SYMBOLS:
        return SYMBOLS[name]
    if name.startswith("dE_d"):
        return "∂E/∂" + name.removeprefix("dE_d")
    return name.replace("delta_", "δ_")


def format_number(value: float) -> str:
    """A number as short as it can be without losing a digit: 0.5, 2, 1e-07."""
    return str(int(value)) if value == int(value) and abs(value) < 1e16 else repr(float(value))


TEXT = Notation(
    reference=label,
    previous=lambda name: f"({label(name)} above)",
    constant=lambda value: {0.5: "½", np.pi: "π"}.get(value) or format_number(value),
    brackets="({})",
    forms={
        "add": Form("{*}", SUM, (SUM,), " + "),
        "subtract": Form("{0} − {1}", SUM, (SUM, PRODUCT)),
        "multiply": Form("{*}", PRODUCT, (PRODUCT, POWER), "·"),
        "divide": Form("{0}/{1}", PRODUCT, (PRODUCT, POWER)),
        "negate": Form("−{0}", SUM, (PRODUCT,)),
        "square": Form("{0}²", POWER, (ATOM,)),
        "exp": Form("exp({0})", ATOM),
        "log": Form("ln({0})", ATOM),
        "sigmoid": Form("σ({0})", ATOM),
        "tanh": Form("tanh({0})", ATOM),
        "relu": Form("max(0, {0})", ATOM),
        "step": Form("[{0} > 0]", ATOM),
        "leaky_relu": Form(f"max({LEAKY_SLOPE}·{{0}}, {{0}})", ATOM, (POWER,)),
        "leaky_step": Form(f"(1 if {{0}} > 0 else {LEAKY_SLOPE})", ATOM),
        "softplus": Form("ln(1 + exp({0}))", ATOM),
        "elu": Form("elu({0})", ATOM),
        "minimum": Form("min({*})", ATOM),
        "sqrt": Form("√({0})", ATOM),
        "power": Form("{0}^{1}", POWER, (ATOM,)),
        "floor": Form("floor({0})", ATOM),
        "cos": Form("cos({0})", ATOM),
        "silu": Form("silu({0})", ATOM),
        "gelu": Form("gelu({0})", ATOM),
        "normal_share": Form("Φ({0})", ATOM),
        "absolute": Form("abs({0})", ATOM),
        "sign": Form("sign({0})", ATOM),
        "huber": Form("huber({0})", ATOM),
        "clip": Form(f"max(-{HUBER_DELTA:g}, min({HUBER_DELTA:g}, {{0}}))", ATOM),
        "detached_max": Form("max({*})", ATOM),
        "hold": Form(f"({{1}} while {{0}} < {DIVERGENCE_LIMIT:g}, else {{2}})", ATOM),
    },
)
"""Plain text, for the words over a column and for error messages."""


def _summed(operation: str, factors: Sequence[tuple[str, ...]]) -> tuple[str, int] | None:
    """``Σ w·i`` for w1·i1 + w2·i2 + …: what the names of a run have in common."""
    common = "·".join(map(_common, factors))
    if operation == "detached_max":
        return common, SUM
    return f"Σ {common}", SUM


def _common(names: tuple[str, ...]) -> str:
    """``i1`` for i1[1], i1[2] …; ``δ_o`` for δ_o1, δ_o2 …; ``w`` for w1, w2 …"""
    bases = list(dict.fromkeys(name.partition("[")[0] for name in names))
    return label(bases[0] if len(bases) == 1 else bases[0].rstrip("0123456789").rstrip("_"))


SUMMED_TEXT = TEXT._replace(gather=_summed)
"""Plain text for large networks, whose sums are too long to be written out."""
