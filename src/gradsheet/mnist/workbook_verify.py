"""Prove a workbook that `gradsheet mnist workbook` wrote: every formula, against PyTorch in float64.

Of the workbook only the layers, the weights, the images and what the user typed are read. PyTorch's own
modules compute from them what every formula must give, and a spreadsheet engine calculates the workbook
anew: as it stands, for a digit of every class, for an empty, a full and a random image, and for random
images with other weights. These are positive, so that no ReLU is silent and hides a wrong formula
behind its 0. And each cell that has to be a formula must be one, and no other may.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradsheet.backends.workbook_layout import cell
from gradsheet.engines import CellError, Changes, Sheets, Value, ironcalc
from gradsheet.errors import InputError, WorkbookError
from gradsheet.mnist import workbook_places as at
from gradsheet.mnist.layers import Array, Layer, Parameters
from gradsheet.mnist.reference import layer_outputs, make_reference, read_model
from gradsheet.mnist.workbook_formulas import all_formulas
from gradsheet.mnist.workbook_places import Place
from gradsheet.mnist.workbook_plan import Plan, layer_table, read_layers
from gradsheet.mnist.workbook_values import Question, State, Values, block_maps, expected_values
from gradsheet.progress import progress_bar
from gradsheet.verify import ENGINES
from gradsheet.verify.verdict import Difference, largest, to_json, to_text

TOLERANCE, LOGIT_TOLERANCE = 1e-10, 1e-12
"""Largest difference that counts as equal, of a number up to 1; in proportion above. Sums of 300
products in another order differ by about 1e-15, and LibreOffice saves 15 digits."""
LISTED = 20
"""How many differing cells are kept for the report."""


@dataclass(frozen=True)
class Compared:
    """How many cells of a sheet were compared in one recalculation, and the worst of them."""

    sheet: str
    cells: int
    worst: Difference | None


@dataclass(frozen=True)
class ImageRun:
    """One recalculation: the engine, what was typed in before, and what came out."""

    engine: str
    inputs: str
    sheets: tuple[Compared, ...]
    differences: tuple[Difference, ...]
    differing: int

    @property
    def compared(self) -> int:
        return sum(sheet.cells for sheet in self.sheets)


@dataclass(frozen=True)
class CnnVerdict:
    """What was found out about a workbook. ``proved`` means that no cell differed in any run.

    ``misplaced`` are cells that hold no formula though they should, or one though they should not.
    """

    file: str
    network: str
    runs: tuple[ImageRun, ...]
    formulas: int
    misplaced: tuple[Difference, ...]

    @property
    def proved(self) -> bool:
        return not self.misplaced and not any(run.differing for run in self.runs)

    @property
    def worst(self) -> Difference | None:
        return largest(sheet.worst for run in self.runs for sheet in run.sheets)


def verify_cnn(path: Path, text: Sheets, engines: Sequence[str], *, progress: bool = True) -> CnnVerdict:
    """Recalculate the workbook of a network that reads digits, and compare every formula with PyTorch.

    ``text`` are the values of its cells, of which texts and typed numbers are read; ``engines`` are
    names of `gradsheet.verify.ENGINES`.

    Raises `WorkbookError` when what has to be read was edited so that it cannot be.
    """
    plan = _read_plan(path, text)
    places = [
        (sheet, [(row, column) for row, column, _ in formulas]) for sheet, formulas in all_formulas(plan)
    ]
    misplaced = tuple(_misplaced(plan, places, ironcalc.formulas(path)))
    series = dict(_series(path, plan, text))
    runs = []
    for engine in engines:
        recalculated = ENGINES[engine].recalculate_each(path, series.values())
        with progress_bar(total=len(series), desc=engine, unit=" runs", disable=not progress) as bar:
            for inputs, sheets in zip(series, recalculated, strict=True):
                state = _read_state(path, plan, sheets)
                runs.append(_judge(plan, places, sheets, expected_values(plan, state), engine, inputs))
                bar.update(1)
    count = sum(len(listed) for _, listed in places)
    parameters = _read_parameters(path, plan, text)
    network = f"a network that reads digits, {_origin(plan.layers, parameters)}"
    return CnnVerdict(str(path), network, tuple(runs), count, misplaced)


# ---------------------------------------------------------------- reading


def _edited(path: Path, sheet: str, why: object) -> WorkbookError:
    return WorkbookError(
        f"{path}: its sheet {sheet} was edited and cannot be read ({why}); write the workbook again"
    )


def _read_plan(path: Path, text: Sheets) -> Plan:
    listed = text[at.LAYERS]
    rows: list[list[Value]] = []
    while (at.LAYER_ROW + len(rows), 0) in listed:
        row = at.LAYER_ROW + len(rows)
        rows.append([listed.get((row, column), "") for column in range(len(at.LAYER_COLUMNS))])
    entries = 0
    while (at.ENTRY_ROW + entries, 0) in text.get(at.DIGITS, {}):
        entries += 1
    try:
        plan = Plan(read_layers(rows), entries)
        written = layer_table(plan)
    except (ValueError, IndexError, InputError) as error:
        raise _edited(path, at.LAYERS, error) from None
    for row, line in enumerate(written):
        for column, value in enumerate(line):
            if rows[row][column] != value:
                place = cell(at.LAYER_ROW + row, column)
                raise _edited(
                    path, at.LAYERS, f"{place} should be {value!r}, but is {rows[row][column]!r}"
                )
    for name, _ in all_formulas(plan):
        if name not in text:
            raise _edited(path, at.LAYERS, f"it lists a sheet {name} that is not there")
    return plan


def _number(path: Path, sheets: Sheets, sheet: str, place: Place) -> float:
    value = sheets.get(sheet, {}).get(place)
    if not isinstance(value, float) or not math.isfinite(value):
        raise WorkbookError(
            f"{path}: {sheet}!{cell(*place)} holds {value!r}, but a number belongs there; type one"
        )
    return value


def _read_parameters(path: Path, plan: Plan, sheets: Sheets) -> dict[tuple[int, str], Array]:
    parameters: dict[tuple[int, str], Array] = {}
    for part in plan.parts:
        weights = part.weights
        for key, places in part.weight_places():
            values = np.array([_number(path, sheets, weights.sheet, place) for place in places])
            if key[1] == "weight":
                rows, columns, sources = weights.kernel
                values = values.reshape(weights.channels, sources, rows, columns)
            parameters[key] = values
    return parameters


def _read_state(path: Path, plan: Plan, sheets: Sheets) -> State:
    """What the user chose and typed, and what PyTorch makes of it."""
    digits, chosen = sheets[at.DIGITS], sheets[at.DIGIT].get(at.CHOICE)
    texts = [digits.get((at.ENTRY_ROW + entry, 0)) for entry in range(plan.entries)]
    if chosen not in texts:
        raise WorkbookError(
            f"{path}: {at.DIGIT}!{cell(*at.CHOICE)} holds {chosen!r}, which is not in the list; pick one"
        )
    pick, pixels = texts.index(chosen), np.zeros((at.SIDE, at.SIDE))
    for row in range(at.SIDE):
        for column in range(at.SIDE):
            brush, stored = at.painted(row, column), at.pixel(pick, row, column)
            if sheets[at.DIGIT].get(brush, "") != "":
                pixels[row, column] = _number(path, sheets, at.DIGIT, brush)
            elif stored in digits:
                pixels[row, column] = _number(path, sheets, at.DIGITS, stored)
    label = digits.get((at.ENTRY_ROW + pick, 1), "?")
    parameters = _read_parameters(path, plan, sheets)
    reference = make_reference(plan.layers, parameters, (1, at.SIDE, at.SIDE))
    return State(
        pick=pick,
        label=label if isinstance(label, str) else int(label),
        pixels=pixels,
        maps=block_maps(plan, layer_outputs(reference, pixels)),
        parameters=parameters,
        question=_read_question(path, plan, sheets),
    )


def _read_question(path: Path, plan: Plan, sheets: Sheets) -> Question:
    name = sheets[at.EXPLAIN].get(at.LAYER_CELL)
    shapes = {part.block.name: part.block.shape for part in plan.weighted}
    if not isinstance(name, str) or name not in shapes:
        raise WorkbookError(
            f"{path}: {at.EXPLAIN}!{cell(*at.LAYER_CELL)} holds {name!r}; pick {', '.join(shapes)}"
        )
    numbers = []
    for place, size in zip((at.CHANNEL_CELL, at.ROW_CELL, at.COLUMN_CELL), shapes[name], strict=True):
        number = _number(path, sheets, at.EXPLAIN, place)
        if number not in range(size):
            raise WorkbookError(
                f"{path}: {at.EXPLAIN}!{cell(*place)} holds {number:g}; type a whole number "
                f"from 0 to {size - 1}"
            )
        numbers.append(int(number))
    return Question(name, *numbers)


def _origin(layers: Sequence[Layer], parameters: Parameters) -> str:
    """Whether the weights are those that come with gradsheet."""
    from gradsheet.mnist.export import load_weights, shipped_weights

    try:
        shipped_layers, shipped = read_model(load_weights(shipped_weights()).layers)
    except InputError:  # an installation without weights
        return "weights of its own"
    same = tuple(layers) == shipped_layers and all(
        np.array_equal(values, parameters[key]) for key, values in shipped.items()
    )
    return "the weights that come with gradsheet" if same else "weights of its own"


# ---------------------------------------------------------------- what is typed in


def _series(path: Path, plan: Plan, text: Sheets) -> Iterator[tuple[str, Changes]]:
    """Every recalculation by its name, with what is typed in before it."""
    random = np.random.default_rng(0)
    yield "as it stands", {}
    labels = [text[at.DIGITS].get((at.ENTRY_ROW + entry, 1)) for entry in range(plan.entries)]
    for label in range(10):
        if label in labels:
            entry = str(text[at.DIGITS][at.ENTRY_ROW + labels.index(label), 0])
            yield f"a {label}", {(at.DIGIT, *at.CHOICE): entry, **_ask(plan, random)}
    yield "all 0", {**_paint(np.zeros((at.SIDE, at.SIDE))), **_ask(plan, random)}
    yield "all 255", {**_paint(np.full((at.SIDE, at.SIDE), 255)), **_ask(plan, random)}
    yield "random", {**_paint(random.integers(0, 256, (at.SIDE, at.SIDE))), **_ask(plan, random)}
    for number in (1, 2):
        image = _paint(random.integers(0, 256, (at.SIDE, at.SIDE)))
        yield (
            f"random, other weights {number}",
            {**image, **_other_weights(plan, random), **_ask(plan, random)},
        )


def _paint(image: Any) -> Changes:
    return {
        (at.DIGIT, *at.painted(row, column)): float(image[row, column])
        for row in range(at.SIDE)
        for column in range(at.SIDE)
    }


def _ask(plan: Plan, random: np.random.Generator) -> Changes:
    """Another question for the sheet Explain."""
    block = plan.weighted[int(random.integers(len(plan.weighted)))].block
    numbers = [float(random.integers(size)) for size in block.shape]
    places = (at.CHANNEL_CELL, at.ROW_CELL, at.COLUMN_CELL)
    typed = {(at.EXPLAIN, *place): number for place, number in zip(places, numbers, strict=True)}
    return {(at.EXPLAIN, *at.LAYER_CELL): block.name, **typed}


def _other_weights(plan: Plan, random: np.random.Generator) -> Changes:
    """Positive weights, drawn so that sums stay near 1 and no ReLU gives 0, not even for paper.

    A normalised pixel is at least −0.43 and a bias at least 1; a window's weights sum to 1.5 at most.
    """
    bounds = {"weight": (0.5, 1.5), "bias": (1, 2), "gain": (0.5, 1), "shift": (0.1, 1)}
    changes: dict[tuple[str, int, int], float | str] = {}
    for part in plan.parts:
        for (_, name), places in part.weight_places():
            scale = part.weights.terms if name == "weight" else 1
            for place, number in zip(places, random.uniform(*bounds[name], len(places)), strict=True):
                changes[part.weights.sheet, *place] = float(number / scale)
    return changes


# ---------------------------------------------------------------- judging


Places = Sequence[tuple[str, Sequence[Place]]]
"""All cells that hold formulas, by sheet, in the order in which one depends on another."""


def _misplaced(
    plan: Plan, places: Places, formulas: Mapping[str, Mapping[Place, str]]
) -> Iterator[Difference]:
    """Cells that should hold a formula and do not, or the other way round."""
    wanted: dict[str, set[Place]] = {at.LAYERS: set()}
    wanted |= {part.weights.sheet: set() for part in plan.parts if not part.weights.is_empty}
    for name, listed in places:
        wanted.setdefault(name, set()).update(listed)
    for name, due in wanted.items():
        found = formulas.get(name, {})
        for place in sorted(due - found.keys()):
            why = "holds no formula, but one belongs here"
            yield Difference(name, cell(*place), why, None, math.nan, math.inf)
        for place in sorted(found.keys() - due):
            why = f"holds the formula {found[place]}, but none belongs here"
            yield Difference(name, cell(*place), why, None, math.nan, math.inf)


def _judge(
    plan: Plan, places: Places, sheets: Sheets, expected: Values, engine: str, inputs: str
) -> ImageRun:
    """Compare every formula; the first difference is the one that others may follow from."""
    counts: dict[str, int] = {}
    worst: dict[str, Difference] = {}
    differences: list[Difference] = []
    differing = 0
    logits = (at.SOFTMAX, plan.parts[-1].maps.sheet)
    for sheet, listed in places:
        tolerance = LOGIT_TOLERANCE if sheet in logits else TOLERANCE
        found, wanted = sheets.get(sheet, {}), expected[sheet]
        counts[sheet] = counts.get(sheet, 0) + len(listed)
        for place in listed:
            value = wanted[place]
            distance = _distance(found.get(place), value)
            if distance <= tolerance and sheet in worst and distance <= worst[sheet].relative:
                continue
            shown = math.nan if isinstance(value, str) else value
            difference = Difference(sheet, cell(*place), inputs, found.get(place), shown, distance)
            if sheet not in worst or distance > worst[sheet].relative:
                worst[sheet] = difference
            if distance > tolerance:
                differing += 1
                if len(differences) < LISTED:
                    differences.append(difference)
    compared = tuple(Compared(sheet, count, worst.get(sheet)) for sheet, count in counts.items())
    return ImageRun(engine, inputs, compared, tuple(differences), differing)


def _distance(found: Value | None, expected: float | str) -> float:
    """How far a cell is from its value, relative to numbers above 1; texts are equal or not."""
    if isinstance(expected, str):
        return 0.0 if (found or "") == expected and not isinstance(found, CellError) else math.inf
    if not isinstance(found, float) or not math.isfinite(found):
        return math.inf
    return abs(found - expected) / max(1.0, abs(expected))


# ---------------------------------------------------------------- reporting


@to_text.register
def _(verdict: CnnVerdict) -> str:
    """The verdict for a terminal: a table by sheet for every engine, then one sentence."""
    lines = [f"{verdict.file}: {verdict.network}, {verdict.formulas:,} formulas"]
    for engine in dict.fromkeys(run.engine for run in verdict.runs):
        runs = [run for run in verdict.runs if run.engine == engine]
        lines += ["", f"{engine}, {len(runs)} times: {', '.join(run.inputs for run in runs)}"]
        lines.append(f"  {'sheet':<12} {'cells':>10}  largest difference")
        for k, first in enumerate(runs[0].sheets):
            worst = largest(run.sheets[k].worst for run in runs)
            cells = sum(run.sheets[k].cells for run in runs)
            where = "" if worst is None else f"{worst.relative:.1e}  {worst.cell}, {worst.quantity}"
            lines.append(f"  {first.sheet:<12} {cells:>10,}  {where}".rstrip())
        lines += [
            f"  WRONG {wrong.sheet}!{wrong.cell} ({wrong.quantity}): holds {wrong.found!r}, "
            f"PyTorch says {wrong.expected!r}"
            for wrong in [wrong for run in runs for wrong in run.differences][:LISTED]
        ]
    lines += [
        "",
        *(f"WRONG {place.sheet}!{place.cell}: {place.quantity}" for place in verdict.misplaced[:LISTED]),
    ]
    compared = sum(run.compared for run in verdict.runs)
    if verdict.proved:
        sentence = f"PROVED: all {compared:,} recalculated numbers equal PyTorch in float64"
    else:
        wrong_cells = sum(run.differing for run in verdict.runs)
        sentence = (
            f"WRONG: {wrong_cells:,} of {compared:,} recalculated numbers differ from PyTorch in float64"
        )
        if verdict.misplaced:
            sentence += f", and {len(verdict.misplaced):,} cells wrongly hold a formula or none"
    worst = verdict.worst
    if worst is not None:
        sentence += f"; the largest difference is {worst.relative:.1e}, in {worst.sheet}!{worst.cell}"
    return "\n".join([*lines, f"{sentence} (tolerance {TOLERANCE:g}, logits {LOGIT_TOLERANCE:g})."])


@to_json.register
def _(verdict: CnnVerdict) -> dict[str, Any]:
    """The verdict as plain data; numbers that are not finite become None."""

    def finite(number: float) -> float | None:
        return number if math.isfinite(number) else None

    def plain(difference: Difference | None) -> dict[str, Any] | None:
        if difference is None:
            return None
        return {
            "sheet": difference.sheet,
            "cell": difference.cell,
            "found": difference.found,
            "expected": finite(difference.expected),
            "difference": finite(difference.relative),
        }

    return {
        "file": verdict.file,
        "verdict": "proved" if verdict.proved else "wrong",
        "network": verdict.network,
        "formulas": verdict.formulas,
        "tolerance": TOLERANCE,
        "logit_tolerance": LOGIT_TOLERANCE,
        "largest_difference": plain(verdict.worst),
        "misplaced": [
            {"sheet": place.sheet, "cell": place.cell, "reason": place.quantity}
            for place in verdict.misplaced
        ],
        "runs": [
            {
                "engine": run.engine,
                "inputs": run.inputs,
                "compared": run.compared,
                "differing": run.differing,
                "sheets": [
                    {"sheet": s.sheet, "compared": s.cells, "largest_difference": plain(s.worst)}
                    for s in run.sheets
                ],
                "differences": [plain(difference) for difference in run.differences],
            }
            for run in verdict.runs
        ],
    }
