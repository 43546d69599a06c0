"""How a table is read: which quantity of which Program every column is, and what the conventions are.

`readings` gives the possible readings of a table; each holds the Program of the inferred network, named
as the sheet names its weights and scaled as its loss is, so that a convention is never an error.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from gradsheet import network as net
from gradsheet.backends import arrays
from gradsheet.check.formula import Cell, Unreadable, leaves
from gradsheet.check.formula import Reference as SheetReference
from gradsheet.check.labels import read_rate
from gradsheet.check.structure import (
    Formula,
    Key,
    Layers,
    NotUnderstood,
    Reader,
    Source,
    arrange,
    find_neurons,
    find_parameters,
    labelled_cells,
    same,
)
from gradsheet.check.tables import Table
from gradsheet.compiler import (
    TRAINING_ROLES,
    Program,
    Quantity,
    Role,
    compile_network,
    gradient_name,
)
from gradsheet.expression import (
    Array,
    Constant,
    Expression,
    Previous,
    Reference,
    add,
    differentiate,
    divide,
    evaluate,
    multiply,
    references,
    square,
    substitute,
)
from gradsheet.network import Layer, Network
from gradsheet.optimizers import OPTIMIZERS

DRAWS = 128
"""Random networks on which a formula has to agree: enough that even where all layers are ReLUs some are
alive, and each ReLU is met on both sides."""


REMEMBERING: tuple[Role, ...] = ("state", "smoothed")
"""What follows from itself in the iteration before."""

COUNTERS = ("iteration", "past")
"""What counts the iterations: the number of one, from 1, and how many are past, from 0."""

MOST_BEHIND_A_LOSS = 60
"""Cells between a loss and the outputs: where there are more it is no loss, and long chains
of cells that are followed for every column take seconds."""


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


# ---------------------------------------------------------------- making readings


def readings(reader: Reader) -> list[Reading]:
    """The possible readings of a table, the most likely first.

    Raises `NotUnderstood`.
    """
    parameters = find_parameters(reader)
    neurons = find_neurons(reader, parameters)
    found = [
        _Maker(reader, layers, parameters).make(loss)
        for layers in arrange(reader, neurons, parameters)
        for loss in _Maker(reader, layers, parameters).find_losses()
    ]
    return found


def refuse_unused(reader: Reader, found: Sequence[Reading]) -> None:
    """Raise `NotUnderstood` where a weight has no place in any of the readings."""
    for place, name in find_parameters(reader).items():
        if place not in reader.constant and all(Key(place) not in each.quantities for each in found):
            raise NotUnderstood(
                f"{name} in column {reader.table.name(place)} is in none of the sums that were found"
            )


@dataclass(frozen=True)
class _Loss:
    """What was found out about the loss: the target of every output, the factor c of each c·(t − a)²
    (None for the cross-entropy), and what the total multiplies their sum with. ``guessed`` where no
    column of the loss told the factor. ``unnamed`` are columns of losses without a header, by kind."""

    targets: tuple[Source, ...]
    factor: float | None
    share: float
    guessed: bool
    unnamed: Mapping[str, list[int]]


class _Maker:
    """Builds the reading of one arrangement of layers, step by step."""

    def __init__(self, reader: Reader, layers: Layers, parameters: Mapping[int, str]) -> None:
        self.reader = reader
        self.layers = layers
        self.parameters = parameters
        self.notes: list[str] = []
        self.quantities: dict[Key, str] = {}
        self.typed: dict[str, float] = {}

    @property
    def outputs(self) -> list[Key]:
        """The outputs of the network."""
        return [Key(neuron.places[0]) for neuron in self.layers.neurons[-1]]

    def make(self, loss: _Loss) -> Reading:
        """The reading for one of the possible losses."""
        outputs = self.outputs
        if loss.guessed:
            if not any(self.reader.usual(key.place or 0) for key in outputs):
                raise NotUnderstood("its losses are numbers that follow from no loss that is known")
            words = "½" if loss.factor == 0.5 else f"{loss.factor:g}"
            self.notes.append(
                f"no column of the loss was understood; the gradients are those of {words}·(t − a)²"
            )
        program = self.compile(loss)
        self.place_data(program, loss)
        self.place_forward(program)
        self.place_loss(program, loss)
        self.place_gradients(program)
        rate = find_rate(self.reader, self.parameters, self.quantities)
        reading = Reading(
            self.reader,
            self.layers,
            program,
            self.quantities,
            self.typed,
            rate,
            _loss_words(loss, len(outputs)),
            notes=tuple(self.notes),
        )
        reading = _without_fixed(_without_steps(_without_differences(reading)))
        scaled = _scaled(reading)
        if loss.guessed and loss.factor is not None and scaled.factor > 0 and scaled.factor != 1.0:
            told = replace(loss, factor=loss.factor * scaled.factor)
            return _Maker(self.reader, self.layers, self.parameters).make(told)
        return with_helper_columns(scaled)

    # ------------------------------------------------------------ loss

    def find_losses(self) -> list[_Loss]:
        """The targets, and how far the sheet's loss is from c·(t − a)²: several, where the losses of two
        outputs, or the rows of their total, do not agree."""
        table, outputs = self.reader.table, self.outputs
        by_kind: dict[str, list[int]] = {"loss": [], "total": []}
        for place, label in table.labels.items():
            if label.kind in by_kind and self.reader.usual(place) is not None:
                by_kind[label.kind].append(place)
        unnamed: dict[str, list[int]] = {}
        if not by_kind["loss"] and not by_kind["total"]:
            self.sort_losses(outputs, by_kind)
            unnamed = {kind: list(places) for kind, places in by_kind.items()}
        labelled = {
            int(label.key): Key(place) for place, label in table.labels.items() if label.kind == "target"
        }
        targets: list[Source | None] = [None] * len(outputs)
        factors: list[float | None] = []
        shares: list[float] = []
        firsts: list[float | None] = []  # as the first row has it, where that is another one
        for place in by_kind["loss"]:
            for k, output in enumerate(outputs):
                found = self.loss_of(self.reader.usual(place), output, outputs)
                if found is not None:
                    targets[k], factor = found
                    factors.append(factor)
                firsts += self.first_factor(place, output, outputs)
        for place in by_kind["loss"]:
            read = self.only_target(place, outputs)
            if read is not None and targets[read[0]] is None:
                targets[read[0]] = read[1]
        for place in by_kind["total"]:
            own = self.shares_of(place, by_kind["loss"])
            if own:
                shares += own
                continue
            for k, output in enumerate(outputs):
                found = self.loss_of(self.reader.usual(place), output, outputs)
                if found is not None:
                    targets[k] = found[0] if targets[k] is None else targets[k]
                    if not by_kind["loss"]:
                        factors.append(found[1])
                if not by_kind["loss"]:
                    firsts += self.first_factor(place, output, outputs)
        labelled = labelled or labelled_cells(self.reader, "target")
        numbers = sorted(labelled)
        for k in range(len(outputs)):
            if targets[k] is None and len(labelled) == len(outputs):
                targets[k] = labelled[numbers[k]]
        complete = [target for target in targets if target is not None]
        if len(complete) < len(outputs):
            raise NotUnderstood("the targets of its outputs were not found")
        if len(set(complete)) < len(complete) and len(labelled) == len(outputs):
            complete = [labelled[number] for number in numbers]  # one loss reads the wrong target
        if not factors:
            factors, shares = self.loss_by_numbers(outputs, complete)
        if not factors and not firsts:
            self.refuse_deeper(by_kind["loss"] or by_kind["total"], outputs)
        possible = _most_common(factors) or _most_common(firsts) or [0.5, 1.0]
        if len(set(firsts)) == 1:
            possible += [factor for factor in firsts[:1] if factor not in possible]
        return [
            _Loss(tuple(complete), factor, share, not (factors or firsts), unnamed)
            for factor in possible
            for share in _most_common(shares) or [1.0]
        ]

    def refuse_deeper(self, places: Sequence[int], outputs: Sequence[Key]) -> None:
        """Raise `NotUnderstood` where every loss goes by other ways than the outputs that were found:
        then there are further layers, which were not understood."""
        others = 0
        for place in places:
            formula = self.reader.usual(place)
            try:
                read = self.leaves(formula, outputs) if formula is not None else []
            except Unreadable:
                read = []
            others += any(key not in outputs and self.is_learnt(key.place) for key in read)
        if places and others == len(places):
            raise NotUnderstood("its losses depend on more than the outputs that were found")

    def is_learnt(self, place: int | None) -> bool:
        """Whether a column follows from others of the table, as a weight does, and data do not."""
        formula = self.reader.usual(place) if place is not None else None
        try:
            keys = self.reader.keys(formula) if formula is not None else []
        except Unreadable:
            return False
        return any(key.place not in (None, place) for key in keys)

    def first_factor(self, place: int, output: Key, outputs: Sequence[Key]) -> list[float | None]:
        """The factor of a loss in the first row, where its formula is not the usual one."""
        first, usual = self.reader.formula(place, 0), self.reader.usual(place)
        if first is None or usual is None or first.tree == usual.tree:
            return []
        found = self.loss_of(first, output, outputs)
        return [] if found is None else [found[1]]

    def loss_by_numbers(
        self, outputs: Sequence[Key], targets: Sequence[Source]
    ) -> tuple[list[float | None], list[float]]:
        """Factors and share of losses that were pasted as values."""
        errors = []
        for output, target in zip(outputs, targets, strict=True):
            if isinstance(target, Key):
                errors.append((self.column(target) - self.column(output)) ** 2)
        if len(errors) < len(outputs):
            return [], []
        labels = self.reader.table.labels
        factors: list[float | None] = []
        for place, label in labels.items():
            k = int(label.key) - 1 if label.kind == "loss" else len(errors)
            if k < len(errors):
                factors += [c for c in (0.5, 1.0) if _mostly(self.column(Key(place)), c * errors[k])]
        for place, label in labels.items():
            if label.kind != "total":
                continue
            for c in {c for c in factors if c is not None} or {0.5, 1.0}:
                for share in (1.0, round(1 / len(errors), 9)):
                    if _mostly(self.column(Key(place)), c * share * np.sum(errors, axis=0)):
                        return [c], [share]
            return factors, [1.0, round(1 / len(errors), 9)]  # the total holds a mistake
        return factors, []

    def column(self, key: Key) -> Array:
        """The numbers of a key by iteration."""
        table, book = self.reader.table, self.reader.book
        if key.place is None:
            assert key.cell is not None
            return np.full(len(table.lines), book.number(key.cell))
        return column_numbers(self.reader, key.place)

    def sort_losses(self, outputs: Sequence[Key], by_kind: Mapping[str, list[int]]) -> None:
        """Losses without a header: columns that are a loss of one output, or of all outputs."""
        neurons = {p for layer in self.layers.neurons for n in layer for p in n.places}
        for place in self.reader.table.places:
            if place in neurons or place in self.parameters or place in self.reader.table.labels:
                continue
            usual = self.reader.usual(place)
            hits = sum(self.loss_of(usual, output, outputs) is not None for output in outputs)
            if hits:
                by_kind["loss" if hits == 1 and len(outputs) > 1 else "total"].append(place)

    def only_target(self, place: int, outputs: Sequence[Key]) -> tuple[int, Key] | None:
        """Output and target of a loss that is none that is known, but reads just one of each."""
        formula = self.reader.usual(place)
        if formula is None:
            return None
        try:
            leaves = self.leaves(formula, outputs)
        except Unreadable:
            return None
        read = [k for k, output in enumerate(outputs) if output in leaves]
        others = [key for key in leaves if key not in outputs]
        return (read[0], others[0]) if len(read) == len(others) == 1 else None

    def loss_of(
        self, formula: Formula | None, output: Key, outputs: Sequence[Key]
    ) -> tuple[Source, float | None] | None:
        """Target and factor of what a column computes from an output: c·(t − a)², or a cross-entropy."""
        if formula is None:
            return None
        try:
            leaves = self.leaves(formula, outputs)
            if output not in leaves:
                return None
            generator = np.random.default_rng(3)
            base = {key: generator.uniform(0.15, 0.85, DRAWS) for key in leaves}
            a = generator.uniform(0.15, 0.85, DRAWS)

            def value(**moved: Any) -> Any:
                changes = {output: moved["a"]} if "a" in moved else {}
                if "t" in moved:
                    changes[moved["key"]] = moved["t"]
                return self.reader.value(formula, {**base, **changes})

            slope = value(a=a) - value()
            others = [key for key in leaves if key not in outputs]
            for key in others:
                t = generator.uniform(0.15, 0.85, DRAWS)
                mixed = value(a=a, key=key, t=t) - value(key=key, t=t) - slope
                if np.abs(mixed).max() < 1e-9:
                    continue
                t0, a0 = base[key], base[output]
                factor = -mixed / (2 * (a - a0) * (t - t0))
                if same(factor, factor[0]) and same(slope, factor[0] * ((t0 - a) ** 2 - (t0 - a0) ** 2)):
                    return key, _nice(float(factor[0]))
                entropy = _entropy(t0, a) - _entropy(t0, a0)
                if same(slope, entropy) and self.layers.activations[-1] == "sigmoid":
                    return key, None
            if not others and not self.reads_nothing(formula):
                return self.typed_target(formula, output, base)
        except Unreadable:
            pass
        return None

    def reads_nothing(self, formula: Formula) -> bool:
        """Whether a formula reads an empty cell: then 0 is no target that was typed."""
        cells = (
            leaf.at(formula.home) for leaf in leaves(formula.tree) if isinstance(leaf, SheetReference)
        )
        return any(self.reader.book.value(cell) is None for cell in cells)

    def typed_target(
        self, formula: Formula, output: Key, base: Mapping[Key, Array]
    ) -> tuple[Source, float | None] | None:
        """The target that is typed into c·(t − a)²: where the parabola in a has its lowest point."""
        x = np.linspace(0.1, 0.9, 5)
        points = ({**base, output: np.full(DRAWS, v)} for v in x)
        y = np.array([np.mean(self.reader.value(formula, point)) for point in points])
        c, b, _ = np.polyfit(x, y, 2)
        if c > 1e-6 and same(np.polyval(np.polyfit(x, y, 2), x), y):
            return round(float(-b / (2 * c)), 9), _nice(float(c))
        return None

    def leaves(self, formula: Formula, outputs: Sequence[Key]) -> list[Key]:
        """What a formula depends on in the end: outputs of the network, and cells without formulas."""
        found: dict[Key, None] = {}
        stack = [formula]
        seen: set[Cell] = set()
        while stack:
            current = stack.pop()
            for key in self.reader.keys(current):
                if key in outputs:
                    found[key] = None
                    continue
                if key.place in self.reader.constant:
                    found[key] = None
                    continue
                cell = self.cell(key, current.iteration)
                if cell in seen:
                    continue
                seen.add(cell)
                tree = self.reader.book.tree(cell)
                if tree is None or (key.place is not None and key.shift != 0):
                    found[key] = None
                else:
                    stack.append(Formula(tree, cell, current.iteration))
            if len(seen) > MOST_BEHIND_A_LOSS:
                raise Unreadable("a loss that depends on very many cells")
        return list(found)

    def cell(self, key: Key, iteration: int) -> Cell:
        if key.place is None:
            assert key.cell is not None
            return key.cell
        return self.reader.table.cell(key.place, iteration + key.shift)

    def shares_of(self, place: int, losses: Sequence[int]) -> list[float]:
        """What a total multiplies the losses with: 1 for their sum, 1/n for their mean; as most of its
        rows have it, and as the first has it."""
        written = (self.reader.usual(place), self.reader.formula(place, 0))
        shares = (self.share_of(formula, losses) for formula in written if formula is not None)
        return list(dict.fromkeys(share for share in shares if share is not None))

    def share_of(self, formula: Formula, losses: Sequence[int]) -> float | None:
        try:
            keys = self.reader.keys(formula)
            parts = [key for key in keys if key.place in losses]
            if not parts:
                return None
            values = {key: np.float64(0.3 + 0.1 * n) for n, key in enumerate(parts)}
            base = self.reader.value(formula, values)
            slopes = [
                float(self.reader.value(formula, {**values, key: values[key] + 1.0}) - base)
                for key in parts
            ]
        except (Unreadable, TypeError):
            return None
        common = Counter(round(slope, 9) for slope in slopes).most_common(1)[0][0]
        return common if common in (1.0, round(1 / len(losses), 9), 0.5) else 1.0

    # ------------------------------------------------------------ program

    def compile(self, loss: _Loss) -> Program:
        """The Program of the inferred network, under the sheet's names and with the sheet's loss."""
        layers = []
        for weights, biases, activation in zip(
            self.layers.weights, self.layers.biases, self.layers.activations, strict=True
        ):
            shared = len(biases) == 1 and len(weights) > 1
            trained = any(self.is_trained(bias) for bias in biases)
            layers.append(
                Layer(
                    activation,
                    tuple((0.1,) * len(row) for row in weights),
                    (0.1,) * len(biases),
                    shared_bias=shared,
                    train_biases=trained,
                )
            )
        network = Network(
            name="the sheet's",
            layers=tuple(layers),
            loss="half_squared_error" if loss.factor is not None else "binary_cross_entropy",
            inputs=((0.5,) * self.layers.sizes[0],),
            targets=((0.5,) * self.layers.sizes[-1],),
        )
        program = compile_network(network)
        names: dict[str, str] = {}
        for keys, row_names in zip(self.layers.weights, net.weight_names(network), strict=True):
            for row, known in zip(keys, row_names, strict=True):
                for key, name in zip(row, known, strict=True):
                    names[name] = self.parameters[key.place or 0]
        taken = set(names.values())
        for sources, bias_names in zip(self.layers.biases, net.bias_names(network), strict=True):
            for source, name in zip(sources, dict.fromkeys(bias_names), strict=True):
                place = source.place if isinstance(source, Key) else None
                own = name if place is None else self.parameters.get(place, name)
                names[name] = own if own not in taken else f"{own}_"
                taken.add(names[name])
        return _with_helpers(_with_loss(_renamed(program, names), loss), loss)

    def is_trained(self, source: Source) -> bool:
        return (
            isinstance(source, Key)
            and source.place in self.parameters
            and source.place not in self.reader.constant
        )

    # ------------------------------------------------------------ places

    def put(self, source: Source, name: str) -> None:
        if isinstance(source, Key):
            self.quantities.setdefault(source, name)
        else:
            self.typed[name] = source

    def place_data(self, program: Program, loss: _Loss) -> None:
        for k, source in enumerate(self.layers.inputs, 1):
            self.put(source, net.input_name(k))
        for k, source in enumerate(loss.targets, 1):
            self.put(source, net.target_name(k))
        parameters = iter(q.name for q in program.of_role("parameter"))
        for weights, biases in zip(self.layers.weights, self.layers.biases, strict=True):
            for key in (key for row in weights for key in row):
                self.put(key, next(parameters))
            for source in biases:
                self.put(source, next(parameters))

    def place_forward(self, program: Program) -> None:
        network = program.network
        for layer, neurons in enumerate(self.layers.neurons):
            for k, neuron in enumerate(neurons, 1):
                if neuron.sum_place is not None:
                    self.put(Key(neuron.sum_place), net.sum_name(network, layer, k))
                if neuron.place is not None:
                    self.put(Key(neuron.place), net.activation_name(network, layer, k))

    def place_loss(self, program: Program, loss: _Loss) -> None:
        table = self.reader.table
        outputs = [Key(neuron.places[0]) for neuron in self.layers.neurons[-1]]
        labelled = sorted(
            (int(label.key), place) for place, label in table.labels.items() if label.kind == "loss"
        )
        labelled += enumerate(loss.unnamed.get("loss", ()), 1)
        for position, (_, place) in enumerate(labelled):
            formula = self.reader.usual(place)
            owners = []
            if formula is not None:
                try:
                    leaves = self.leaves(formula, outputs)
                    owners = [k for k, output in enumerate(outputs) if output in leaves]
                except Unreadable:
                    owners = []
            k = owners[0] if len(owners) == 1 and len(labelled) != len(outputs) else position
            if k < len(outputs):
                self.put(Key(place), f"E{k + 1}")
        for place, label in table.labels.items():
            if label.kind == "total":
                self.put(Key(place), program.loss)
        for place in loss.unnamed.get("total", ()):
            self.put(Key(place), program.loss)

    def place_gradients(self, program: Program) -> None:
        trained = set(program.trained)
        labels = self.reader.table.labels
        of_loss = {label.key for label in labels.values() if (label.kind, label.of) == ("gradient", "e")}
        for place, label in labels.items():
            if label.key not in trained:
                continue
            if label.kind == "gradient" and not label.of and label.key in of_loss:
                continue  # beside ∂E/∂w5, Δw5 is a step
            if label.kind == "new":
                self.put(Key(place), new_name(label.key))
            if label.kind == "gradient" and (
                label.of in ("", "e") or self.is_whole(label.key, label.of)
            ):
                self.put(Key(place), gradient_name(label.key))
        self.place_gradients_by_use(program)

    def place_gradients_by_use(self, program: Program) -> None:
        """Gradients without a header: what the update of a weight, and of no other, subtracts."""
        found = {name: key.place for key, name in self.quantities.items()}
        uses: dict[str, list[Key]] = {}
        for name in program.trained:
            place = found.get(new_name(name), found.get(name))
            formula = self.reader.usual(place) if place is not None else None
            if formula is None or gradient_name(name) in found:
                continue
            try:
                keys = [key._replace(shift=0) for key in self.reader.keys(formula)]
                keys = [other for key in keys for other in self.behind_memory(key)]
            except Unreadable:
                continue
            uses[name] = [
                key
                for key in dict.fromkeys(keys)
                if key.place is not None
                and key not in self.quantities
                and key.place not in self.reader.constant
                and self.reader.usual(key.place) is not None
                and key.place not in self.reader.table.labels
            ]
        counts = Counter(key for keys in uses.values() for key in keys)
        for name, keys in uses.items():
            own = [key for key in keys if counts[key] == 1]
            if len(own) == 1:
                self.put(own[0], gradient_name(name))

    def behind_memory(self, key: Key) -> list[Key]:
        """A column; or what it reads, where it follows from itself in the row above, as of momentum."""
        formula = self.reader.usual(key.place) if key.place is not None else None
        if formula is None or key in self.quantities or not self.reader.remembers(key.place or 0):
            return [key]
        read = self.reader.keys(formula)
        return [other._replace(shift=0) for other in read if other.place != key.place]

    def is_whole(self, parameter: str, of: str) -> bool:
        """Whether ∂E1/∂w is all of ∂E/∂w: w is a weight of that output."""
        k = int(of[1:]) - 1
        rows = self.layers.weights[-1]
        return k < len(rows) and parameter in [self.parameters[key.place or 0] for key in rows[k]]


def _most_common(found: Sequence[float | None]) -> list[Any]:
    """What was found most often; all of them where several were."""
    counts = Counter(found)
    return [each for each, count in counts.items() if count == max(counts.values())]


def _mostly(a: Array, b: Array) -> bool:
    """Whether most rows agree as far as a few printed digits go."""
    known = ~np.isnan(a) & ~np.isnan(b)
    known &= np.abs(b) > 0.1 * np.abs(b[known]).max(initial=0.0)  # small ones have few digits left
    close = np.abs(a - b)[known] <= 1e-2 * np.abs(b)[known]
    return bool(known.any() and close.mean() > 0.6)


def _nice(factor: float) -> float:
    """A factor without its rounding."""
    return round(factor, 6)


def _entropy(t: Any, a: Any) -> Any:
    return -t * np.log(a) - (1 - t) * np.log(1 - a)


def _renamed(program: Program, names: Mapping[str, str]) -> Program:
    """The program with its parameters under other names."""
    full = {**names, **{gradient_name(old): gradient_name(new) for old, new in names.items()}}
    known: dict[Expression, Expression] = {Reference(old): Reference(new) for old, new in full.items()}

    def changed(expression: Expression) -> Expression:
        return substitute(expression, known)

    quantities = tuple(
        replace(
            q,
            name=full.get(q.name, q.name),
            expression=None if q.expression is None else changed(q.expression),
            chains=(),
        )
        for q in program.quantities
    )
    updates = tuple(
        replace(
            u,
            parameter=full.get(u.parameter, u.parameter),
            expression=changed(u.expression),
            guarded=changed(u.expression),
        )
        for u in program.updates
    )
    return replace(program, quantities=quantities, updates=updates)


def _with_loss(program: Program, loss: _Loss) -> Program:
    """The program with the sheet's loss: c·(t − a)² or a cross-entropy, summed or averaged."""
    names = [q.name for q in program.of_role("loss") if q.name != program.loss]
    total = add(*map(Reference, names))
    if loss.share != 1.0:
        count = 1 / loss.share
        whole = abs(count - round(count)) < 1e-6
        total = divide(total, Constant(round(count))) if whole else multiply(Constant(loss.share), total)
    changes: dict[str, Expression] = {program.loss: total}
    last = len(program.network.layers) - 1
    for k, name in enumerate(names, 1):
        output = Reference(net.activation_name(program.network, last, k))
        target = Reference(net.target_name(k))
        delta = f"delta_{net.sum_name(program.network, last, k)}"
        if loss.factor is None:
            changes[delta] = multiply(Constant(loss.share), output - target)
            continue
        changes[name] = multiply(Constant(loss.factor), square(target - output))
        slope = program[delta].expression
        assert slope is not None
        changes[delta] = multiply(Constant(_nice(2 * loss.factor * loss.share)), slope)
    quantities = tuple(
        replace(q, expression=changes[q.name]) if q.name in changes else q for q in program.quantities
    )
    return replace(program, quantities=quantities)


def slope_name(total: str) -> str:
    """The name of the slope of an activation, ∂a_h1/∂h1 for ``h1``."""
    return f"slope_{total}"


def part_name(output: int, activation: str) -> str:
    """The name of what one output adds to ∂E/∂a, ∂E2/∂a_h1 for output 2 and ``a_h1``."""
    return f"dE{output}_d{activation}"


def _with_helpers(program: Program, loss: _Loss) -> Program:
    """The program with what sheets often show on the way: of every neuron ∂E/∂a, ∂a/∂(sum), and what
    each output adds to ∂E/∂a."""
    helpers: list[Quantity] = []
    network = program.network
    names = [
        [net.sum_name(network, layer, k + 1) for k in range(spec.neurons)]
        for layer, spec in enumerate(network.layers)
    ]
    parameters = iter(q.name for q in program.of_role("parameter"))
    by_layer = []
    for spec in network.layers:  # its weights neuron by neuron, then its biases
        by_layer.append([[next(parameters) for _ in range(spec.fan_in)] for _ in range(spec.neurons)])
        for _ in spec.biases:
            next(parameters)
    for layer in range(len(network.layers)):
        for k, total in enumerate(names[layer], 1):
            output = net.activation_name(network, layer, k)
            if output == total:
                continue
            formula = program[output].expression
            assert formula is not None
            slope = differentiate(formula, total, Reference(output))
            if layer + 1 < len(network.layers):
                behind = zip(names[layer + 1], by_layer[layer + 1], strict=True)
                parts = [Reference(f"delta_{n}") * Reference(row[k - 1]) for n, row in behind]
                flow = add(*parts)
                if layer + 2 == len(network.layers) and len(parts) > 1:
                    helpers += [
                        Quantity(part_name(number, output), "delta", part, layer=layer)
                        for number, part in enumerate(parts, 1)
                    ]
            elif loss.factor is not None:
                difference = Reference(output) - Reference(net.target_name(k))
                flow = multiply(Constant(_nice(2 * loss.factor * loss.share)), difference)
            else:
                continue
            helpers.append(Quantity(gradient_name(output), "delta", flow, layer=layer))
            helpers.append(Quantity(slope_name(total), "delta", slope, layer=layer))
    return replace(program, quantities=(*program.quantities, *helpers))


def is_backward(name: str) -> bool:
    """Whether a quantity is a derivative of the loss, so that a constant factor is a convention."""
    return re.match(r"dE\d*_d|delta_", name) is not None


def with_helper_columns(reading: Reading) -> Reading:
    """Find out which columns without a known header hold δ and other parts of the chain rule.

    A column is one where it computes it; or where everything that is wrong and reads the column would be
    right if it did: then the mistake lies in that column, and not in those that read it.
    """
    reading = _by_label(reading)
    while True:
        found = _next_helpers(reading)
        if not found:
            return reading
        reading = replace(reading, quantities={**reading.quantities, **found})


def _by_label(reading: Reading) -> Reading:
    """Columns of δ that were pasted as values: by their headers, such as δ_h1 or ∂E/∂h1."""
    table, program = reading.table, reading.program
    sums = {}
    for key, name in reading.quantities.items():
        label = table.labels.get(key.place) if key.place is not None else None
        if label is not None and label.kind == "forward" and f"delta_{name}" in program:
            sums[label.key] = f"delta_{name}"
    found = {}
    for place, label in table.labels.items():
        if label.kind == "slope" and reading.reader.usual(place) is None:
            by = re.sub(r"[^a-z0-9σ]", "", re.sub(r"^.*(?:∂|delta|/d|^d)_?", "", label.key))
            if by in sums:
                found[Key(place)] = sums[by]
    return replace(reading, quantities={**reading.quantities, **found})


def _next_helpers(reading: Reading) -> dict[Key, str]:
    """All columns that are right, else the first one that is wrong."""
    reader = reading.reader
    placed = set(reading.quantities.values())
    candidates = [q.name for q in reading.program.of_role("delta") if q.name not in placed]
    candidates += [name for name in reading.states if not {name, reading.states[name]} & placed]
    unknown: dict[int, Formula] = {}
    for place in reader.table.places:
        label = reader.table.labels.get(place)
        formula = reader.usual(place)
        known = Key(place) in reading.quantities or place in reader.constant
        if formula is not None and not known and (label is None or label.kind == "slope"):
            unknown[place] = formula
    learning = _around_memory(reader, unknown)
    possible = {
        place: [name for name in candidates if reading.is_state(name) or place not in learning]
        for place in unknown
    }
    matches: list[tuple[Key, str]] = []
    found: dict[Key, str] = {}
    for place, formula in unknown.items():
        try:
            values = reading.found(formula)
        except Unreadable:
            continue
        matches += [(Key(place), n) for n in possible[place] if same(values, reading.expected(n))]
    taken: set[str] = set()
    for key, name in matches:
        own = reading.states.get(name, name)
        # ∂E/∂a may be a δ without its slope, or another neuron's: then what reads it is wrong
        if own not in taken and key not in found and _readers_right(reading, key, reading.known):
            taken.add(own)
            found[key] = name
    if found:
        return found
    for place in unknown:
        if _readers_right(reading, Key(place), reading.known):
            continue
        healing = [
            name
            for name in possible[place]
            if _readers_right(reading, Key(place), _healed(reading, {place: name}))
        ]
        if healing:
            return {Key(place): max(healing, key=lambda name: _was_meant(reading, place, name))}
    return dict(matches[:1]) or _turned(reading, unknown, candidates)


def _around_memory(reader: Reader, places: Iterable[int]) -> set[int]:
    """The columns that follow from themselves in the row above, those that they read, and those that
    read them: they belong to an optimizer, and hold no δ."""
    read = {place: set(reader.reads(place)) for place in places}
    remembering = {place for place in read if reader.remembers(place)}
    found = remembering.union(*(read[place] for place in remembering))
    return found | {place for place, others in read.items() if others & remembering}


def _turned(
    reading: Reading, unknown: Mapping[int, Formula], candidates: Sequence[str]
) -> dict[Key, str]:
    """A δ with the wrong sign, t − a in place of a − t, that stands in several columns: what reads them
    is right only when all are healed at once."""
    turned: dict[int, str] = {}
    for place, formula in unknown.items():
        try:
            values = reading.found(formula)
        except Unreadable:
            continue
        names = [name for name in candidates if same(-values, reading.expected(name))]
        if len(names) == 1:
            turned[place] = names[0]
    if len(turned) < 2:
        return {}
    healed = _healed(reading, turned)
    for place, name in turned.items():
        if not _readers_right(reading, Key(place), reading.known) and all(
            _readers_right(reading, Key(other), healed) for other in turned
        ):
            return {Key(place): name}
    return {}


def _was_meant(reading: Reading, place: int, name: str) -> int:
    """How far a wrong column shows what it should hold: in one of its rows, or but for the sign."""
    first, usual = reading.reader.formula(place, 0), reading.reader.usual(place)
    if first is not None and _is_right(reading, reading.known, name, first):
        return 2
    try:
        return int(usual is not None and same(-reading.found(usual), reading.expected(name)))
    except Unreadable:
        return 0


def _healed(reading: Reading, places: Mapping[int, str]) -> KnownValues:
    """The random networks as if these places held the quantities, in this iteration and the last."""
    return KnownValues(
        reading,
        {
            Key(place, shift): np.asarray(reading.expected(name, shift))
            for place, name in places.items()
            for shift in (-1, 0)
        },
    )


def _readers_right(reading: Reading, key: Key, known: Mapping[Key, Any]) -> bool:
    """Whether all quantities that read a column, directly or not, come out right with these values."""
    reader = reading.reader
    assert key.place is not None
    for other, name in reading.quantities.items():
        if other.place is None or other.place in reader.constant:
            continue
        formula = reader.usual(other.place)
        if formula is None or key.place not in _all_behind(reading, other.place, name):
            continue
        if not _is_right(reading, known, name, formula):
            return False
    return True


def _all_behind(reading: Reading, place: int, name: str) -> set[int]:
    """All places that a place reads, directly or through others; for an update those of the iteration
    before, unless it only copies a new weight that stands there."""
    reader = reading.reader
    if name not in reading.updated or new_name(name) in reading.keys:
        return reader.behind(place)
    formula = reader.usual(place)
    try:
        keys = reader.keys(formula) if formula is not None else []
    except Unreadable:
        return set()
    shifts = (-1,) if reading.is_plain else (-1, 0)
    read = {key.place for key in keys if key.place not in (None, place) and key.shift in shifts}
    return {behind for each in read if each is not None for behind in (each, *reader.behind(each))}


def _is_right(reading: Reading, known: Mapping[Key, Any], name: str, formula: Formula) -> bool:
    try:
        return same(reading.reader.value(formula, known), reading.expected(name))
    except Unreadable:
        return False


def _loss_words(loss: _Loss, outputs: int) -> str:
    if loss.factor is None:
        words = "binary cross-entropy"
    elif loss.factor == 0.5:
        words = "half squared error"
    elif loss.factor == 1.0:
        words = "squared error"
    else:
        words = f"{loss.factor:g} times the squared error"
    if outputs > 1:
        words += ", summed" if loss.share == 1.0 else ", averaged"
        if loss.share not in (1.0, round(1 / outputs, 9)):
            words = words.replace("averaged", f"summed and multiplied by {loss.share:g}")
    return words


def _values_of(reading: Reading, key: Key) -> Array | None:
    """What a column computes in the random networks, its gradients not taken for right."""
    formula = reading.reader.usual(key.place) if key.place is not None else None
    if formula is None:
        return None
    try:
        values = reading.reader.value(formula, KnownValues(reading, backward=False))
        return np.asarray(np.broadcast_to(np.asarray(values, dtype=float), DRAWS))
    except (Unreadable, TypeError, ValueError):
        return None


def _without_steps(reading: Reading) -> Reading:
    """Columns that hold ±η·∂E/∂w are steps on the way to the update, or how the weights changed: no
    gradients. Of those with a header that says so, most have to hold steps."""
    gradients = {key: name for key, name in reading.quantities.items() if name.startswith("dE_d")}
    steps, changes = set(), set()
    rate = reading.rate_draws if isinstance(reading.rate, Key) else _typed_into_steps(reading, gradients)
    for key, name in gradients.items():
        values, parameter = _values_of(reading, key), name.removeprefix("dE_d")
        if values is None or parameter not in reading.updated:
            continue
        step = None if rate is None else rate * reading.expected(name)
        change = reading.worlds[0][parameter] - reading.worlds[-1][parameter]
        if same(values, change) or same(values, -change):
            changes.add(key)
        elif step is not None and (same(values, step) or same(values, -step)):
            steps.add(key)
    if 2 * len(steps) > len(gradients) and len(steps) > 1:
        steps = set(gradients)
    else:
        steps = changes | {key for key in steps if key.place not in reading.table.labels}
    if not steps:
        return reading
    kept = {key: name for key, name in reading.quantities.items() if key not in steps}
    note = "columns that hold the steps η·∂E/∂w, or how weights changed, are judged by the updates"
    return replace(reading, quantities=kept, notes=(*reading.notes, note))


def _typed_into_steps(reading: Reading, gradients: Mapping[Key, str]) -> float | None:
    """The learning rate that most columns of steps −η·∂E/∂w have typed in, or None."""
    rates: Counter[float] = Counter()
    for key, name in gradients.items():
        values, expected = _values_of(reading, key), reading.expected(name)
        if reading.rate is None and values is not None and np.abs(expected).max() > 0:
            rates[_nice(float(np.dot(values, expected) / np.dot(expected, expected)))] += 1
    if not rates:
        return None
    rate, count = rates.most_common(1)[0]
    return -rate if rate < 0 and 2 * count > len(gradients) else None


def _without_differences(reading: Reading) -> Reading:
    """Columns that are called errors and hold t − a are no losses."""
    losses = {
        key: name for key, name in reading.quantities.items() if name[0] == "E" and name[1:].isdigit()
    }
    plain = set()
    world = reading.worlds[0]
    last = len(reading.program.network.layers) - 1
    for key, name in losses.items():
        output = net.activation_name(reading.program.network, last, int(name[1:]))
        values, difference = _values_of(reading, key), world[f"t{name[1:]}"] - world[output]
        if values is not None and (same(values, difference) or same(values, -difference)):
            plain.add(key)
    if not plain or len(plain) < len(losses):
        return reading
    kept = {key: name for key, name in reading.quantities.items() if key not in plain}
    note = "the columns named like errors hold t − a, not a loss"
    return replace(reading, quantities=kept, notes=(*reading.notes, note))


def _without_fixed(reading: Reading) -> Reading:
    """Weights of a layer that are all copied down, and have no gradients, are not trained; nor is any
    weight where all are copied down beside other data: then each row is a sample."""
    layers: dict[int | None, set[str]] = {}
    for name in reading.updated:
        layers.setdefault(reading.program[name].layer, set()).add(name)
    copied = [names for names in layers.values() if all(_is_copied(reading, n) for n in names)]
    data = (reading.keys[q.name] for q in reading.program.of_role("data") if q.name in reading.keys)
    changes = any(key.place is not None and key.place not in reading.reader.constant for key in data)
    samples = changes and len(copied) == len(layers)
    if not samples:
        copied = [names for names in copied if not any(gradient_name(n) in reading.keys for n in names)]
    kept = {name for names in copied for name in names}
    if not kept:
        return reading
    updates = tuple(u for u in reading.program.updates if u.parameter not in kept)
    note = "the same weights in all rows" if samples else f"kept as they are: {', '.join(sorted(kept))}"
    return replace(
        reading, program=replace(reading.program, updates=updates), notes=(*reading.notes, note)
    )


def _is_copied(reading: Reading, name: str) -> bool:
    """Whether a weight's column only copies what stands above."""
    place = reading.keys[name].place
    if place is None or new_name(name) in reading.keys:
        return False
    formulas = [reading.reader.formula(place, k) for k in range(1, len(reading.table.lines))]
    above = [
        isinstance(f.tree, SheetReference) and reading.reader.key(f.tree.at(f.home), f.iteration)
        for f in formulas
        if f is not None
    ]
    return bool(above) and all(key and key.place == place and key.shift < 0 for key in above)


def _scaled(reading: Reading) -> Reading:
    """Gradient columns that all hold the same multiple of the gradient follow a convention."""
    ratios: list[float] = []
    gradients = [(key, name) for key, name in reading.quantities.items() if name.startswith("dE_d")]
    for key, name in gradients:
        found = _values_of(reading, key)
        expected = reading.expected(name)
        slopes = np.abs(expected) > 0  # a ReLU may have none
        if found is not None and slopes.any() and same(found * slopes, found):
            ratio = found[slopes] / expected[slopes]
            if same(ratio, ratio[0]):
                ratios.append(_nice(float(ratio[0])))
    if len(ratios) < 2:
        return reading
    common, count = Counter(ratios).most_common(1)[0]
    if common in (0.0, 1.0) or 2 * count <= len(gradients):
        return reading
    note = f"all gradients are {common:g} times those of the loss as it is written: a convention"
    scaled = replace(reading, factor=common, notes=(*reading.notes, note))
    # t − a in place of a − t is a convention only where the updates add what the others subtract
    return scaled if common > 0 or _mostly_descends(scaled) else reading


def _mostly_descends(reading: Reading) -> bool:
    """Whether most updates that the sheet has go downhill."""
    right = []
    for name in reading.updated:
        key = reading.keys.get(new_name(name), reading.keys[name])
        formula = reading.reader.usual(key.place) if key.place is not None else None
        if formula is not None and formula.iteration + (new_name(name) in reading.keys) > 0:
            written = new_name(name) if new_name(name) in reading.keys else name
            right.append(_is_right(reading, reading.known, written, formula))
    return 2 * sum(right) >= len(right)


# ---------------------------------------------------------------- learning rate


def find_rate(
    reader: Reader, parameters: Mapping[int, str], quantities: Mapping[Key, str]
) -> Source | None:
    """The learning rate: what most updates multiply with, a cell or a number typed into them.

    None where nothing is updated.
    """
    cells: Counter[Key] = Counter()
    numbers: Counter[float] = Counter()
    for place in _updating_places(reader, parameters):
        formula = reader.usual(place)
        if formula is None:
            continue
        try:
            keys = reader.keys(formula)
        except Unreadable:
            continue
        outside = _settings(reader, keys, quantities)
        if not outside:  # a column of steps, Δw = −η·∂E/∂w, may stand between
            behind = (reader.usual(key.place) for key in keys if key.place not in (None, place))
            for step in behind:
                outside += _settings(reader, reader.keys(step), quantities) if step is not None else []
        cells.update(outside)
        if not outside and len(keys) >= 2:
            number = _typed_rate(reader, formula, keys)
            if number is not None:
                numbers[number] += 1
    labelled = labelled_rate(reader)
    most = cells.most_common(1)[0][1] if cells else 0
    if labelled is not None and (cells[labelled] or (not numbers and most <= 1)):
        return labelled if cells or _updating_places(reader, parameters) else None
    if cells and cells.most_common(1)[0][1] >= numbers.total():
        return cells.most_common(1)[0][0]
    return numbers.most_common(1)[0][0] if numbers else _rate_by_numbers(reader, parameters, quantities)


def _rate_by_numbers(
    reader: Reader, parameters: Mapping[int, str], quantities: Mapping[Key, str]
) -> float | None:
    """The learning rate of pasted values: what the steps of most weights are of their gradients."""
    table, book = reader.table, reader.book
    places = {name: key.place for key, name in quantities.items()}
    steps, slopes = [], []
    for place, name in parameters.items():
        gradient, new = places.get(gradient_name(name)), places.get(new_name(name))
        for k in range(min(len(table.lines), 20)):
            if gradient is not None and reader.usual(place) is None:
                after = table.cell(place, k + 1) if k + 1 < len(table.lines) else None
                after = after if new is None else table.cell(new, k)
                step = book.number(table.cell(place, k)) - (book.number(after) if after else math.nan)
                slope = book.number(table.cell(gradient, k))
                if not math.isnan(step) and not math.isnan(slope):
                    steps.append(step)
                    slopes.append(slope)
    large = np.abs(slopes) > 0.1 * np.abs(slopes).max() if any(slopes) else np.zeros(0, dtype=bool)
    if not large.any():
        return None
    rates = np.array(steps)[large] / np.array(slopes)[large]
    middle = float(np.median(rates))
    agreeing = np.abs(rates - middle) < 0.02 * abs(middle)
    return float(f"{middle:.2g}") if middle > 0 and agreeing.mean() > 0.6 else None


def _settings(reader: Reader, keys: Iterable[Key], quantities: Mapping[Key, str]) -> list[Key]:
    """Those of the keys that may be the learning rate."""
    own = [key._replace(shift=0) for key in keys]
    return [key for key in own if key not in quantities and _is_setting(reader, key)]


def _updating_places(reader: Reader, parameters: Mapping[int, str]) -> list[int]:
    labels = reader.table.labels
    new = [place for place, label in labels.items() if label.kind == "new"]
    return [*(place for place in parameters if place not in reader.constant), *new]


def _is_setting(reader: Reader, key: Key) -> bool:
    """Whether a key may be the learning rate: a cell outside the table, or a column of settings."""
    if key.place is None:
        return True
    label = reader.table.labels.get(key.place)
    if label is None:
        return reader.usual(key.place) is None or key.place in reader.constant
    return label.kind == "rate"


def _typed_rate(reader: Reader, formula: Formula, keys: Iterable[Key]) -> float | None:
    """The η of w − η·g for a number typed into the formula: minus its slope by the gradient."""
    own = [key for key in keys if key.place is not None]
    values = {key: np.float64(0.3 + 0.1 * n) for n, key in enumerate(own)}
    try:
        base = reader.value(formula, values)
        slopes = [
            round(float(base - reader.value(formula, {**values, key: values[key] + 1.0})), 9)
            for key in own
        ]
    except (Unreadable, TypeError):
        return None
    rates = [slope for slope in slopes if abs(slope + 1.0) > 1e-9 and slope != 0]
    return abs(rates[0]) if len(rates) == 1 else None


def labelled_rate(reader: Reader) -> Key | None:
    """The number beside or below a text that says "learning rate", the nearest to the table."""
    sheet, found = reader.table.sheet, []
    for (row, column), text in sheet.values.items():
        if not isinstance(text, str) or not read_rate(text):
            continue
        for down, right in ((0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (0, 4)):
            cell = sheet.cell(row + down, column + right)
            if not math.isnan(reader.book.number(cell)) and reader.key(cell, 0).place is None:
                distance = abs(cell.row - reader.table.lines[0]) if not reader.table.turned else 0
                found.append((distance, right + down, cell))
                break
    return Key(None, 0, min(found)[2]) if found else None
