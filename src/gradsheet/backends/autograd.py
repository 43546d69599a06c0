"""PyTorch as an independent referee: one training iteration, differentiated by autograd.

Only the network's *loss* is written here, with PyTorch's own functions. Neither an expression nor a
gradient formula of gradsheet is used; what is shared are the names of the quantities. So where a sheet
and this module agree, two unrelated derivations agree.

PyTorch is loaded when this module is. Nothing on the spreadsheet side imports it, except the moment in
which somebody asks for a verification.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradsheet.compiler import gradient_name
from gradsheet.errors import MissingDependencyError
from gradsheet.expression import Array
from gradsheet.network import (
    Network,
    activation_name,
    bias_names,
    input_name,
    layer_name,
    of_sample,
    sum_name,
    target_name,
    weight_names,
)

try:
    import torch
    from torch.nn import functional
    from torch.optim.sgd import sgd
except ImportError:
    raise MissingDependencyError(
        "PyTorch is not installed, and gradients are verified against it; "
        "install it with: pip install 'gradsheet[torch]'"
    ) from None

Names = np.ndarray[tuple[int, ...], np.dtype[np.str_]]

_ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "identity": lambda sums: sums,
    # Without its threshold: from 20 on, PyTorch takes x for ln(1 + eˣ), which is 1e-10 off.
    "softplus": partial(functional.softplus, threshold=50),
    "elu": functional.elu,
    "gelu": partial(functional.gelu, approximate="tanh"),
    "silu": functional.silu,
    "softmax": partial(torch.softmax, dim=-1),
}


@dataclass(frozen=True)
class Step:
    """One iteration of many independent rows; every array has the shape (rows,).

    ``values`` holds every quantity of the forward pass, the loss, the δ and the gradients, by the name
    it has in a `Program`. ``updated`` holds every trained parameter after one step of the optimizer of
    ``torch.optim``, ``states`` what that remembers then. That is the plain rule: where a Program holds
    the weights of a run that has diverged, the caller has to expect the old weights and states instead.
    """

    values: Mapping[str, Array]
    updated: Mapping[str, Array]
    states: Mapping[str, Array]


def step(
    network: Network,
    inputs: Mapping[str, Array],
    learning_rate: float | Array,
    *,
    gradients: Mapping[str, Array] | None = None,
    before: Mapping[str, Array] | None = None,
    iterations: Array | None = None,
) -> Step:
    """Run one iteration in float64: forwards, backwards and through the optimizer.

    ``inputs`` holds every data and parameter quantity by name, each of shape (rows,). Every row is an
    iteration of its own, with its own weights and data; a row that is not finite spoils no other one.
    ``learning_rate`` and ``iterations`` (all 1 by default) are those of the rows. ``before`` holds the
    states of the optimizer after the iteration before, by name; the first iteration has none.
    ``gradients`` replaces those of autograd in the optimizer.
    """
    values: dict[str, Array] = {}
    trained: list[tuple[Names, torch.Tensor]] = []
    all_sums: list[tuple[Names, torch.Tensor]] = []
    signal = _tensor(inputs, _per_sample(network, input_name, network.sizes[0]))
    targets = _tensor(inputs, _per_sample(network, target_name, network.sizes[-1]))
    for layer, spec in enumerate(network.layers):
        names = np.array(weight_names(network)[layer])
        weights = _tensor(inputs, names).requires_grad_()
        trained.append((names, weights))
        sums = _weighted_sums(signal, weights)
        if spec.biases:
            names = np.array(list(dict.fromkeys(bias_names(network)[layer])))
            biases = _tensor(inputs, names).requires_grad_(spec.train_biases)
            if spec.train_biases:
                trained.append((names, biases))
            sums = sums + biases.unsqueeze(1)
        sums.retain_grad()
        signal = _ACTIVATIONS[spec.activation](sums)
        names = _per_sample(network, partial(sum_name, network, layer), spec.neurons)
        all_sums.append((names, sums))
        values |= _by_name(names, sums)
        names = _per_sample(network, partial(activation_name, network, layer), spec.neurons)
        values |= _by_name(names, signal)
        if spec.activation == "softmax":
            whole = f"_{layer_name(network, layer)}"
            each = [f"_{sum_name(network, layer, k)}" for k in range(1, spec.neurons + 1)]
            values |= _softmax(network, sums.detach(), each, whole)

    if network.loss == "softmax_cross_entropy":
        each = [str(k) for k in range(1, network.sizes[-1] + 1)]
        values |= _softmax(network, sums.detach(), each, "")
        shares = _per_sample(network, "p{}".format, network.sizes[-1])
        values |= _by_name(shares, torch.softmax(sums, -1))
    losses, loss_names = _losses(network, sums, signal, targets)
    per_row = losses.flatten(1)
    total = per_row.sum(1) if network.loss == "half_squared_error" else per_row.mean(1)
    values |= _by_name(loss_names, losses) | _by_name(np.array(["E_total"]), total)

    torch.autograd.backward(total.sum())  # rows share nothing: the gradient of each row at once
    values |= _gradients("delta_{}".format, all_sums) | _gradients(gradient_name, trained)
    parameters = [str(name) for some, _ in trained for name in some.flat]
    count = len(total)
    updated, states = _optimize(
        network,
        parameters,
        _tensor(inputs, np.array(parameters)),
        _tensor(gradients or values, np.array([gradient_name(name) for name in parameters])),
        np.broadcast_to(np.asarray(learning_rate, dtype=np.float64), count),
        np.ones(count) if iterations is None else iterations,
        before or {},
    )
    return Step(values, updated, states)


# ---------------------------------------------------------------- optimizers


class _PlainSGD:
    """`torch.optim.SGD` without momentum, by the function in it that computes the step: the class itself
    would load PyTorch's compiler first, for a second and a half."""

    def __init__(self, parameters: list[torch.Tensor], lr: float, weight_decay: float) -> None:
        self.parameters, self.lr, self.weight_decay = parameters, lr, weight_decay
        self.state: dict[torch.Tensor, dict[str, torch.Tensor]] = {each: {} for each in parameters}

    @torch.no_grad()
    def step(self) -> None:
        sgd(
            self.parameters,
            [each.grad for each in self.parameters if each.grad is not None],
            [None for _ in self.parameters],
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=0.0,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )


class _RMSpropInside(torch.optim.Optimizer):
    """RMSProp as textbooks have it, with ε inside the root; PyTorch has no such class."""

    def __init__(
        self, parameters: Any, lr: float, alpha: float, eps: float, weight_decay: float
    ) -> None:
        super().__init__(
            parameters, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
                state = self.state[parameter]
                average = state.setdefault("square_avg", torch.zeros_like(parameter))
                average.lerp_(gradient.square(), 1 - group["alpha"])
                parameter -= group["lr"] * gradient / (average + group["eps"]).sqrt()


def _momentum(**fixed: Any) -> Callable[[Any, float, Mapping[str, float]], torch.optim.Optimizer]:
    def make(parameters: Any, lr: float, s: Mapping[str, float]) -> torch.optim.Optimizer:
        # With a momentum of 0 PyTorch keeps no velocity, and refuses Nesterov's; the smallest number is
        # as good as 0, and follows the rule.
        momentum = s["momentum"] or sys.float_info.min
        options = {"momentum": momentum, "dampening": s.get("dampening", 0.0), **fixed}
        return torch.optim.SGD(parameters, lr, weight_decay=s["weight_decay"], **options)

    return make


def _adam(kind: Any) -> Callable[[Any, float, Mapping[str, float]], torch.optim.Optimizer]:
    return lambda parameters, lr, s: kind(
        parameters, lr, (s["beta1"], s["beta2"]), s["epsilon"], s["weight_decay"]
    )


OPTIMIZERS: Mapping[
    str,
    tuple[Mapping[str, str], Callable[[Any, float, Mapping[str, float]], Any]],
] = {
    "sgd": ({}, lambda p, lr, s: _PlainSGD(p, lr, s["weight_decay"])),
    "momentum": ({"m": "momentum_buffer"}, _momentum()),
    "momentum_average": (
        {"m": "momentum_buffer"},
        lambda p, lr, s: _momentum(dampening=s["momentum"])(p, lr, s),
    ),
    "momentum_velocity": ({"m": "momentum_buffer"}, _momentum()),
    "nesterov": ({"m": "momentum_buffer"}, _momentum(nesterov=True)),
    "adagrad": (
        {"s": "sum"},
        lambda p, lr, s: torch.optim.Adagrad(p, lr, eps=s["epsilon"], weight_decay=s["weight_decay"]),
    ),
    "rmsprop": (
        {"v": "square_avg"},
        lambda p, lr, s: torch.optim.RMSprop(p, lr, s["alpha"], s["epsilon"], s["weight_decay"]),
    ),
    "rmsprop_inside": (
        {"v": "square_avg"},
        lambda p, lr, s: _RMSpropInside(
            p, lr=lr, alpha=s["alpha"], eps=s["epsilon"], weight_decay=s["weight_decay"]
        ),
    ),
    "adam": ({"m": "exp_avg", "v": "exp_avg_sq"}, _adam(torch.optim.Adam)),
    "adamw": ({"m": "exp_avg", "v": "exp_avg_sq"}, _adam(torch.optim.AdamW)),
}
"""By name: what PyTorch calls the states, and how its optimizer is made with the hyper-parameters."""


def _optimize(
    network: Network,
    names: Sequence[str],
    parameters: torch.Tensor,
    gradients: torch.Tensor,
    rates: Array,
    iterations: Array,
    before: Mapping[str, Array],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """One step of the optimizer in every row; parameters and gradients are of shape (rows, names).

    Rows of the same learning rate and iteration are one step of one optimizer.
    """
    letters, make = OPTIMIZERS[network.optimizer]
    settings = network.settings
    updated = torch.empty_like(parameters)
    states = {letter: torch.empty_like(parameters) for letter in letters}
    remembered = {
        letter: _tensor(before, np.array([f"{letter}_{name}" for name in names]))
        for letter in letters
        if before
    }
    counted = iterations if "beta1" in settings else np.minimum(iterations, 2)
    for rate, iteration in sorted({*zip(rates.tolist(), counted.tolist(), strict=True)}):
        rows = torch.from_numpy((rates == rate) & (counted == iteration))
        weights = parameters[rows].clone().requires_grad_()
        weights.grad = gradients[rows].clone()
        own = settings
        if network.optimizer == "momentum_velocity":  # the learning rate goes in with the gradient
            weights.grad *= rate
            own, rate = {**settings, "weight_decay": rate * settings["weight_decay"]}, 1.0
        optimizer = make([weights], rate, own)
        state = optimizer.state[weights]
        if iteration > 1 and letters:
            state["step"] = torch.tensor(float(iteration - 1))
            state |= {key: remembered[letter][rows].clone() for letter, key in letters.items()}
        elif network.optimizer == "momentum_average":  # an average that begins at 0
            state["momentum_buffer"] = torch.zeros_like(weights)
        optimizer.step()
        updated[rows] = weights.detach()
        for letter, key in letters.items():
            states[letter][rows] = optimizer.state[weights][key]
    found: dict[str, Array] = {}
    for letter, values in states.items():
        found |= _by_name(np.array([f"{letter}_{name}" for name in names]), values)
    return _by_name(np.array(names), updated), found


def learning_rates(network: Network, learning_rate: float, steps: int) -> Array:
    """The learning rate of every iteration, by the scheduler of PyTorch."""
    if network.schedule == "constant":
        return np.full(steps, learning_rate)
    optimizer = torch.optim.SGD([torch.zeros(1)], learning_rate)
    schedulers, settings = torch.optim.lr_scheduler, network.settings
    scheduler: torch.optim.lr_scheduler.LRScheduler
    match network.schedule:
        case "step":
            size = int(settings["step_size"])
            scheduler = schedulers.StepLR(optimizer, size, settings["step_factor"])
        case "warmup":
            start, count = settings["start_factor"], int(settings["warmup_steps"])
            scheduler = schedulers.LinearLR(optimizer, start, 1.0, count)
        case "cosine":
            period = int(settings["period"])
            scheduler = schedulers.CosineAnnealingLR(optimizer, period, settings["minimum_rate"])
        case _:
            raise NotImplementedError(network.schedule)
    rates = np.empty(steps)
    for iteration in range(steps):
        rates[iteration] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()
    return rates


# ---------------------------------------------------------------- forward pass and loss


def _weighted_sums(signal: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """``signal @ weights.mT`` of shape (rows, samples, neurons), added up from the left as in a sheet.

    A matrix product may fuse and reorder: it rounds a sum that is exactly 0 on paper to ±1e-18, and at
    the kink of a ReLU the sign decides between two gradients.
    """
    first, *rest = (
        column.unsqueeze(2) * weight.unsqueeze(1)  # (rows, samples, neurons)
        for column, weight in zip(signal.unbind(-1), weights.unbind(-1), strict=True)
    )
    return sum(rest, start=first)


def _losses(
    network: Network, sums: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, Names]:
    """The losses that ``E_total`` sums or averages, shape (rows, samples, outputs or 1)."""
    per_output = _per_sample(network, "E{}".format, network.sizes[-1])
    match network.loss:
        case "half_squared_error":
            return 0.5 * functional.mse_loss(outputs, targets, reduction="none"), per_output
        case "mean_squared_error":
            return functional.mse_loss(outputs, targets, reduction="none"), per_output
        case "mean_absolute_error":
            return functional.l1_loss(outputs, targets, reduction="none"), per_output
        case "huber":
            return functional.huber_loss(outputs, targets, reduction="none"), per_output
        case "binary_cross_entropy":
            losses = functional.binary_cross_entropy_with_logits(sums, targets, reduction="none")
            return losses, per_output
    # of a softmax layer too: PyTorch takes the sums, for a share that rounds to 0 has no logarithm
    flat = functional.cross_entropy(sums.flatten(0, 1), targets.flatten(0, 1), reduction="none")
    return flat.reshape(-1, network.slots, 1), _per_sample(network, lambda _: "E", 1)


def _softmax(network: Network, sums: torch.Tensor, each: Sequence[str], whole: str) -> dict[str, Array]:
    """What the sheet shows of a softmax but the shares: the largest sum m, the powers e, their sum Z.

    ``each`` and ``whole`` are what follows a letter in the names of the neurons and of the layer.
    """
    largest = sums.amax(-1, keepdim=True)
    powers = torch.exp(sums - largest)
    return {
        **_by_name(_per_sample(network, lambda _: f"m{whole}", 1), largest),
        **_by_name(_per_sample(network, lambda k: f"e{each[k - 1]}", len(each)), powers),
        **_by_name(_per_sample(network, lambda _: f"Z{whole}", 1), powers.sum(-1)),
    }


def _per_sample(network: Network, name: Callable[[int], str], count: int) -> Names:
    """``name(1)`` … ``name(count)`` for every sample, shape (samples, count)."""
    return np.array(
        [
            [of_sample(name(k), sample, network.slots) for k in range(1, count + 1)]
            for sample in range(1, network.slots + 1)
        ]
    )


def _tensor(inputs: Mapping[str, Array], names: Names) -> torch.Tensor:
    """The named inputs as one float64 tensor of shape (rows, *shape of names)."""
    columns = np.stack([inputs[name] for name in names.flat], axis=-1, dtype=np.float64)
    return torch.from_numpy(columns.reshape(-1, *names.shape))


def _by_name(names: Names, tensor: torch.Tensor) -> dict[str, Array]:
    """The inverse of `_tensor`: every entry of (rows, …) under its name."""
    columns = tensor.detach().reshape(len(tensor), -1)
    return dict(zip(map(str, names.flat), columns.numpy().T, strict=True))


def _gradients(
    name: Callable[[str], str], leaves: Iterable[tuple[Names, torch.Tensor]]
) -> dict[str, Array]:
    """What autograd found for every entry of the tensors, under its own name."""
    found: dict[str, Array] = {}
    for names, tensor in leaves:
        assert tensor.grad is not None
        found |= _by_name(np.array([name(str(plain)) for plain in names.flat]), tensor.grad)
    return found
