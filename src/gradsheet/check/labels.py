"""What a header or a label says: a tolerant grammar for the names people give to the parts of a network.

``∂E/∂w1``, ``∂E_total/∂W5``, ``E∂w1``, ``δE_tot/δw1``, ``Etotaldw1``, ``dE_total / dw1`` and ``dw1`` all
say "gradient of w1". The grammar reads parts (a partial sign, a word for the loss, a name with its
number), not whole strings. What it says is a first hint: the formulas have the last word.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, NamedTuple

Kind = Literal[
    "input",
    "target",
    "parameter",
    "new",
    "forward",
    "loss",
    "total",
    "gradient",
    "slope",
    "rate",
    "step",
]


class Label(NamedTuple):
    """A label's meaning. ``key`` names the thing: ``w5`` for a weight, its gradient and its new value,
    ``1`` for the first input. ``of`` is the numerator of a derivative, such as ``e`` or ``e1``."""

    kind: Kind
    key: str
    of: str = ""


_LOSS = r"(?:loss|cost|error|err|mse|sse|e|l|j|c)"
_TOTAL = r"(?:total|tot|tota|sum|all|t)"
_PARAMETER = r"(?:weights?|wt|w|bias|b|theta|θ)"
_INDEX = r"\[?\(?(?:[hioxyn]?\d+)(?:[_,.:>\-]*[hioxyn]?\d+)*\)?\]?"
_PARTIAL = "∂"

_RATE = re.compile(
    r"(?:the)?(?:learning|learn|learing|learnig|leraning)(?:_?rates?)?(?:_?(?:η|eta|α|alpha|lr|n|\(.*\)))?"
    r"|(?:η|eta|α|alpha|lr|l\.r\.?|l_r|stepsize|step_size|rate)(?:_?\(?(?:learning_?rate|lr|η|eta|t)\)?)?"
)
_ETA = str.maketrans({"ƞ": "η", "ͷ": "η", "ɳ": "η", "ղ": "η", "ŋ": "η", "ἠ": "η", "ή": "η", "𝜼": "η"})

_LATIN = str.maketrans(
    "аеоірсхуһԝткмοι", "aeoipcxyhwtkmoi"
)  # Cyrillic and Greek letters that look Latin


def plain(text: str) -> str:
    """Lower case, without spaces, look-alikes unified; every partial sign is ``∂``."""
    text = unicodedata.normalize("NFKC", text).translate(_ETA).casefold().translate(_LATIN)
    text = re.sub(r"[\u200b-\u200d\ufeff\s]+", "", text)
    text = re.sub(r"[∂δ𝛿𝜕ðə∆▲∇]", _PARTIAL, text)
    return text.replace("′", "'").replace("’", "'").replace("÷", "/").replace("^", "")


def read_rate(text: str) -> bool:
    """Whether a text beside or above a number says that it is the learning rate.

    ``n`` and ``h`` (the η of the Symbol font) are too common to count in a header, but not here.
    """
    words = re.sub(r"[=:→–]|-+>?$", "", plain(text))
    return bool(_RATE.fullmatch(words)) or words in ("n", "h", "a")


def begins_with_rate(text: str) -> bool:
    """Whether a text speaks of a learning rate and may say of which: ``η output``, ``lr (layer 2)``."""
    words = plain(text).removeprefix("the")
    return bool(re.match(rf"(?:{_RATE.pattern})(?:$|[^a-z]|hidden|output|layer|of|for)", words))


def read_label(text: str) -> Label | None:
    """The meaning of a header, or None. A header may go on after a bracket, an ``=`` or a line break."""
    if re.search(r"=.*[^\W\d_]", text):
        return None  # a formula in words, such as h1 = w1*i1 + w2*i2
    for candidate in dict.fromkeys((text, *re.split(r"[\n=(:]", text)[:1])):
        found = _read(plain(candidate))
        if found is not None:
            return found
    return None


def _key(kind: str, index: str) -> str:
    letter = "b" if kind[0] == "b" else "θ" if kind[0] in "tθ" else "w"
    return letter + re.sub(r"[^a-z0-9]+", "_", index).strip("_")


def _read(words: str) -> Label | None:
    if not words or len(words) > 40:
        return None
    bare = words.replace("_", "").replace("*", "")
    if match := re.fullmatch(rf"_?({_PARAMETER})_?({_INDEX})", words):
        return Label("parameter", _key(match[1], match[2]))
    if match := re.fullmatch(r"(?:bias|b)_?([hoxy]?)", words):
        return Label("parameter", "b" + match[1])
    gradient = _gradient(words)
    if gradient is not None:
        return gradient
    if match := re.fullmatch(
        rf"(?:new|updated?|next|n)_?({_PARAMETER})_?({_INDEX})|"
        rf"({_PARAMETER})_?({_INDEX})_?(?:new|updated?|next|'|\+|\(t\+1\)|_?t\+1)",
        words,
    ):
        kind, index = (match[1], match[2]) if match[1] else (match[3], match[4])
        return Label("new", _key(kind, index))
    if match := re.fullmatch(r"(?:inputs?|inp|in|i|x)_?\[?\(?(\d+)\)?\]?", words):
        return Label("input", match[1])
    if match := re.fullmatch(
        r"(?:targets?|tgt|tar|desired|expected|actual|ytrue|t)_?[oy]?_?(\d*)", words
    ):
        return Label("target", match[1] or "1")
    if re.fullmatch(rf"{_LOSS}_?{_TOTAL}|{_TOTAL}_?{_LOSS}|etot|loss|cost|error|mse|sse|e|j", words):
        return Label("total", "")
    if match := re.fullmatch(rf"{_LOSS}_?[oya]?_?o?(\d+)", words):
        return Label("loss", match[1])
    if re.fullmatch(r"iterations?|iter|steps?|epochs?|#|no\.?|sr\.?no\.?|s\.?no\.?|t|k", bare):
        return Label("step", "")
    if _RATE.fullmatch(words):
        return Label("rate", "")
    if match := re.fullmatch(
        r"((?:a|out|act|activation|sigmoid|sig|σ|net|in|sum|z|h|o|s|y|ŷ|yhat|pred|hidden|output|relu|tanh)"
        r"[_(]*(?:h|o|z|y|net|hidden|out|output)?_?\d+(?:[_,]\d+)?\)?(?:out|act|in|net)?"
        r"|yhat|ŷ|pred(?:iction)?|output|net|sum|sigmoid|activation)",
        words,
    ):
        return Label("forward", re.sub(r"[^a-z0-9σ]", "", match[1]))
    return None


def _gradient(words: str) -> Label | None:
    """A derivative: of the loss by a parameter, or of anything by anything (a slope)."""
    loss = rf"{_LOSS}_?(?:{_TOTAL})?_?o?(\d*)"
    separated = rf"[{_PARTIAL}d]?_?{loss}_?[/|\\]?_?[{_PARTIAL}d]_?"
    simple = rf"(?:grad(?:ient)?(?:_?(?:of|wrt))?|[{_PARTIAL}dg])_?()"
    for prefix in (separated, simple):
        if match := re.fullmatch(rf"{prefix}({_PARAMETER})_?({_INDEX})", words):
            of = "e" + match[1] if prefix == separated else ""
            return Label("gradient", _key(match[2], match[3]), of)
        if match := re.fullmatch(rf"{prefix}(b(?:ias)?)_?([hoxy]?)", words):
            of = "e" + match[1] if prefix == separated else ""
            return Label("gradient", "b" + match[3], of)
    if match := re.fullmatch(rf"({_PARAMETER})_?({_INDEX})_?(?:grad(?:ient)?|_?{_PARTIAL})", words):
        return Label("gradient", _key(match[1], match[2]), "e")
    if words.count(_PARTIAL) >= 1 and ("/" in words or words.count(_PARTIAL) == 2):
        return Label("slope", words)
    if re.fullmatch(rf"(?:{_PARTIAL}|delta|d)_?(?:net|out|a|z|h|o|s|y)+_?[ho]?_?\d*(?:_\d+)?", words):
        return Label("slope", words)
    return None


def number_of(label: Label | None) -> int | None:
    """The number at the end of a label: 2 of ``a_h2``."""
    match = re.search(r"(\d+)[a-z]*$", label.key) if label is not None else None
    return int(match[1]) if match else None


def natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", name)]
