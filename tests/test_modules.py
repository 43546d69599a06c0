"""PyTorch in and out: every weight is kept, and the network computes what the module computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedulers

import gradsheet
import packages
from gradsheet.backends import arrays
from gradsheet.backends.workbook_layout import Plan
from gradsheet.compiler import compile_network, gradient_name
from gradsheet.engines import ironcalc
from gradsheet.errors import NetworkError
from gradsheet.generate import write_workbook
from gradsheet.modules import from_torch, to_torch
from gradsheet.network import (
    ACTIVATIONS,
    Layer,
    Network,
    activation_name,
    of_sample,
    weight_names,
)

X = torch.tensor([[0.3, -0.7, 1.1], [-1.2, 0.4, 0.9]])
Y = torch.tensor([[0.2, 0.9], [0.7, 0.1]])


def seeded(make: Any) -> nn.Sequential:
    torch.manual_seed(3)
    module: nn.Sequential = make()
    return module


def two_layers(activation: nn.Module, *rest: nn.Module) -> nn.Sequential:
    return seeded(lambda: nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 2), *rest))


ALL = [
    nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.LeakyReLU(), nn.Identity(), nn.Softplus(), nn.ELU(),
    nn.GELU(approximate="tanh"), nn.SiLU(), nn.Softmax(dim=1), nn.Softmax(dim=-1), nn.ReLU(inplace=True),
]  # fmt: skip


@pytest.mark.parametrize("activation", ALL, ids=repr)
def test_outputs_and_gradients_are_those_of_the_module(activation: nn.Module) -> None:
    module = two_layers(activation)
    network = from_torch(module, X, Y, loss=nn.MSELoss())
    values = arrays.evaluate_all(compile_network(network), compile_network(network).initial)
    double = module.double()
    outputs = double(X.double())
    nn.MSELoss()(outputs, Y.double()).backward()
    for sample in (1, 2):
        for k in (1, 2):
            name = of_sample(activation_name(network, 1, k), sample, 2)
            assert float(values[name]) == pytest.approx(outputs[sample - 1, k - 1].item(), rel=1e-9)
    linears = [part for part in double if isinstance(part, nn.Linear)]
    for names, linear in zip(weight_names(network), linears, strict=True):
        assert linear.weight.grad is not None
        found = [[float(values[gradient_name(name)]) for name in row] for row in names]
        np.testing.assert_allclose(found, linear.weight.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_every_activation_has_a_module() -> None:
    found = {from_torch(two_layers(each), X, Y).layers[0].activation for each in ALL}
    assert found == set(ACTIVATIONS)


@pytest.mark.parametrize("activation", ALL, ids=repr)
def test_a_round_trip_keeps_every_weight(activation: nn.Module) -> None:
    network = from_torch(two_layers(activation, nn.Sigmoid()), X, Y)
    assert from_torch(to_torch(network), network.inputs, network.targets) == network
    module = to_torch(network, torch.float32)
    for mine, theirs in zip(module.parameters(), two_layers(activation).parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_module_made_of_a_network_computes_the_same() -> None:
    network = Network(
        "n",
        (
            Layer("tanh", ((0.1, 0.2), (0.3, -0.4)), (0.5, 0.6), train_biases=False),
            Layer("gelu", ((1, 2),)),
        ),
        "half_squared_error",
        ((0.3, 0.7),),
        ((1,),),
    )
    module = to_torch(network)
    values = arrays.evaluate_all(compile_network(network), compile_network(network).initial)
    assert module(torch.tensor(network.inputs, dtype=torch.float64)).item() == pytest.approx(
        float(values["a_o1"]), rel=1e-14
    )
    assert [p.requires_grad for p in module.parameters()] == [True, False, True]
    assert (
        from_torch(module, network.inputs, network.targets, loss="half_squared_error", name="n")
        == network
    )


@pytest.mark.parametrize(
    ("loss", "last", "y", "name", "activation"),
    [
        (nn.MSELoss(), [], Y, "mean_squared_error", "identity"),
        (nn.L1Loss(), [], Y, "mean_absolute_error", "identity"),
        (nn.HuberLoss(), [], Y, "huber", "identity"),
        (nn.SmoothL1Loss(), [], Y, "huber", "identity"),
        (nn.BCELoss(), [nn.Sigmoid()], Y, "binary_cross_entropy", "sigmoid"),
        (nn.BCEWithLogitsLoss(), [], Y, "binary_cross_entropy", "sigmoid"),
        (nn.CrossEntropyLoss(), [], torch.tensor([1, 0]), "softmax_cross_entropy", "identity"),
        (
            nn.CrossEntropyLoss(),
            [],
            torch.tensor([[0.3, 0.7], [1, 0]]),
            "softmax_cross_entropy",
            "identity",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_loss_is_that_of_the_module(
    loss: nn.Module, last: list[nn.Module], y: torch.Tensor, name: str, activation: str
) -> None:
    module = two_layers(nn.Tanh(), *last).double()
    network = from_torch(module, X.double(), y, loss=loss)
    assert (network.loss, network.layers[-1].activation) == (name, activation)
    program = compile_network(network)
    found = float(arrays.evaluate_all(program, program.initial)["E_total"])
    expected = loss(module(X.double()), y.double() if y.is_floating_point() else y)
    assert found == pytest.approx(expected.item(), rel=1e-12)


class Twice(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = 2 * super().forward(x)
        return result


def with_hook() -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 2))
    module[0].register_forward_hook(lambda *_: None)
    return module


def tied() -> nn.Module:
    linear = nn.Linear(3, 3)
    return nn.Sequential(linear, nn.Tanh(), linear, nn.Linear(3, 2))


def frozen() -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 2))
    module[0].weight.requires_grad_(False)
    return module


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (
            nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 2)),
            "layer 1, Dropout: is not supported",
        ),
        (nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.Hardtanh())), r"layer 0\.1, Hardtanh"),
        (nn.Sequential(nn.Conv2d(1, 1, 3)), "layer 0, Conv2d"),
        (nn.Sequential(nn.Linear(3, 2), nn.GELU()), "approximate='none' is not supported; use .*'tanh'"),
        (nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(0.2)), "negative_slope=0.2"),
        (nn.Sequential(nn.Linear(3, 2), nn.ELU(0.5)), "alpha=0.5"),
        (nn.Sequential(nn.Linear(3, 2), nn.Softplus(2)), "beta=2"),
        (nn.Sequential(nn.Linear(3, 2), nn.Softplus(threshold=1)), "threshold=1"),
        (nn.Sequential(nn.Linear(3, 2), nn.Softmax(dim=0)), "dim=0"),
        (
            nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.ReLU()),
            "layer 2, ReLU: has no Linear layer of its own",
        ),
        (nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), "layer 0, ReLU: has no Linear layer"),
        (nn.Sequential(), "has no Linear layer"),
        (nn.LSTM(3, 2), "LSTM: is not supported"),
        (Twice(nn.Linear(3, 2)), "Twice: has a forward of its own"),
        (with_hook(), "layer 0, Linear: has hooks"),
        (tied(), "stands in the module twice"),
        (frozen(), "its weights are frozen"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_a_network_cannot_be_is_named(module: nn.Module, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        from_torch(module, X, Y)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (nn.MSELoss(reduction="sum"), "reduction='sum'"),
        (nn.CrossEntropyLoss(label_smoothing=0.1), "label_smoothing=0.1"),
        (nn.CrossEntropyLoss(weight=torch.ones(2)), "weight="),
        (nn.CrossEntropyLoss(ignore_index=1), "ignore_index=1"),
        (nn.HuberLoss(delta=2.0), "delta=2.0"),
        (nn.KLDivLoss(), "loss KLDivLoss: is not supported"),
        ("hinge", "loss: 'hinge' is not known"),
    ],
    ids=str,
)
def test_a_loss_that_is_another_one_is_named(loss: Any, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        from_torch(two_layers(nn.Tanh()), X, Y, loss=loss)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (torch.zeros(2, 3, 1), Y, "x: has the shape"),
        ("data", Y, "x: is no table of numbers"),
        (torch.tensor([[1.0, float("nan"), 0], [0, 0, 0]]), Y, "inputs: row 1: nan"),
        (X[:, :2], Y, "one per input"),
        (X, Y[:1], "1 rows for 2 rows"),
    ],
    ids=["shape", "text", "nan", "width", "length"],
)
def test_samples_that_do_not_fit_are_named(x: Any, y: Any, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        from_torch(two_layers(nn.Tanh()), x, y)


def test_labels_are_checked() -> None:
    with pytest.raises(NetworkError, match="label 2 of sample 1"):
        from_torch(two_layers(nn.Tanh()), X, torch.tensor([2, 0]), loss=nn.CrossEntropyLoss())


def test_sums_are_expected_by_the_loss_with_logits() -> None:
    with pytest.raises(NetworkError, match="takes plain sums, but the last activation is tanh"):
        from_torch(two_layers(nn.ReLU(), nn.Tanh()), X, Y, loss=nn.BCEWithLogitsLoss())


def test_a_shared_bias_has_no_module() -> None:
    layer = Layer("sigmoid", ((0.1, 0.2), (0.3, 0.4)), (0.5,), shared_bias=True)
    network = Network("n", (layer,), "half_squared_error", ((1, 2),), ((1, 0),))
    with pytest.raises(NetworkError, match="share one bias"):
        to_torch(network)


def test_a_workbook_of_a_module_is_proved(tmp_path: Any) -> None:
    from gradsheet.verify import verify

    network = from_torch(
        two_layers(nn.GELU(approximate="tanh")), X, Y, loss=nn.HuberLoss(), learning_rate=0.1
    )
    write_workbook(network, tmp_path / "module.xlsx", steps=20)
    assert verify(tmp_path / "module.xlsx").proved


# ---------------------------------------------------------------- optimizers

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.3, weight_decay=0.02),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.8, dampening=0.3, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.7, nesterov=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.2, eps=1e-6, weight_decay=0.05),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.02, alpha=0.9, eps=1e-5, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, 0.05, (0.8, 0.99), 1e-6, weight_decay=0.1, foreach=False),
    "adamw": lambda p: torch.optim.AdamW(p, torch.tensor(0.05, dtype=torch.float64)),
    "adamw by another name": lambda p: torch.optim.Adam(
        p, weight_decay=0.2, decoupled_weight_decay=True
    ),
    "adam of equal groups": lambda p: torch.optim.Adam([{"params": p[:1]}, {"params": p[1:]}]),
}
SCHEDULERS: dict[str, Any] = {
    "constant": lambda o: "constant",
    "step": lambda o: schedulers.StepLR(o, 7, 0.6),
    "warmup": lambda o: schedulers.LinearLR(o, 0.2, total_iters=8),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, 40, 0.001),
}


def trained_by_torch(optimizer: str, scheduler: str) -> tuple[Network, list[float]]:
    """A module's network, and its parameters after 30 steps of the optimizer that the network got."""
    module = two_layers(nn.Tanh(), nn.Sigmoid()).double()
    theirs = OPTIMIZERS[optimizer](list(module.parameters()))
    schedule = SCHEDULERS[scheduler](theirs)
    network = from_torch(module, X, Y, loss=nn.BCELoss(), optimizer=theirs, scheduler=schedule)
    assert (network.optimizer, network.schedule) == (optimizer.split()[0], scheduler)
    for _ in range(30):
        theirs.zero_grad()
        nn.BCELoss()(module(X.double()), Y.double()).backward()
        theirs.step()
        if scheduler != "constant":
            schedule.step()
    return network, [value for p in module.parameters() for value in p.detach().flatten().tolist()]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_thirty_steps_are_those_of_the_very_optimizer(optimizer: str, scheduler: str) -> None:
    network, expected = trained_by_torch(optimizer, scheduler)
    program = compile_network(network)
    rows = arrays.train(program, 31, network.learning_rate)
    found = [rows[q.name][-1] for q in program.of_role("parameter")]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("optimizer", "scheduler"), [("momentum", "step"), ("rmsprop", "warmup"), ("adam", "cosine")]
)
def test_the_recalculated_workbook_ends_there_too(
    tmp_path: Path, optimizer: str, scheduler: str
) -> None:
    network, expected = trained_by_torch(optimizer, scheduler)
    write_workbook(network, tmp_path / "plain.xlsx", steps=31, learning_rates=(0.1,))
    path = packages.poisoned(tmp_path / "plain.xlsx", tmp_path / "poisoned.xlsx")
    cells = ironcalc.recalculate(path)["Backprop"]
    plan = Plan(compile_network(network), 31, 1)
    parameters = [plan.backprop.columns[q.name] for q in plan.program.of_role("parameter")]
    found = [cells[plan.backprop.last_row, column] for column in parameters]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_optimizers_and_schedules_go_by_their_names_too() -> None:
    network = from_torch(
        two_layers(nn.Tanh()), X, Y, learning_rate=0.01, optimizer="adam", scheduler="cosine"
    )
    assert (network.learning_rate, network.optimizer, network.schedule) == (0.01, "adam", "cosine")
    with pytest.raises(NetworkError, match="optimizer: 'lion' is not known"):
        from_torch(two_layers(nn.Tanh()), X, Y, optimizer="lion")


def stepped(made: Any, module: nn.Module) -> Any:
    module(X).sum().backward()
    made.step()
    return made


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: torch.optim.Adam(p, amsgrad=True), "Adam: amsgrad=True is not supp"),
        (lambda p: torch.optim.SGD(p, maximize=True), "SGD: maximize=True"),
        (lambda p: torch.optim.RMSprop(p, centered=True), "RMSprop: centered=True"),
        (lambda p: torch.optim.RMSprop(p, momentum=0.9), "RMSprop: momentum=0.9"),
        (lambda p: torch.optim.Adagrad(p, lr_decay=0.1), "Adagrad: lr_decay=0.1"),
        (
            lambda p: torch.optim.Adagrad(p, initial_accumulator_value=0.5),
            "initial_accumulator_value=0.5",
        ),
        (lambda p: torch.optim.NAdam(p), "NAdam: is not supported; give SGD, Adagrad"),
        (
            lambda p: torch.optim.SGD([{"params": p[:2], "lr": 0.1}, {"params": p[2:]}]),
            "lr is 0.1 for some parameters and 0.001 for others",
        ),
        (lambda p: torch.optim.SGD(p[1:]), "not those of the module"),
        (lambda p: torch.optim.SGD([*p, torch.zeros(1)]), "not those of the module"),
        (lambda p: torch.optim.Adam(p, eps=0), "epsilon is 0, but must be"),
        (lambda p: schedulers.StepLR(torch.optim.SGD(p), 3).optimizer, "give that as scheduler"),
    ],
)
def test_an_optimizer_that_is_another_one_is_named(make: Any, words: str) -> None:
    module = two_layers(nn.Tanh())
    with pytest.raises(NetworkError, match=words):
        from_torch(module, X, Y, optimizer=make(list(module.parameters())))


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.Adagrad, torch.optim.SGD])
def test_an_optimizer_that_remembers_is_refused(kind: Any) -> None:
    module = two_layers(nn.Tanh())
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    used = stepped(kind(module.parameters(), **options), module)
    with pytest.raises(NetworkError, match="has taken steps already"):
        from_torch(module, X, Y, optimizer=used)


def test_frozen_biases_may_be_left_out_of_the_optimizer() -> None:
    module = nn.Sequential(nn.Linear(3, 2))
    module[0].bias.requires_grad_(False)
    assert from_torch(module, X, Y, optimizer=torch.optim.SGD([module[0].weight])).learning_rate == 1e-3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda o: schedulers.LinearLR(o, end_factor=0.5), "LinearLR: end_factor=0.5"),
        (lambda o: schedulers.ExponentialLR(o, 0.9), "ExponentialLR: is not supported; give StepLR"),
        (lambda o: schedulers.StepLR(o, 3, 2.0), "step_factor is 2, but must be"),
        (
            lambda o: schedulers.StepLR(torch.optim.SGD([torch.zeros(1)]), 3),
            "was made for another optimizer",
        ),
    ],
)
def test_a_scheduler_that_is_another_one_is_named(make: Any, words: str) -> None:
    module = two_layers(nn.Tanh())
    optimizer = torch.optim.SGD(module.parameters())
    with pytest.raises(NetworkError, match=words):
        from_torch(module, X, Y, optimizer=optimizer, scheduler=make(optimizer))


def test_a_scheduler_that_has_stepped_is_refused() -> None:
    module = two_layers(nn.Tanh())
    optimizer = torch.optim.SGD(module.parameters())
    scheduler = schedulers.StepLR(optimizer, 3)
    stepped(optimizer, module)
    scheduler.step()
    with pytest.raises(NetworkError, match="StepLR: has taken steps already"):
        from_torch(module, X, Y, optimizer=optimizer, scheduler=scheduler)


def test_the_learning_rate_is_the_optimizers() -> None:
    module = two_layers(nn.Tanh())
    with pytest.raises(NetworkError, match="learning_rate: the optimizer SGD has one already"):
        from_torch(module, X, Y, learning_rate=1, optimizer=torch.optim.SGD(module.parameters()))


def test_the_package_offers_both_and_loads_torch_only_then() -> None:
    assert (gradsheet.from_torch, gradsheet.to_torch) == (from_torch, to_torch)
    with pytest.raises(AttributeError, match="has no attribute 'from_tensorflow'"):
        gradsheet.from_tensorflow  # noqa: B018
    code = (
        "import sys, gradsheet as g; print('torch' in sys.modules, g.to_torch, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout.split()[0], run.stdout.split()[-1]) == ("False", "True")
