"""How a table is read: which quantity of which Program every column is, and what the conventions are.

A reading holds the Program of the inferred network, named as the sheet names its weights and scaled as
its loss is, so that a convention is never an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from gradsheet import network as net
from gradsheet.backends import arrays
from gradsheet.check.formula import Unreadable
from gradsheet.check.layers import Layers
from gradsheet.check.reader import Formula, Key, Reader, Source, same
from gradsheet.check.tables import Table
from gradsheet.compiler import TRAINING_ROLES, Program, Role, gradient_name
from gradsheet.expression import Array, Expression, Previous, Reference, evaluate, references, substitute
from gradsheet.optimizers import OPTIMIZERS

DRAWS = 128
"""Random networks on which a formula has to agree: enough that even where all layers are ReLUs some are
alive, and each ReLU is met on both sides."""


REMEMBERING: tuple[Role, ...] = ("state", "smoothed")
"""What follows from itself in the iteration before."""

COUNTERS = ("iteration", "past")
"""What counts the iterations: the number of one, from 1, and how many are past, from 0."""


def new_name(parameter: str) -> str:
    """The name of a column that holds the updated weight in the same iteration."""
    return f"new_{parameter}"


def first_name(state: str) -> str:
    """The name of what a state is in the first iteration, before which there was none."""
    return f"first {state}"


@dataclass(frozen=True)
class Reading:
    """One way to read a table.

    ``quantities`` gives for every key (with shift 0) the quantity that stands there; ``typed`` the
    values of those that are typed into formulas. ``rate`` is where the learning rate stands, None where
    nothing is updated; ``steady`` tells that all weights learn at it. ``factor`` is what all gradient
    columns are multiplied with. ``complete`` tells that every cell is to be filled, as in an exercise.
    ``given`` holds, for data that are known to follow from other cells, the formula of every iteration,
    or None where a number is typed in.
    ``free_gradients`` tells that the random networks have gradients of all sizes, which are not theirs:
    only tiny ones show on which side of a root an ε stands.
    """

    reader: Reader
    layers: Layers
    program: Program
    quantities: Mapping[Key, str]
    typed: Mapping[str, float]
    rate: Source | None
    loss: str
    factor: float = 1.0
    notes: tuple[str, ...] = ()
    complete: bool = False
    steady: bool = True
    given: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    free_gradients: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it learns by plain gradient descent."""
        return self.program.network.is_plain

    @property
    def table(self) -> Table:
        return self.reader.table

    @cached_property
    def keys(self) -> Mapping[str, Key]:
        """Where a quantity stands: of several places, the last one."""
        return {name: key for key, name in self.quantities.items()}

    @cached_property
    def updated(self) -> frozenset[str]:
        """The parameters that the network learns."""
        return frozenset(self.program.trained)

    @cached_property
    def rules(self) -> Mapping[str, Expression]:
        """For every quantity its formula, in terms of quantities that the sheet holds."""
        known = self.keys.keys() | self.typed.keys()
        known |= {self.states[name] for name in self.keys if self.is_late(name)}
        rules: dict[str, Expression] = {}
        for quantity in self.program.quantities:
            if quantity.expression is not None:
                parts: dict[Expression, Expression] = {
                    Reference(name): rules[name]
                    for name in references(quantity.expression)
                    if name not in known and name in rules
                }
                rules[quantity.name] = substitute(quantity.expression, parts)
        return rules

    @cached_property
    def worlds(self) -> Mapping[int, Mapping[str, Array]]:
        """Random networks in three successive iterations: −1, 0 and 1; all values of each.

        They are consistent: the weights of an iteration are the updated ones of the iteration before. So
        a formula may be written in any equivalent way, and an error never shows in what depends on it.
        """
        generator, learning = np.random.default_rng(7), np.random.default_rng(13)
        program = self.program

        def draw(low: float, high: float, *, signs: bool) -> Array:
            drawn = generator.uniform(low, high, DRAWS)
            return drawn * generator.choice((-1, 1), DRAWS) if signs else drawn

        def slopes(weights: Mapping[str, Array]) -> dict[str, Array]:
            shape = len(trained), DRAWS
            drawn = learning.uniform(0.3, 1.3, shape) * learning.choice((-1, 1), shape) * sizes
            decayed = [weights[name] for name in trained.values()]
            decay = self._coupled_decay * np.reshape(decayed, shape)
            return dict(zip(trained, drawn - decay, strict=True))

        def data() -> dict[str, Array]:
            drawn = {
                q.name: draw(0.05, 0.95, signs=False)
                if q.name.startswith("t")
                else draw(0.3, 1.3, signs=True)
                for q in program.of_role("data")
            }
            if program.network.loss in net.CLASS_LOSSES:  # its targets are shares
                for sample in {q.sample for q in program.of_role("data")}:
                    names = [
                        q.name
                        for q in program.of_role("data")
                        if q.sample == sample and q.name[0] == "t"
                    ]
                    total = np.sum([drawn[name] for name in names], axis=0)
                    drawn.update({name: drawn[name] / total for name in names})
            return drawn

        fixed = {name: np.full(DRAWS, value) for name, value in self.typed.items()}
        fixed |= {
            name: np.full(DRAWS, self.reader.book.number(key.cell))
            for name, key in self.keys.items()
            if name in program.hyperparameters and key.cell is not None
        }
        values = {**data(), **{q.name: draw(0.3, 1.3, signs=True) for q in program.of_role("parameter")}}
        constant = {
            name
            for name, key in self.keys.items()
            if key.place is None or key.place in self.reader.constant
        }
        iteration = self._iteration_draws
        trained = {gradient_name(n): n for n in program.trained if gradient_name(n) in program}
        sizes = np.ones(DRAWS)
        if self.free_gradients:
            sizes[::2] = 10 ** learning.uniform(-9, 0, len(sizes[::2]))
        previous: dict[str, Array] | None = None
        worlds: dict[int, Mapping[str, Array]] = {}
        for shift in (-1, 0, 1):
            full = arrays.evaluate_all(program, {**values, **fixed})
            if self.free_gradients:
                full |= slopes(full)
            full |= {"iteration": iteration + shift, "past": iteration + shift - 1}
            # a column of gradients may be c times the gradient: the update takes it as it is
            scaled = {**full, **fixed, "learning_rate": self.rate_draws}
            scaled |= {name: abs(self.factor) * full[name] for name in trained}
            if previous is None:
                previous = self._remembered(scaled, (slopes(full), slopes(full)))
            scaled |= previous
            for quantity in program.of_role(*TRAINING_ROLES):
                assert quantity.expression is not None
                full[quantity.name] = scaled[quantity.name] = evaluate(quantity.expression, scaled)
                if quantity.first is not None:
                    full[first_name(quantity.name)] = evaluate(quantity.first, scaled)
            after = {u.parameter: evaluate(u.expression, scaled) for u in program.updates}
            full |= {new_name(name): value for name, value in after.items()}
            full |= previous
            worlds[shift] = full
            previous = {Previous(q.name).key: full[q.name] for q in program.of_role(*REMEMBERING)}
            fresh = {name: value for name, value in data().items() if name not in constant}
            values = {**values, **after, **fresh}
        return worlds

    @property
    def _coupled_decay(self) -> float:
        """The share of a weight that is added to its gradient."""
        if OPTIMIZERS[self.program.network.optimizer].decoupled:
            return 0.0
        key = self.keys.get("weight_decay")
        if key is not None and key.cell is not None:
            return self.reader.book.number(key.cell)
        return self.typed.get("weight_decay", 0.0)

    def _remembered(
        self, values: Mapping[str, Array], gradients: Sequence[Mapping[str, Array]]
    ) -> dict[str, Array]:
        """The states of the optimizer after some iterations with these gradients."""
        previous: dict[str, Array] = {}
        for seen in gradients:
            known = {**values, **seen, **previous}
            for quantity in self.program.of_role(*TRAINING_ROLES):
                expression = quantity.expression if previous else quantity.first or quantity.expression
                assert expression is not None
                known[quantity.name] = np.asarray(evaluate(expression, known))
            previous = {Previous(q.name).key: known[q.name] for q in self.program.of_role(*REMEMBERING)}
        return previous

    @cached_property
    def _iteration_draws(self) -> Array:
        """Numbers of an iteration: early ones, in which an average still has its bias, and late ones, in
        which a schedule has changed the learning rate."""
        whole = [v for name, v in self.program.hyperparameters.items() if v > 1 and v == int(v)]
        late = int(min(3 * max(whole, default=10), 1e6))
        generator = np.random.default_rng(5)
        early = np.arange(DRAWS) % 2 == 0
        return np.where(early, generator.integers(3, 13, DRAWS), generator.integers(3, 3 + late, DRAWS))

    @cached_property
    def of_learning(self) -> Reading:
        """The reading that judges states and updates, which follow from the gradients in the sheet."""
        return self if self.is_plain else replace(self, free_gradients=True)

    def of(self, name: str) -> Reading:
        """The reading that judges a quantity."""
        learns = self.is_update(name) or self.is_state(name)
        return self.of_learning if learns else self

    @cached_property
    def states(self) -> Mapping[str, str]:
        """What the optimizer remembers, by every name: its own, and that of the iteration before, for
        columns that stand a row below their gradients."""
        names = [q.name for q in self.program.of_role(*REMEMBERING)]
        return {own: name for name in names for own in (name, Previous(name).key)}

    def is_state(self, name: str) -> bool:
        """Whether a quantity is what the optimizer remembers."""
        return name in self.states

    def is_late(self, name: str) -> bool:
        """Whether it is what was remembered in the iteration before."""
        return self.states.get(name, name) != name

    @cached_property
    def rate_draws(self) -> Array:
        if isinstance(self.rate, float):
            return np.full(DRAWS, self.rate)
        return np.random.default_rng(11).uniform(0.2, 0.9, DRAWS)

    @cached_property
    def known(self) -> Mapping[Key, Array]:
        """The value of every key in the random networks."""
        return KnownValues(self)

    def is_filled(self, k: int) -> bool:
        """Whether most of an iteration's cells are filled: the last one often holds weights only."""
        places = [key.place for key in self.quantities if key.place is not None]
        cells = [self.table.cell(place, k) for place in places]
        return sum(self.reader.book.value(cell) is not None for cell in cells) > 0.6 * len(cells)

    def is_update(self, name: str) -> bool:
        """Whether a quantity is what a weight becomes."""
        return name in self.updated or name.startswith("new_")

    def name_of(self, key: Key) -> str | None:
        """The quantity that a key means, in whatever iteration."""
        return self.quantities.get(key._replace(shift=0))

    def found(self, formula: Formula) -> Array:
        """What a formula gives in the random networks.

        Raises `Unreadable`.
        """
        return np.asarray(np.broadcast_to(self.reader.value(formula, self.known), DRAWS), dtype=float)

    def expected(self, name: str, shift: int = 0, *, first: bool = False) -> Array:
        """What belongs there, in this iteration or in another one, or in the first of the table."""
        scale = self.factor if is_backward(name) else 1.0
        world = self.worlds[shift]
        value = world.get(first_name(name), world[name]) if first else world[name]
        return scale * np.broadcast_to(value, DRAWS)

    def is_right(self, name: str, formula: Formula, known: Mapping[Key, Any] | None = None) -> bool:
        """Whether a formula gives what belongs there; ``known`` may hold other values."""
        try:
            found = self.reader.value(formula, self.known if known is None else known)
            return same(found, self.expected(name))
        except Unreadable:
            return False


def column_numbers(reader: Reader, place: int) -> Array:
    """The numbers of a column by iteration; NaN where there is none."""
    cells = (reader.table.cell(place, k) for k in range(len(reader.table.lines)))
    return np.array([reader.book.number(cell) for cell in cells])


class KnownValues(Mapping[Key, Array]):
    """Values by key; a quantity of a far iteration has a value of its own, unlike any other."""

    def __init__(
        self,
        reading: Reading,
        others: Mapping[Key, Array] | None = None,
        *,
        backward: bool = True,
    ) -> None:
        self.reading = reading
        self.others = others or {}
        self.backward = backward  # whether gradients are known, or computed by their cells

    def __contains__(self, key: object) -> bool:
        if key in self.others:
            return True
        if not isinstance(key, Key):
            return False
        name = self.reading.name_of(key)
        known = name is not None and (self.backward or not is_backward(name))
        return known or self._is_rate(key)

    def __getitem__(self, key: Key) -> Array:
        if key in self.others:
            return self.others[key]
        if self._is_rate(key):
            return self.reading.rate_draws
        name = self.reading.name_of(key)
        if name is None:
            raise KeyError(key)
        world = self.reading.worlds.get(key.shift)
        if world is None or name not in world:  # the number of a sample that was dealt is in none
            seed = abs(hash((key.place, key.shift))) % 2**32
            return np.random.default_rng(seed).uniform(0.1, 0.9, DRAWS)
        scale = self.reading.factor if is_backward(name) else 1.0
        return np.asarray(scale * world[name])

    def _is_rate(self, key: Key) -> bool:
        rate = self.reading.rate
        return isinstance(rate, Key) and key._replace(shift=0) == rate._replace(shift=0)

    def __iter__(self) -> Any:
        return iter(self.reading.quantities)

    def __len__(self) -> int:
        return len(self.reading.quantities)


def is_backward(name: str) -> bool:
    """Whether a quantity is a derivative of the loss, so that a constant factor is a convention."""
    return re.match(r"dE\d*_d|delta_", name) is not None
