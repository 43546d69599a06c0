"""Hand a trained model on: its weights as safetensors, its graph as ONNX, its story as a model card."""

from __future__ import annotations

import copy
import hashlib
import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from gradsheet.errors import GradsheetError, InputError, MissingDependencyError
from gradsheet.files import check_target, replacing
from gradsheet.mnist.model import Net, standard_error, summary
from gradsheet.mnist.recipes import Recipe
from gradsheet.mnist.splits import MEAN, STANDARD_DEVIATION, normalise

# ---------------------------------------------------------------- weights


def save_weights(model: Net, path: Path, metadata: Mapping[str, str]) -> None:
    """Write parameters and batch norm's statistics as safetensors, which can carry no code.

    ``metadata`` is kept in the file's header, with a sum of the weights by which `load_weights` finds
    damage.

    Raises `InputError` when the file cannot be written.
    """
    # Contiguous: the training keeps the kernels channels-last.
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    with replacing(path) as temporary:
        save_file(weights, temporary, {**metadata, "sha256": _sha256(weights)})


def load_weights(path: Path, dropout: float = 0.0) -> Net:
    """A model on the CPU with the weights of a file, such as `save_weights` writes.

    ``dropout`` matters only when it is trained further.

    Raises `InputError` for a file that is missing, damaged, or holds another model.
    """
    path, model = Path(path), Net(dropout)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give a .safetensors file with weights")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: cannot be read as safetensors ({error}); give a file that `mnist train` wrote"
        ) from None
    if metadata.get("sha256", _sha256(weights)) != _sha256(weights):
        raise InputError(
            f"{path}: is damaged (its weights do not have the sum in its header); copy it again"
        )
    if reason := _misfit(weights, model.state_dict()):
        raise InputError(
            f"{path}: does not fit the model ({reason}); give the weights of this model, whose layers "
            "`gradsheet mnist summary` lists"
        )
    model.load_state_dict(weights)
    return model


def shipped_weights() -> Path:
    """The weights that come with gradsheet, of one run with the recipe ``best``.

    Raises `InputError` for an installation without them.
    """
    path = Path(__file__).parent / "data" / "best.safetensors"
    if not path.is_file():
        raise InputError(
            f"{path}: this copy of gradsheet comes without trained weights; train with "
            "`gradsheet mnist train` and give its weights.safetensors"
        )
    return path


def _sha256(weights: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for _, values in sorted(weights.items()):
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def _misfit(weights: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> str:
    """The first difference in names, types or shapes; empty if there is none."""
    for name in sorted({*weights, *wanted}):
        if name not in weights:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} is not part of it"
        found, needed = (f"{w[name].dtype} {tuple(w[name].shape)}" for w in (weights, wanted))
        if found != needed:
            return f"{name} is {found} instead of {needed}"
    return ""


# ---------------------------------------------------------------- ONNX

TOLERANCE = 1e-5
"""For logits up to 10, and in proportion above, because float32 keeps seven digits of any number. A
trained model with logits up to 10 was met with 4e-6, and differed from its own float64 by 5e-6."""

BATCH_SIZES = (1, 7, 1000)


def export_onnx(model: Net, path: Path, check_images: torch.Tensor) -> float:
    """Write a model as one .onnx file; return by how much its logits differ from PyTorch's, at most.

    The graph maps ``images``, float32 (batch, 1, 28, 28) normalised as `normalise` does, to ``logits``
    (batch, 10); its metadata say how to normalise. Before the file appears, onnxruntime computes the
    uint8 ``check_images`` (n, 28, 28) in batches of several sizes.

    Raises `MissingDependencyError` without the packages for ONNX, `GradsheetError` when a logit differs
    by `TOLERANCE` or more, `InputError` when the file cannot be written.
    """
    check_target(path)
    onnx, onnxruntime = _onnx_packages()
    # A copy, because the caller's model may be in training, on a GPU and channels-last.
    model = copy.deepcopy(model).cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    graph = _graph(model, onnx)
    onnx.checker.check_model(graph, full_check=True)
    difference, tolerance = _compare(model, graph, check_images, onnxruntime)
    if not difference < tolerance:  # NaN is not less either
        raise GradsheetError(
            f"{path}: not written, because onnxruntime's logits differ from PyTorch's by up to "
            f"{difference:.1e}, not less than {tolerance:.1e}; update onnxruntime, or train again if "
            "weights are not finite"
        )
    with replacing(path) as temporary:
        temporary.write_bytes(graph.SerializeToString())
    return difference


def _onnx_packages() -> tuple[Any, Any]:
    """The modules onnx and onnxruntime; onnxscript is needed by PyTorch's exporter."""
    try:
        onnx, onnxruntime, _ = map(importlib.import_module, ("onnx", "onnxruntime", "onnxscript"))
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{error.name} is not installed, but ONNX files are made with it; install it with "
            "pip install 'gradsheet[onnx]'"
        ) from None
    return onnx, onnxruntime


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, PyTorch's exporter keeps to itself what is no fault of the model."""
    logger = logging.getLogger("torch.onnx")  # warns that torchvision is not installed
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # PyTorch copies a class that it has itself declared obsolete.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _graph(model: Net, onnx: Any) -> Any:
    """The model as ONNX, with instructions for its users."""
    with _quiet():
        program = torch.onnx.export(
            model,
            (torch.zeros(2, 1, 28, 28),),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            verbose=False,
        )
    assert program is not None
    exported: Any = program.model_proto
    graph = exported.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]  # the exporter's notes, with paths of source files on this machine
    exported.doc_string = (
        "Reads a handwritten digit, white on black, as in MNIST. Input: grey values from 0 to 1, less "
        f"{MEAN}, divided by {STANDARD_DEVIATION}. Output: logits; their softmax are the probabilities "
        "of the digits 0 to 9."
    )
    onnx.helper.set_model_props(exported, {"mean": str(MEAN), "std": str(STANDARD_DEVIATION)})
    return exported


def _compare(model: Net, graph: Any, images: torch.Tensor, onnxruntime: Any) -> tuple[float, float]:
    """The largest difference of a logit between onnxruntime and PyTorch, and how large it may be."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    batches = [normalise(images[:size]) for size in BATCH_SIZES]
    with torch.no_grad():
        wanted = torch.cat([model(batch) for batch in batches])
    runs = [session.run(["logits"], {"images": batch.numpy()})[0] for batch in batches]
    difference = (torch.from_numpy(np.concatenate(runs)) - wanted).abs().max()
    return float(difference), TOLERANCE * max(1, float(wanted.abs().max()) / 10)


# ---------------------------------------------------------------- model card

VALIDATION_IMAGES, TEST_IMAGES = 5_000, 10_000

_CARD = """\
# A compact CNN that reads handwritten digits

{parameters:,} parameters, trained on MNIST with the recipe `{recipe}` (seed {seed}, {epochs} epochs).
Test accuracy: **{test}**, on {count:,} test images that took no part in training or selection.

## Results

| images | read right | standard error | n |
|---|---|---|---|
{accuracies}

Measured once, after the last epoch. The standard error is that of a share of n images; models of other
seeds differ by about as much.

## Model

From 28 × 28 grey values to the logits of ten digits: convolution, ReLU, batch normalisation in turn.

```
{table}
```

## Data and licence

MNIST (Y. LeCun, C. Cortes, C. J. C. Burges, 1998), made from NIST's special databases 1 and 3, under
Creative Commons Attribution-Share Alike 3.0. Trained on {trained_on}.
Grey values from 0 to 1 are normalised with mean {mean} and standard deviation {deviation}.
The program is under the MIT licence.

## Training

{seconds:,.0f} s at {speed:,.0f} images per second on {hardware}, {date}; {versions}.

| number | value | meaning |
|---|---|---|
{numbers}
| seed | {seed} | of the first weights, the order and the distortions of the images |

## Use and limits

For learning and teaching, and for single digits that look like MNIST's: light on black, scaled to
20 × 20 pixels, the centre of mass in the middle of 28 × 28. `gradsheet mnist predict` brings a picture
into this form.

- It names a digit for every image, also for letters, two digits or noise, and may be very sure of it.
- MNIST was written by employees and high-school students in the USA around 1990. Other hands, such as
  those that cross the 7 or write the 1 with a long upstroke, may be read less well.
- Its accuracy on other pictures was not measured. Let nothing that matters depend on it.

## How to load it

```python
from pathlib import Path
from gradsheet.mnist.export import load_weights
from gradsheet.mnist.predict import predict, read_digit

model = load_weights(Path("weights.safetensors"))
print(predict(model, read_digit(Path("digit.png"))[None]))
```
"""


def model_card(numbers: Mapping[str, Any], recipe: Recipe) -> str:
    """A trained model's story in Markdown: what it is, how it was made and measured, what it is for.

    ``numbers`` are those that `gradsheet.mnist.runs.measured` returns, for MNIST itself.
    """
    model = Net(recipe.dropout)
    accuracy = numbers["test_accuracy"]
    rows = [
        ("test", accuracy, TEST_IMAGES),
        (
            "test, averaged over nine shifts by up to one pixel",
            numbers["test_accuracy_tta"],
            TEST_IMAGES,
        ),
    ]
    trained_on = "all 60,000 training images, none of them held out for validation"
    if numbers["validation_accuracy"] is not None:
        rows.insert(0, ("validation", numbers["validation_accuracy"], VALIDATION_IMAGES))
        trained_on = "55,000 of the 60,000 training images; 5,000 were held out for validation"
    return _CARD.format(
        parameters=sum(p.numel() for p in model.parameters()),
        recipe=recipe.name,
        seed=numbers["seed"],
        epochs=numbers["epochs"],
        test=f"{accuracy:.2%} ± {standard_error(accuracy, TEST_IMAGES):.2%}",
        count=TEST_IMAGES,
        accuracies="\n".join(
            f"| {name} | {share:.2%} | {standard_error(share, count):.2%} | {count:,} |"
            for name, share, count in rows
        ),
        table=summary(model),
        trained_on=trained_on,
        mean=MEAN,
        deviation=STANDARD_DEVIATION,
        seconds=numbers["train_seconds"],
        speed=numbers["images_per_second"],
        hardware=numbers["hardware"],
        date=numbers["date"],
        versions=", ".join(f"{name} {version}" for name, version in numbers["versions"].items()),
        numbers="\n".join(
            f"| {number.name} | {getattr(recipe, number.name)} | {number.metadata['meaning']} |"
            for number in fields(recipe)[1:]
        ),
    )
