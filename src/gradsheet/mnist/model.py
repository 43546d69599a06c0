"""The network, its training and its evaluation: plain PyTorch.

`Net` is the model, `summary` prints it, `train` trains it from batches, `evaluate` scores it on a split
that it was not trained on.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from gradsheet.errors import GradsheetError, InputError
from gradsheet.files import replacing
from gradsheet.mnist.recipes import Recipe
from gradsheet.mnist.splits import Split, normalise
from gradsheet.progress import progress_bar

# ---------------------------------------------------------------- the model


class Net(nn.Module):
    """26 layers, 18,426 parameters: images (n, 1, 28, 28) to logits (n, 10).

    Every convolution has a bias and is followed by ReLU, then batch normalisation. The first 1×1
    convolution is padded by 1, which lets the image grow from 14 to 16 pixels.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(1, 32, kernel=3, padding=1),
            *_block(32, 16, kernel=3, padding=1),
            nn.MaxPool2d(2),  # 28 → 14
            nn.Dropout(dropout),
            *_block(16, 16, kernel=1, padding=1),  # 14 → 16
            *_block(16, 32, kernel=3, padding=1),
            *_block(32, 16, kernel=3, padding=1, stride=2),  # 16 → 8
            nn.MaxPool2d(2),  # 8 → 4
            nn.Dropout(dropout),
            *_block(16, 128, kernel=1),
            nn.MaxPool2d(2),  # 4 → 2
            nn.Dropout(dropout),
            nn.AvgPool2d(2),  # 2 → 1
        )
        self.classifier = nn.Linear(128, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images).flatten(1))
        return logits

    @property
    def layers(self) -> nn.Sequential:
        """All layers in one row, from the images to the logits; they are the model's own, no copies."""
        return nn.Sequential(*self.features, nn.Flatten(), self.classifier)


def _block(
    inputs: int, outputs: int, *, kernel: int, padding: int = 0, stride: int = 1
) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding),
        nn.ReLU(),
        nn.BatchNorm2d(outputs),
    )


def summary(model: nn.Module, input_size: tuple[int, ...] = (1, 28, 28)) -> str:
    """The table of a model's layers, with the shapes that one image of ``input_size`` takes on its way.

    The sizes count 4 bytes a number; forward and backward pass hold every layer's output twice.
    """
    rows: list[tuple[str, list[int], int]] = []

    def record(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        parameters = sum(p.numel() for p in layer.parameters(recurse=False))
        rows.append((f"{type(layer).__name__}-{len(rows) + 1}", [-1, *output.shape[1:]], parameters))

    leaves = [layer for layer in model.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(record) for layer in leaves]
    try:
        with torch.no_grad(), evaluating(model):
            model(torch.zeros(1, *input_size))
    finally:
        for hook in hooks:
            hook.remove()

    def line(*cells: str) -> str:
        return "{:>20}  {:>25} {:>15}".format(*cells)

    total = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    numbers = (
        math.prod(input_size),
        2 * sum(abs(math.prod(shape)) for _, shape, _ in rows),
        total,
    )
    megabytes = [4 * count / 1024**2 for count in numbers]
    return "\n".join(
        [
            "-" * 64,
            line("Layer (type)", "Output Shape", "Param #"),
            "=" * 64,
            *(line(name, str(shape), f"{count:,}") for name, shape, count in rows),
            "=" * 64,
            f"Total params: {total:,}",
            f"Trainable params: {trainable:,}",
            f"Non-trainable params: {total - trainable:,}",
            "-" * 64,
            f"Input size (MB): {megabytes[0]:.2f}",
            f"Forward/backward pass size (MB): {megabytes[1]:.2f}",
            f"Params size (MB): {megabytes[2]:.2f}",
            f"Estimated Total Size (MB): {sum(megabytes):.2f}",
            "-" * 64,
        ]
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within, dropout is off and batch norm uses its running statistics; afterwards all is as before."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


# ---------------------------------------------------------------- training


class TrainingData(Protocol):
    """What `train` needs of its data: normalised batches, the same for the same number of an epoch."""

    @property
    def split(self) -> Split: ...

    def __len__(self) -> int: ...

    def epoch(self, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]: ...


@dataclass
class History:
    """One entry per finished epoch: loss and accuracy on the training batches as they came, accuracy
    on the validation images (empty without any), images trained per second, and seconds."""

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    images_per_second: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class DivergedError(GradsheetError):
    """The loss is no longer a number."""


def train(
    model: Net,
    data: TrainingData,
    recipe: Recipe,
    *,
    validation: Split | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> History:
    """Train a model in place and return its history.

    ``checkpoint`` is a file to which all that is needed to go on is written at first and every epoch;
    ``resume`` goes on from it, on a CPU to the very same weights. The images of ``validation`` are only
    scored, never trained on.

    Raises `InputError` for data of the wrong purpose or a checkpoint that does not fit, and
    `DivergedError` when the loss is no longer finite; the checkpoint is then the last good one.
    """
    if not data.split.may_be_trained_on:
        raise InputError(f"the {data.split.purpose} images are not for training; use the train split")
    if validation is not None and validation.purpose != "validation":
        raise InputError(
            f"the {validation.purpose} images are not for selection; give the validation split"
        )
    device = pick_device()
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizers = make_optimizers(model, recipe)
    history, start = History(), 0
    if resume and checkpoint is not None and checkpoint.exists():
        history, start = load_checkpoint(checkpoint, model, optimizers, recipe, seed)
    elif checkpoint is not None:
        # At once, so that a file which another run left is not resumed for this one.
        save_checkpoint(checkpoint, model, optimizers, recipe, seed, history)
    with tuned_for_training(), _bar(recipe, data, start, progress) as bar:
        for epoch in range(start, recipe.epochs):
            _train_epoch(model, data, recipe, optimizers, epoch, seed, device, history, bar)
            if validation is not None:
                history.validation_accuracy.append(evaluate(model, validation).accuracy)
            if checkpoint is not None:
                save_checkpoint(checkpoint, model, optimizers, recipe, seed, history)
    return history


def _train_epoch(
    model: Net,
    data: TrainingData,
    recipe: Recipe,
    optimizers: list[torch.optim.Optimizer],
    epoch: int,
    seed: int,
    device: torch.device,
    history: History,
    bar: Any,
) -> None:
    """One pass over the data; appends to ``history``."""
    start, images_seen, hits, loss_sum = time.perf_counter(), 0, 0, 0.0
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(1_000_003 * seed + epoch)  # for dropout: an epoch depends on no other one
        for step, (images, labels) in enumerate(data.epoch(epoch)):
            images = images.to(device, memory_format=torch.channels_last)
            labels = labels.to(device)
            factor = schedule_factor(recipe, epoch * len(data) + step, len(data))
            with mixed_precision(device):
                logits = model(images)
            loss = functional.cross_entropy(
                logits.float(), labels, label_smoothing=recipe.label_smoothing
            )
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = factor * group["initial_lr"]
            model.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()
            value = loss.item()
            if not math.isfinite(value):
                raise DivergedError(
                    f"the loss is {value} in epoch {epoch + 1}, step {step + 1}; use a smaller "
                    f"learning rate than {recipe.learning_rate:g}, or a longer warm-up; the last "
                    "checkpoint is good"
                )
            images_seen += len(labels)
            loss_sum += value * len(labels)
            hits += int((logits.argmax(1) == labels).sum())
            seconds = time.perf_counter() - start
            bar.update(len(labels))
            if step % 10 == 0:
                bar.set_postfix(
                    epoch=f"{epoch + 1}/{recipe.epochs}",
                    loss=f"{loss_sum / images_seen:.4f}",
                    accuracy=f"{hits / images_seen:.2%}",
                    refresh=False,
                )
    history.loss.append(loss_sum / images_seen)
    history.accuracy.append(hits / images_seen)
    history.seconds.append(seconds)
    history.images_per_second.append(images_seen / seconds)


def _bar(recipe: Recipe, data: TrainingData, start: int, progress: bool) -> Any:
    per_epoch = len(data) * recipe.batch_size
    return progress_bar(
        total=per_epoch * recipe.epochs,
        initial=per_epoch * start,
        unit=" images",
        unit_scale=True,
        desc=recipe.name,
        disable=not progress,
    )


def schedule_factor(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """What the learning rates are multiplied with in a step, counted from 0."""
    if recipe.schedule == "step":
        return 0.1 if step >= recipe.decay_epoch * steps_per_epoch else 1.0
    total = recipe.epochs * steps_per_epoch
    rising = recipe.warmup * total
    return min((step + 1) / max(1.0, rising), (total - step) / max(1.0, total - rising))


class ConvolutionMuon(torch.optim.Muon):
    """`torch.optim.Muon`, which takes matrices, for convolution weights: outputs × (inputs · kernel).

    The momentum of each weight is replaced by the nearest orthogonal matrix, so that every direction
    is learnt at the same speed (K. Jordan, 2024).
    """

    def __init__(self, weights: list[nn.Parameter], **options: Any) -> None:
        self._weights = weights
        # Views, not copies: channels-last weights are contiguous in this order, and what the optimizer
        # does to the matrix it does to the weight. The order of its columns does not matter to Muon.
        self._matrices = [nn.Parameter(_as_matrix(weight.detach())) for weight in weights]
        super().__init__(self._matrices, **options)

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for weight, matrix in zip(self._weights, self._matrices, strict=True):
            matrix.grad = None if weight.grad is None else _as_matrix(weight.grad)
        super().step()  # type: ignore[no-untyped-call]


def _as_matrix(weight: torch.Tensor) -> torch.Tensor:
    return weight.permute(0, 2, 3, 1).flatten(1)


def make_optimizers(model: Net, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The optimizers of a recipe, for a model whose memory format is channels-last."""
    rest, optimizers = list(model.parameters()), list[torch.optim.Optimizer]()
    if recipe.optimizer == "muon":
        kernels = [p for p in rest if p.dim() == 4 and p.shape[1] > 1]
        rest = [p for p in rest if not any(p is kernel for kernel in kernels)]
        optimizers.append(
            ConvolutionMuon(
                kernels,
                lr=recipe.muon_learning_rate,
                momentum=recipe.muon_momentum,
                weight_decay=recipe.muon_weight_decay,
            )
        )
    betas = (recipe.beta1, recipe.beta2)
    optimizers.append(torch.optim.Adam(rest, lr=recipe.learning_rate, betas=betas, fused=True))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


# ---------------------------------------------------------------- checkpoints


def save_checkpoint(
    path: Path,
    model: Net,
    optimizers: list[torch.optim.Optimizer],
    recipe: Recipe,
    seed: int,
    history: History,
) -> None:
    """Write all that is needed to go on; a process killed meanwhile leaves the checkpoint before."""
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "settings": _settings(recipe, seed),
        "history": asdict(history),
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(
    path: Path,
    model: Net,
    optimizers: list[torch.optim.Optimizer],
    recipe: Recipe,
    seed: int,
) -> tuple[History, int]:
    """Put model and optimizers back to where they were; return the history and the epochs done.

    Raises `InputError` for a damaged file, or one of another recipe, seed or model.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        settings, history = state["settings"], History(**state["history"])
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: cannot be read as a checkpoint ({reason}); delete it and train again"
        ) from None
    if settings != _settings(recipe, seed):
        raise InputError(
            f"{path}: belongs to another run ({settings}); resume with its settings, or delete it"
        )
    try:
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(
            f"{path}: does not fit this model ({reason}); delete it and train again"
        ) from None
    return history, len(history.loss)


def _settings(recipe: Recipe, seed: int) -> str:
    return json.dumps({**asdict(recipe), "seed": seed}, sort_keys=True)


# ---------------------------------------------------------------- fast on what the machine has


def pick_device() -> torch.device:
    """CUDA or Apple's MPS where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor computes in bfloat16 itself; emulating it would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def mixed_precision(device: torch.device) -> torch.autocast:
    """Within, convolutions are computed in bfloat16 where that is faster."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_bfloat16(device))


@contextmanager
def tuned_for_training() -> Iterator[None]:
    """Within, denormal numbers count as 0: gradients are full of them, and each costs 100 cycles.

    And memory is kept: the C library of Linux returns large blocks to the system at once, which has to
    give them again, page by page, in the next step. Once a block of nearly 32 MB was freed, it keeps
    all that are smaller.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)
    changed = torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if changed:
            torch.set_flush_denormal(False)


# ---------------------------------------------------------------- evaluation


@dataclass(frozen=True)
class Evaluation:
    """How a model does on a split: the share it gets right, and every image's probabilities (n, 10)."""

    accuracy: float
    probabilities: torch.Tensor
    labels: torch.Tensor

    @property
    def standard_error(self) -> float:
        """Of the accuracy, as a share of so many images."""
        return standard_error(self.accuracy, len(self.labels))

    @property
    def predictions(self) -> torch.Tensor:
        return self.probabilities.argmax(1)

    @property
    def errors(self) -> torch.Tensor:
        """The indices of the images that were misread."""
        return (self.predictions != self.labels).nonzero().flatten()


def standard_error(share: float, count: int) -> float:
    """By how much a share that was measured on ``count`` images differs from the true one, typically."""
    return math.sqrt(share * (1 - share) / count)


def evaluate(model: nn.Module, split: Split, *, tta: bool = False, batch_size: int = 1000) -> Evaluation:
    """Score a model in float32 on images that it was not trained on.

    ``tta`` (test-time augmentation) averages the probabilities over nine shifts by up to one pixel.

    Raises `InputError` for a split that is for training.
    """
    if split.may_be_trained_on:
        raise InputError(f"the {split.purpose} images were trained on; evaluate on others")
    probabilities = predict_probabilities(model, split.images, tta=tta, batch_size=batch_size)
    hits = (probabilities.argmax(1) == split.labels).sum()
    return Evaluation(int(hits) / len(split), probabilities, split.labels)


def predict_probabilities(
    model: nn.Module, images: torch.Tensor, *, tta: bool = False, batch_size: int = 1000
) -> torch.Tensor:
    """The probabilities of the ten digits for uint8 images (n, 28, 28): shape (n, 10)."""
    device = next(model.parameters()).device
    shifts = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)] if tta else [(0, 0)]
    parts = []
    with torch.no_grad(), evaluating(model):
        for batch in torch.split(images, batch_size):
            moved = [torch.roll(batch, shift, dims=(1, 2)) for shift in shifts]
            logits = [model(normalise(one).to(device)) for one in moved]
            parts.append(torch.stack([one.softmax(1) for one in logits]).mean(0).cpu())
    return torch.cat(parts)
