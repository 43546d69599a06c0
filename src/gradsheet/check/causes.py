"""Why a formula is wrong: the smallest change that makes it right, in words.

Every change is tried on the random networks of the reading: the wrong formula with one reference, sign
or bracket changed. A change that makes it right is what belongs there, and names the mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from gradsheet.backends import arrays
from gradsheet.check.formula import (
    Apply,
    Cell,
    Name,
    Number,
    Reference,
    Tree,
    Unreadable,
    leaves,
    pointing,
    subtrees,
    write,
)
from gradsheet.check.formula import evaluate as evaluate_formula
from gradsheet.check.reader import Formula, Key, same
from gradsheet.check.reading import Reading
from gradsheet.compiler import Update, gradient_name
from gradsheet.expression import ZERO, Array, differentiate, evaluate, references
from gradsheet.expression import Reference as Quantity
from gradsheet.mistakes import LEARNING_MISTAKES

MOST_TRIALS = 2_000
"""Changes that are tried on one formula; a search takes well under a second."""


UNEXPLAINED = "it computes something else"


class Explanation(NamedTuple):
    """What happened in words, and the formula that belongs there where a change of the user's own
    formula gives it; None where it has to be written anew."""

    cause: str
    formula: str | None


class Change(NamedTuple):
    tree: Tree
    cause: str


def shown(name: str) -> str:
    """The name of a quantity in a report: ``dE/dw3``, ``new w3``."""
    if part := re.fullmatch(r"dE(\d*)_d(.+)", name):
        return f"dE{part[1]}/d{part[2]}"
    if name.startswith("delta_"):
        return "dE/d" + name.removeprefix("delta_")
    if name.startswith("slope_"):
        total = name.removeprefix("slope_")
        return f"da_{total}/d{total}"
    return name.removeprefix("previous ").replace("new_", "new ")


def explain(reading: Reading, name: str, formula: Formula) -> Explanation:
    """The cause of a wrong formula; ``name`` is the quantity that belongs there."""
    return _Search(reading, name, formula).run()


@dataclass
class _Search:
    reading: Reading
    name: str
    formula: Formula
    trials: int = 0
    values: dict[Cell | str, Any] = field(default_factory=dict)

    def run(self) -> Explanation:
        if self.updates and (found := self.not_updated()):
            return Explanation(found, None)
        if not self.reading.is_plain and (found := self.mistake_of_learning()):
            return Explanation(found, None)
        if self.updates and self.depends():
            return Explanation(UNEXPLAINED, None)
        for change in self.changes():
            if self.is_right(change.tree):
                return Explanation(change.cause, write(change.tree, self.formula.home))
        cause = self.by_numbers()
        if cause is not None:
            return Explanation(cause, None)
        for change in self.rarer_changes():
            if self.is_right(change.tree):
                return Explanation(change.cause, write(change.tree, self.formula.home))
        return Explanation(UNEXPLAINED, None)

    @property
    def updates(self) -> bool:
        return self.reading.is_update(self.name)

    def is_right(self, tree: Tree) -> bool:
        self.trials += 1
        if self.trials > MOST_TRIALS:
            return False
        try:
            return same(evaluate_formula(tree, self.formula.home, self.read), self.expected)
        except Unreadable:
            return False

    @cached_property
    def expected(self) -> Array:
        return np.array(self.reading.expected(self.name))

    def read(self, cell: Cell | str) -> Any:
        """The value of a cell in the random networks, looked up once."""
        if cell not in self.values:
            leaf = Name(cell) if isinstance(cell, str) else pointing(cell, self.formula.home)
            formula = self.formula._replace(tree=leaf)
            self.values[cell] = self.reading.reader.value(formula, self.reading.known)
        return self.values[cell]

    # ------------------------------------------------------------ no update at all

    def not_updated(self) -> str | None:
        key = self.reading.keys[self.name]
        if isinstance(self.formula.tree, Reference):
            source = self.reading.reader.key(
                self.formula.tree.at(self.formula.home), self.formula.iteration
            )
            if source.place == key.place and source.shift < 0:
                kind = "bias" if self.name.startswith("b") else "weight"
                return f"the {kind} is never updated: it is copied from the row above, so it repeats"
        return None

    def depends(self) -> bool:
        """Whether an update depends on a condition, as in stopping early: another rule, not a slip."""
        return not self.reading.complete and any(
            isinstance(part, Apply) and part.function == "IF" and any(leaves(part.arguments[0]))
            for part in subtrees(self.formula.tree)
        )

    # ------------------------------------------------------------ the optimizer

    def mistake_of_learning(self) -> str | None:
        """The known mistake in an optimizer that gives what the formula gives."""
        try:
            found = self.reading.found(self.formula)
        except Unreadable:
            return None
        parameter, first = self.name.removeprefix("new_"), self.formula.iteration == 0
        state, late = self.reading.states.get(self.name), self.reading.is_late(self.name)
        world = self.reading.worlds[-1 if late or self.name in self.reading.updated else 0]
        known = {**world, "learning_rate": self.reading.rate_draws}
        for mistake in LEARNING_MISTAKES.values():
            for edited in mistake.edit(self.reading.program):
                rule = edited.expression
                if isinstance(edited, Update):
                    if not self.updates or edited.parameter != parameter:
                        continue
                elif edited.name != state:
                    continue
                elif first and edited.first is not None:
                    rule = edited.first
                if rule is not None and same(found, evaluate(rule, known)):
                    return mistake.description
        return None

    # ------------------------------------------------------------ changes

    def changes(self) -> Iterator[Change]:
        yield from self.paired_weights()
        yield from self.other_references(alike=True)
        yield from self.other_rows()
        yield from self.other_structure(self.formula.tree)

    def rarer_changes(self) -> Iterator[Change]:
        yield from self.other_neuron()
        yield from self.other_references(alike=False)
        yield from self.two_references()

    def other_references(self, *, alike: bool) -> Iterator[Change]:
        """One reference replaced, by one of its kind or of another: everywhere, then in each single
        place, then in two places."""
        places = list(_reference_paths(self.formula.tree))
        for node in dict.fromkeys(node for _, node in places):
            paths = [path for path, other in places if other == node]
            groups = [paths]
            if len(paths) > 1:
                groups += [[path] for path in paths]
            if 2 < len(paths) <= 4:
                groups += [[a, b] for i, a in enumerate(paths) for b in paths[i + 1 :]]
            for candidate, cause in self.candidates(node, alike=alike):
                for group in groups:
                    tree = self.formula.tree
                    for path in group:
                        tree = _with_path(tree, path, candidate)
                    yield Change(tree, cause)

    def candidates(self, node: Reference, *, alike: bool) -> Iterator[tuple[Reference, str]]:
        """References that may belong in place of ``node``, each with its cause."""
        reading, reader = self.reading, self.reading.reader
        key = reader.key(node.at(self.formula.home), self.formula.iteration)
        name = reading.name_of(key)
        shift = -1 if self.name in reading.updated or reading.is_late(self.name) else 0
        maybe_rate = name is None or (self.updates and self.is_anchored(node))
        if alike and not self.is_rate(key) and isinstance(reading.rate, Key) and maybe_rate:
            yield self.to(reading.rate, shift), self.rate_cause(node, key)
        if alike and name is not None and key.shift != shift:
            yield self.to(reading.keys[name], shift), self.cause_of(node, key, name, name)
        for other in reading.keys:
            itself = other == self.name and not self.updates
            like = name is not None and _alike(reading, other, name)
            if other != name and not itself and like == alike:
                yield self.to(reading.keys[other], shift), self.cause_of(node, key, name, other)

    def to(self, key: Key, shift: int) -> Reference:
        """A reference to a key, with the dollar signs that its kind needs."""
        table, home = self.reading.table, self.formula.home
        if key.place is None:
            assert key.cell is not None
            cell = key.cell
            sheet = None if cell.sheet.casefold() == home.sheet.casefold() else cell.sheet
            return Reference(sheet, cell.row, cell.column, True, True)
        iteration = self.formula.iteration + (0 if key.place in self.reading.reader.constant else shift)
        return pointing(table.cell(key.place, max(iteration, 0)), home)

    def is_anchored(self, node: Reference) -> bool:
        """Whether all iterations read the same line."""
        return node.column_fixed if self.reading.table.turned else node.row_fixed

    def is_rate(self, key: Key) -> bool:
        rate = self.reading.rate
        return isinstance(rate, Key) and key._replace(shift=0) == rate._replace(shift=0)

    def rate_cause(self, node: Reference, key: Key) -> str:
        rate = self.reading.rate
        assert isinstance(rate, Key)
        place = rate.cell.address if rate.cell is not None else "its own column"
        if rate.cell is not None and not self.is_anchored(node):
            column = rate.cell.address.rstrip("0123456789")
            dollar = f"${column}${rate.cell.row + 1}"
            return f"the reference to the learning rate slides away from {place}: write {dollar}"
        return f"the learning rate is read from another cell than {place}"

    def cause_of(self, node: Reference, key: Key, name: str | None, other: str) -> str:
        reading = self.reading
        own, wanted = (shown(name) if name else self.text(node)), shown(other)
        if name == other:
            if self.is_anchored(node):
                return f"the reference to {own} is anchored: every row reads the same one, not its own"
            if key.shift > 0:
                return (
                    f"the updated {own} of the next row is used too early: this row's own belongs there"
                )
            if self.name in reading.updated and key.shift == 0:
                return (
                    f"{own} is read from the row of the new weight: that of the row before belongs there"
                )
            return f"{own} is read from another row"
        if name is not None and name.startswith("new_") and name.removeprefix("new_") == other:
            return f"the updated {other} is used too early: that of the forward pass belongs there"
        if name is None:
            return f"{own} stands where {wanted} belongs"
        if name.startswith("dE_d") and other.startswith("dE_d"):
            return f"the update uses another weight's gradient: {own} stands where {wanted} belongs"
        if _alike(reading, name, other) and name in _outputs(reading) and self.in_slope(node):
            return (
                f"the wrong neuron's derivative: {_slope_text(reading, name)} stands where "
                f"{_slope_text(reading, other)} belongs"
            )
        parameters = {q.name for q in reading.program.of_role("parameter")}
        if name in parameters and other in parameters and self.name not in reading.updated:
            return f"wrong pairing of weights: {own} stands where {wanted} belongs"
        return f"{own} stands where {wanted} belongs"

    def in_slope(self, node: Reference) -> bool:
        """Whether a reference stands in a product like a·(1 − a), or in 1 − a²."""

        def inside(tree: Tree) -> bool:
            if not isinstance(tree, Apply):
                return False
            if tree.function == "-" and tree.arguments[0] == Number(1.0):
                return any(other == node for _, other in _reference_paths(tree.arguments[1]))
            return any(inside(argument) for argument in tree.arguments)

        return inside(self.formula.tree)

    def other_rows(self) -> Iterator[Change]:
        """All references to one row moved to the row that belongs there."""
        reader = self.reading.reader
        wanted = -1 if self.name in self.reading.updated else 0
        keys = {
            path: reader.key(node.at(self.formula.home), self.formula.iteration)
            for path, node in _reference_paths(self.formula.tree)
        }
        for shift in sorted({key.shift for key in keys.values() if key.shift != wanted}):
            tree, names = self.formula.tree, []
            for path, key in keys.items():
                if key.shift == shift and key.place is not None and self.formula.iteration + wanted >= 0:
                    cell = self.reading.table.cell(key.place, self.formula.iteration + wanted)
                    tree = _with_path(tree, path, pointing(cell, self.formula.home))
                    names.append(shown(self.reading.name_of(key) or cell.address))
            moved = ", ".join(dict.fromkeys(names))
            cause = f"{moved} are read from another row"
            if shift > wanted == 0:
                cause = (
                    f"the updated {moved} of the next row are used too early: those of this row belong"
                )
            elif shift < wanted == -1:
                cause = f"{moved} are read from further up than the row before, so that rows repeat"
            yield Change(tree, cause)
        tree, names = self.formula.tree, []
        for path, key in keys.items():
            name = self.reading.name_of(key) or ""
            if name.startswith("new_"):
                used = self.reading.keys[name.removeprefix("new_")]
                node = self.to(used, wanted)
                tree = _with_path(tree, path, node)
                names.append(name.removeprefix("new_"))
        moved = ", ".join(dict.fromkeys(names))
        yield Change(
            tree, f"the updated {moved} are used too early: those of the forward pass belong there"
        )

    def other_structure(self, tree: Tree) -> Iterator[Change]:
        """One sign, operator or bracket changed, anywhere in the formula."""
        for path, part in _paths(tree):
            if isinstance(part, Apply):
                for other, cause in self.rewritten(part):
                    yield Change(_with_path(tree, path, other), cause)

    def rewritten(self, part: Apply) -> Iterator[tuple[Tree, str]]:
        match part:
            case Apply("-", (left, right)):
                yield (
                    Apply("-", (right, left)),
                    f"the difference is the wrong way round ({self.text(part)})",
                )
        if part.function in ("+", "-") and len(part.arguments) == 2:
            left, right = part.arguments
            brackets = "brackets are missing"
            for first, turned in _leftmost(right):
                inner = Apply(part.function, (left, first))
                yield turned(inner), f"{brackets} around {self.text(inner)}"
            chain = _factors(left)
            if len(chain) > 1:
                inner = Apply(part.function, (chain[-1], right))
                yield _product([*chain[:-1], inner]), f"{brackets} around {self.text(inner)}"
            match left:
                case Apply("/", (numerator, denominator)):
                    inner = Apply(part.function, (denominator, right))
                    yield Apply("/", (numerator, inner)), f"{brackets} around {self.text(inner)}"
                case Apply("neg", (operand,)):
                    inner = Apply(part.function, (operand, right))
                    yield Apply("neg", (inner,)), f"{brackets} around {self.text(inner)}"
            match right:
                case Apply("^", (base, exponent)):
                    inner = Apply(part.function, (left, base))
                    yield Apply("^", (inner, exponent)), f"{brackets} around {self.text(inner)}"
        if part.function == "*":
            yield from self.target_times_output(part)
        for operator in "+-*/":
            if part.function in _SPOKEN and operator != part.function and len(part.arguments) == 2:
                if (
                    self.updates
                    and part == self.formula.tree
                    and (part.function, operator) == ("+", "-")
                ):
                    yield (
                        Apply(operator, part.arguments),
                        "the sign is wrong: the step is added, and the loss grows",
                    )
                yield (
                    Apply(operator, part.arguments),
                    f"{_SPOKEN[part.function]} stands where {_SPOKEN[operator]} belongs, "
                    f"in {self.text(part)}",
                )
        match part:
            case Apply("EXP", (Apply("neg", (operand,)),)):
                yield Apply("EXP", (operand,)), "the minus sign in EXP is too much"
            case Apply("EXP", (operand,)):
                yield Apply("EXP", (Apply("neg", (operand,)),)), "the minus sign in EXP(−x) is missing"
        if part.function in ("-", "+"):
            yield Apply("^", (part, Number(2.0))), f"the square of {self.text(part)} is missing"

    def target_times_output(self, part: Apply) -> Iterator[tuple[Tree, str]]:
        """t·a in a product, where a − t belongs."""
        chain = _factors(part)
        names = [self.quantity(factor) for factor in chain]
        outputs = {q.name for q in self.reading.program.of_role("forward")}
        for i, first in enumerate(names):
            for j, second in enumerate(names):
                if i != j and first and second and second.startswith("t") and first in outputs:
                    rest = [factor for k, factor in enumerate(chain) if k not in (i, j)]
                    difference = Apply("-", (chain[i], chain[j]))
                    yield (
                        _product([difference, *rest]),
                        f"{shown(second)}·{shown(first)} stands where "
                        f"{shown(first)} − {shown(second)} belongs",
                    )

    def quantity(self, tree: Tree) -> str | None:
        if not isinstance(tree, Reference):
            return None
        key = self.reading.reader.key(tree.at(self.formula.home), self.formula.iteration)
        return self.reading.name_of(key)

    def other_neuron(self) -> Iterator[Change]:
        """All quantities of one neuron replaced by those of another of its layer."""
        reading = self.reading
        for layer in reading.layers.neurons:
            for neuron in layer:
                for other in layer:
                    if other is neuron:
                        continue
                    pairs = dict(zip(neuron.places, other.places, strict=False))
                    tree = self.formula.tree
                    for path, node in _reference_paths(tree):
                        found = reading.reader.key(node.at(self.formula.home), self.formula.iteration)
                        if found.place in pairs:
                            iteration = self.formula.iteration + found.shift
                            cell = reading.table.cell(pairs[found.place], iteration)
                            tree = _with_path(tree, path, pointing(cell, self.formula.home))
                    if tree != self.formula.tree:
                        a, b = (reading.name_of(Key(n.places[0])) for n in (neuron, other))
                        yield Change(tree, f"the wrong neuron: {a} stands where {b} belongs")

    def two_references(self) -> Iterator[Change]:
        """Two weights, or two gradients, replaced at once."""
        nodes = list(dict.fromkeys(node for _, node in _reference_paths(self.formula.tree)))
        parameters = {q.name for q in self.reading.program.of_role("parameter")}
        for i, a in enumerate(nodes):
            for b in nodes[i + 1 :]:
                first, second = self.quantity(a), self.quantity(b)
                if first is None or second is None:
                    continue
                both_weights = first in parameters and second in parameters
                if not both_weights and not _alike(self.reading, first, second):
                    continue
                for x, _ in self.candidates(a, alike=True):
                    for y, _ in self.candidates(b, alike=True):
                        names = (self.quantity(x), self.quantity(y))
                        if None in names or not _alike(self.reading, names[0] or "", first):
                            continue
                        if not _alike(self.reading, names[1] or "", second):
                            continue
                        tree = self.formula.tree
                        for path, node in list(_reference_paths(tree)):
                            if node in (a, b):
                                tree = _with_path(tree, path, x if node == a else y)
                        yield Change(
                            tree,
                            f"wrong pairing: {shown(first)}, {shown(second)} stand where "
                            f"{shown(names[0] or '')}, {shown(names[1] or '')} belong",
                        )

    def paired_weights(self) -> Iterator[Change]:
        """All weights replaced by those that belong there, one after the other, where several differ."""
        parameters = {q.name for q in self.reading.program.of_role("parameter")}
        rule = self.reading.rules.get(self.name, ZERO)
        wanted = [name for name in references(rule) if name in parameters]
        found = [(path, self.quantity(node) or "") for path, node in _reference_paths(self.formula.tree)]
        found = [(path, name) for path, name in found if name in parameters]
        names = [name for _, name in found]
        pairs = [(a, b) for a, b in zip(names, wanted, strict=False) if a != b]
        if len(names) != len(wanted) or len(pairs) < 2:
            return
        tree = self.formula.tree
        for (path, _), name in zip(found, wanted, strict=True):
            tree = _with_path(tree, path, self.to(self.reading.keys[name], 0))
        written, right = (", ".join(map(shown, part)) for part in zip(*pairs, strict=True))
        yield Change(tree, f"wrong pairing: {written} stand where {right} belong")

    def text(self, tree: Tree) -> str:
        return write(tree, self.formula.home)[1:]

    # ------------------------------------------------------------ by the numbers

    def by_numbers(self) -> str | None:
        """What the wrong values tell: a sign, a factor, a factor that is missing, a path left out."""
        try:
            found = self.reading.found(self.formula)
        except Unreadable:
            return None
        expected = np.array(self.reading.expected(self.name))
        if self.updates:
            return self.update_by_numbers(found)
        with np.errstate(all="ignore"):
            ratio = expected / found
            if same(ratio, ratio[0]):
                return _factor_words(float(1 / ratio[0]))
            for other, slope in self.slopes():
                for sign, words in ((1.0, ""), (-1.0, ", and the sign is wrong")):
                    if same(found * slope * sign, expected):
                        mask = "relu" in self.reading.layers.activations
                        what = f"the slope of {other}'s activation is missing"
                        if mask and set(np.unique(slope)) <= {0.0, 1.0}:
                            what = f"the ReLU mask of {other} is missing: its slope is 0 below 0"
                        return what + words
                    if same(found, expected * slope * sign):
                        return f"the slope of {other}'s activation is multiplied twice" + words
            for other in self.reading.keys:
                if other.startswith(("dE_d", "new_")) or other not in self.reading.worlds[0]:
                    continue
                value = self.reading.worlds[0][other]
                if same(found * value, expected):
                    return f"the factor {shown(other)} is missing"
                if same(found, expected * value):
                    return f"the factor {shown(other)} is too much"
        return self.missing_paths(found, expected)

    def update_by_numbers(self, found: Array) -> str | None:
        reading = self.reading
        before, parameter = reading.worlds[-1], self.name.removeprefix("new_")
        shift = 0 if self.name.startswith("new_") else -1
        weight = reading.worlds[shift][parameter]
        step = weight - reading.expected(self.name)
        if same(found, weight):
            return "the weight is not updated: what is subtracted is 0"
        if same(found, weight + step):
            return "the sign is wrong: the step is added, and the loss grows"
        with np.errstate(all="ignore"):
            share = (weight - found) / step
            if same(share, 1 / reading.rate_draws):
                return "the learning rate is missing"
            if same(share, share[0]):
                right = (
                    f"η·{shown(gradient_name(parameter))}" if reading.is_plain else "what it should be"
                )
                return f"the step is {share[0]:g} times {right}"
        for other in reading.updated if reading.is_plain else ():
            if same(
                found, weight - reading.rate_draws * abs(reading.factor) * before[gradient_name(other)]
            ):
                return (
                    f"the update uses another weight's gradient: {shown(gradient_name(other))} stands "
                    f"where {shown(gradient_name(parameter))} belongs"
                )
            if same(found, before[other] - step):
                return f"the update starts from another weight: {other} stands where {parameter} belongs"
        return None

    def slopes(self) -> Iterator[tuple[str, Array]]:
        """For every neuron's output the value of its activation's slope."""
        for quantity in self.reading.program.of_role("forward"):
            total = quantity.name.removeprefix("a_")
            if total != quantity.name and quantity.expression is not None:
                slope = differentiate(quantity.expression, total, Quantity(quantity.name))
                yield total, np.asarray(evaluate(slope, self.reading.worlds[0]))

    def missing_paths(self, found: Array, expected: Array) -> str | None:
        """A hidden neuron's gradient adds up over the neurons behind it: is one of them left out?"""
        program = self.reading.program
        if not self.name.startswith("dE_d"):
            return None
        parameter = self.name.removeprefix("dE_d")
        layer = program[parameter].layer
        if layer is None or layer + 1 >= len(program.network.layers):
            return None
        for left_out in program.of_role("delta"):
            if left_out.layer == layer + 1 and left_out.name.startswith("delta_"):
                quantities = (
                    replace(q, expression=ZERO) if q.name == left_out.name else q
                    for q in program.quantities
                )
                silenced = replace(program, quantities=tuple(quantities))
                without = arrays.evaluate_all(silenced, self.reading.worlds[0])[self.name]
                if same(found, self.reading.factor * without):
                    return f"what flows back through {left_out.name.removeprefix('delta_')} is left out"
        return None


# ---------------------------------------------------------------- trees

Path = tuple[int, ...]
"""The way from the root of a tree to one of its parts: which argument, at every step."""

_SPOKEN = {"+": "a plus", "-": "a minus", "*": "a product", "/": "a division"}


def _paths(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Tree]]:
    yield path, tree
    if isinstance(tree, Apply):
        for number, argument in enumerate(tree.arguments):
            yield from _paths(argument, (*path, number))


def _reference_paths(tree: Tree) -> Iterator[tuple[Path, Reference]]:
    for path, part in _paths(tree):
        if isinstance(part, Reference):
            yield path, part


def _with_path(tree: Tree, path: Path, part: Tree) -> Tree:
    """The tree with the part at ``path`` replaced."""
    if not path:
        return part
    assert isinstance(tree, Apply)
    arguments = list(tree.arguments)
    arguments[path[0]] = _with_path(arguments[path[0]], path[1:], part)
    return Apply(tree.function, tuple(arguments))


def _factors(tree: Tree) -> list[Tree]:
    """The factors of a product, left to right."""
    if isinstance(tree, Apply) and tree.function == "*":
        return [*_factors(tree.arguments[0]), *_factors(tree.arguments[1])]
    return [tree]


def _leftmost(tree: Tree) -> Iterator[tuple[Tree, Callable[[Tree], Tree]]]:
    """Where a product or quotient begins: its first operand, and how to put another in its place."""
    spine: list[Apply] = []
    while isinstance(tree, Apply) and tree.function in ("*", "/"):
        spine.append(tree)
        tree = tree.arguments[0]

        def turned(first: Tree, spine: tuple[Apply, ...] = tuple(spine)) -> Tree:
            for part in reversed(spine):
                first = Apply(part.function, (first, part.arguments[1]))
            return first

        yield tree, turned


def _product(factors: list[Tree]) -> Tree:
    product = factors[0]
    for factor in factors[1:]:
        product = Apply("*", (product, factor))
    return product


# ---------------------------------------------------------------- words


def _alike(reading: Reading, a: str, b: str) -> bool:
    """Whether two quantities are of one kind, so that one is easily taken for the other."""
    return _kind(reading, a) == _kind(reading, b)


def _kind(reading: Reading, name: str) -> tuple[str, int | None, bool]:
    if name not in reading.program:
        return ("new", None, False)
    quantity = reading.program[name]
    layer = quantity.layer if quantity.role == "forward" else None
    return (quantity.role, layer, name.startswith(("a_", "t")))


def _outputs(reading: Reading) -> set[str]:
    """The names of all neurons' outputs."""
    return {reading.name_of(Key(n.places[0])) or "" for layer in reading.layers.neurons for n in layer}


def _slope_text(reading: Reading, output: str) -> str:
    activation = reading.program.network.layers[reading.program[output].layer or 0].activation
    forms = {"sigmoid": "{0}·(1 − {0})", "tanh": "1 − {0}²"}
    return forms.get(activation, "the slope of {0}").format(output)


def _factor_words(factor: float) -> str:
    if abs(factor + 1) < 1e-6:
        return "the sign is wrong"
    if factor < 0:
        return f"it is {factor:g} times what belongs there"
    if factor < 1:
        return f"a factor {1 / factor:.6g} is missing"
    return f"it is {factor:.6g} times too large"
