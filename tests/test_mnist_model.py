"""The CNN: its table, its arithmetic, and a training that can be trusted to stop and go on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402

from gradsheet.errors import InputError  # noqa: E402
from gradsheet.mnist.model import (  # noqa: E402
    DivergedError,
    Net,
    evaluate,
    schedule_factor,
    summary,
    train,
)
from gradsheet.mnist.recipes import RECIPES  # noqa: E402
from gradsheet.mnist.splits import Split, normalise  # noqa: E402

LAYERS = """
Conv2d 32x28x28 320|ReLU 32x28x28 0|BatchNorm2d 32x28x28 64|Conv2d 16x28x28 4624|ReLU 16x28x28 0
BatchNorm2d 16x28x28 32|MaxPool2d 16x14x14 0|Dropout 16x14x14 0|Conv2d 16x16x16 272|ReLU 16x16x16 0
BatchNorm2d 16x16x16 32|Conv2d 32x16x16 4640|ReLU 32x16x16 0|BatchNorm2d 32x16x16 64|Conv2d 16x8x8 4624
ReLU 16x8x8 0|BatchNorm2d 16x8x8 32|MaxPool2d 16x4x4 0|Dropout 16x4x4 0|Conv2d 128x4x4 2176
ReLU 128x4x4 0|BatchNorm2d 128x4x4 256|MaxPool2d 128x2x2 0|Dropout 128x2x2 0|AvgPool2d 128x1x1 0
Linear 10 1290
"""


def split(purpose: str, count: int = 64, seed: int = 0) -> Split:
    """Images that can be told apart: label k is a bright row k, on noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (count,), generator=generator)
    images = torch.randint(40, (count, 28, 28), generator=generator, dtype=torch.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * int(label) + 4 : 2 * int(label) + 6, 4:24] = 250
    return Split(purpose, images, labels)


@dataclass(frozen=True)
class Plain:
    """Batches without augmentation, in an order that depends on the epoch."""

    split: Split
    batch_size: int

    def __len__(self):
        return len(self.split) // self.batch_size

    def epoch(self, number):
        order = torch.randperm(len(self.split), generator=torch.Generator().manual_seed(number))
        for chosen in order.split(self.batch_size):
            yield normalise(self.split.images[chosen]), self.split.labels[chosen]


def new_net(dropout: float = 0.0) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Net(dropout)


def small(name: str = "best", **changes):
    return replace(RECIPES[name], **{"batch_size": 16, "epochs": 3, **changes})


def test_the_model_has_the_26_layers_and_18426_parameters_of_the_course():
    rows = summary(Net()).splitlines()[3:29]
    wanted = [row.split() for row in LAYERS.strip().replace("\n", "|").split("|")]
    for number, (row, (kind, shape, parameters)) in enumerate(zip(rows, wanted, strict=True), 1):
        cells = f"[-1, {shape.replace('x', ', ')}]"
        assert row == f"{f'{kind}-{number}':>20}  {cells:>25} {int(parameters):>15,}"
    assert sum(p.numel() for p in Net().parameters()) == 18_426
    assert summary(Net()).splitlines()[-10:] == [
        "=" * 64,
        "Total params: 18,426",
        "Trainable params: 18,426",
        "Non-trainable params: 0",
        "-" * 64,
        "Input size (MB): 0.00",
        "Forward/backward pass size (MB): 1.27",
        "Params size (MB): 0.07",
        "Estimated Total Size (MB): 1.35",
        "-" * 64,
    ]


def test_the_forward_pass_is_that_of_the_layers_written_out():
    net = new_net().eval()
    w = net.state_dict()
    x = images = normalise(split("test").images)

    def block(x, at, **options):
        x = functional.conv2d(x, w[f"features.{at}.weight"], w[f"features.{at}.bias"], **options).relu()
        norm = f"features.{at + 2}."
        mean, variance = w[norm + "running_mean"], w[norm + "running_var"]
        return functional.batch_norm(x, mean, variance, w[norm + "weight"], w[norm + "bias"])

    x = block(block(x, 0, padding=1), 3, padding=1)
    x = functional.max_pool2d(x, 2)
    x = block(block(block(x, 8, padding=1), 11, padding=1), 14, padding=1, stride=2)
    x = functional.max_pool2d(x, 2)
    x = functional.max_pool2d(block(x, 19), 2).mean((2, 3))
    x = x @ w["classifier.weight"].T + w["classifier.bias"]
    assert torch.allclose(net(images), x, atol=1e-5)  # float32, summed in another order


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_learns_a_few_images_by_heart(name):
    net = new_net()
    data = Plain(split("train"), 16)
    recipe = small(name, epochs=30, decay_epoch=99, dropout=0.0)
    history = train(net, data, recipe, progress=False)
    assert history.loss[-1] < 0.5 * history.loss[0]
    assert len(history.seconds) == 30
    assert evaluate(net, replace(data.split, purpose="test")).accuracy > 0.9


@pytest.mark.parametrize("name", ["best", "seed"])
def test_a_resumed_training_ends_with_the_very_same_weights(tmp_path, name):
    data = Plain(split("train"), 16)
    whole, halves = new_net(0.1), new_net(0.1)
    recipe = small(name, dropout=0.1)
    train(whole, data, recipe, seed=3, progress=False)

    class Interrupted(Plain):
        def epoch(self, number):
            if number == 2:
                raise KeyboardInterrupt
            return super().epoch(number)

    path = tmp_path / "last.pt"
    with pytest.raises(KeyboardInterrupt):
        train(
            halves,
            Interrupted(data.split, 16),
            small(name, dropout=0.1),
            seed=3,
            checkpoint=path,
            progress=False,
        )
    again = Net(0.1)
    history = train(
        again, data, small(name, dropout=0.1), seed=3, checkpoint=path, resume=True, progress=False
    )
    assert len(history.loss) == 3
    for (key, one), other in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), key


def test_a_stopped_first_epoch_does_not_leave_the_checkpoint_of_an_earlier_run(tmp_path):
    data, path = Plain(split("train"), 16), tmp_path / "last.pt"
    train(new_net(), data, small(epochs=1), checkpoint=path, progress=False)

    class Stopped(Plain):
        def epoch(self, number):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(new_net(), Stopped(data.split, 16), small(epochs=1), checkpoint=path, progress=False)
    assert torch.load(path, weights_only=True)["history"]["loss"] == []


def test_a_checkpoint_that_does_not_fit_is_named(tmp_path):
    data, path = Plain(split("train"), 16), tmp_path / "last.pt"
    train(new_net(), data, small(epochs=1), checkpoint=path, progress=False)
    with pytest.raises(InputError, match=r"last\.pt: belongs to another run"):
        train(new_net(), data, small(epochs=2), checkpoint=path, resume=True, progress=False)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"last\.pt: cannot be read as a checkpoint"):
        train(new_net(), data, small(epochs=1), checkpoint=path, resume=True, progress=False)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    data, path = Plain(split("train"), 16), tmp_path / "last.pt"

    class Spoilt(Plain):
        def epoch(self, number):
            for images, labels in super().epoch(number):
                yield images * (float("nan") if number == 1 else 1), labels

    with pytest.raises(DivergedError, match=r"epoch 2, step 1; use a smaller learning rate than 0\.005"):
        train(new_net(), Spoilt(data.split, 16), small(), checkpoint=path, progress=False)
    assert len(torch.load(path, weights_only=True)["history"]["loss"]) == 1


def test_no_split_can_be_used_for_what_it_is_not_for():
    training, test = split("train"), split("test")
    with pytest.raises(InputError, match="the test images are not for training"):
        train(new_net(), Plain(test, 16), small(), progress=False)
    with pytest.raises(InputError, match="the test images are not for selection"):
        train(new_net(), Plain(training, 16), small(), validation=test, progress=False)
    with pytest.raises(InputError, match="the train images were trained on"):
        evaluate(new_net(), training)


def test_evaluation_leaves_the_model_as_it_was_and_test_time_augmentation_averages_shifts():
    net, test = new_net(0.5).train(), split("test")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    plain, averaged = evaluate(net, test), evaluate(net, test, tta=True)
    assert net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert torch.equal(plain.probabilities, evaluate(net, test).probabilities)
    shifted = [
        evaluate(net, replace(test, images=torch.roll(test.images, (y, x), dims=(1, 2)))).probabilities
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    ]
    assert torch.allclose(torch.stack(shifted).mean(0), averaged.probabilities, atol=1e-6)
    assert not torch.allclose(plain.probabilities, averaged.probabilities, atol=1e-5)


def test_the_learning_rate_rises_then_falls_to_zero_or_steps_down():
    linear = [schedule_factor(small(epochs=2, warmup=0.2), step, 50) for step in range(100)]
    assert linear[0] == 1 / 20
    assert max(linear) == linear[19] == 1.0
    assert linear[-1] == 1 / 80
    steps = [schedule_factor(RECIPES["seed"], 10 * epoch, 10) for epoch in range(20)]
    assert steps == [1.0] * 15 + [0.1] * 5
