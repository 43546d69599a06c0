"""Sheets that learn by momentum, RMSProp, Adam and the like, as people make them by hand.

`build` writes one, right or with a mistake, and returns the cells that are wrong. Nothing here comes
from gradsheet: the formulas are templates as one would type them. In a template ``{w1}`` is the cell of
w1 in the same row, ``{-w1}`` in the row above; ``{b1}``, ``{b2}``, ``{eps}``, ``{lam}``, ``{eta}`` are
hyper-parameters, in cells or typed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import xlsxwriter
from xlsxwriter.utility import xl_col_to_name

WEIGHTS = tuple(f"w{k}" for k in range(1, 9))
INITIAL = (0.15, 0.20, 0.25, 0.30, 0.40, 0.45, 0.50, 0.55)
SETTINGS = {"eta": 0.05, "b1": 0.9, "b2": 0.99, "eps": 1e-8, "lam": 0.01}
NAMES = {"eta": "learning rate", "b1": "β1", "b2": "β2", "eps": "ε", "lam": "λ"}

RULES: dict[str, tuple[dict[str, str], str]] = {
    # what is remembered of a gradient {g}, its last value {=m}; and the step
    "decay": ({}, "{eta}*({g}+{lam}*{w})"),
    "momentum": ({"m": "{b1}*{=m}+{g}"}, "{eta}*{m}"),
    "momentum with decay": ({"m": "{b1}*{=m}+({g}+{lam}*{w})"}, "{eta}*{m}"),
    "average": ({"m": "{b1}*{=m}+(1-{b1})*{g}"}, "{eta}*{m}"),
    "velocity": ({"m": "{b1}*{=m}+{eta}*{g}"}, "{m}"),
    "minus velocity": ({"m": "{b1}*{=m}-{eta}*{g}"}, "-1*{m}"),
    "nesterov": ({"m": "{b1}*{=m}+{g}"}, "{eta}*({g}+{b1}*{m})"),
    "adagrad": ({"v": "{=v}+{g}^2"}, "{eta}*{g}/(SQRT({v})+{eps})"),
    "adagrad inside": ({"v": "{=v}+{g}*{g}"}, "{eta}/SQRT({v}+{eps})*{g}"),
    "rmsprop": ({"v": "{b2}*{=v}+(1-{b2})*{g}^2"}, "{eta}*{g}/(SQRT({v})+{eps})"),
    "rmsprop inside": ({"v": "{b2}*{=v}+(1-{b2})*{g}^2"}, "{eta}*{g}/SQRT({v}+{eps})"),
    "adam": (
        {"m": "{b1}*{=m}+(1-{b1})*{g}", "v": "{b2}*{=v}+(1-{b2})*{g}^2"},
        "{eta}*{mhat}/(SQRT({vhat})+{eps})",
    ),
    "adamw": (
        {"m": "{b1}*{=m}+(1-{b1})*{g}", "v": "{b2}*{=v}+(1-{b2})*{g}^2"},
        "{eta}*({mhat}/(SQRT({vhat})+{eps})+{lam}*{w})",
    ),
    "adam without ε": (
        {"m": "{b1}*{=m}+(1-{b1})*{g}", "v": "{b2}*{=v}+(1-{b2})*{g}^2"},
        "{eta}*{mhat}/SQRT({vhat})",
    ),
}
HEADERS = {
    "_": ("m_{w}", "v_{w}", "mhat_{w}", "vhat_{w}"),
    "number": ("m{k}", "v{k}", "m̂{k}", "v̂{k}"),
    "brackets": ("m({w})", "v({w})", "m_hat({w})", "v_hat({w})"),
    "words": ("momentum {w}", "RMS {w}", "momentum corrected {w}", "RMS corrected {w}"),
    "V and S": ("Vd{w}", "Sd{w}", "Vd{w} corr", "Sd{w} corr"),
    "none": ("", "", "", ""),
}
MISTAKES = (
    "no bias correction",  # in all weights
    "epsilon inside",  # in all weights
    "no bias correction of one",
    "other gradient",
    "squares forgotten",
    "averages swapped",
    "no share",
    "wrong sign",
)


@dataclass(frozen=True)
class Sheet:
    """``late``: what is remembered stands a row below its gradient, beginning with a typed 0.
    ``same_row``: updated weights have columns of their own. ``counter``: the first number of the column
    that counts, None for none. ``corrected``: corrected averages have columns. ``typed``: the
    hyper-parameters stand in the formulas."""

    rule: str
    headers: str = "_"
    late: bool = False
    same_row: bool = False
    counter: int = 1
    corrected: bool = True
    typed: bool = False
    top: int = 6
    left: int = 1
    steps: int = 8

    @property
    def corrects(self) -> bool:
        return "mhat" in RULES[self.rule][1]


def build(path: Path, sheet: Sheet, mistake: str | None = None) -> set[str] | None:
    """Write the sheet; the wrong cells, by address, or None where the mistake does not fit."""
    right = _formulas(sheet)
    wrong = dict(right) if mistake is None else _spoiled(sheet, right, mistake)
    if wrong is None:
        return None
    columns = {name: sheet.left + n for n, name in enumerate(right)}
    first = sheet.top + 1
    changed = {name for name in right if wrong[name] != right[name]}
    cells: set[str] = set()
    book = xlsxwriter.Workbook(str(path))
    page = book.add_worksheet("training")
    places = {name: f"${xl_col_to_name(sheet.left + 1)}${n + 1}" for n, name in enumerate(SETTINGS)}
    for n, (name, value) in enumerate(SETTINGS.items()):
        if name == "eta" or not sheet.typed:
            page.write(n, sheet.left, NAMES[name])
            page.write(n, sheet.left + 1, value)
    for name, column in columns.items():
        page.write(sheet.top, column, _header(sheet, name))
        for step in range(sheet.steps):
            row = first + step
            initial = _initial(sheet, name)
            if step == 0 and initial is not None:
                page.write(row, column, initial)
                continue

            def cell(match: re.Match[str], row: int = row, step: int = step) -> str:
                sign, what = match[1], match[2]
                if what in SETTINGS:
                    return repr(SETTINGS[what]) if sheet.typed and what != "eta" else places[what]
                if sign == "-" and step == 0:
                    return "0"  # before the first row, nothing is remembered
                return f"{xl_col_to_name(columns[what])}{row + 1 - (sign == '-')}"

            page.write_formula(row, column, "=" + re.sub(r"\{(-?)(\w+)\}", cell, wrong[name]))
            if name in changed:
                cells.add(f"{xl_col_to_name(column)}{row + 1}")
    book.close()
    return cells


def _initial(sheet: Sheet, name: str) -> float | None:
    """What stands in the first row where that is no formula."""
    if name in WEIGHTS:
        return INITIAL[WEIGHTS.index(name)]
    if name == "t":
        return float(sheet.counter)
    if name in ("i1", "i2", "t1", "t2"):
        return {"i1": 0.05, "i2": 0.1, "t1": 0.01, "t2": 0.99}[name]
    if sheet.late and name[0] in "mv":
        return 0.0
    return None


def _header(sheet: Sheet, name: str) -> str:
    if name == "t":
        return "iteration"
    if name.startswith("new"):
        return f"new {name[3:]}"
    if name.startswith("g"):
        return f"∂E/∂{name[1:]}"
    kinds = ("m", "v", "mhat", "vhat")
    for kind, header in zip(kinds, HEADERS[sheet.headers], strict=True):
        if re.fullmatch(rf"{kind}w\d", name):
            return header.format(w=name.removeprefix(kind), k=name[-1])
    return name


def _formulas(sheet: Sheet) -> dict[str, str]:
    """Every column with its formula; of the weights that of the second row and all further ones."""
    states, step = RULES[sheet.rule]
    found = {"t": "{-t}+1", "i1": "{-i1}", "i2": "{-i2}", "t1": "{-t1}", "t2": "{-t2}"}
    found |= dict.fromkeys(WEIGHTS, "")
    for k, (a, b) in enumerate((("w1", "w2"), ("w3", "w4")), 1):
        found[f"h{k}"] = f"{{{a}}}*{{i1}}+{{{b}}}*{{i2}}"
        found[f"a_h{k}"] = f"1/(1+EXP(-{{h{k}}}))"
    for k, (a, b) in enumerate((("w5", "w6"), ("w7", "w8")), 1):
        found[f"o{k}"] = f"{{{a}}}*{{a_h1}}+{{{b}}}*{{a_h2}}"
        found[f"a_o{k}"] = f"1/(1+EXP(-{{o{k}}}))"
        found[f"E{k}"] = f"0.5*({{t{k}}}-{{a_o{k}}})^2"
    found["E_total"] = "{E1}+{E2}"
    out = {k: f"({{a_o{k}}}-{{t{k}}})*{{a_o{k}}}*(1-{{a_o{k}}})" for k in (1, 2)}
    for n, weight in enumerate(WEIGHTS[:4]):
        h, source = n // 2 + 1, n % 2 + 1
        back = f"({out[1]}*{{w{4 + h}}}+{out[2]}*{{w{6 + h}}})"
        found[f"g{weight}"] = f"{back}*{{a_h{h}}}*(1-{{a_h{h}}})*{{i{source}}}"
    for n, weight in enumerate(WEIGHTS[4:]):
        found[f"g{weight}"] = f"{out[n // 2 + 1]}*{{a_h{n % 2 + 1}}}"
    for letter, rule in states.items():
        for weight in WEIGHTS:
            own = re.sub(rf"\{{={letter}\}}", f"{{-{letter}{weight}}}", rule)
            own = own.replace("{g}", f"{{g{weight}}}").replace("{w}", f"{{{weight}}}")
            found[f"{letter}{weight}"] = _a_row_later(own, letter) if sheet.late else own
    time = {1: "{t}", 0: "({t}+1)"}[sheet.counter]
    if sheet.late:
        time = {1: "({t}-1)", 0: "{t}"}[sheet.counter]
    for letter, beta in (("m", "b1"), ("v", "b2")):
        corrected = f"{{{letter}@}}/(1-{{{beta}}}^{time})"
        if sheet.corrects and sheet.corrected:
            for weight in WEIGHTS:
                found[f"{letter}hat{weight}"] = corrected.replace("@", weight)
        else:
            step = step.replace(f"{{{letter}hat}}", f"({corrected})")
    for weight in WEIGHTS:
        own = re.sub(r"\{(g|m|v|mhat|vhat)@?\}", rf"{{\1{weight}}}", step).replace(
            "{w}", f"{{{weight}}}"
        )
        update = f"{{{weight}}}-{own}"
        if sheet.late:  # what is remembered stands in the row of the new weight
            update = _a_row_later(update, "mv", "t")
        elif not sheet.same_row:
            update = re.sub(r"\{(\w+)\}", lambda m: m[0] if m[1] in SETTINGS else f"{{-{m[1]}}}", update)
        if sheet.same_row:
            found[f"new{weight}"] = update
            found[weight] = f"{{-new{weight}}}"
        else:
            found[weight] = update
    return found


def _a_row_later(formula: str, letters: str, *kept: str) -> str:
    """The formula with all cells in the row above, but for what is remembered, and hyper-parameters."""

    def moved(match: re.Match[str]) -> str:
        name = match[1]
        stays = name in SETTINGS or name in kept or (name[0] in letters and name != "t")
        return match[0] if stays else f"{{-{name}}}"

    return re.sub(r"\{(\w+)\}", moved, formula)


def _spoiled(sheet: Sheet, right: dict[str, str], mistake: str) -> dict[str, str] | None:
    """The formulas with a mistake; None where the rule has no place for it."""
    wrong = dict(right)
    updates = [f"new{w}" if sheet.same_row else w for w in WEIGHTS]
    corrects = sheet.corrects and sheet.rule != "adam without ε"
    if mistake == "no bias correction" and corrects and not sheet.corrected:
        for name in updates:
            wrong[name] = re.sub(
                r"\((\{-?[mv]w\d\})/\(1-\{b.\}\^(?:\{-?t\}|\([^)]*\))\)\)", r"\1", right[name]
            )
    elif mistake == "epsilon inside" and corrects:
        for name in updates:
            wrong[name] = re.sub(r"\(SQRT\((.*)\)\+\{eps\}\)", r"SQRT(\1+{eps})", right[name])
    elif mistake == "no bias correction of one" and sheet.corrects and sheet.corrected:
        wrong["mhatw3"] = "{mw3}"
    elif mistake == "other gradient" and "mw3" in right:
        wrong["mw3"] = right["mw3"].replace("gw3", "gw4")
    elif mistake == "squares forgotten" and "vw2" in right and "^2" in right["vw2"]:
        wrong["vw2"] = right["vw2"].replace("^2", "")
    elif mistake == "averages swapped" and sheet.corrects:
        wrong["vw5"] = right["vw5"].replace("{b2}", "{b1}")
    elif mistake == "no share" and "(1-{b1})" in right.get("mw6", ""):
        wrong["mw6"] = right["mw6"].replace("(1-{b1})*", "")
    elif mistake == "wrong sign":
        name = updates[6]
        wrong[name] = re.sub(r"^(\{-?w7\})-", r"\1+", right[name])
    return wrong if wrong != right else None
