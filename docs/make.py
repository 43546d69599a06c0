"""Make what the documentation shows of the program itself: the commands' help, and the pictures.

Run ``make docs`` after a change to the commands or the workbook. The pictures need LibreOffice and
poppler's pdftoppm and pdftotext.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
from PIL import Image, ImageChops

from gradsheet import generate
from gradsheet.cli import main as command
from gradsheet.engines import libreoffice
from gradsheet.examples import EXAMPLES
from gradsheet.mnist.export import load_weights, shipped_weights
from gradsheet.mnist.model import evaluate
from gradsheet.mnist.plots import draw_errors
from gradsheet.mnist.utils import prepare_mnist
from gradsheet.mnist.workbook import write_workbook
from gradsheet.plots import save

DOCS = Path(__file__).parent
EXAMPLE = DOCS.parent / "examples" / "back_propagation.xlsx"


def command_reference() -> str:
    """The page docs/commands.md: the help of every command, as it prints it."""
    lines = ["# Commands", "", "Written by `make docs`; a test compares it with the program.", ""]
    for title, text in _help(command, "gradsheet", None):
        lines += [f"## {title}", "", "```text", text, "```", ""]
    return "\n".join(lines)


def _help(shown: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    options = {**shown.context_settings, "terminal_width": 100, "max_content_width": 100}
    context = click.Context(shown, parent, info_name=name, **options)
    yield context.command_path, context.get_help()
    if isinstance(shown, click.Group):
        for below, sub in shown.commands.items():
            yield from _help(sub, below, context)


def pictures(folder: Path) -> None:
    """Pictures of two sheets, as LibreOffice draws them.

    The table is wider than a page can show: its right half stands under its left half.
    """
    with tempfile.TemporaryDirectory() as temporary:
        pdf = libreoffice.convert(EXAMPLE, "pdf", Path(temporary))
        sheet = _page(pdf, 1, resolution=230)
        left, right = sheet.crop((60, 90, 1889, 640)), sheet.crop((1889, 266, 3718, 640))
        both = Image.new("RGB", (left.width, left.height + 24 + right.height), "white")
        both.paste(left, (0, 0))
        both.paste(right, (0, left.height + 24))
        _save(both, folder / "back_prop_screenshot.png")
        _save(
            _page(pdf, 2, resolution=90).crop((30, 30, 1430, 760)), folder / "learning_rates_sheet.png"
        )


def predict_picture(path: Path) -> None:
    """The sheet Predict of exclusive or: the network, and its answers before and after the training."""
    with tempfile.TemporaryDirectory() as temporary:
        book = Path(temporary) / "xor.xlsx"
        generate.write_workbook(EXAMPLES["xor"], book, learning_rates=(1.0,))
        pdf = libreoffice.convert(book, "pdf", Path(temporary))
        page = _page(pdf, _number(pdf, "Predict: "), 110)
        _save(_inked(page.crop((0, 0, page.width, page.height * 9 // 10))), path)  # without the footer


def optimizers_sheet(path: Path) -> None:
    """The sheet Optimizers of the command that docs/optimizers.md shows with it."""
    rates = {"sgd": 0.005, "momentum": 0.01, "nesterov": 0.005, "adagrad": 10, "rmsprop": 1, "adam": 2}
    with tempfile.TemporaryDirectory() as temporary:
        workbook = Path(temporary) / "compared.xlsx"
        compared = generate.comparison(EXAMPLES["line"], tuple(rates), 100)
        generate.write_comparison(compared, workbook, tuple(rates.values()))
        pdf = libreoffice.convert(workbook, "pdf", Path(temporary))
        _save(_page(pdf, 1, resolution=90).crop((30, 30, 1390, 788)), path)


def misread_digits(path: Path) -> None:
    """The test digits that the network with the weights of the package misreads."""
    mnist, model = prepare_mnist(), load_weights(shipped_weights())
    probabilities = evaluate(model, mnist.test).probabilities
    save(draw_errors(mnist.test.images, mnist.test.labels, probabilities), path)


def digit_pictures(folder: Path) -> None:
    """Pictures of three sheets of the CNN's workbook: the digit, and two layers."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "digits.xlsx"
        write_workbook(
            load_weights(shipped_weights()).layers, path, prepare_mnist().test, progress=False
        )
        pdf = libreoffice.convert(path, "pdf", Path(temporary))
        for name, title, resolution in (
            ("digit", "A neural network that reads digits: ", 110),
            ("conv1", "Conv1: ", 100),
            ("conv4", "Conv4: ", 100),
        ):
            page = _page(pdf, _number(pdf, title), resolution)
            _save(_inked(page), folder / f"{name}_sheet.png")


def _page(pdf: Path, number: int, resolution: int) -> Image.Image:
    target = pdf.with_name(f"page-{number}")
    pages = ["-f", str(number), "-l", str(number), "-r", str(resolution), "-singlefile"]
    subprocess.run(["pdftoppm", *pages, "-png", str(pdf), str(target)], check=True)
    return Image.open(target.with_suffix(".png")).convert("RGB")


def _number(pdf: Path, title: str) -> int:
    """The number of the page that begins with a title."""
    words = subprocess.run(["pdftotext", str(pdf), "-"], check=True, capture_output=True, text=True)
    return next(k for k, text in enumerate(words.stdout.split("\f"), 1) if text.startswith(title))


def _inked(page: Image.Image) -> Image.Image:
    """The page without its margins."""
    ink = ImageChops.difference(page, Image.new("RGB", page.size, "white")).getbbox()
    assert ink is not None
    left, top, right, bottom = ink
    return page.crop((left - 8, top - 8, right + 8, bottom + 8))


def _save(picture: Image.Image, path: Path) -> None:
    picture.quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    generate.write_workbook(EXAMPLES["seed"], EXAMPLE)
    (DOCS / "commands.md").write_text(command_reference(), encoding="utf-8")
    pictures(DOCS / "images")
    predict_picture(DOCS / "images" / "predict_sheet.png")
    optimizers_sheet(DOCS / "images" / "optimizers_sheet.png")
    misread_digits(DOCS / "images" / "mnist_errors.png")
    digit_pictures(DOCS / "images")
