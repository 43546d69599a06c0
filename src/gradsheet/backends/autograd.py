"""PyTorch as an independent referee: one training iteration, differentiated by autograd.

Only the network's *loss* is written here, with PyTorch's own functions. Neither an expression nor a
gradient formula of gradsheet is used; what is shared are the names of the quantities. So where a sheet
and this module agree, two unrelated derivations agree.

PyTorch is loaded when this module is. Nothing on the spreadsheet side imports it, except the moment in
which somebody asks for a verification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

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
    it has in a `Program`. ``updated`` holds every trained parameter after one step of
    ``torch.optim.SGD``. That is the plain rule: where a Program holds the weights of a run that has
    diverged, the caller has to expect the old weights instead.
    """

    values: Mapping[str, Array]
    updated: Mapping[str, Array]


def step(network: Network, inputs: Mapping[str, Array], learning_rate: float) -> Step:
    """Run one iteration in float64: forwards, backwards and through the optimizer.

    ``inputs`` holds every data and parameter quantity by name, each of shape (rows,). Every row is an
    iteration of its own, with its own weights and data; a row that is not finite spoils no other one.
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

    optimizer = torch.optim.SGD([tensor for _, tensor in trained], lr=learning_rate)
    torch.autograd.backward(total.sum())  # rows share nothing: the gradient of each row at once
    values |= _gradients("delta_{}".format, all_sums) | _gradients(gradient_name, trained)
    optimizer.step()
    updated: dict[str, Array] = {}
    for names, tensor in trained:
        updated |= _by_name(names, tensor)
    return Step(values, updated)


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
    return flat.reshape(-1, network.samples, 1), _per_sample(network, lambda _: "E", 1)


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
            [of_sample(name(k), sample, network.samples) for k in range(1, count + 1)]
            for sample in range(1, network.samples + 1)
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
