"""Ordinary PyTorch trainings, with PyTorch's own defaults, against which sheets are held."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

from gradsheet.network import Network

torch = pytest.importorskip("torch")
functional = torch.nn.functional


class Velocity(torch.optim.SGD):
    """v ← μ·v + η·g, w ← w − v: SGD of rate 1 on gradients that hold the rate."""

    def step(self):
        rate = self.param_groups[0]["lr"]
        for parameter in self.param_groups[0]["params"]:
            parameter.grad *= rate
        self.param_groups[0]["lr"] = 1.0
        super().step()
        self.param_groups[0]["lr"] = rate


class Average(torch.optim.SGD):
    """m ← μ·m + (1 − μ)·g, from 0."""

    def step(self):
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        super().step()


class Inside(torch.optim.RMSprop):
    """The root is of v + ε: PyTorch's own, given the g that this amounts to."""

    def step(self):
        group = self.param_groups[0]
        for parameter in group["params"]:
            state = self.state[parameter]
            v = state.get("v", torch.zeros_like(parameter))
            state["v"] = group["alpha"] * v + (1 - group["alpha"]) * parameter.grad**2
            with torch.no_grad():
                parameter -= group["lr"] * parameter.grad / torch.sqrt(state["v"] + group["eps"])


MADE = {
    "sgd": lambda p, lr: torch.optim.SGD(p, lr),
    "momentum": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9),
    "momentum_average": lambda p, lr: Average(p, lr, momentum=0.9, dampening=0.9),
    "momentum_velocity": lambda p, lr: Velocity(p, lr, momentum=0.9),
    "nesterov": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, nesterov=True),
    "adagrad": lambda p, lr: torch.optim.Adagrad(p, lr),
    "rmsprop": lambda p, lr: torch.optim.RMSprop(p, lr),
    "rmsprop_inside": lambda p, lr: Inside(p, lr),
    "adam": lambda p, lr: torch.optim.Adam(p, lr),
    "adamw": lambda p, lr: torch.optim.AdamW(p, lr),
}
"""The optimizers with PyTorch's own defaults."""
SCHEDULED = {
    "constant": lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0),
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, 25, 0.5),
    "warmup": lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=10),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 100),
}
ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "identity": lambda sums: sums}
LOSSES = {
    "half_squared_error": lambda a, t: 0.5 * functional.mse_loss(a, t, reduction="sum"),
    "mean_squared_error": functional.mse_loss,
    "binary_cross_entropy": functional.binary_cross_entropy,
    "softmax_cross_entropy": functional.cross_entropy,
}


class Training(NamedTuple):
    """Weights before every update, (steps, weights) in the order of the sheet, and losses, (steps,)."""

    weights: np.ndarray
    losses: np.ndarray


def trained_by_torch(network: Network, rate: float, batches: Sequence[Sequence[int]]) -> Training:
    """Train one step a batch, which holds the numbers of its samples from 0; biases are trained."""
    layers = []
    for spec in network.layers:
        own = [torch.tensor(spec.weights, dtype=torch.float64, requires_grad=True)]
        own += [torch.tensor(spec.biases, dtype=torch.float64, requires_grad=True)] * bool(spec.biases)
        layers.append(own)
    parameters = [tensor for own in layers for tensor in own]
    made = MADE[network.optimizer](parameters, rate)
    scheduler = SCHEDULED[network.schedule](made)
    inputs, targets = (torch.tensor(m, dtype=torch.float64) for m in (network.inputs, network.targets))
    weights, losses = [], []
    for batch in batches:
        weights.append(np.concatenate([p.detach().numpy().ravel() for p in parameters]))
        signal = inputs[list(batch)]
        for own, spec in zip(layers, network.layers, strict=True):
            signal = ACTIVATIONS[spec.activation](functional.linear(signal, *own))
        loss = LOSSES[network.loss](signal, targets[list(batch)])
        losses.append(loss.item())
        made.zero_grad()
        loss.backward()
        made.step()
        scheduler.step()
    return Training(np.array(weights), np.array(losses))


def dealt(samples: int, size: int, steps: int, seed: int | None) -> list[list[int]]:
    """Batches of the numbers of samples, from 0: epoch after epoch, each shuffled if there is a seed."""
    generator, cards = random.Random(seed), []
    while len(cards) < size * steps:
        epoch = list(range(samples))
        if seed is not None:
            generator.shuffle(epoch)
        cards += epoch
    return [cards[k * size : (k + 1) * size] for k in range(steps)]
