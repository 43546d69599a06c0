"""Formulas of a sheet: text → tree, and the value of a tree for any values of the cells it reads.

A tree's references are relative to the cell that holds it, unless ``$`` fixes them; so all cells of a
column that was filled down share one tree. The operators bind as they do in a sheet: a minus sign binds
tighter than ``^``, and ``^`` groups from the left.

Values are float64 arrays, so that one call evaluates a formula at many points.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from openpyxl.formula import Tokenizer
from openpyxl.formula.tokenizer import Token
from openpyxl.utils import column_index_from_string, get_column_letter


class Unreadable(Exception):  # noqa: N818  (never shown: such a formula is judged by its value alone)
    """A formula that this module cannot parse or evaluate."""


class Cell(NamedTuple):
    """A cell: sheet, row and column, both counted from 0."""

    sheet: str
    row: int
    column: int

    @property
    def address(self) -> str:
        return f"{get_column_letter(self.column + 1)}{self.row + 1}"


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Text:
    value: str


@dataclass(frozen=True)
class Name:
    """A defined name."""

    name: str


@dataclass(frozen=True)
class Reference:
    """One cell. ``row`` and ``column`` are offsets from the formula's own cell where not fixed."""

    sheet: str | None
    row: int
    column: int
    row_fixed: bool
    column_fixed: bool

    def at(self, home: Cell) -> Cell:
        """The cell that is meant in a formula that stands in ``home``."""
        return Cell(
            self.sheet or home.sheet,
            self.row if self.row_fixed else home.row + self.row,
            self.column if self.column_fixed else home.column + self.column,
        )


@dataclass(frozen=True)
class Area:
    """A rectangle of cells."""

    first: Reference
    last: Reference

    def at(self, home: Cell) -> tuple[list[Cell], int]:
        """Its cells row by row, and how many stand in a row."""
        a, b = self.first.at(home), self.last.at(home)
        rows = range(min(a.row, b.row), max(a.row, b.row) + 1)
        columns = range(min(a.column, b.column), max(a.column, b.column) + 1)
        if len(rows) * len(columns) > AREA_LIMIT:
            raise Unreadable("a reference to a very large area")
        return [Cell(a.sheet, row, column) for row in rows for column in columns], len(columns)


@dataclass(frozen=True)
class Apply:
    """An operator (``+``, ``neg``, ``%``) or a function applied to its arguments."""

    function: str
    arguments: tuple[Tree, ...]


Tree = Number | Text | Name | Reference | Area | Apply

AREA_LIMIT = 10_000
"""Cells; a formula of a small network reads far fewer."""

_REFERENCE = r"(\$?)([A-Za-z]{1,3})(\$?)([1-9][0-9]{0,6})"
_SINGLE = re.compile(_REFERENCE + r"$")
_IN_FORMULA = re.compile(
    r'"(?:[^"]|"")*"'  # a text
    r"|'(?:[^']|'')*'!"  # a sheet's name in quotes
    r"|\[[^\]]*\]"  # a column of a table, or another file
    r"|(?<![\w.$])" + _REFERENCE + r"(?![\w(.!\[])"
)
_BINDING = {
    "=": 1,
    "<": 1,
    ">": 1,
    "<=": 1,
    ">=": 1,
    "<>": 1,
    "&": 2,
    "+": 3,
    "-": 3,
    "*": 4,
    "/": 4,
    "^": 5,
}


def pattern(text: str, home: Cell) -> str:
    """The formula with offsets in place of relative references: equal for cells filled down."""

    def offset(match: re.Match[str]) -> str:
        if match[2] is None:
            return match[0]
        row, column = int(match[4]) - 1, column_index_from_string(match[2]) - 1
        across = f"C{column}" if match[1] else f"C[{column - home.column}]"
        down = f"R{row}" if match[3] else f"R[{row - home.row}]"
        return down + across

    return _IN_FORMULA.sub(offset, text)


def parse(text: str, home: Cell) -> Tree:
    """The tree of a formula, ``=`` included, that stands in ``home``.

    Raises `Unreadable`.
    """
    try:
        tokens = [t for t in Tokenizer(text).items if t.type != Token.WSPACE or t.value == ","]
        tree, rest = _expression(tokens, 0, 0, home)
    except Unreadable:
        raise
    except Exception as error:  # whatever a tokenizer may stumble over
        raise Unreadable(str(error)) from None
    if rest != len(tokens):
        raise Unreadable(f"{tokens[rest].value!r} is not expected here")
    return tree


def _expression(tokens: list[Token], position: int, binding: int, home: Cell) -> tuple[Tree, int]:
    """Precedence climbing: operators that bind tighter than ``binding``, from ``position`` on."""
    left, position = _operand(tokens, position, home)
    while position < len(tokens):
        token = tokens[position]
        if token.type == Token.OP_POST:
            left, position = Apply("%", (left,)), position + 1
            continue
        binds = _BINDING.get(token.value) if token.type == Token.OP_IN else None
        if binds is None or binds <= binding:
            break
        right, position = _expression(tokens, position + 1, binds, home)
        left = Apply(token.value, (left, right))
    return left, position


def _operand(tokens: list[Token], position: int, home: Cell) -> tuple[Tree, int]:
    if position >= len(tokens):
        raise Unreadable("the formula ends too early")
    token = tokens[position]
    if token.type == Token.OP_PRE:
        inner, after = _operand(tokens, position + 1, home)  # tighter than any other operator
        while after < len(tokens) and tokens[after].type == Token.OP_POST:
            inner, after = Apply("%", (inner,)), after + 1
        return (Apply("neg", (inner,)) if token.value == "-" else inner), after
    if token.type == Token.PAREN and token.subtype == Token.OPEN:
        inner, after = _expression(tokens, position + 1, 0, home)
        _closing(tokens, after)
        return inner, after + 1
    if token.type == Token.FUNC and token.subtype == Token.OPEN:
        return _call(tokens, position, home)
    if token.type == Token.OPERAND:
        return _leaf(token, home), position + 1
    raise Unreadable(f"{token.value!r} is not expected here")


def _closing(tokens: list[Token], position: int) -> None:
    if position >= len(tokens) or tokens[position].subtype != Token.CLOSE:
        raise Unreadable("a bracket is not closed")


def _call(tokens: list[Token], position: int, home: Cell) -> tuple[Tree, int]:
    name = tokens[position].value.rstrip("(").upper().removeprefix("@").removeprefix("_XLFN.")
    position += 1
    arguments: list[Tree] = []
    while position < len(tokens) and tokens[position].subtype != Token.CLOSE:
        if tokens[position].type == Token.SEP:
            raise Unreadable("an argument is missing")
        argument, position = _expression(tokens, position, 0, home)
        arguments.append(argument)
        if position < len(tokens) and tokens[position].type == Token.SEP:
            position += 1
    _closing(tokens, position)
    return Apply(name, tuple(arguments)), position + 1


def _leaf(token: Token, home: Cell) -> Tree:
    value: str = token.value
    if token.subtype == Token.NUMBER:
        return Number(float(value))
    if token.subtype == Token.TEXT:
        return Text(value[1:-1].replace('""', '"'))
    if token.subtype == Token.LOGICAL:
        return Number(float(value.upper() == "TRUE"))
    if token.subtype != Token.RANGE:
        raise Unreadable(f"{value!r} cannot be read")
    sheet, separator, place = value.rpartition("!")
    name = sheet.strip("'").replace("''", "'") if separator else None
    first, colon, last = place.partition(":")
    if _SINGLE.match(first) and (not colon or _SINGLE.match(last)):
        reference = _reference(first, name, home)
        return Area(reference, _reference(last, name, home)) if colon else reference
    if re.fullmatch(r"[^\W\d][\w.]*", place):
        return Name(place)
    raise Unreadable(f"{value!r} cannot be read")


def _reference(text: str, sheet: str | None, home: Cell) -> Reference:
    match = _SINGLE.match(text)
    assert match is not None
    column_fixed, letters, row_fixed, number = match.groups()
    row, column = int(number) - 1, column_index_from_string(letters) - 1
    return Reference(
        sheet,
        row if row_fixed else row - home.row,
        column if column_fixed else column - home.column,
        bool(row_fixed),
        bool(column_fixed),
    )


def leaves(tree: Tree) -> Iterator[Reference | Area | Name]:
    """All references of a tree in the order of reading, repeats included."""
    if isinstance(tree, Apply):
        for argument in tree.arguments:
            yield from leaves(argument)
    elif isinstance(tree, Reference | Area | Name):
        yield tree


def subtrees(tree: Tree) -> Iterator[Tree]:
    """The tree and all its parts, the smaller ones first."""
    if isinstance(tree, Apply):
        for argument in tree.arguments:
            yield from subtrees(argument)
    yield tree


def with_part(tree: Tree, part: Tree, other: Tree) -> Tree:
    """The tree with every occurrence of ``part`` replaced by ``other``."""
    if tree == part:
        return other
    if isinstance(tree, Apply):
        return Apply(tree.function, tuple(with_part(a, part, other) for a in tree.arguments))
    return tree


# ---------------------------------------------------------------- values


def evaluate(tree: Tree, home: Cell, read: Callable[[Cell | str], Any]) -> Any:
    """The value of a formula that stands in ``home``.

    ``read`` gives the value of a cell, or of a defined name: a float64 scalar or array, or a text.

    Raises `Unreadable` for a function that no sheet of a small network needs, or text in arithmetic.
    """
    match tree:
        case Number(value) | Text(value):
            return value
        case Name(name):
            return read(name)
        case Reference():
            return read(tree.at(home))
        case Area():
            return [read(cell) for cell in tree.at(home)[0]]
        case Apply(function, arguments):
            rule = FUNCTIONS.get(function)
            if rule is None:
                raise Unreadable(f"the function {function}")
            values = [evaluate(argument, home, read) for argument in arguments]
            try:
                with np.errstate(all="ignore"):
                    return rule(*values)
            except (TypeError, ValueError, IndexError):
                raise Unreadable(f"the arguments of {function}") from None
    raise Unreadable(repr(tree))


def _numbers(values: Any) -> list[Any]:
    """All numbers among the arguments of a function such as SUM; texts and empty cells are left out."""
    found: list[Any] = []
    for value in values:
        if isinstance(value, list):
            found += [entry for entry in value if not isinstance(entry, str)]
        elif isinstance(value, str):
            raise TypeError(value)
        else:
            found.append(value)
    return found


def _total(*values: Any) -> Any:
    total: Any = 0.0
    for value in _numbers(values):
        total = total + value
    return total


def _number(value: Any) -> Any:
    """One number: an empty cell counts as 0; a text or an area is an error."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list):
        raise TypeError
    if isinstance(value, str):
        if value == "":
            return 0.0
        raise TypeError(value)
    return value


def _plain(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A rule on numbers; on areas of equal size it works cell by cell, as in SUM(A1:B1*C1:D1)."""

    def plain(*values: Any) -> Any:
        length = max((len(value) for value in values if isinstance(value, list)), default=1)
        if length == 1:
            return rule(*map(_number, values))
        columns = (value if isinstance(value, list) else [value] * length for value in values)
        return [rule(*map(_number, entries)) for entries in zip(*columns, strict=True)]

    return plain


def _pairs(rule: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def total(a: Any, b: Any) -> Any:
        a, b = (value if isinstance(value, list) else [value] for value in (a, b))
        if len(a) != len(b):
            raise ValueError
        return _total(*(rule(_number(x), _number(y)) for x, y in zip(a, b, strict=True)))

    return total


def _sum_of_products(*areas: Any) -> Any:
    lists = [area if isinstance(area, list) else [area] for area in areas]
    if len({len(entries) for entries in lists}) != 1:
        raise ValueError
    total: Any = 0.0
    for entries in zip(*lists, strict=True):
        product: Any = 1.0
        for entry in entries:
            product = product * _number(entry)
        total = total + product
    return total


def _where(condition: Any, yes: Any = 1.0, no: Any = 0.0) -> Any:
    return np.where(np.asarray(_number(condition)) != 0, _number(yes), _number(no))


def _entry(values: Any, number: Any) -> Any:
    """INDEX of one column, or row, by a single number."""
    if not isinstance(values, list) or not 1 <= float(number) < len(values) + 1:
        raise ValueError(number)
    return values[int(number) - 1]


def _extreme(rule: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def extreme(*values: Any) -> Any:
        numbers = _numbers(values)
        result = numbers[0]
        for number in numbers[1:]:
            result = rule(result, number)
        return result

    return extreme


def _power(base: Any, exponent: Any) -> Any:
    return np.power(np.asarray(base, dtype=np.float64), exponent)


def _logarithm(x: Any, base: Any = 10.0) -> Any:
    return np.log(x) / np.log(base)


def _compared(rule: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return _plain(lambda a, b: np.asarray(rule(a, b), dtype=np.float64))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "+": _plain(lambda a, b: a + b),
    "-": _plain(lambda a, b: a - b),
    "*": _plain(lambda a, b: a * b),
    "/": _plain(lambda a, b: np.divide(a, b)),
    "^": _plain(_power),
    "%": _plain(lambda a: a / 100),
    "neg": _plain(lambda a: -a),
    "=": _compared(lambda a, b: a == b),
    "<>": _compared(lambda a, b: a != b),
    "<": _compared(lambda a, b: a < b),
    ">": _compared(lambda a, b: a > b),
    "<=": _compared(lambda a, b: a <= b),
    ">=": _compared(lambda a, b: a >= b),
    "POWER": _plain(_power),
    "EXP": _plain(np.exp),
    "LN": _plain(np.log),
    "LOG": _plain(_logarithm),
    "LOG10": _plain(np.log10),
    "SQRT": _plain(np.sqrt),
    "ABS": _plain(np.abs),
    "SIGN": _plain(np.sign),
    "TANH": _plain(np.tanh),
    "SIGMOID": _plain(lambda a: 1 / (1 + np.exp(-a))),  # in words beside a table; no sheet has it
    "SINH": _plain(np.sinh),
    "COSH": _plain(np.cosh),
    "COS": _plain(np.cos),
    "INT": _plain(np.floor),
    "MOD": _plain(np.mod),
    "INDEX": _entry,
    "N": _plain(lambda a: a),
    "PI": lambda: np.pi,
    "IF": _where,
    "IFERROR": lambda value, other: value,
    "AND": lambda *v: np.asarray(np.all([np.asarray(_number(x)) != 0 for x in v], axis=0), dtype=float),
    "OR": lambda *v: np.asarray(np.any([np.asarray(_number(x)) != 0 for x in v], axis=0), dtype=float),
    "NOT": _plain(lambda a: np.asarray(np.asarray(a) == 0, dtype=float)),
    "SUM": _total,
    "PRODUCT": lambda *v: np.prod(np.broadcast_arrays(*_numbers(v)), axis=0),
    "AVERAGE": lambda *v: _total(*v) / len(_numbers(v)),
    "COUNT": lambda *v: float(len(_numbers(v))),
    "MAX": _extreme(np.maximum),
    "MIN": _extreme(np.minimum),
    "SUMPRODUCT": _sum_of_products,
    "SUMSQ": lambda *v: _total(*(x * x for x in _numbers(v))),
    "SUMXMY2": _pairs(lambda a, b: (a - b) ** 2),
    "ROUND": _plain(lambda x, digits=0.0: x),  # rounding for the eye is no other formula
}


# ---------------------------------------------------------------- printing

_TIGHTNESS = {**_BINDING, "neg": 6, "%": 7}


def write(tree: Tree, home: Cell) -> str:
    """The text of a formula that stands in ``home``, with the brackets it needs and no more."""
    return "=" + _write(tree, home)[0]


def _write(tree: Tree, home: Cell) -> tuple[str, int]:
    match tree:
        case Number(value):
            whole = abs(value) < 1e15 and value == int(value)
            return (str(int(value)) if whole else repr(value).upper()), 9
        case Text(value):
            return '"' + value.replace('"', '""') + '"', 9
        case Name(name):
            return name, 9
        case Reference():
            return _address(tree, home, with_sheet=True), 9
        case Area(first, last):
            return (
                f"{_address(first, home, with_sheet=True)}:{_address(last, home, with_sheet=False)}",
                9,
            )
        case Apply("neg", (inner,)):
            text, binds = _write(inner, home)
            return (f"-{text}" if binds >= 6 else f"-({text})"), 6
        case Apply("%", (inner,)):
            text, binds = _write(inner, home)
            return (f"{text}%" if binds >= 7 else f"({text})%"), 7
        case Apply(operator, (left, right)) if operator in _BINDING:
            own = _BINDING[operator]
            a, b = _write(left, home), _write(right, home)
            first_text = a[0] if a[1] >= own else f"({a[0]})"
            looser = b[1] < own or (b[1] == own and operator not in "+*") or b[0].startswith("-")
            return f"{first_text}{operator}{f'({b[0]})' if looser else b[0]}", own
        case Apply(function, arguments):
            return f"{function}({','.join(_write(a, home)[0] for a in arguments)})", 9
    raise TypeError(repr(tree))


def _address(reference: Reference, home: Cell, *, with_sheet: bool) -> str:
    cell = reference.at(home)
    column = "$" * reference.column_fixed + get_column_letter(cell.column + 1)
    place = f"{column}{'$' * reference.row_fixed}{cell.row + 1}"
    if reference.sheet is None or not with_sheet:
        return place
    plain = re.fullmatch(r"[^\W\d]\w*", reference.sheet)
    name = reference.sheet if plain else "'" + reference.sheet.replace("'", "''") + "'"
    return f"{name}!{place}"


def pointing(cell: Cell, home: Cell) -> Reference:
    """A relative reference to ``cell`` from a formula in ``home``."""
    return Reference(
        None if cell.sheet == home.sheet else cell.sheet,
        cell.row - home.row,
        cell.column - home.column,
        False,
        False,
    )
