"""Write a trained network as a workbook that reads digits: `write_workbook` is all of the interface.

Any `nn.Sequential` of the supported layers will do (see `gradsheet.mnist.reference`). PyTorch computes,
in float64 and with the rounded weights that the sheet holds, the value that stands beside every formula.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gradsheet.errors import InputError
from gradsheet.files import check_target, replacing
from gradsheet.mnist import workbook_places as at
from gradsheet.mnist.model import standard_error
from gradsheet.mnist.reference import (
    classify,
    layer_outputs,
    make_reference,
    normalised,
    read_model,
)
from gradsheet.mnist.splits import MEAN, STANDARD_DEVIATION, Split
from gradsheet.mnist.workbook_plan import Plan
from gradsheet.mnist.workbook_sheets import Content, Entry, write_sheets
from gradsheet.mnist.workbook_values import Question, State, block_maps, expected_values
from gradsheet.progress import progress_bar

OF_A_CLASS, MISREAD_OF_A_CLASS = 10, 3
"""How many test digits of a class are in the list, and how many of them at most are misread ones."""

OWN = "my own drawing"


@dataclass(frozen=True)
class Written:
    """What was written: the formulas, and how the network of the sheet does on the test images."""

    formulas: int
    accuracy: float
    images: int

    @property
    def standard_error(self) -> float:
        return standard_error(self.accuracy, self.images)


def write_workbook(
    model: nn.Sequential,
    path: Path,
    test: Split,
    *,
    digit: int | None = None,
    drawing: torch.Tensor | None = None,
    progress: bool = True,
) -> Written:
    """Write the workbook of a trained network that maps (n, 1, 28, 28) to ten logits.

    ``test`` are images to score the network on and to choose those of the drop-down from, by the rule
    of `choose_entries`. The workbook opens with the test image number ``digit``, or with ``drawing``,
    uint8 grey values of shape (28, 28), such as `gradsheet.mnist.predict.read_digit` returns.

    Raises `InputError` for an unsupported layer, a network of another form, or an image that is not
    there, and `TooLargeError` for a network whose workbook would not open comfortably.
    """
    check_target(path)
    if digit is not None and not 0 <= digit < len(test):
        raise InputError(
            f"digit {digit}: there is no such test image; give a number from 0 to {len(test) - 1}"
        )
    layers, parameters = read_model(model)
    Plan(layers, 1)  # what does not fit is told before the network is scored
    reference = make_reference(layers, parameters, (1, at.SIDE, at.SIDE))
    _check_reference(reference, model, test.images[:10])
    predictions = _score(reference, test.images, progress)
    entries, pick = choose_entries(test, predictions, digit, drawing)
    plan = Plan(layers, len(entries))
    shown = entries[pick]
    question = _question(plan)
    state = State(
        pick=pick,
        label=shown.label,
        pixels=shown.pixels.astype(np.float64),
        maps=block_maps(plan, layer_outputs(reference, shown.pixels)),
        parameters=parameters,
        question=question,
    )
    accuracy = float((predictions == test.labels).double().mean())
    values = expected_values(plan, state)
    formulas = sum(map(len, values.values()))
    written = Written(formulas, accuracy, len(test))
    count = sum(p.numel() for p in model.parameters())
    content = Content(
        entries=entries,
        pick=pick,
        parameters=parameters,
        normalisation=(MEAN, STANDARD_DEVIATION),
        question=question,
        values=values,
        about=_about(written, count, plan),
    )
    with (
        replacing(path, ".xlsx") as temporary,
        progress_bar(total=formulas, desc="writing", unit=" formulas", disable=not progress) as bar,
    ):
        write_sheets(temporary, plan, content, bar.update)
    return written


def choose_entries(
    test: Split, predictions: torch.Tensor, digit: int | None, drawing: torch.Tensor | None
) -> tuple[tuple[Entry, ...], int]:
    """The entries of the drop-down, and the number of the one that is shown first.

    Of each class, in the order of the test set: the first three images that the network misreads, or as
    many as there are, and then the first that it reads right, ten together. The image number ``digit``
    joins them. The last entry is the user's drawing, empty unless one is given. Without either, the
    first image that is read right is shown.
    """
    chosen: list[int] = []
    for label in range(at.CLASSES):
        own = test.labels == label
        wrong = (own & (predictions != label)).nonzero().flatten()[:MISREAD_OF_A_CLASS]
        right = (own & (predictions == label)).nonzero().flatten()[: OF_A_CLASS - len(wrong)]
        chosen += [*wrong.tolist(), *right.tolist()]
    if digit is not None and digit not in chosen:
        chosen.append(digit)
    entries = []
    for number in chosen:
        label, read = int(test.labels[number]), int(predictions[number])
        how = "" if read == label else f", misread as {read}"
        entries.append(Entry(f"{label} (test image {number}{how})", label, test.images[number].numpy()))
    empty = np.zeros((at.SIDE, at.SIDE), dtype=np.uint8)
    entries.append(Entry(OWN, "?", empty if drawing is None else drawing.numpy()))
    if drawing is not None:
        return tuple(entries), len(entries) - 1
    if digit is None:
        digit = min(
            chosen, key=lambda number: (bool(predictions[number] != test.labels[number]), number)
        )
    return tuple(entries), chosen.index(digit)


def _check_reference(reference: nn.Sequential, model: nn.Sequential, images: torch.Tensor) -> None:
    """Raise `InputError` where a model computes more than its layers tell, by a hook for one."""
    own, values = copy.deepcopy(model).cpu().double().eval(), normalised(images.numpy())
    with torch.no_grad():
        wanted, found = own(values).flatten(1), reference(values).flatten(1)
    # Weights are rounded to nine digits: far less than what another formula would change.
    if wanted.shape != found.shape or (found - wanted).abs().max() > 1e-4 * max(1, wanted.abs().max()):
        raise InputError(
            "the network computes something else than its layers one after another; give a plain "
            "nn.Sequential, without hooks or a forward of its own"
        )


def _score(reference: nn.Sequential, images: torch.Tensor, progress: bool) -> torch.Tensor:
    """The digit that the network reads in each image."""
    parts = []
    with progress_bar(total=len(images), desc="scoring", unit=" images", disable=not progress) as bar:
        for batch in torch.split(images, 1000):
            parts.append(classify(reference, batch))
            bar.update(len(batch))
    return torch.cat(parts)


def _question(plan: Plan) -> Question:
    """What the sheet Explain shows at first: the middle of a map of the second block with weights."""
    block = plan.weighted[min(1, len(plan.weighted) - 1)].block
    return Question(block.name, 0, block.shape[1] // 2, block.shape[2] // 2)


def _about(written: Written, parameters: int, plan: Plan) -> tuple[str, ...]:
    """The lines of the sheet Read me; a line with # is a heading."""
    maps = ", ".join(part.block.name for part in plan.parts[1:])
    read = f"{written.accuracy:.2%} of {written.images:,} test images right"
    return (
        "A neural network that reads digits, cell by cell",
        "# How to use it",
        "Digit: pick a digit in the yellow cell, or paint over it in the grid on the right: 0 is paper, "
        "255 is ink. All sheets recalculate.",
        f"{maps}: the layers in their order. Every cell of a map is one formula; select it to read it.",
        "Names that end in _w are sheets of weights: change one and watch maps and answer.",
        "Names that end in _in only link the maps before them, in such an order that a window of all "
        "channels is one range.",
        "Explain: type a layer, a channel and a position to see the window, the weights, the products "
        "and the sum.",
        "Softmax: from logits to probabilities. Digits: the images of the list.",
        "# The network",
        f"{parameters:,} trained parameters, {written.formulas:,} formulas; the sheet Layers lists it. "
        "Batch normalisation is written as · gain + shift; all weights are rounded to nine digits.",
        f"This very network, with its rounded weights, reads {read} (standard error "
        f"{written.standard_error:.2%}).",
        "The digits of the list say nothing about accuracy: of each class they are the first three that "
        "the network misreads, or as many as there are, and then the first that it reads right.",
        "# Proof",
        "gradsheet verify recalculates it with a spreadsheet engine, for ten digits, an empty, "
        "a full and random images and other weights, and compares every formula with PyTorch.",
        "# Data",
        "MNIST (Y. LeCun, C. Cortes, C. J. C. Burges, 1998), Creative Commons Attribution-Share Alike "
        "3.0: the digits in this workbook are under this licence, gradsheet itself under MIT's.",
    )
