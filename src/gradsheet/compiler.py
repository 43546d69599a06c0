"""network → `Program`: an ordered list of named quantities, each one formula of earlier ones.

The order is the one in which a teacher writes a sheet: data; then, layer by layer, the weights and the
forward pass; the loss; the gradients by the chain rule, in which the hidden layers reuse the δ terms of
the layer behind; last the updates. A backend prints or runs this list; none adds calculus of its own.
"""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import Literal

from gradsheet import network as net
from gradsheet.errors import TooLargeError
from gradsheet.expression import (
    ONE,
    ZERO,
    Application,
    Constant,
    Expression,
    Previous,
    Reference,
    add,
    apply,
    divide,
    filled,
    label,
    multiply,
    partial_derivatives,
    references,
    softmax_slope,
    square,
    substitute,
)
from gradsheet.network import Network
from gradsheet.optimizers import (
    LEARNING_RATE,
    OPTIMIZERS,
    RATE,
    SCHEDULES,
    SMOOTHED,
    G,
    Optimizer,
    W,
)

Role = Literal[
    "rate", "dealt", "data", "parameter", "forward", "loss", "smoothed", "delta", "gradient", "state"
]  # fmt: skip
TRAINING_ROLES: tuple[Role, ...] = ("rate", "smoothed", "state")
"""What belongs to the learning, not to the network: it may read the iteration and the one before."""


MOST_QUANTITIES = 50_000
"""Of one iteration: more take long to compile, and nobody reads them."""


@dataclass(frozen=True)
class Factor:
    """One factor of a chain: ``∂E/∂a_o1`` (``of`` E, ``by`` a_o1) and the formula it stands for."""

    of: str
    by: str
    expression: Expression

    @property
    def label(self) -> str:
        return f"∂{label(self.of)}/∂{label(self.by)}"


Chain = tuple[Factor, ...]


@dataclass(frozen=True)
class Quantity:
    """A named number: an input with its initial ``value``, or a formula of earlier quantities.

    ``layer`` counts from 0 and is None for data and loss. ``sample`` counts the samples of a batch from
    1 and is None for what belongs to the whole batch, or where it has only one; where batches are dealt,
    the quantity of role "dealt" is its number among all samples, from which its data follow. A δ or a
    gradient also tells how the chain rule gave its formula: the sum, over ``chains``, of the product of
    their factors. A state of an optimizer has another formula in the ``first`` iteration, and a ``rule``
    as it is taught, without the guard that is in the two others where a run can diverge.
    """

    name: str
    role: Role
    expression: Expression | None = None
    value: float | None = None
    layer: int | None = None
    sample: int | None = None
    chains: tuple[Chain, ...] = ()
    first: Expression | None = None
    rule: Expression | None = None

    @property
    def label(self) -> str:
        """The name as a sheet prints it, such as ``∂E/∂w5``."""
        return label(self.name)


@dataclass(frozen=True)
class Update:
    """What a parameter becomes in the next iteration, from the quantities of the one that ends.

    ``expression`` is the rule as it is taught. ``guarded`` is what is run: the same rule, but where
    the loss has no upper bound the parameter is held once the loss shows that the run has diverged.
    """

    parameter: str
    expression: Expression
    guarded: Expression


@dataclass(frozen=True)
class Program:
    """A network compiled: inputs, formulas and updates of one training iteration.

    ``hyperparameters`` holds those in use by name, the learning rate first; they are not among the
    quantities, because each has one cell for all iterations. The number of the iteration, from 1, goes
    by the name ``iteration``.
    """

    network: Network
    quantities: tuple[Quantity, ...]
    updates: tuple[Update, ...]
    hyperparameters: Mapping[str, float]
    loss: str = "E_total"

    @property
    def shown_loss(self) -> str:
        """The loss by which runs are judged and compared: of batches, the smoothed one."""
        return self.loss if self.network.batch_size is None else "E_smooth"

    def batches(self) -> Iterator[dict[str, float]]:
        """What every iteration puts in the place of `initial`: the samples dealt, by name.

        Nothing where every iteration sees all samples.
        """
        if self.network.batch_size is None:
            return repeat({})
        batches = net.batches(self.network)
        return (dict(ChainMap(*net.dealt_values(self.network, batch))) for batch in batches)

    def __getitem__(self, name: str) -> Quantity:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @cached_property
    def _by_name(self) -> Mapping[str, Quantity]:
        return {quantity.name: quantity for quantity in self.quantities}

    @cached_property
    def initial(self) -> Mapping[str, float]:
        """The inputs' values in the first iteration, by name."""
        return {q.name: q.value for q in self.quantities if q.value is not None}

    def of_role(self, *roles: Role) -> tuple[Quantity, ...]:
        """The quantities of these roles, in order."""
        return tuple(quantity for quantity in self.quantities if quantity.role in roles)

    @property
    def prediction(self) -> tuple[Quantity, ...]:
        """The forward pass of one sample, the first: that of every other is the same."""
        return tuple(q for q in self.of_role("forward") if q.sample in (None, 1))

    @property
    def trained(self) -> tuple[str, ...]:
        """The parameters that learning changes, in the order of their gradients."""
        return tuple(update.parameter for update in self.updates)

    @property
    def can_diverge(self) -> bool:
        """False where bounded outputs bound the loss, whatever the learning rate."""
        return _can_diverge(self.network)


def gradient_name(parameter: str) -> str:
    """``dE_dw5`` for ``w5``."""
    return f"dE_d{parameter}"


def least_quantities(network: Network) -> int:
    """How many quantities its program has at least, but for the data: known before it is compiled."""
    neurons = sum(layer.neurons for layer in network.layers)
    parameters = sum(layer.neurons * layer.fan_in for layer in network.layers)
    return 2 * parameters + network.slots * 2 * neurons  # sums and their δ


def compile_network(network: Network) -> Program:
    """Compile a checked network. Deterministic; the result is frozen.

    Raises `TooLargeError` for a network that would take long to compile.
    """
    count = least_quantities(network)
    if count > MOST_QUANTITIES:
        raise TooLargeError(
            f"an update would be about {count:,} formulas, but no more than {MOST_QUANTITIES:,} are "
            "compiled; use mini-batches (--batch-size), fewer samples or neurons"
        )
    forward = _Builder(network)
    forward.add_data()
    for layer in range(len(network.layers)):
        forward.add_layer(layer)
    forward.add_loss()
    forward.add_gradients()
    plain = Program(network, tuple(forward.quantities.values()), (), {})
    return with_learning(plain, network, forward.trained)


def with_learning(
    program: Program, network: Network, parameters: Iterable[str], optimizer: Optimizer | None = None
) -> Program:
    """The program with ``parameters`` learnt as ``network`` says, in place of how they learnt before.

    ``optimizer`` stands in for the network's, where it has no entry in the table.
    """
    quantities = [q for q in program.quantities if q.role not in TRAINING_ROLES]
    settings = network.settings_in_use
    left_out: dict[Expression, Expression] = {
        Reference(name): ZERO for name in network.settings if name not in settings
    }
    if network.batch_size is not None:
        smoothed = Quantity("E_smooth", "smoothed", SMOOTHED.rule, first=SMOOTHED.first)
        quantities.insert(quantities.index(program[program.loss]) + 1, smoothed)
    rate = Reference(LEARNING_RATE)
    if network.schedule != "constant":
        rate = Reference("rate")
        quantities.insert(
            0, Quantity("rate", "rate", filled(SCHEDULES[network.schedule].rate, left_out))
        )
    updates = []
    for parameter in parameters:
        known = {**left_out, RATE: rate}
        states, update = _learnt(
            network, optimizer or OPTIMIZERS[network.optimizer], program[parameter], known
        )
        quantities += states
        updates.append(update)
    hyperparameters = {LEARNING_RATE: network.learning_rate, **settings}
    return replace(
        program,
        network=network,
        quantities=tuple(quantities),
        updates=tuple(updates),
        hyperparameters=hyperparameters,
    )


def _learnt(
    network: Network, optimizer: Optimizer, parameter: Quantity, known: Mapping[Expression, Expression]
) -> tuple[list[Quantity], Update]:
    """What the optimizer remembers of a parameter, and its update; ``known`` fills the optimizer's rules
    but for what belongs to the parameter."""
    name = parameter.name
    weight, gradient, decay = Reference(name), Reference(gradient_name(name)), Reference("weight_decay")
    decays = decay.name in network.settings_in_use
    seen = gradient + decay * weight if decays and not optimizer.decoupled else gradient
    own = {**known, W: weight, G: seen}
    for letter in optimizer.states:
        own[Reference(letter)] = Reference(f"{letter}_{name}")
        own[Previous(letter)] = Previous(f"{letter}_{name}")
    at_first: dict[Expression, Expression] = {Previous(letter): ZERO for letter in optimizer.states}
    states = []
    for letter, state in optimizer.states.items():
        rule = filled(state.rule, own)
        states.append(
            Quantity(
                f"{letter}_{name}",
                "state",
                _held(network, rule, Previous(f"{letter}_{name}")),
                layer=parameter.layer,
                first=_held(network, filled(state.first or state.rule, {**own, **at_first}), ZERO),
                rule=rule,
            )
        )
    update = filled(optimizer.update, own)
    # a decay can let a weight grow although the loss is bounded
    growing = [apply("absolute", weight)] if decays else []
    return states, Update(name, update, _held(network, update, weight, *growing))


def _held(network: Network, new: Expression, old: Expression, *sizes: Expression) -> Expression:
    """The new value, or the old one where the run has diverged, so that no cell overflows.

    It has where the loss is too large, or one of further ``sizes``.
    """
    measured = (Reference("E_total"), *sizes) if _can_diverge(network) else sizes
    return apply("hold", add(*measured), new, old) if measured else new


def _can_diverge(network: Network) -> bool:
    bounded = network.layers[-1].activation in net.BOUNDED
    return not bounded or network.loss.endswith("cross_entropy")


class _Builder:
    """Collects the quantities in order; every method adds one part of the program."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.quantities: dict[str, Quantity] = {}
        self.weights = net.weight_names(network)
        self.biases = net.bias_names(network)
        self.samples = range(1, network.slots + 1)
        self.losses: list[str] = []  # E1, E2 …: what E_total sums or averages
        self.loss_of_output: dict[str, str] = {}  # sum of an output neuron → its loss
        self.users: dict[str, list[str]] = defaultdict(list)  # parameter → the sums it stands in
        self.helpers: set[str] = set()  # what a softmax computes between the sums and its loss
        self.definitions: dict[Expression, Expression] = {}  # formula → the quantity that holds it
        self.partials: dict[str, dict[str, Expression]] = {}  # quantity → its partial derivatives

    def name(self, name: str, sample: int) -> str:
        return net.of_sample(name, sample, self.network.slots)

    def add(
        self,
        name: str,
        role: Role,
        content: Expression | float,
        layer: int | None = None,
        sample: int | None = None,
        chains: tuple[Chain, ...] = (),
    ) -> str:
        expression = content if isinstance(content, Expression) else None
        value = None if isinstance(content, Expression) else float(content)
        if self.network.slots == 1:
            sample = None
        self.quantities[name] = Quantity(name, role, expression, value, layer, sample, chains)
        if isinstance(expression, Application):
            self.definitions.setdefault(expression, Reference(name))
        return name

    # ------------------------------------------------------------ data and forward pass

    def add_data(self) -> None:
        first = net.dealt_values(self.network, next(net.batches(self.network)))
        for sample, values in zip(self.samples, first, strict=True):
            for name, value in values.items():
                self.add(name, "dealt" if name[0] == "n" else "data", value, sample=sample)

    def add_layer(self, layer: int) -> None:
        spec = self.network.layers[layer]
        for names, values in zip(self.weights[layer], spec.weights, strict=True):
            for name, value in zip(names, values, strict=True):
                self.add(name, "parameter", value, layer)
        for name, value in zip(dict.fromkeys(self.biases[layer]), spec.biases, strict=True):
            self.add(name, "parameter", value, layer)
        for sample in self.samples:
            sources = [Reference(name) for name in self.layer_inputs(layer, sample)]
            sums = []
            for k, weights in enumerate(self.weights[layer]):
                terms: list[Expression] = [
                    Reference(weight) * source for weight, source in zip(weights, sources, strict=True)
                ]
                if self.biases[layer]:
                    terms.append(Reference(self.biases[layer][k]))
                total = self.name(net.sum_name(self.network, layer, k + 1), sample)
                sums.append(self.add(total, "forward", add(*terms), layer, sample))
                for parameter in (*weights, *self.biases[layer][k : k + 1]):
                    self.users[parameter].append(total)
                output = self.name(net.activation_name(self.network, layer, k + 1), sample)
                if output != total and spec.activation != "softmax":
                    self.add(output, "forward", apply(spec.activation, Reference(total)), layer, sample)
            if spec.activation == "softmax":
                each = [f"_{net.sum_name(self.network, layer, k + 1)}" for k in range(spec.neurons)]
                whole = f"_{net.layer_name(self.network, layer)}"
                self.add_softmax(layer, sample, sums, "a", each, whole)

    def add_softmax(
        self, layer: int, sample: int, sums: list[str], share: str, each: list[str], whole: str
    ) -> None:
        """The shares of some sums, by way of the largest m, the powers e and the sum of these, Z.

        ``share`` is the letter of a share; ``each`` and ``whole`` are what follows a letter in the names
        of a neuron's quantities and of the layer's.
        """

        def helper(name: str, formula: Expression) -> Reference:
            name = self.add(self.name(name, sample), "forward", formula, layer, sample)
            self.helpers.add(name)
            return Reference(name)

        largest = helper(f"m{whole}", apply("detached_max", *map(Reference, sums)))
        powers = [
            helper(f"e{end}", apply("exp", Reference(name) - largest))
            for name, end in zip(sums, each, strict=True)
        ]
        total = helper(f"Z{whole}", add(*powers))
        for power, end in zip(powers, each, strict=True):
            self.add(self.name(f"{share}{end}", sample), "forward", power / total, layer, sample)

    def layer_inputs(self, layer: int, sample: int) -> list[str]:
        if layer == 0:
            names = [net.input_name(k) for k in range(1, self.network.sizes[0] + 1)]
        else:
            count = self.network.layers[layer - 1].neurons
            names = [net.activation_name(self.network, layer - 1, k) for k in range(1, count + 1)]
        return [self.name(name, sample) for name in names]

    # ------------------------------------------------------------ loss

    def add_loss(self) -> None:
        for sample in self.samples:
            if self.network.loss in net.CLASS_LOSSES:
                self.add_loss_of_classes(sample)
            else:
                self.add_loss_per_output(sample)
        total = add(*map(Reference, self.losses))
        if self.network.loss != "half_squared_error":
            total = divide(total, Constant(float(len(self.losses))))
        self.add("E_total", "loss", total)

    def add_loss_per_output(self, sample: int) -> None:
        last = len(self.network.layers) - 1
        for k in range(1, self.network.sizes[-1] + 1):
            target = Reference(self.name(net.target_name(k), sample))
            total = Reference(self.name(net.sum_name(self.network, last, k), sample))
            output = Reference(self.name(net.activation_name(self.network, last, k), sample))
            if self.network.loss == "half_squared_error":
                formula = 0.5 * square(target - output)
            elif self.network.loss == "mean_squared_error":
                formula = square(target - output)
            elif self.network.loss == "mean_absolute_error":
                formula = apply("absolute", output - target)
            elif self.network.loss == "huber":
                formula = apply("huber", output - target)
            else:
                # −t·ln(a) − (1−t)·ln(1−a) for a = σ(o), in the form that cannot overflow
                formula = apply("softplus", total) - target * total
            name = self.add(self.name(f"E{k}", sample), "loss", formula, sample=sample)
            self.losses.append(name)
            self.loss_of_output[total.name] = name

    def add_loss_of_classes(self, sample: int) -> None:
        """−Σ t·ln(share), in the form that needs no logarithm of a share: ln(Z) − Σ t·(o − m)."""
        last = len(self.network.layers) - 1
        count = self.network.sizes[-1]
        outputs = [self.name(net.sum_name(self.network, last, k), sample) for k in range(1, count + 1)]
        targets = [self.name(net.target_name(k), sample) for k in range(1, count + 1)]
        whole = "_o"
        if self.network.loss == "softmax_cross_entropy":
            whole = ""
            self.add_softmax(last, sample, outputs, "p", [str(k) for k in range(1, count + 1)], whole)
        largest, total = (Reference(self.name(letter + whole, sample)) for letter in "mZ")
        chosen = add(
            *(
                Reference(target) * (Reference(output) - largest)
                for target, output in zip(targets, outputs, strict=True)
            )
        )
        loss = apply("log", total) - chosen
        name = self.add(self.name("E", sample), "loss", loss, sample=sample)
        self.losses.append(name)
        self.loss_of_output.update(dict.fromkeys(outputs, name))

    # ------------------------------------------------------------ gradients

    @property
    def trained(self) -> list[str]:
        """Weights and trained biases in the order of the columns: by layer, weights first."""
        return [
            name
            for layer, spec in enumerate(self.network.layers)
            for name in (
                *(name for row in self.weights[layer] for name in row),
                *(dict.fromkeys(self.biases[layer]) if spec.train_biases else ()),
            )
        ]

    def add_gradients(self) -> None:
        for layer in reversed(range(len(self.network.layers))):
            for sample in self.samples:
                for k in range(1, self.network.layers[layer].neurons + 1):
                    self.add_delta(layer, k, sample)
        for name in self.trained:
            self.add_gradient(name)

    def add_delta(self, layer: int, neuron: int, sample: int) -> None:
        """δ of a neuron is ∂E/∂(its sum): what all gradients of its weights share."""
        total = self.name(net.sum_name(self.network, layer, neuron), sample)
        error = self.error(layer, neuron, sample)
        chains: tuple[Chain, ...]
        if error.by == total:
            chains = ((error,),)
        elif self.network.layers[layer].activation == "softmax":  # every output depends on the sum
            count = self.network.layers[layer].neurons
            errors = [self.error(layer, k, sample) for k in range(1, count + 1)]
            shares = [Reference(each.by) for each in errors]
            slopes = (softmax_slope(shares, k, neuron - 1) for k in range(count))
            chains = tuple(
                (each, Factor(each.by, total, slope)) for each, slope in zip(errors, slopes, strict=True)
            )
        else:
            chains = ((error, Factor(error.by, total, self.derivative(error.by, total))),)
        products = (multiply(*(factor.expression for factor in chain)) for chain in chains)
        self.add(f"delta_{total}", "delta", self.known(add(*products)), layer, sample, chains)

    def error(self, layer: int, neuron: int, sample: int) -> Factor:
        """∂E/∂(output of a neuron), or ∂E/∂(its sum) where the loss is a formula of the sum."""
        total = self.name(net.sum_name(self.network, layer, neuron), sample)
        output = self.name(net.activation_name(self.network, layer, neuron), sample)
        if layer < len(self.network.layers) - 1:
            paths = [
                Reference(delta) * self.derivative(follower, output)
                for follower, delta in self.followers(layer, sample)
            ]
            return Factor("E", output, add(*paths))
        loss = self.loss_of_output[total]
        reached = output if self.depends(loss, output) else total
        slope = self.scaled(self.derivative(loss, reached), self.derivative("E_total", loss))
        return Factor("E", reached, slope)

    def followers(self, layer: int, sample: int) -> Iterable[tuple[str, str]]:
        """The sums of the next layer and their δ, which exist already."""
        for k in range(1, self.network.layers[layer + 1].neurons + 1):
            total = self.name(net.sum_name(self.network, layer + 1, k), sample)
            yield total, f"delta_{total}"

    def add_gradient(self, parameter: str) -> None:
        """∂E/∂w adds up, over the neurons and samples that use w, δ · ∂(sum)/∂w."""
        layer = self.quantities[parameter].layer
        chains = tuple(
            (
                Factor("E", user, Reference(f"delta_{user}")),
                Factor(user, parameter, self.derivative(user, parameter)),
            )
            for user in self.users[parameter]
        )
        formula = add(*(multiply(*(factor.expression for factor in chain)) for chain in chains))
        self.add(gradient_name(parameter), "gradient", formula, layer, chains=chains)

    def depends(self, name: str, other: str) -> bool:
        expression = self.quantities[name].expression
        return expression is not None and other in references(expression)

    def derivative(self, name: str, by: str) -> Expression:
        """d(name)/d(by), through the helpers of a softmax where ``name`` uses any."""
        if name == by:
            return ONE
        if name not in self.partials:
            expression = self.quantities[name].expression
            assert expression is not None
            self.partials[name] = partial_derivatives(expression, Reference(name))
        paths = [
            multiply(partial, self.derivative(between, by))
            for between, partial in self.partials[name].items()
            if between == by or between in self.helpers
        ]
        return self.known(add(*paths))

    def known(self, expression: Expression) -> Expression:
        """The expression with every part that a quantity already holds replaced by its name."""
        return substitute(expression, self.definitions)

    @staticmethod
    def scaled(expression: Expression, share: Expression) -> Expression:
        """``expression`` times a share 1 or 1/N; (a − t)/N reads better than 1/N·(a − t)."""
        match share:
            case Application("divide", (numerator, denominator)):
                return divide(multiply(numerator, expression), denominator)
        return multiply(share, expression)
