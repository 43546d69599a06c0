"""How a sheet learns where it is not by plain gradient descent: its optimizer, found in its formulas.

An optimizer shows in columns that remember: each follows from itself in the row above and from a
gradient. Which averages or sums they are, of gradients or of their squares, says what optimizers it may
be; the one whose updates are those of most weights is the sheet's.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, product
from typing import NamedTuple

import numpy as np

from gradsheet.check.chain_rule import with_helper_columns
from gradsheet.check.formula import Cell, Number, Unreadable, subtrees
from gradsheet.check.reader import Formula, Key, Source, same
from gradsheet.check.reading import DRAWS, KnownValues, Reading, column_numbers, new_name
from gradsheet.compiler import Program, Quantity, gradient_name, with_learning
from gradsheet.expression import (
    ONE,
    ZERO,
    Array,
    Expression,
    Previous,
    apply,
    filled,
    parts,
    square,
    substitute,
)
from gradsheet.expression import Reference as Name
from gradsheet.mistakes import LEARNING_MISTAKES, uncorrected
from gradsheet.network import Network
from gradsheet.optimizers import OPTIMIZERS, RATE, G, Optimizer, State, T, W

MOST_TRIALS = 400
"""Optimizers, with their hyper-parameters, that are tried on a sheet."""


def with_optimizer(reading: Reading) -> Reading:
    """The reading with the optimizer by which most of its weights learn; as it is where that is plain
    gradient descent, or is not found."""
    weights = [w for w in reading.updated if reading.keys[w].place is not None]
    if not weights or any(_column(reading, gradient_name(w)) is None for w in weights):
        return reading
    reading = _with_rate_column(reading)
    powers = _powers(reading)
    memories = _memories(reading, powers)
    if not memories and _descends(reading, weights):
        return reading
    found = _Finder(reading, weights, memories, powers).find()
    return reading if found is None else with_helper_columns(found)


def _with_rate_column(reading: Reading) -> Reading:
    """The reading with a column of learning rates that what remembers takes its steps by, if any."""
    labels = reading.table.labels
    read = {
        key.place
        for _, formula in _recurrent(reading)
        for key in reading.reader.keys(formula)
        if key.place is not None and key.place not in reading.reader.constant
    }
    rates = [place for place in read if place in labels and labels[place].kind == "rate"]
    return replace(reading, rate=Key(rates[0])) if len(rates) == 1 else reading


def _column(reading: Reading, name: str) -> int | None:
    key = reading.keys.get(name)
    return None if key is None or key.place in reading.reader.constant else key.place


def _descends(reading: Reading, weights: Sequence[str]) -> bool:
    """Whether most weights learn by plain gradient descent."""
    return 2 * sum(_is_right(reading, weight) for weight in weights) >= len(weights)


def _is_right(reading: Reading, weight: str) -> bool:
    """Whether the usual update of a weight is what the reading expects."""
    update = _update(reading, weight)
    if update is None:
        return False
    name, formula = update
    own = reading.of(name)
    try:
        return same(own.found(formula), own.expected(name))
    except Unreadable:
        return False


def _update(reading: Reading, weight: str) -> tuple[str, Formula] | None:
    """The quantity that is a weight's update, and its usual formula."""
    name = new_name(weight) if new_name(weight) in reading.keys else weight
    place = reading.keys[name].place
    formula = reading.reader.usual(place) if place is not None else None
    return None if formula is None else (name, formula)


# ---------------------------------------------------------------- what remembers


class Memory(NamedTuple):
    """A column that follows from itself in the row above and from a gradient, or its square:
    ``kept`` · itself + ``share`` · gradient. The share holds the learning rate where ``stepped``.

    ``late`` where it stands in the row below that of the gradient. ``decay`` is the share of the weight
    that is added to the gradient.
    """

    weight: str
    squares: bool
    kept: float
    share: float
    stepped: bool
    late: bool
    decay: float


class Powers(NamedTuple):
    """A column of βᵗ, or of βᵗ⁻¹ where it begins with 1, for the correction of an average's bias."""

    kept: float
    past: bool


def _powers(reading: Reading) -> dict[int, Powers]:
    """The columns that hold the powers of a number below 1."""
    found = {}
    for place in reading.reader.table.places:
        numbers = column_numbers(reading.reader, place)
        if Key(place) in reading.quantities or len(numbers) < 2 or not 0 < numbers[1] < numbers[0] <= 1:
            continue
        kept, past = _rounded(numbers[1] / numbers[0]), bool(numbers[0] == 1)
        if same(numbers, kept ** np.arange(1 - past, 1 - past + len(numbers))):
            found[place] = Powers(kept, past)
    return found


def _memories(reading: Reading, powers: Collection[int]) -> dict[int, Memory | None]:
    """The columns that remember; None for those that follow from no gradient in a known way."""
    recurrent = {place: formula for place, formula in _recurrent(reading) if place not in powers}
    nothing = {Key(place, shift): np.zeros(DRAWS) for place in recurrent for shift in (-1, 0)}
    found: dict[int, Memory | None] = {}
    for place, formula in recurrent.items():
        others = {key: value for key, value in nothing.items() if key != Key(place)}
        try:
            seen, more = (
                np.broadcast_to(reading.reader.value(formula, known), DRAWS).astype(float)
                for known in (
                    KnownValues(reading, {**others, Key(place, -1): np.full(DRAWS, before)})
                    for before in (0.0, 1.0)
                )
            )
            kept = more - seen
        except (Unreadable, TypeError, ValueError):
            found[place] = None
            continue
        found[place] = _fitted(reading, seen, float(kept[0])) if same(kept, kept[0]) else None
    return found


def _recurrent(reading: Reading) -> Iterator[tuple[int, Formula]]:
    """The columns of unknown meaning that follow from themselves in the row above, and from more."""
    reader, known = reading.reader, {*reading.quantities, reading.rate}
    for place in reader.table.places:
        formula = reader.usual(place)
        if formula is None or place in reader.constant or Key(place) in known:
            continue
        if reader.remembers(place) and len(reader.keys(formula)) > 1:
            yield place, formula


def _fitted(reading: Reading, seen: Array, kept: float) -> Memory | None:
    """What a column remembers that keeps a share of itself, and adds ``seen`` in the random networks."""
    for weight, late in product(reading.updated, (False, True)):
        world = reading.worlds[-1 if late else 0]
        if gradient_name(weight) not in world:
            continue
        g, w = reading.factor * world[gradient_name(weight)], world[weight]
        for squares, stepped in ((False, False), (True, False), (False, True)):
            factor = reading.rate_draws if stepped else 1.0
            terms = [g**2, g * w, w**2] if squares else [factor * g, factor * w]
            columns = np.stack(terms, axis=1)
            fit = np.linalg.lstsq(columns, seen, rcond=None)[0]
            if same(columns @ fit, seen) and (share := round(float(fit[0]), 9)):
                decay = round(float(fit[1]) / share / (2 if squares else 1), 9) + 0.0
                return Memory(weight, squares, round(kept, 9), share, stepped, late, decay)
    return None


# ---------------------------------------------------------------- which optimizer

_m, _v, _s = Name("m"), Name("v"), Name("s")
_downwards = Optimizer(
    "momentum whose velocity holds the step, learning rate and sign in it",
    W + _m,
    {"m": State(Name("momentum") * Previous("m") - RATE * G)},
    OPTIMIZERS["momentum_velocity"].hyperparameters,
)
_dampened = replace(  # beginning with 0, or with the first gradient, which is given
    OPTIMIZERS["momentum"], states={"m": State(OPTIMIZERS["momentum"].states["m"].rule)}
)
_adagrad_inside = replace(
    OPTIMIZERS["adagrad"],
    words="Adagrad with ε inside the root",
    update=W - RATE * (G / apply("sqrt", _s + Name("epsilon"))),
)


class _Candidate(NamedTuple):
    """An optimizer that a sheet may have: its entry, the name of the nearest in `OPTIMIZERS`, and its
    hyper-parameters as far as they are known."""

    optimizer: Optimizer
    name: str
    settings: Mapping[str, float]


def _candidates(linear: Memory | None, squared: Memory | None) -> Iterator[_Candidate]:
    """The optimizers that remember just this."""

    def known(name: str, **settings: float) -> _Candidate:
        return _Candidate(OPTIMIZERS[name], name, settings)

    if linear is None and squared is None:
        yield known("sgd")
    elif squared is None:
        assert linear is not None
        kept, share = linear.kept, linear.share
        if linear.stepped and share == -1:
            yield _Candidate(_downwards, "momentum_velocity", {"momentum": kept})
        elif linear.stepped and share == 1:
            yield known("momentum_velocity", momentum=kept)
        elif not linear.stepped and share == round(1 - kept, 9):
            yield known("momentum_average", momentum=kept)
        elif not linear.stepped and share == 1:
            yield known("momentum", momentum=kept)
            yield known("nesterov", momentum=kept)
        elif not linear.stepped and 0 < share < 1:
            settings = {"momentum": kept, "dampening": round(1 - share, 9)}
            yield _Candidate(_dampened, "momentum", settings)
    elif linear is None:
        if squared.kept == squared.share == 1:
            yield known("adagrad")
            yield _Candidate(_adagrad_inside, "adagrad", {})
        elif squared.share == round(1 - squared.kept, 9):
            yield known("rmsprop", alpha=squared.kept)
            yield known("rmsprop_inside", alpha=squared.kept)
    elif not linear.stepped and all(
        memory.share == round(1 - memory.kept, 9) for memory in (linear, squared)
    ):
        for name in ("adam", "adamw"):
            yield known(name, beta1=linear.kept, beta2=squared.kept)


@dataclass
class _Finder:
    """Looks for the optimizer of a reading."""

    reading: Reading
    weights: Sequence[str]
    memories: Mapping[int, Memory | None]
    powers: Mapping[int, Powers]

    def find(self) -> Reading | None:
        kinds = Counter(m._replace(weight="") for m in self.memories.values() if m is not None)
        usual = {squares: self.most_common(kinds, squares) for squares in (False, True)}
        late = {memory.late for memory in usual.values() if memory is not None}
        decays = {memory.decay for memory in usual.values() if memory is not None}
        if len(late) > 1 or len(decays) > 1:
            return None
        states = self.states(usual)
        if states is None:
            return None
        made: list[Reading] = []
        best, most = None, len(self.weights) / 2
        for each in islice(self.made(usual, states), MOST_TRIALS):
            made.append(each)
            right = self.count(each, each.program)
            if right > most:
                best, most = each, right
            if right == len(self.weights):
                break
        if best is not None:
            return best
        for each in filter(self.begin_at_zero, made):
            for name in ("no-bias-correction", "epsilon-inside-root"):
                edited = {
                    update.parameter: update
                    for update in LEARNING_MISTAKES[name].edit(each.program)
                    if not isinstance(update, Quantity)
                }
                updates = tuple(edited.get(u.parameter, u) for u in each.program.updates)
                wrong = replace(each.program, updates=updates)
                if edited and 2 * self.count(each, wrong) > len(self.weights):
                    return each
        return None

    def most_common(self, kinds: Counter[Memory], squares: bool) -> Memory | None:
        """What most weights remember of gradients, or of their squares."""
        own = [(count, memory) for memory, count in kinds.items() if memory.squares == squares]
        count, memory = max(own, key=lambda each: each[0], default=(0, None))
        return memory if 2 * count > len(self.weights) else None

    def states(self, usual: Mapping[bool, Memory | None]) -> dict[str, dict[bool, int]] | None:
        """The column of every weight and kind: what remembers its gradient; where that holds a mistake,
        what its update reads. None where that is not plain."""
        found: dict[str, dict[bool, int]] = {weight: {} for weight in self.weights}
        kinds = [squares for squares in (False, True) if usual[squares] is not None]
        alike = {kind: {p for p, m in self.memories.items() if _alike(m, usual[kind])} for kind in kinds}
        odd = set(self.memories).difference(*alike.values())
        taken: set[int] = set()
        for weight, squares in product(self.weights, kinds):
            behind, same_kind = self.behind(weight), alike[squares]
            own = {p for p in same_kind if (m := self.memories[p]) is not None and m.weight == weight}
            own = own if len(own) == 1 else own & behind
            choices = (places - taken for places in (own, same_kind & behind, odd & behind))
            chosen = next((places for places in choices if len(places) == 1), None)
            if chosen is None:
                return None
            taken |= chosen
            found[weight][squares] = chosen.pop()
        return found

    def behind(self, weight: str) -> set[int]:
        """The columns without a known meaning that the update of a weight reads, directly or through
        each other."""
        update = _update(self.reading, weight)
        stack = [update[1]] if update is not None else []
        found: set[int] = set()
        while stack:
            for key in self.keys(stack.pop()):
                if key.place is None or key in self.reading.quantities or key.place in found:
                    continue
                found.add(key.place)
                formula = self.reading.reader.usual(key.place)
                stack += [formula] if formula is not None else []
        return found

    def made(
        self, usual: Mapping[bool, Memory | None], states: Mapping[str, Mapping[bool, int]]
    ) -> Iterator[Reading]:
        """The readings with every optimizer and number that may be its rate, the likely first."""
        numbers = self.numbers
        typed = [value for value in numbers if value > 0]
        cells = [each for value in numbers.values() for each in value if isinstance(each, Key)]
        others = [*cells, *typed] if isinstance(self.reading.rate, Key) else typed
        for rate in dict.fromkeys([self.reading.rate, *others]):
            for candidate in _candidates(usual[False], usual[True]) if rate is not None else ():
                yield from self.readings(candidate, usual, states, rate)

    def readings(
        self,
        candidate: _Candidate,
        usual: Mapping[bool, Memory | None],
        states: Mapping[str, Mapping[bool, int]],
        rate: Source,
    ) -> Iterator[Reading]:
        """The reading with a candidate, for every number that may be its ε or decay, and with biases
        that do not decay."""
        reading, optimizer = self.reading, candidate.optimizer
        network = reading.program.network.learning(candidate.name)
        late, decay = next(
            ((memory.late, memory.decay) for memory in usual.values() if memory is not None),
            (False, None),
        )
        small = [value for value in self.numbers if 0 < value <= 1e-2]
        shares = [v for v in self.numbers if 0 < v < 1 and v not in candidate.settings.values()]
        epsilons = [0.0, *small] if "epsilon" in optimizer.hyperparameters else [None]
        if optimizer.decoupled:
            decays = shares if not decay else []
        else:
            decays = [decay] if decay is not None else shares
        biases = frozenset(weight for weight in self.weights if weight.startswith("b"))
        free = [frozenset(), biases] if biases and len(biases) < len(self.weights) else [frozenset()]
        if decay:  # then the states tell
            bare = {m.weight for m in self.memories.values() if m is not None and not m.decay}
            free = [biases if biases <= bare else frozenset()]
        for epsilon, share, undecayed in product(epsilons, decays, free):
            if undecayed and not share:
                continue
            settings = dict(candidate.settings)
            if epsilon is not None:
                settings["epsilon"] = epsilon
            if share:
                settings["weight_decay"] = share
            optional = {n for n, h in optimizer.hyperparameters.items() if h.optional}
            own = replace(network, hyperparameters={n: v for n, v in settings.items() if n in optional})
            yield self.reading_with(own, optimizer, settings, states, undecayed, late, rate)

    def reading_with(
        self,
        network: Network,
        optimizer: Optimizer,
        settings: Mapping[str, float],
        states: Mapping[str, Mapping[bool, int]],
        undecayed: Collection[str],
        late: bool,
        rate: Source,
    ) -> Reading:
        """The reading with an optimizer whose hyper-parameters are known."""
        reading = self.reading
        program = with_learning(reading.program, network, reading.program.trained, optimizer)
        program = _without_decay(program, undecayed)
        program = _with_corrected(program)
        quantities, typed = dict(reading.quantities), dict(reading.typed)
        letters = {_squares(state): letter for letter, state in optimizer.states.items()}
        for weight, places in states.items():
            for squares, place in places.items():
                name = f"{letters[squares]}_{weight}"
                quantities[Key(place)] = Previous(name).key if late else name
        for name, value in settings.items():
            cells = (key for key in self.numbers.get(_rounded(value), ()) if isinstance(key, Key))
            cell = next((key for key in cells if key not in (rate, *quantities)), None)
            if cell is None:
                typed[name] = value
            else:
                quantities[cell] = name
        for place, name in self.counters.items():
            quantities.setdefault(Key(place), name)
        powers = {}
        for place, (kept, past) in self.powers.items():
            for name in [name for name in ("beta1", "beta2") if settings.get(name) == kept][:1]:
                own = f"{name}_power_past" if past else f"{name}_power"
                rule = apply("power", Name(name), T - 1 if past else T)
                powers[own] = Quantity(own, "state", rule, first=ONE if past else Name(name))
                quantities[Key(place)] = own
        counted = (Quantity(name, "data", value=0.0) for name in set(self.counters.values()))
        program = replace(program, quantities=(*program.quantities, *counted, *powers.values()))
        shown = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in settings.items())
        note = f"it learns by {optimizer.words}" + (f" with {shown}" if shown else "")
        note += "; its biases do not decay" if undecayed else ""
        return replace(
            reading,
            program=program,
            quantities=quantities,
            typed=typed,
            rate=rate,
            notes=(*reading.notes, note),
        )

    def count(self, reading: Reading, program: Program) -> int:
        """For how many weights the update is that of the program; 0 where it is not for most."""
        tried = replace(reading, program=program)
        wrong = 0
        for weight in self.weights:
            wrong += not _is_right(tried, weight)
            if 2 * wrong >= len(self.weights):
                return 0
        return len(self.weights) - wrong

    @cached_property
    def formulas(self) -> list[Formula]:
        """The updates of the weights, and all formulas on the way to them from the gradients."""
        reader, reading = self.reading.reader, self.reading
        stack = [update[1] for weight in self.weights if (update := _update(reading, weight))]
        found: dict[Cell, Formula] = {}
        while stack:
            formula = stack.pop()
            if formula.home in found:
                continue
            found[formula.home] = formula
            for key in self.keys(formula):
                if key in reading.quantities or key.place in reader.constant:
                    continue
                if key.place is not None:
                    inner = reader.usual(key.place)
                else:
                    tree = reader.book.tree(key.cell) if key.cell is not None else None
                    inner = None
                    if tree is not None and key.cell is not None:
                        inner = Formula(tree, key.cell, formula.iteration)
                stack += [inner] if inner is not None else []
        return list(found.values())

    def keys(self, formula: Formula) -> list[Key]:
        """What a formula reads, of whatever iteration."""
        try:
            return [key._replace(shift=0) for key in self.reading.reader.keys(formula)]
        except Unreadable:
            return []

    @cached_property
    def numbers(self) -> Mapping[float, list[Source]]:
        """The numbers that learning uses: typed into its formulas, or in cells outside the table."""
        found: dict[float, list[Source]] = defaultdict(list)
        book = self.reading.reader.book
        for formula in self.formulas:
            for part in subtrees(formula.tree):
                if isinstance(part, Number):
                    found[_rounded(part.value)].append(part.value)
            for key in self.keys(formula):
                if key.cell is not None and not math.isnan(value := book.number(key.cell)):
                    found[_rounded(value)].append(key)
        return found

    @cached_property
    def counters(self) -> Mapping[int, str]:
        """Columns that count the iterations: from 1, or those that are past, from 0."""
        reader, found = self.reading.reader, {}
        for place in reader.table.places:
            if Key(place) in self.reading.quantities or place in self.memories:
                continue
            numbers = column_numbers(reader, place)
            if numbers[0] in (0, 1) and len(numbers) > 1 and (np.diff(numbers) == 1).all():
                found[place] = "iteration" if numbers[0] == 1 else "past"
        return found

    def begin_at_zero(self, reading: Reading) -> bool:
        """Whether most of what is remembered begins at 0, so that its average is biased."""
        begins = []
        for key, name in reading.quantities.items():
            if not reading.is_state(name) or key.place is None or key.place in self.powers:
                continue
            cell, formula = reading.table.cell(key.place, 0), reading.reader.formula(key.place, 0)
            if formula is None:
                begins.append(reading.reader.book.value(cell) in (None, 0))
                continue
            own = reading.of(name)
            try:
                begins.append(same(own.found(formula), own.expected(name, first=True)))
            except Unreadable:
                begins.append(False)
        return 2 * sum(begins) > len(begins)


def _alike(memory: Memory | None, usual: Memory | None) -> bool:
    """Whether a column remembers as most do, of whatever weight."""
    return memory is not None and usual is not None and memory._replace(weight="") == usual


def _rounded(value: float) -> float:
    return float(f"{value:.9g}")


def _squares(state: State) -> bool:
    """Whether a state remembers squares of gradients."""
    return substitute(state.rule, {square(G): G}) != state.rule


def _without_decay(program: Program, parameters: Collection[str]) -> Program:
    """The program with parameters that do not decay, as biases often do not."""
    none: Mapping[Expression, Expression] = {Name("weight_decay"): ZERO}
    states = {f"{letter}_{name}" for letter in "mvs" for name in parameters}
    quantities = (
        replace(q, expression=filled(q.expression, none), first=q.first and filled(q.first, none))
        if q.name in states and q.expression is not None
        else q
        for q in program.quantities
    )
    updates = (
        replace(u, expression=filled(u.expression, none)) if u.parameter in parameters else u
        for u in program.updates
    )
    return replace(program, quantities=tuple(quantities), updates=tuple(updates))


def _with_corrected(program: Program) -> Program:
    """The program with the averages, freed from their bias, as quantities of their own."""
    found: dict[str, Quantity] = {}
    for update in program.updates:
        layer = program[update.parameter].layer
        for part in parts(update.expression):
            state = uncorrected(part)
            if isinstance(state, Name):
                own = f"{state.name}_corrected"
                found[own] = Quantity(own, "state", part, layer=layer)
    return replace(program, quantities=(*program.quantities, *found.values()))
