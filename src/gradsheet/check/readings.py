"""The possible readings of a table, made step by step from the layers and the losses that were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradsheet import network as net
from gradsheet.check.chain_rule import with_helper_columns
from gradsheet.check.conventions import with_factor, without_differences, without_fixed, without_steps
from gradsheet.check.formula import Unreadable
from gradsheet.check.layers import arrange
from gradsheet.check.losses import Loss, LossFinder, loss_words, nice
from gradsheet.check.neurons import find_neurons, find_parameters
from gradsheet.check.rates import find_rate
from gradsheet.check.reader import Key, NotUnderstood, Reader, Source
from gradsheet.check.reading import Reading, new_name
from gradsheet.compiler import Program, Quantity, compile_network, gradient_name
from gradsheet.expression import (
    Constant,
    Expression,
    Reference,
    add,
    differentiate,
    divide,
    multiply,
    square,
    substitute,
)
from gradsheet.network import Layer, Network


def readings(reader: Reader) -> list[Reading]:
    """The possible readings of a table, the most likely first.

    Raises `NotUnderstood`.
    """
    parameters = find_parameters(reader)
    neurons = find_neurons(reader, parameters)
    found = []
    for layers in arrange(reader, neurons, parameters):
        losses = LossFinder(reader, layers, parameters)
        found += [_Maker(losses).make(loss) for loss in losses.find()]
    return found


def refuse_unused(reader: Reader, found: Sequence[Reading]) -> None:
    """Raise `NotUnderstood` where a weight has no place in any of the readings."""
    for place, name in find_parameters(reader).items():
        if place not in reader.constant and all(Key(place) not in each.quantities for each in found):
            raise NotUnderstood(
                f"{name} in column {reader.table.name(place)} is in none of the sums that were found"
            )


class _Maker:
    """Builds the reading of one arrangement of layers, step by step."""

    def __init__(self, losses: LossFinder) -> None:
        self.losses = losses
        self.reader = losses.reader
        self.layers = losses.layers
        self.parameters = losses.parameters
        self.notes: list[str] = []
        self.quantities: dict[Key, str] = {}
        self.typed: dict[str, float] = {}

    def make(self, loss: Loss) -> Reading:
        """The reading for one of the possible losses."""
        outputs = self.losses.outputs
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
            loss_words(loss, len(outputs)),
            notes=tuple(self.notes),
        )
        reading = without_fixed(without_steps(without_differences(reading)))
        scaled = with_factor(reading)
        if loss.guessed and loss.factor is not None and scaled.factor > 0 and scaled.factor != 1.0:
            told = replace(loss, factor=loss.factor * scaled.factor)
            return _Maker(self.losses).make(told)
        return with_helper_columns(scaled)

    # ------------------------------------------------------------ program

    def compile(self, loss: Loss) -> Program:
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

    def place_data(self, program: Program, loss: Loss) -> None:
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

    def place_loss(self, program: Program, loss: Loss) -> None:
        table = self.reader.table
        outputs = self.losses.outputs
        labelled = sorted(
            (int(label.key), place) for place, label in table.labels.items() if label.kind == "loss"
        )
        labelled += enumerate(loss.unnamed.get("loss", ()), 1)
        for position, (_, place) in enumerate(labelled):
            formula = self.reader.usual(place)
            owners = []
            if formula is not None:
                try:
                    leaves = self.losses.leaves(formula, outputs)
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


def _with_loss(program: Program, loss: Loss) -> Program:
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
        changes[delta] = multiply(Constant(nice(2 * loss.factor * loss.share)), slope)
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


def _with_helpers(program: Program, loss: Loss) -> Program:
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
                flow = multiply(Constant(nice(2 * loss.factor * loss.share)), difference)
            else:
                continue
            helpers.append(Quantity(gradient_name(output), "delta", flow, layer=layer))
            helpers.append(Quantity(slope_name(total), "delta", slope, layer=layer))
    return replace(program, quantities=(*program.quantities, *helpers))
