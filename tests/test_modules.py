"""PyTorch in and out: every weight is kept, and the network computes what the module computes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradsheet
from gradsheet.backends import arrays
from gradsheet.compiler import compile_network, gradient_name
from gradsheet.errors import NetworkError
from gradsheet.modules import from_torch, to_torch
from gradsheet.network import ACTIVATIONS, Layer, Network, activation_name, of_sample, weight_names

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
    from gradsheet.generate import write_workbook
    from gradsheet.verify import verify

    network = from_torch(
        two_layers(nn.GELU(approximate="tanh")), X, Y, loss=nn.HuberLoss(), learning_rate=0.1
    )
    write_workbook(network, tmp_path / "module.xlsx", steps=20)
    assert verify(tmp_path / "module.xlsx").proved


def test_the_package_offers_both_and_loads_torch_only_then() -> None:
    assert (gradsheet.from_torch, gradsheet.to_torch) == (from_torch, to_torch)
    with pytest.raises(AttributeError, match="has no attribute 'from_tensorflow'"):
        gradsheet.from_tensorflow  # noqa: B018
    code = (
        "import sys, gradsheet as g; print('torch' in sys.modules, g.to_torch, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout.split()[0], run.stdout.split()[-1]) == ("False", "True")
