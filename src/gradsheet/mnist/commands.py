"""``gradsheet mnist …``: reads flags, calls the public functions, prints. It holds no logic."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradsheet.errors import InputError, MissingDependencyError
from gradsheet.mnist.recipes import CHOICES, RECIPES, Recipe, find_recipe

if TYPE_CHECKING:
    from gradsheet.mnist.model import Evaluation, Net
    from gradsheet.mnist.utils import Mnist

_PATH = click.Path(path_type=Path)

_weights = click.option(
    "--weights",
    type=_PATH,
    help="Weights of a trained model (.safetensors).  [default: those that come with gradsheet]",
)
_data = click.option(
    "--data",
    type=_PATH,
    help="Folder with other idx files, such as `mnist download` makes.  [default: MNIST itself]",
)


class _NeedsTorch(click.Group):
    """Tells in one sentence how to install what the commands need, where it is missing."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"{error.name} is not installed; install it with pip install 'gradsheet[mnist]'"
            ) from error


@click.group(cls=_NeedsTorch)
def mnist() -> None:
    """Train, test and use a compact CNN that reads handwritten digits: 26 layers, 18,426 parameters.

    The data set and trained weights come with gradsheet: nothing is downloaded.
    """


@mnist.command()
def summary() -> None:
    """Print the table of the model's layers."""
    from gradsheet.mnist import model

    click.echo(model.summary(model.Net()))


def _recipe_flags(command: Callable[..., None]) -> Callable[..., None]:
    """A flag for every number of a recipe, with the help that stands beside it there."""
    kinds: dict[Any, Any] = {"int": int, "float": float}
    for number in reversed(fields(Recipe)[1:]):
        kind = click.Choice(CHOICES[number.name]) if number.name in CHOICES else kinds[number.type]
        flag = "--" + number.name.replace("_", "-")
        command = click.option(flag, number.name, type=kind, help=number.metadata["meaning"])(command)
    return command


@mnist.command()
@click.option("--recipe", "name", type=click.Choice(list(RECIPES)), default="quick", show_default=True,
              help="quick: 6 epochs; best: 19; seed: the course's own, 20.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Of the first weights, the order and the distortions of the images.")  # fmt: skip
@click.option(
    "--out", type=_PATH, default=Path("out/mnist"), show_default=True, help="Folder for all files."
)
@click.option("--all-training", is_flag=True,
              help="Train on all 60,000 images; else 5,000 are held out for validation.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on from the last finished epoch in the folder.")
@_data
@_recipe_flags
def train(
    name: str, seed: int, out: Path, all_training: bool, resume: bool, data: Path | None, **numbers: Any
) -> None:
    """Train the model, evaluate it on the 10,000 test images, and write all about it.

    Leaves the weights, the numbers, a model card, and pictures of the learning curves, the confusion
    matrix and the misread digits. The flags after --data change single numbers of the recipe.
    """
    recipe = find_recipe(name, **{key: value for key, value in numbers.items() if value is not None})
    from gradsheet.files import make_folder
    from gradsheet.mnist import runs

    make_folder(out)
    checkpoint = out / runs.CHECKPOINT
    if resume and not checkpoint.exists():
        click.echo(f"Note: {checkpoint} does not exist; training starts at the beginning.", err=True)
    mnist = _read(data)
    try:
        result = runs.run(
            mnist, recipe, seed=seed, all_training=all_training, checkpoint=checkpoint, resume=resume
        )
    except KeyboardInterrupt:
        click.echo(f"\nStopped; {checkpoint} has the finished epochs: go on with --resume", err=True)
        sys.exit(130)
    for path in runs.write(result, mnist, out):
        click.echo(f"wrote {path}")
    click.echo(_score(result.evaluation))
    click.echo(_score(result.averaged) + ", averaged over nine shifts")


@mnist.command()
@_weights
@_data
@click.option("--tta", is_flag=True, help="Average over nine shifts of each image by up to one pixel.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(weights: Path | None, data: Path | None, tta: bool, as_json: bool) -> None:
    """Score a trained model on the 10,000 test images, which it was not trained on."""
    evaluation = _evaluate(weights, _read(data), tta)
    if as_json:
        numbers = {"test_accuracy": evaluation.accuracy, "misread": evaluation.errors.tolist()}
        click.echo(json.dumps(numbers))
    else:
        click.echo(_score(evaluation) + (", averaged over nine shifts" if tta else ""))


@mnist.command()
@click.argument("images", nargs=-1, required=True, type=_PATH, metavar="IMAGE…")
@_weights
@click.option("--plot", type=_PATH,
              help="Draw what the network sees and its feature maps: .png, .svg or .pdf.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def predict(images: tuple[Path, ...], weights: Path | None, plot: Path | None, as_json: bool) -> None:
    """Read the digit in a picture: PNG, JPEG or BMP, of any size, dark on light or light on dark."""
    if plot is not None and len(images) > 1:
        raise InputError(f"--plot: draws one picture, but {len(images)} are given; give one IMAGE")
    import torch

    from gradsheet.files import check_target
    from gradsheet.mnist import plots, predict
    from gradsheet.plots import picture_format, save

    if plot is not None:
        picture_format(plot)
        check_target(plot)
    digits = torch.stack([predict.read_digit(path) for path in images])
    model = _model(weights)
    predictions = predict.predict(model, digits)
    if as_json:
        rows = [
            {"image": str(path), "digit": found.digit, "probabilities": found.probabilities}
            for path, found in zip(images, predictions, strict=True)
        ]
        click.echo(json.dumps(rows, indent=1))
    else:
        for path, found in zip(images, predictions, strict=True):
            click.echo(f"{path}: {found.digit}")
            for digit, probability in enumerate(found.probabilities):
                click.echo(f"  {digit} {probability:8.2%} {'█' * round(30 * probability)}".rstrip())
    if plot is not None:
        save(plots.draw_feature_maps(model, digits[0]), plot)
        click.echo(f"wrote {plot}", err=as_json)


@mnist.command()
@_weights
@click.option("--onnx", type=_PATH, help="An .onnx file to write, checked with onnxruntime.")
@click.option("--safetensors", type=_PATH, help="A .safetensors file to write.")
def export(weights: Path | None, onnx: Path | None, safetensors: Path | None) -> None:
    """Write a trained model for other programs, as ONNX or safetensors."""
    if onnx is None and safetensors is None:
        raise InputError("nothing to write: give --onnx FILE, --safetensors FILE or both")
    from gradsheet.files import check_target
    from gradsheet.mnist import export

    for path in (onnx, safetensors):
        if path is not None:
            check_target(path)
    model = _model(weights)
    if onnx is not None:
        images = _read(None).test.images[:1000]
        difference = export.export_onnx(model, onnx, images)
        click.echo(f"wrote {onnx} (onnxruntime differs by at most {difference:.1e} on 1,000 digits)")
    if safetensors is not None:
        export.save_weights(model, safetensors, {})
        click.echo(f"wrote {safetensors}")


@mnist.command()
@click.option(
    "--out", type=_PATH, default=Path("digits.xlsx"), show_default=True, help="The file to write."
)
@_weights
@click.option("--digit", type=click.IntRange(0), metavar="INDEX",
              help="Open it with this one of the 10,000 test images, counted from 0.")  # fmt: skip
@click.option(
    "--image", type=_PATH, help="Open it with the digit in this picture (PNG, JPEG, BMP or GIF)."
)
def workbook(out: Path, weights: Path | None, digit: int | None, image: Path | None) -> None:
    """Write the network as a live workbook: every number of every layer is a formula.

    Pick a digit or paint one, and all layers recalculate. Prove it with `gradsheet verify`.
    """
    if digit is not None and image is not None:
        raise InputError("--digit and --image: the workbook opens with one of them; leave one out")
    from gradsheet.files import check_target
    from gradsheet.mnist import predict
    from gradsheet.mnist.workbook import write_workbook

    check_target(out)
    drawing = None if image is None else predict.read_digit(image)
    written = write_workbook(_model(weights).layers, out, _read(None).test, digit=digit, drawing=drawing)
    click.echo(f"wrote {out} ({written.formulas:,} formulas)")
    click.echo(
        f"its network reads {written.accuracy:.2%} ± {written.standard_error:.2%} (standard error) of "
        f"{written.images:,} test images right"
    )


@mnist.command()
@_weights
@_data
@click.option("--out", type=_PATH, default=Path("errors.png"), show_default=True,
              help="The picture to draw: .png, .svg or .pdf.")  # fmt: skip
def errors(weights: Path | None, data: Path | None, out: Path) -> None:
    """Draw the test images that a trained model misreads."""
    from gradsheet.files import check_target
    from gradsheet.mnist import plots
    from gradsheet.plots import picture_format, save

    picture_format(out)
    check_target(out)
    mnist = _read(data)
    evaluation = _evaluate(weights, mnist, tta=False)
    figure = plots.draw_errors(mnist.test.images, mnist.test.labels, evaluation.probabilities)
    save(figure, out)
    click.echo(f"wrote {out}")
    click.echo(_score(evaluation))


@mnist.command()
@click.argument("name", default="mnist", type=click.Choice(["mnist", "fashion-mnist", "kmnist"]))
@click.option("--out", type=_PATH,
              help="Folder to hold the data sets.  [default: $GRADSHEET_DATA_DIR, else a cache folder]",
              )  # fmt: skip
@click.option("--offline", is_flag=True, help="Only look whether the files are there already.")
def download(name: str, out: Path | None, offline: bool) -> None:
    """Download the original files of MNIST or a data set of the same form.

    MNIST itself comes with gradsheet; this is for its published files, and for `mnist train --data`.
    """
    from gradsheet.mnist.download import download_mnist

    click.echo(download_mnist(out, name, offline=offline))


def _read(folder: Path | None) -> Mnist:
    from gradsheet.mnist.sources import read_folder
    from gradsheet.mnist.utils import prepare_mnist

    return prepare_mnist(None if folder is None else read_folder(folder))


def _model(weights: Path | None) -> Net:
    from gradsheet.mnist.export import load_weights, shipped_weights

    return load_weights(shipped_weights() if weights is None else weights)


def _evaluate(weights: Path | None, mnist: Mnist, tta: bool) -> Evaluation:
    from gradsheet.mnist import model

    return model.evaluate(_model(weights), mnist.test, tta=tta)


def _score(evaluation: Evaluation) -> str:
    return (
        f"test accuracy {evaluation.accuracy:.2%} ± {evaluation.standard_error:.2%} (standard error): "
        f"{len(evaluation.errors):,} of {len(evaluation.labels):,} images misread"
    )
