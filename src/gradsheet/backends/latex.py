r"""The written derivation: a `Program` and the numbers of its first iteration, as text with equations.

`derivation` writes what a teacher would write on the board: the network, the forward pass, the loss, the
derivatives backwards by the chain rule, then all of it in numbers, and the update. Every formula comes
from the program. `gradsheet.backends.latex_document` prints the result.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from gradsheet import network as net
from gradsheet.backends.latex_document import Block, Derivation, Equation, Math, Paragraph, Section
from gradsheet.backends.latex_notation import (
    DIGITS,
    LATEX,
    NUMBERS,
    SQUARE_IN_BRACKETS,
    latex_name,
    rounded,
)
from gradsheet.compiler import Chain, Factor, Program, Quantity, Role, Update, gradient_name
from gradsheet.errors import NetworkError
from gradsheet.expression import (
    GELU_CUBE,
    GELU_SCALE,
    LEAKY_SLOPE,
    ONE,
    ZERO,
    Application,
    Constant,
    Expression,
    Previous,
    Reference,
    add,
    apply,
    differentiate,
    evaluate,
    multiply,
    partial_derivatives,
    references,
    render,
    square,
    substitute,
)
from gradsheet.matrices import MatrixFormula, backward_formulas, forward_formulas, matrix_notation
from gradsheet.optimizers import LEARNING_RATE, OPTIMIZERS, SCHEDULES

EXPANDED_LENGTH = 24
"""A derivative is written out in full while that names at most so many quantities; beyond, it keeps the
δ of the layer behind. So the text grows no faster than the program."""


_X = Reference("x")
_DEFINITIONS: Mapping[str, Expression] = {
    "sigmoid": 1 / (1 + apply("exp", -_X)),
    "tanh": (apply("exp", _X) - apply("exp", -_X)) / (apply("exp", _X) + apply("exp", -_X)),
    "elu": apply("relu", _X) + apply("exp", apply("minimum", ZERO, _X)) - 1,
    "silu": _X * apply("sigmoid", _X),
    "gelu": _X * apply("normal_share", _X),
}
_NORMAL_SHARE = apply("sigmoid", GELU_SCALE * _X * (1 + GELU_CUBE * square(_X)))
_JUMPS: Mapping[str, str] = {
    "relu": "where step is 1 for a sum greater than 0, and 0 otherwise.",
    "leaky_relu": f"where slope is 1 for a sum greater than 0, and {LEAKY_SLOPE} otherwise.",
}
_ACTIVATIONS: Mapping[str, str] = {
    "sigmoid": "the sigmoid",
    "tanh": "the hyperbolic tangent",
    "relu": "the ReLU",
    "leaky_relu": "the leaky ReLU",
    "identity": "none",
    "softplus": "the softplus",
    "elu": "the ELU",
    "gelu": "the GELU in its tanh form",
    "silu": "the SiLU",
    "softmax": "the softmax of the layer",
}
_LOSSES: Mapping[str, str] = {
    "half_squared_error": "half the squared error, summed over outputs and samples",
    "mean_squared_error": "the squared error, averaged over outputs and samples",
    "mean_absolute_error": "the absolute error, averaged over outputs and samples",
    "huber": "the Huber loss, averaged over outputs and samples",
    "binary_cross_entropy": "the binary cross-entropy, averaged over outputs and samples",
    "categorical_cross_entropy": "the cross-entropy of the outputs, averaged over samples",
    "softmax_cross_entropy": "the cross-entropy of the softmax, averaged over samples",
}


def derivation(
    program: Program, values: Mapping[str, float], learning_rate: float, *, errata: bool = False
) -> Derivation:
    """Derive all gradients of ``program`` in writing, with the numbers of its first step.

    ``values`` holds every quantity of the first iteration by name. ``errata`` adds what the course's
    original text got wrong, and what that does to the numbers.

    Raises `NetworkError` for ``errata`` with a network of another kind than the course's.
    """
    kind = _LargeWriter if program.network.is_large else _Writer
    writer = kind(program, values, learning_rate)
    layers = range(len(program.network.layers))
    parts = [
        ("The network", writer.network()),
        *((f"Forward pass: {writer.layer_name(k)}", writer.forward(k)) for k in layers),
        ("Loss", writer.loss()),
        *((f"Derivatives: {writer.layer_name(k)}", writer.derivatives(k)) for k in reversed(layers)),
        ("The first step in numbers: forward", writer.forward_in_numbers()),
        ("The first step in numbers: backward", writer.backward_in_numbers()),
        ("The first step in numbers: update", writer.update()),
        *([("What the original text got wrong", writer.errata())] if errata else []),
    ]
    return Derivation(
        f"Back-propagation written out: {program.network.name} ({program.network.architecture})",
        tuple(Section(title, tuple(blocks)) for title, blocks in parts),
    )


def _say(template: str, *slots: str | Math) -> Paragraph:
    """Text in which a formula, or words of the user, stand in place of every ``{}``."""
    words = template.split("{}")
    pieces = [words[0], *(piece for pair in zip(slots, words[1:], strict=True) for piece in pair)]
    return Paragraph(tuple(piece for piece in pieces if piece))


def _list(words: str, formulas: Iterable[str]) -> Paragraph:
    slots = [Math(formula) for formula in formulas]
    return _say(f"{words} {', '.join(['{}'] * len(slots))}.", *slots)


def _equate(*sides: str) -> Equation:
    return Equation(" = ".join(dict.fromkeys(sides)))  # a side that repeats another says nothing new


def _taught(expression: Expression) -> Expression:
    """The rule without its guard against a run that diverges."""
    match expression:
        case Application("hold", (_, rule, _)):
            return rule
    return expression


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _terms(expression: Expression) -> tuple[Expression, ...]:
    match expression:
        case Application("add", terms):
            return terms
    return (expression,)


def _product(chain: Chain) -> Expression:
    return multiply(*(factor.expression for factor in chain))


class _Writer:
    """Writes the sections of a derivation, one method each, and holds what they share.

    Where there are several samples, a formula is derived once, with k for the number of the sample: the
    formulas of sample 1 stand for all, which differ in nothing else. Numbers are written for each.
    """

    def __init__(self, program: Program, values: Mapping[str, float], learning_rate: float) -> None:
        self.program = program
        settings = {**program.hyperparameters, LEARNING_RATE: learning_rate, "iteration": 1.0}
        self.values = {**values, **settings}
        self.samples = program.network.slots
        self.last = len(program.network.layers) - 1
        self.named = LATEX
        if self.samples > 1:  # their numbers stand where a square does: brackets tell them apart
            self.named = SQUARE_IN_BRACKETS
        self.general = self.named._replace(reference=self.name)
        self.numbers: Mapping[Expression, Expression] = {
            Reference(name): Constant(float(value)) for name, value in self.values.items()
        }
        self.definitions: Mapping[Expression, Expression] = {
            self.formula(q.name): Reference(q.name) for q in self.general_quantities("forward")
        }
        self.expanded = self.expand_deltas()
        self.derived: dict[str, Mapping[str, Expression]] = {}

    # ------------------------------------------------------------ the network in words

    def network(self) -> Iterator[Block]:
        network = self.program.network
        if network.description:
            yield _say("“{}”", network.description)
        counts = ((network.sizes[0], "input"), (self.last + 1, "layer"), (network.samples, "sample"))
        counted = ", ".join(_plural(count, noun) for count, noun in counts)
        yield _say(f"A {network.architecture} network: {counted}.")
        for layer in range(self.last + 1):
            yield self.layer_in_words(layer)
        yield _say(
            f"The loss {{}} is {_LOSSES[network.loss]}. The learning rate is {{}}.",
            Math(self.name(self.program.loss)),
            Math(self.setting(LEARNING_RATE)),
        )
        yield _say(
            "The letters: {} is an input, {} a weight, {} a bias, {} and {} the weighted sum of a "
            "hidden and of an output neuron, {} what the activation makes of it, {} a target.",
            *map(Math, "iwbhoat"),
        )
        if self.samples > 1:
            yield _say(
                "A number in brackets above a letter is that of a sample; {} stands for any of them.",
                Math("k"),
            )
        named = ((network.input_names, net.input_name), (network.output_names, net.target_name))
        for words, letter in named:
            if words:
                pairs = ((Math(latex_name(letter(k))), word) for k, word in enumerate(words, 1))
                template = ", ".join(["{} is for “{}”"] * len(words))
                yield _say(f"{template}.", *(piece for pair in pairs for piece in pair))
        if network.standardize:
            yield _say(
                f"{' and '.join(network.standardize).capitalize()} are standardised: each is shown "
                "less the mean of its column and divided by the standard deviation of that."
            )
        if network.batch_size is not None:
            yield _say(
                f"Each update sees a batch of {_plural(self.samples, 'sample')}, dealt one after the "
                f"other{'' if network.shuffle_seed is None else ', shuffled'}. What follows is the "
                "first batch; {} is the number of a sample among all.",
                Math("n"),
            )
        for sample in self.sample_numbers:
            names = [q.name for q in self.program.of_role("dealt", "data") if q.sample == sample]
            yield _list(f"Sample {sample}:" if sample else "The sample:", map(self.setting, names))

    def layer_in_words(self, layer: int) -> Paragraph:
        spec = self.program.network.layers[layer]
        names = self.parameters(layer)
        count = spec.neurons * spec.fan_in
        spans = [dict.fromkeys((part[0], part[-1])) for part in (names[:count], names[count:]) if part]
        weights, biases, *_ = [*(" to ".join(["{}"] * len(span)) for span in spans), "none"]
        if spec.shared_bias:
            biases += ", one for all neurons"
        if names[-1] not in self.program.trained:
            biases += ", not trained"
        return _say(
            f"The {self.layer_name(layer)} has {_plural(spec.neurons, 'neuron')}; weights: {weights}; "
            f"biases: {biases}; activation: {_ACTIVATIONS[spec.activation]}.",
            *(Math(latex_name(name)) for span in spans for name in span),
        )

    # ------------------------------------------------------------ forward pass and loss

    def forward(self, layer: int) -> Iterator[Block]:
        spec = self.program.network.layers[layer]
        quantities = self.general_quantities("forward", layer=layer)
        sums = [q for q in quantities if q.name[0] in "ho"]
        outputs = [q for q in quantities if q.name[0] == "a"]
        softmax = [q for q in quantities if q.name[0] not in "hoa"]
        bias = ", and its bias" if spec.biases else ""
        yield _say(f"A neuron adds up its inputs, each times its weight{bias}:")
        yield from map(self.definition, sums)
        if spec.activation == "softmax":
            yield from self.softmax([*softmax, *outputs], "a")
            return
        if outputs:
            yield _say(f"Its output is the activation of the sum, here {_ACTIVATIONS[spec.activation]}:")
            yield from map(self.definition, outputs)
        else:
            yield _say("There is no activation: the sums are the outputs.")
        earlier = [before.activation for before in self.program.network.layers[:layer]]
        if outputs and spec.activation not in earlier:
            yield from self.activation(spec.activation)
        if softmax:
            yield from self.softmax(softmax, "p")

    def softmax(self, quantities: Iterable[Quantity], share: str) -> Iterator[Block]:
        yield _say(
            "The softmax makes shares {} of the sums, which add up to 1. The largest sum, {}, is "
            "subtracted from every exponent: it cancels in the shares, but so no power can overflow.",
            *map(Math, (share, "m")),
        )
        yield from map(self.definition, quantities)

    def activation(self, activation: str) -> Iterator[Block]:
        """What it is, and its derivative in terms of its result."""
        applied = apply(activation, _X)
        slope = differentiate(applied, "x", Reference("a"))
        definition = _DEFINITIONS.get(activation, applied)
        yield _say("For any sum {}, the activation and its derivative are", Math("x"))
        yield _equate("a", render(applied, LATEX), render(definition, LATEX))
        yield _equate(self.partial("a", "x"), render(slope, LATEX))
        if activation == "gelu":
            yield _say(
                "where {} stands for {}, about the share of the normal distribution below {}.",
                *(Math(render(part, LATEX)) for part in (apply("normal_share", _X), _NORMAL_SHARE, _X)),
            )
        if activation in _JUMPS:
            yield _say(_JUMPS[activation])

    def loss(self) -> Iterator[Block]:
        losses = [q for q in self.general_quantities("loss") if q.name != self.program.loss]
        if self.program.network.loss == "binary_cross_entropy":
            yield _say("The binary cross-entropy of an output is")
            for number, loss in enumerate(losses, 1):
                yield _equate(self.name(loss.name), self.show(self.binary_cross_entropy(number)))
            yield _say(
                "Its logarithms fail where an output rounds to 0 or 1. With the sigmoid put in, it is "
                "the softplus form, which never fails and is the one in use:"
            )
        if self.program.network.loss in net.CLASS_LOSSES:
            yield _say("The cross-entropy between targets and shares is")
            yield _equate(self.name(losses[0].name), self.show(self.cross_entropy()))
            yield _say(
                "Its logarithms fail where a share rounds to 0. With the shares put in, and because the "
                "targets add up to 1, it is a form that never fails, the one in use:"
            )
        yield from map(self.definition, losses)
        yield _say("All together:")
        yield _equate(self.name(self.program.loss), self.total_loss())
        for smoothed in self.program.of_role("smoothed"):
            yield _say(
                "Every batch has another loss. Whether the network learns shows in the smoothed loss, "
                "which begins with the first loss; a minus above its name is its value in the iteration "
                "before:"
            )
            yield self.definition(smoothed)

    def binary_cross_entropy(self, number: int) -> Expression:
        target = self.general_reference(net.target_name(number))
        name = net.activation_name(self.program.network, self.last, number)
        output = self.general_reference(name)
        return -(target * apply("log", output)) - (1 - target) * apply("log", 1 - output)

    def cross_entropy(self) -> Expression:
        share = "p{}" if self.program.network.loss == "softmax_cross_entropy" else "a_o{}"
        terms = [
            self.general_reference(net.target_name(number))
            * apply("log", self.general_reference(share.format(number)))
            for number in range(1, self.program.network.sizes[-1] + 1)
        ]
        return -add(*terms)

    def total_loss(self) -> str:
        """The formula of the total loss; over several samples, with a sign of summation."""
        formula = self.formula(self.program.loss)
        if self.samples == 1:
            return self.show(formula)
        losses = [q.name for q in self.general_quantities("loss") if q.name != self.program.loss]
        total = self.total(add(*map(Reference, losses)))
        match formula:
            case Application("divide", (_, count)):
                return f"{self.show(1 / count)} {total}"
        return total

    # ------------------------------------------------------------ derivatives

    def derivatives(self, layer: int) -> Iterator[Block]:
        """δ of every neuron of a layer, and the gradients of its weights and biases."""
        if layer == self.last:
            yield _say(
                "A weight acts on the loss through the sum of its neuron and then its output: the chain "
                "rule multiplies the derivatives along this way. From the loss to the sum, they are the "
                "same for all weights of the neuron; their product is called {}.",
                Math(r"\delta"),
            )
            if self.program.network.loss in net.CLASS_LOSSES:
                yield _say(
                    "The sum of an output neuron acts on the loss of its sample by two ways: through "
                    "its power and the sum of all powers, {}, and directly. The largest sum {} counts "
                    "as a constant: no share depends on it.",
                    *map(Math, "Zm"),
                )
        else:
            yield _say(
                "The output of a hidden neuron acts on the loss through every neuron of the next layer: "
                "the chain rule adds up these ways. The {} of the next layer are known, and used again.",
                Math(r"\delta"),
            )
        if len(self.general_quantities("delta", layer=layer)[0].chains) > 1:
            yield _say(
                "A softmax makes every output of the layer depend on every sum: the ways from a sum "
                "through all outputs add up. An output changes with its own sum by {}, with that of "
                "another neuron by {}.",
                *map(Math, (r"a_j \cdot (1 - a_j)", r"-a_j \cdot a_k")),
            )
        gradients: dict[tuple[str, ...], list[Quantity]] = defaultdict(list)  # by the neurons they use
        for gradient in self.general_quantities("gradient", layer=layer):
            gradients[tuple(end.of for _, end in self.general_chains(gradient))].append(gradient)
        for delta in self.general_quantities("delta", layer=layer):
            neuron = delta.name.removeprefix("delta_")
            yield _say("Neuron {}:", Math(self.name(neuron)))
            yield from self.delta(delta, neuron)
            for gradient in gradients.pop((neuron,), []):
                yield from self.gradient(gradient)
        for gradient in (shared for group in gradients.values() for shared in group):
            yield _say("The neurons of the layer share a bias, so the ways through all of them add up.")
            yield from self.gradient(gradient)
        frozen = [name for name in self.parameters(layer) if name not in self.program.trained]
        if frozen:
            yield _list("Not trained, and so without a derivative:", map(latex_name, frozen))

    def delta(self, delta: Quantity, neuron: str) -> Iterator[Equation]:
        slope = self.loss_slope if delta.layer == self.last else self.paths
        for first, *others in delta.chains:
            yield from slope(first)
            yield from map(self.factor, others)
        formula = self.formula(delta.name)
        yield _equate(
            self.name(delta.name),
            self.partial(self.program.loss, neuron),
            " + ".join(self.product(self.from_total(way)) for way in delta.chains),
            self.show(formula),
            self.show(self.expanded.get(Reference(delta.name), formula)),
        )

    def loss_slope(self, factor: Factor) -> Iterator[Equation]:
        """∂E_total by an output, or by its sum: first for the loss in which that stands."""
        loss = next(
            q.name
            for q in self.general_quantities("loss")
            if q.name != self.program.loss and factor.by in references(self.formula(q.name))
        )
        ways = list(self.ways(loss, factor.by))
        by_loss, by_total = self.partial(loss, factor.by), self.partial(self.program.loss, factor.by)
        sides = [by_loss]
        if len(ways) > 1:  # those of a softmax
            yield from (self.factor(step) for way in ways if len(way) > 1 for step in way)
            texts = [
                self.product(way) if len(way) > 1 else f"({self.show(way[0].expression)})"
                for way in ways
            ]
            sides.append(" + ".join(texts))
        slope = add(*map(_product, ways))
        sides += [self.show(slope), self.show(substitute(slope, self.definitions))]
        share = self.partials(self.program.loss)[loss]
        if share == ONE:
            yield _equate(by_total, *sides)
        else:
            yield _equate(*sides)
            yield _equate(by_total, rf"{self.show(share)} \cdot {by_loss}", self.show(factor.expression))

    def ways(self, of: str, by: str) -> Iterator[Chain]:
        """All chains of factors from one quantity to another, through the helpers between them."""
        for between, partial in self.partials(of).items():
            if between == by:
                yield (Factor(of, between, partial),)
            elif self.program[between].role == "forward":
                yield from ((Factor(of, between, partial), *rest) for rest in self.ways(between, by))

    def paths(self, factor: Factor) -> Iterator[Equation]:
        """∂E_total by the output of a hidden neuron, whose formula adds up δ · weight."""
        paths = []
        for term in _terms(factor.expression):
            neuron = next(references(term)).removeprefix("delta_")
            onward = Factor(neuron, factor.by, self.partials(neuron)[factor.by])
            yield self.factor(onward)
            paths.append((Factor(self.program.loss, neuron, term), onward))
        total = self.partial(self.program.loss, factor.by)
        yield _equate(total, " + ".join(map(self.product, paths)), self.show(factor.expression))

    def gradient(self, gradient: Quantity) -> Iterator[Block]:
        chains = ways = self.general_chains(gradient)
        start, end = chains[0]
        if len(chains) == 1:  # all factors by name, those of δ included
            ways = tuple((*way, end) for way in self.program[f"delta_{start.by}"].chains)
        name = self.name(gradient.name)
        products = " + ".join(self.product(self.from_total(way)) for way in ways)
        yield _say("The derivative by {}:", Math(self.name(end.by)))
        yield _equate(name, self.over_samples(products, len(ways) > 1))
        for chain in chains:
            yield self.factor(chain[-1])
        formula = add(*map(_product, chains))
        yield _equate(name, self.total(formula), self.total(substitute(formula, self.expanded)))

    # ------------------------------------------------------------ numbers

    def forward_in_numbers(self) -> Iterator[Block]:
        yield from self.first_parameters()
        for sample in self.sample_numbers:
            yield _say(f"Sample {sample}, forward:" if sample else "Forward:")
            for quantity in self.program.of_role("forward", "loss"):
                if quantity.sample == sample and quantity.name != self.program.loss:
                    yield self.result(quantity)
        yield from self.loss_in_numbers()

    def first_parameters(self) -> Iterator[Block]:
        yield _say(
            f"Numbers are written with {DIGITS} significant digits. The parameters to begin with:"
        )
        for layer in range(self.last + 1):
            yield _list(f"The {self.layer_name(layer)}:", map(self.setting, self.parameters(layer)))

    def loss_in_numbers(self) -> Iterator[Block]:
        yield _say("The loss:")
        loss = self.program.loss
        numbers = self.in_numbers(self.formula(loss))
        yield _equate(self.name(loss), self.total_loss(), numbers, rounded(self.values[loss]))

    def backward_in_numbers(self) -> Iterator[Block]:
        for layer in reversed(range(self.last + 1)):
            yield _say(f"The {self.layer_name(layer)}:")
            for quantity in self.program.of_role("delta", "gradient"):
                if quantity.layer == layer:
                    yield self.result(quantity)

    def update(self) -> Iterator[Block]:
        if not self.program.network.is_plain:
            yield from self.optimizer()
            return
        yield _say(
            "Gradient descent takes from each parameter {} times its derivative. All are updated at "
            "once: every derivative above was computed with the old parameters.",
            Math(r"\eta"),
        )
        yield from self.updates()

    def updates(self) -> Iterator[Block]:
        yield from map(self.updated, self.program.updates)

    def updated(self, update: Update) -> Equation:
        name = latex_name(update.parameter) + "^{+}"
        return self.calculation(name, update.expression, evaluate(update.expression, self.values))

    def optimizer(self) -> Iterator[Block]:
        """The rule for any parameter w: what is remembered of it and its update; then one in numbers."""
        network = self.program.network
        words = OPTIMIZERS[network.optimizer].words
        others = (LEARNING_RATE, "smoothing")
        settings = [name for name in self.program.hyperparameters if name not in others]
        yield _say(
            f"The parameters are updated by {words}, all at once: every derivative above was computed "
            "with the old parameters."
        )
        if settings:
            yield _list("Its settings:", map(self.setting, settings))
        for rate in self.program.of_role("rate"):
            yield _say(
                f"The learning rate is {SCHEDULES[network.schedule].words}; {{}} is the number of the "
                "iteration, here 1.",
                Math("t"),
            )
            yield self.result(rate)
        updates = self.program.updates  # a gradient that is 0 would show little
        moved = (u for u in updates if self.values[gradient_name(u.parameter)])
        first = next(moved, updates[0])
        states = [q for q in self.program.of_role("state") if q.name.endswith(f"_{first.parameter}")]
        if states:
            yield _say(
                "It remembers of every parameter what follows; a minus above a name is its value after "
                "the iteration before, and 0 before the first."
                + (
                    " In the first, the gradient counts in full."
                    if any(map(self.begins_alone, states))
                    else ""
                )
            )
        for state in states:
            assert state.rule is not None
            rule = self.of_any(state.rule, first.parameter)
            yield _equate(state.name[0], render(rule, self.named))
        yield _say("The rule is the same for every parameter {}:", Math("w"))
        yield _equate("w^{+}", render(self.of_any(first.expression, first.parameter), self.named))
        yield _say("In numbers, for {}:", Math(latex_name(first.parameter)))
        for state in states:
            if state.first is not None:
                rule = _taught(state.first)
                yield self.calculation(latex_name(state.name), rule, self.values[state.name])
        yield self.updated(first)

    def begins_alone(self, state: Quantity) -> bool:
        """Whether the rule with 0 for what was before would give another first value."""
        assert state.rule is not None
        before = {**self.values, Previous(state.name).key: 0.0}
        return not math.isclose(float(evaluate(state.rule, before)), self.values[state.name])

    def of_any(self, rule: Expression, parameter: str) -> Expression:
        """The rule of one parameter, with w in its place."""
        letters = [state.name[0] for state in self.program.of_role("state")]
        general: dict[Expression, Expression] = {
            Reference(parameter): Reference("w"),
            Reference(gradient_name(parameter)): Reference(gradient_name("w")),
        }
        for letter in letters:
            general[Reference(f"{letter}_{parameter}")] = Reference(letter)
            general[Previous(f"{letter}_{parameter}")] = Previous(letter)
        return substitute(rule, general)

    # ------------------------------------------------------------ errata

    def errata(self) -> Iterator[Block]:
        """The slips of the course's text: the wrong formulas are made of the right ones, and run."""
        network = self.program.network
        plain = all(layer.activation == "sigmoid" and not layer.biases for layer in network.layers)
        kind = (network.sizes, self.samples, network.loss)
        if not plain or kind != ((2, 2, 2), 1, "half_squared_error"):
            raise NetworkError(
                f"errata: {network.name!r} is not of the only kind the course's text is about (2-2-2, "
                "sigmoid, no biases, half squared error, one sample); leave errata out"
            )
        yield from self.missing_activation()
        yield from self.missing_brackets()
        yield from self.wrong_neuron()

    def missing_activation(self) -> Iterator[Block]:
        yield _say(
            "First: the sums of the output neurons are printed with {} in the place of {}, although the "
            "text's own {} is right. As printed:",
            *map(Math, ("h_1", "a_{h_1}", rf"{self.partial('o1', 'w5')} = a_{{h_1}}")),
        )
        slip: Mapping[Expression, Expression] = {Reference("a_h1"): Reference("h1")}
        wrong = dict(self.values)
        for quantity in self.program.of_role("forward", "loss"):
            formula = self.formula(quantity.name)
            if quantity.name in ("o1", "o2"):
                formula = substitute(formula, slip)
                yield self.calculation(self.name(quantity.name), formula, evaluate(formula, wrong))
            wrong[quantity.name] = evaluate(formula, wrong)
        yield _say("As it should be:")
        yield self.result(self.program["o1"])
        yield self.result(self.program["o2"])
        losses = (values[self.program.loss] for values in (wrong, self.values))
        yield _say(
            "With this slip the loss comes out as {} instead of {}.",
            *(Math(rounded(loss)) for loss in losses),
        )

    def missing_brackets(self) -> Iterator[Block]:
        yield _say(
            "Second: in the derivatives of {} to {}, the sum over the two output neurons stands without "
            "brackets, so that only its second term is multiplied by what follows. Of each, first as "
            "printed, then as it should be:",
            *map(Math, ("w_1", "w_4")),
        )
        for gradient in self.program.of_role("gradient"):
            if gradient.layer == 0:
                outer, inner, last = self.hidden_factors(gradient)
                one, other = _terms(outer)
                for formula in (add(one, multiply(other, inner, last)), self.formula(gradient.name)):
                    shown = self.show(substitute(formula, self.expanded))
                    result = rounded(evaluate(formula, self.values))
                    yield _equate(self.name(gradient.name), shown, result)

    def wrong_neuron(self) -> Iterator[Block]:
        yield _say(
            "Third, not in the text but frequent in sheets made by hand: for {} and {}, the derivative "
            "of the activation is taken from the wrong neuron, {}. Where the numbers are so close, no "
            "curve of the loss gives it away. Of each, first wrong, then right:",
            *map(Math, ("w_3", "w_4", "h_1")),
        )
        slip: Mapping[Expression, Expression] = {Reference("a_h2"): Reference("a_h1")}
        for name in ("dE_dw3", "dE_dw4"):
            outer, inner, last = self.hidden_factors(self.program[name])
            for slope in (substitute(inner, slip), inner):
                formula = multiply(outer, slope, last)
                yield self.calculation(self.name(name), formula, evaluate(formula, self.values))

    def hidden_factors(self, gradient: Quantity) -> Iterator[Expression]:
        """∂E/∂a, ∂a/∂h and ∂h/∂w, the three factors of the gradient of a hidden neuron's weight."""
        ((start, end),) = gradient.chains
        (chain,) = self.program[f"delta_{start.by}"].chains
        return (factor.expression for factor in (*chain, end))

    # ------------------------------------------------------------ phrases

    @staticmethod
    def name(name: str) -> str:
        return latex_name(name.replace("[1]", "[k]"))

    def show(self, expression: Expression) -> str:
        return render(expression, self.general)

    def partial(self, of: str, by: str) -> str:
        return rf"\frac{{\partial {self.name(of)}}}{{\partial {self.name(by)}}}"

    def factor(self, factor: Factor) -> Equation:
        return _equate(self.partial(factor.of, factor.by), self.show(factor.expression))

    def product(self, chain: Chain) -> str:
        """The factors of a chain by name."""
        return r" \cdot ".join(self.partial(factor.of, factor.by) for factor in chain)

    def from_total(self, chain: Chain) -> Chain:
        """A chain of the program, which begins with what it calls E: the total loss."""
        return (replace(chain[0], of=self.program.loss), *chain[1:])

    def definition(self, quantity: Quantity) -> Equation:
        return _equate(self.name(quantity.name), self.show(self.formula(quantity.name)))

    def over_samples(self, text: str, is_sum: bool) -> str:
        if self.samples == 1:
            return text
        return rf"\sum_{{k=1}}^{{{self.samples}}} " + (f"({text})" if is_sum else text)

    def total(self, expression: Expression) -> str:
        is_sum = isinstance(expression, Application) and expression.operation in ("add", "subtract")
        return self.over_samples(self.show(expression), is_sum)

    def setting(self, name: str) -> str:
        return f"{latex_name(name)} = {rounded(self.values[name])}"

    def result(self, quantity: Quantity) -> Equation:
        formula = self.formula(quantity.name)
        return self.calculation(latex_name(quantity.name), formula, self.values[quantity.name])

    def calculation(self, name: str, formula: Expression, result: float) -> Equation:
        """The formula, the numbers put into it, and what comes out."""
        return _equate(name, render(formula, self.named), self.in_numbers(formula), rounded(result))

    def in_numbers(self, formula: Expression) -> str:
        return render(substitute(formula, self.numbers), NUMBERS)

    # ------------------------------------------------------------ parts of the program

    @property
    def sample_numbers(self) -> list[int | None]:
        """As the quantities carry them: none where there is one sample only."""
        return [None] if self.samples == 1 else list(range(1, self.samples + 1))

    def formula(self, name: str) -> Expression:
        expression = self.program[name].expression
        assert expression is not None, name
        return expression

    def partials(self, name: str) -> Mapping[str, Expression]:
        """The partial derivatives of a quantity, by name; kept, for a softmax asks for them often."""
        if name not in self.derived:
            self.derived[name] = partial_derivatives(self.formula(name), Reference(name))
        return self.derived[name]

    def general_reference(self, name: str) -> Reference:
        return Reference(net.of_sample(name, 1, self.samples))

    def general_quantities(self, *roles: Role, layer: int | None = None) -> list[Quantity]:
        """Those of sample 1, which stand for all samples, and those of the whole batch."""
        quantities = [q for q in self.program.of_role(*roles) if q.sample in (None, 1)]
        return [q for q in quantities if layer in (None, q.layer)]

    def general_chains(self, gradient: Quantity) -> tuple[Chain, ...]:
        """The chains through sample 1: one per neuron that uses the parameter."""
        chains = gradient.chains
        return tuple(chain for chain in chains if self.program[chain[-1].of].sample in (None, 1))

    def parameters(self, layer: int) -> list[str]:
        return [q.name for q in self.program.of_role("parameter") if q.layer == layer]

    def layer_name(self, layer: int) -> str:
        if layer == self.last:
            return "output layer"
        return "hidden layer" if self.last == 1 else f"hidden layer {layer + 1}"

    def expand_deltas(self) -> Mapping[Expression, Expression]:
        """δ → its formula in outputs, targets and weights, where that is short enough."""
        expanded: dict[Expression, Expression] = {}
        for quantity in self.general_quantities("delta"):
            full = substitute(self.formula(quantity.name), expanded)
            names = list(references(full))
            if len(names) <= EXPANDED_LENGTH and not any(name.startswith("delta_") for name in names):
                expanded[Reference(quantity.name)] = full
        return expanded


class _LargeWriter(_Writer):
    """Writes of a large network all layers in matrices, and one weight of each layer in full."""

    def __init__(self, program: Program, values: Mapping[str, float], learning_rate: float) -> None:
        super().__init__(program, values, learning_rate)
        sign = rf"\sum_{{{{k=1}}}}^{{{{{self.samples}}}}} "
        self.matrices = matrix_notation(
            SQUARE_IN_BRACKETS, self.samples, _matrix_name, "latex", r"\sum ", sign
        )

    def matrix_formula(self, formula: MatrixFormula) -> Equation:
        name = self.matrices.reference(formula.name)
        return _equate(name, render(formula.expression, self.matrices))

    def network(self) -> Iterator[Block]:
        yield from super().network()
        yield _say(
            "In matrices: the row of {} for a neuron holds its weights in layer {}, the vectors {} its "
            "sums, {} its outputs and {} its biases; {} holds the inputs, {} the targets. The sign {}, "
            "powers and functions work entry by entry.",
            *map(Math, (r"W^{[l]}", "l", "z^{[l]}", "a^{[l]}", "b^{[l]}", "x", "t", r"\odot")),
        )

    def forward(self, layer: int) -> Iterator[Block]:
        network = self.program.network
        spec = network.layers[layer]
        yield _say("The sums of all neurons of the layer, and what the activation makes of them:")
        for formula in forward_formulas(self.program):
            if formula.layer == layer:
                yield self.matrix_formula(formula)
        earlier = [before.activation for before in network.layers[:layer]]
        if spec.activation not in ("identity", "softmax", *earlier):
            yield from self.activation(spec.activation)
        if names := self.softmax_of_first_neuron(layer):
            parts = [self.program[net.of_sample(name, 1, self.samples)] for name in names]
            yield from self.softmax(parts, names[-1][0])
            yield _say("and so for all other neurons.")

    def softmax_of_first_neuron(self, layer: int) -> list[str]:
        """What a softmax of the layer computes for its first neuron: m, e, Z and the share."""
        network = self.program.network
        if network.layers[layer].activation == "softmax":
            whole = f"_{net.layer_name(network, layer)}"
            first, share = f"_{net.sum_name(network, layer, 1)}", "a"
        elif network.loss == "softmax_cross_entropy" and layer == self.last:
            whole, first, share = "", "1", "p"
        else:
            return []
        return [f"m{whole}", f"e{first}", f"Z{whole}", f"{share}{first}"]

    def derivatives(self, layer: int) -> Iterator[Block]:
        network = self.program.network
        if layer == self.last:
            yield _say(
                "The derivative of the loss by the sums of a layer is called {}; every gradient of the "
                "layer is made of it.",
                Math(r"\delta"),
            )
        else:
            yield _say(
                "The outputs act on the loss through all neurons of the next layer: the transposed "
                "weights carry their {} back.",
                Math(r"\delta"),
            )
        yield from map(self.matrix_formula, backward_formulas(self.program, layer))
        if not network.layers[layer].train_biases and network.layers[layer].biases:
            yield _say("The biases are not trained, and so without a derivative.")
        gradient = self.program[gradient_name(self.parameters(layer)[0])]
        chosen = self.chosen_delta(layer)
        yield _say(
            "One weight written out, {}: first the {} of its neuron.",
            Math(latex_name(self.parameters(layer)[0])),
            Math(r"\delta"),
        )
        yield from self.delta(chosen, chosen.name.removeprefix("delta_"))
        yield from self.gradient(gradient)

    def chosen_delta(self, layer: int) -> Quantity:
        """δ of the first neuron, whose first weight is written out."""
        return self.general_quantities("delta", layer=layer)[0]

    def forward_in_numbers(self) -> Iterator[Block]:
        """Of the first sample only: all others are computed alike."""
        yield from self.first_parameters()
        yield _say(
            "Sample 1, forward; the others are computed alike:" if self.samples > 1 else "Forward:"
        )
        for quantity in self.general_quantities("forward", "loss"):
            if quantity.name != self.program.loss:
                yield self.result(quantity)
        yield from self.loss_in_numbers()

    def backward_in_numbers(self) -> Iterator[Block]:
        """Of one weight of each layer, and of the δ of its neuron in all samples."""
        for layer in reversed(range(self.last + 1)):
            yield _say(f"The {self.layer_name(layer)}:")
            gradient = self.program[gradient_name(self.parameters(layer)[0])]
            for start, _ in gradient.chains:
                yield self.result(self.program[f"delta_{start.by}"])
            yield self.result(gradient)

    def updates(self) -> Iterator[Block]:
        gradient = self.matrices.reference("dE_dW").replace("W", "W^{[l]}")
        yield _equate("W^{[l]+}", rf"W^{{[l]}} - \eta \cdot {gradient}")
        yield _say("and the biases alike. In numbers, for one weight:")
        yield self.updated(self.program.updates[0])


def _matrix_name(letter: str, layer: str, sample: str) -> str:
    if letter.startswith("dE_d"):
        return rf"\frac{{\partial E_{{total}}}}{{\partial {_matrix_name(letter[4:], layer, '')}}}"
    if letter == "g":
        return rf"\frac{{\partial E_{{total}}}}{{\partial {_matrix_name('a', layer, sample)}}}"
    above = (f"[{layer}]" if layer else "") + (f"({sample})" if sample else "")
    return (r"\delta" if letter == "delta" else letter) + (above and f"^{{{above}}}")
