"""Formulas in words beside a table, such as ``h1 = w1*i1 + w2*i2``: do they say what the cells compute?

Only texts of which every name is a quantity of the network can be judged; the others are passed over.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping

import numpy as np

from gradsheet.check.formula import Cell, Unreadable, evaluate, parse
from gradsheet.check.labels import plain, read_label
from gradsheet.check.reader import same
from gradsheet.check.reading import DRAWS, Reading
from gradsheet.check.sheets import texts
from gradsheet.compiler import gradient_name
from gradsheet.expression import Array

LONGEST = 300
"""Characters of a text that is read as a formula."""
_SIGNS = str.maketrans(
    {
        "×": "*",
        "·": "*",
        "∗": "*",
        "−": "-",
        "–": "-",
        "÷": "/",
        "²": "^2",
        "½": "(1/2)",
        "[": "(",
        "]": ")",
    }
)
_WORD = re.compile(r"[^\W\d_][\w']*")
_FUNCTIONS = {"exp": "EXP", "tanh": "TANH", "ln": "LN", "log": "LN", "max": "MAX", "sqrt": "SQRT"}
_SIGMOID = ("σ", "sigmoid", "sigma")


def disagreements(reading: Reading) -> Iterator[str]:
    """A sentence for every text of the sheet that says something else than its cells should compute."""
    names = _names(reading)
    sheet = reading.table.sheet
    for row, column, text in texts(sheet):
        if "=" not in text or len(text) > LONGEST:
            continue
        left, *sides = text.split("=")
        quantity = _quantity(reading, left, names)
        if quantity is None or quantity not in reading.worlds[0]:
            continue
        for side in sides:
            found = _value(reading, side, names)
            if found is not None and not same(found, reading.expected(quantity)):
                cell = Cell(sheet.name, row, column)
                place = f"{sheet.name}!{cell.address}"
                yield f"{place} says {text.strip()!r}, which is not what belongs there"
                break


def _squeezed(text: str) -> str:
    return re.sub(r"[_()]", "", plain(text))


def _names(reading: Reading) -> Mapping[str, str]:
    """What people write for each quantity: its name, and the header of its column."""
    names = {_squeezed(q.name): q.name for q in reading.program.quantities if q.role != "delta"}
    for key, name in reading.quantities.items():
        header = reading.table.headers.get(key.place) if key.place is not None else None
        if header is not None and not name.startswith(("new_", "dE_d", "delta_", "slope_")):
            names[_squeezed(header)] = name
    return names


def _quantity(reading: Reading, left: str, names: Mapping[str, str]) -> str | None:
    label = read_label(left)
    if label is not None and label.kind == "gradient" and label.key in reading.updated:
        return gradient_name(label.key) if label.of in ("", "e") else None
    return names.get(_squeezed(left))


def _value(reading: Reading, text: str, names: Mapping[str, str]) -> Array | None:
    """The value of a formula in words on the random networks; None where it cannot be read."""
    found: dict[str, str] = {}

    def word(match: re.Match[str]) -> str:
        squeezed = _squeezed(match[0])
        if squeezed in _FUNCTIONS:
            return _FUNCTIONS[squeezed]
        if squeezed in _SIGMOID:
            return "SIGMOID"
        if squeezed not in names:
            raise Unreadable(match[0])
        found.setdefault(f"quantity_{len(found)}", names[squeezed])
        return f"quantity_{len(found) - 1}"

    def read(name: Cell | str) -> Array:
        return np.asarray(reading.worlds[0][found[str(name)]])

    home = Cell(reading.table.sheet.name, 0, 0)
    try:
        formula = _WORD.sub(word, unicodedata.normalize("NFC", text).translate(_SIGNS).strip())
        value = evaluate(parse(f"={formula}", home), home, read)
        return np.broadcast_to(np.asarray(value, dtype=float), DRAWS) if found else None
    except (Unreadable, TypeError, ValueError, KeyError):
        return None
