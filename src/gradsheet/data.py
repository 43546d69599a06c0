"""A network for samples of one's own: from a CSV file, some of whose columns are to be predicted.

Inputs are numbers, and standardised. Targets are numbers as well, or the names of classes in one column.
What cannot be used is refused in one sentence that names the row of the file, or the column.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gradsheet import network as net
from gradsheet.errors import InputError
from gradsheet.network import CLASS_LOSSES, RESERVED_NAMES, Network

HIDDEN = (4,)
ACTIVATION = "tanh"
LEARNING_RATE = 0.1
SEED = 1
"""What a network has where nothing is said."""
_LAST_ACTIVATIONS = {"binary_cross_entropy": "sigmoid", "categorical_cross_entropy": "softmax"}

MOST_BYTES = 10_000_000
MOST_ROWS = 10_000
MOST_COLUMNS = 1_000
MOST_CLASSES = 20
SEPARATORS = (",", ";", "\t")
MISSING = ("", "na", "n/a", "nan", "null", "?")
"""How files say that a value is missing, in small letters."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Column:
    """A column of a file: its name, its values as they are written, and in which line each stands.

    ``decimal_comma`` says whether numbers of the file have one.
    """

    name: str
    values: tuple[str, ...]
    lines: tuple[int, ...]
    decimal_comma: bool

    @cached_property
    def parsed(self) -> list[float | None]:
        """The values as numbers; None for text."""
        return [_number(value, self.decimal_comma) for value in self.values]


def _number(text: str, decimal_comma: bool) -> float | None:
    if decimal_comma and "." not in text:
        text = text.replace(",", ".", 1)
    return float(text) if _NUMBER.fullmatch(text) else None


# ---------------------------------------------------------------- reading


def read_columns(path: Path) -> tuple[Column, ...]:
    """The columns of a CSV file in UTF-8, whose first line names them.

    They are separated by commas, or by semicolons or tabs: then numbers may have a decimal comma.
    Raises `InputError` for what is no such file, and for missing and infinite values by their row, which
    is the number of the line.
    """
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise InputError(
            f"{path}: has {path.stat().st_size / 1e6:,.0f} MB, but a sheet takes no more than "
            f"{MOST_BYTES / 1e6:.0f}; keep {MOST_ROWS:,} rows at most"
        )
    text = net.read_text(path, "CSV in UTF-8")
    if "\0" in text:
        raise InputError(f"{path}: is no text but a binary file; save it as CSV in UTF-8")
    try:
        return _columns(text)
    except csv.Error as error:
        raise InputError(f"{path}: is not CSV ({error}); mend its quotes") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _columns(text: str) -> tuple[Column, ...]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=re.sub(r'"[^"]*"', "", first).count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, lines, before = [], [], 0
    for row in reader:
        if any(value.strip() for value in row):
            rows.append([" ".join(value.split()) for value in row])
            lines.append(before + 1)
        before = reader.line_num
        if len(rows) > MOST_ROWS + 1:
            raise InputError(
                f"has more than {MOST_ROWS:,} rows, and a sheet of so many is no use; keep some of them"
            )
    if not rows:
        raise InputError("is empty; the first line has to name the columns")
    names, *rows = rows
    _check_header(names)
    if not rows:
        raise InputError("has a header, but no rows below it; add samples")
    for row, line in zip(rows, lines[1:], strict=True):
        if len(row) != len(names):
            raise InputError(
                f"row {line} has {len(row)} values, but the header names {len(names)} columns; mend it"
            )
    comma = separator != "," and any(
        "," in value and _number(value, decimal_comma=True) is not None for row in rows for value in row
    )
    values = zip(names, zip(*rows, strict=True), strict=True)
    return tuple(Column(name, column, tuple(lines[1:]), comma) for name, column in values)


def _check_header(names: Sequence[str]) -> None:
    if len(names) > MOST_COLUMNS:
        raise InputError(
            f"has {len(names):,} columns, more than the {MOST_COLUMNS:,} that are read; keep fewer"
        )
    for number, name in enumerate(names, 1):
        if not name:
            raise InputError(f"column {number} has no name in the first line; name it, or remove it")
        if _number(name, decimal_comma=True) is not None:
            raise InputError(
                f"the first line has to name the columns, but {name!r} is a number; put a line of names "
                "before it"
            )
        if name in names[: number - 1]:
            raise InputError(f"two columns are called {name!r}; rename one of them")
    if len(names) < 2:
        raise InputError(
            f"has only the column {names[0][:40]!r}; give inputs and targets, separated by commas, "
            "semicolons or tabs"
        )


def _check_numbers(column: Column, mend: str) -> None:
    """``mend`` says what to do about a text."""
    for value, line, number in zip(column.values, column.lines, column.parsed, strict=True):
        if number is None:
            raise InputError(f"column {column.name!r} holds text, {value[:40]!r} in row {line}; {mend}")


def _check_values(column: Column) -> None:
    for value, line, number in zip(column.values, column.lines, column.parsed, strict=True):
        if value.lower() in MISSING:
            shown = f" but {value!r}" if value else ""
            raise InputError(
                f"row {line} has no value{shown} in column {column.name!r}; fill it in or remove the row"
            )
        if re.fullmatch(r"[+-]?inf(inity)?", value.lower()) or number in (math.inf, -math.inf):
            raise InputError(
                f"row {line} has {value[:40]!r} in column {column.name!r}, which no sheet can compute "
                "with; remove the row"
            )
        if column.decimal_comma and number is not None and "." in value:  # 1.234 may be 1234 there
            raise InputError(
                f"row {line} has {value[:40]!r} in column {column.name!r}, but other numbers have a "
                "decimal comma; write it with a comma, or thousands without a point"
            )


# ---------------------------------------------------------------- a network


def network_from(
    path: Path,
    targets: Sequence[str],
    table: Mapping[str, Any] | None = None,
    *,
    inputs: Sequence[str] = (),
    classes: bool = False,
    hidden: Sequence[int] = HIDDEN,
    activation: str = ACTIVATION,
    loss: str | None = None,
    seed: int = SEED,
) -> Network:
    """A network for the samples in a CSV file, whose columns go by their names.

    ``inputs`` are by default all columns but the targets. Text in a single target, or numbers with
    ``classes``, are names of classes, sorted. Of two, one output tells the second from the first, unless
    the loss is of shares: then, and for more classes, each has an output that is 1 for its samples
    (one-hot). Inputs are standardised, and so are targets that are numbers.

    ``table`` is the network as it stands in TOML, without samples or with others. Where there is none,
    it has ``hidden`` layers of one ``activation``, weights and biases drawn from ``seed``, and the usual
    last layer. ``loss`` is by default that of the table, or the mean squared error for numbers, the
    binary cross-entropy for two classes, the softmax cross-entropy for more.

    Raises `InputError` for a file or columns that cannot be used, and `NetworkError`.
    """
    columns = {column.name: column for column in read_columns(path)}
    own_loss = loss or (table or {}).get("loss")
    own_loss = own_loss and net.choice(own_loss, "loss")
    try:
        chosen = _inputs(columns, targets, inputs)
        target = _targets(
            [columns[name] for name in dict.fromkeys(targets)],
            classes or own_loss in CLASS_LOSSES,
            two=own_loss in CLASS_LOSSES or _outputs(table) == 2,
        )
        if _outputs(table) not in (None, len(target.names)):
            raise InputError(
                f"{targets[0]!r} needs {_count(len(target.names), 'output')}, but the last layer of the "
                f"network has {_count(_outputs(table), 'neuron')}; give it as many"
            )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if own_loss is None:
        of_classes = "binary_cross_entropy" if len(target.names) == 1 else "softmax_cross_entropy"
        own_loss = of_classes if target.are_classes else "mean_squared_error"
    numbers = not target.are_classes and not own_loss.endswith("cross_entropy")
    if table is None:
        table = _new_table(hidden, activation, own_loss, len(target.names), seed)
    input_names, output_names = (
        _column_names(names) for names in ([column.name for column in chosen], target.names)
    )
    if target.are_classes:
        output_names = _class_names(target.names, targets[0], input_names)
    described = f"The {len(target.values):,} samples of {path.name}{target.meaning}"
    # the description of a network that had samples is about these
    own = {key: value for key, value in table.items() if key != "description" or "inputs" not in table}
    return net.from_table(
        {
            "name": path.stem,
            "standardize": ["inputs", "targets"] if numbers else ["inputs"],
            "description": described,
            **_complete(own, own_loss),
            "loss": own_loss,
            "inputs": [list(row) for row in zip(*(c.parsed for c in chosen), strict=True)],
            "targets": target.values,
            "input_names": input_names,
            "output_names": output_names,
        }
    )


def _count(number: int | None, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _inputs(
    columns: Mapping[str, Column], targets: Sequence[str], inputs: Sequence[str]
) -> list[Column]:
    if not targets:
        raise InputError(
            f"no target is named; name the column to predict, of {', '.join(columns)[:500]}"
        )
    for name in (*targets, *inputs):
        if name not in columns:
            raise InputError(f"there is no column {name!r}; known are {', '.join(columns)[:500]}")
        if name in inputs and name in targets:
            raise InputError(f"{name!r} cannot be input and target at once; leave it out of one of them")
    chosen = [columns[name] for name in dict.fromkeys(inputs or columns) if name not in targets]
    if not chosen:
        raise InputError("no column is left for the inputs; name fewer targets")
    for column in chosen:
        _check_values(column)
    usable = ",".join(column.name for column in chosen if None not in column.parsed)
    mend = f"choose others with --inputs, such as {usable[:200]}" if usable else "write it as numbers"
    for column in chosen:
        _check_numbers(column, f"inputs are numbers: {mend}")
    return chosen


@dataclass(frozen=True)
class _Target:
    """What the outputs are to be: their names, and row by row numbers or the number of a class.

    ``meaning`` says what 0 and 1 stand for, where one output tells two classes apart.
    """

    names: tuple[str, ...]
    values: list[int] | list[list[float | None]]
    are_classes: bool
    meaning: str = ""


def _targets(columns: Sequence[Column], classes: bool, two: bool) -> _Target:
    """``two`` gives two classes an output each."""
    for column in columns:
        _check_values(column)
    first = columns[0]
    if len(columns) > 1 or not (classes or None in first.parsed):
        for column in columns:
            _check_numbers(column, "several targets are numbers: give a column of classes alone")
        values = [list(row) for row in zip(*(column.parsed for column in columns), strict=True)]
        return _Target(tuple(column.name for column in columns), values, False)
    if not classes and any(number is not None for number in first.parsed):
        _check_numbers(first, "mend it, or say with --classes that its numbers are names of classes")
    found = dict(zip(first.values, first.parsed, strict=True))
    names = sorted(found, key=lambda name: (found[name] or 0.0, name))
    if not 2 <= len(names) <= MOST_CLASSES:
        raise InputError(
            f"column {first.name!r} holds {_count(len(names), 'different value')}, but a "
            f"target has from 2 to {MOST_CLASSES} classes; choose another column"
        )
    labels = [names.index(value) for value in first.values]
    if two or len(names) > 2:
        return _Target(tuple(names), labels, True)
    meaning = f"; {first.name}: 1 is {names[1]}, 0 is {names[0]}"
    return _Target((names[1],), labels, True, meaning)


def _column_names(names: Sequence[str]) -> list[str]:
    """The names of columns, told apart from the quantities of a network."""
    return [f"column {name}" if RESERVED_NAMES.fullmatch(name) else name for name in names]


def _class_names(names: Sequence[str], target: str, inputs: Sequence[str]) -> list[str]:
    """The names of classes, told apart from the inputs and from the quantities of a network."""
    clash = any(RESERVED_NAMES.fullmatch(name) or name in inputs for name in names)
    return [f"{target}: {name}" for name in names] if clash else list(names)


def _outputs(table: Mapping[str, Any] | None) -> int | None:
    """How many neurons the last layer has, where the table says so."""
    match table:
        case {"layers": [*_, {"neurons": int(neurons)}]}:
            return neurons
        case {"layers": [*_, {"weights": list(weights)}]}:
            return len(weights)
    return None


def _complete(table: Mapping[str, Any], loss: str) -> Mapping[str, Any]:
    """A last layer without activation, as in the model files that leave it to the loss, with its own."""
    match table:
        case {"layers": [*hidden, {"activation": None} as last]}:
            activation = _LAST_ACTIVATIONS.get(loss, "identity")
            return {**table, "layers": [*hidden, {**last, "activation": activation}]}
    return table


def _new_table(
    hidden: Sequence[int], activation: str, loss: str, outputs: int, seed: int
) -> dict[str, Any]:
    last = _LAST_ACTIVATIONS.get(loss, "identity")
    layers = [*((neurons, activation) for neurons in hidden), (outputs, last)]
    keys = ("neurons", "activation")
    return {
        "learning_rate": LEARNING_RATE,
        "seed": seed,
        "layers": [{**dict(zip(keys, layer, strict=True)), "biases": True} for layer in layers],
    }
