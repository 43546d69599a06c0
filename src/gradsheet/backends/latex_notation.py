r"""How formulas are written in LaTeX: the names of quantities, the operations, the numbers.

>>> from gradsheet.expression import Reference, render
>>> print(render(Reference("w5") * Reference("a_h1[2]"), LATEX))
w_5 \cdot a_{h_1}^{(2)}

The LaTeX keeps to what GitHub, TeX and MathML all take: a backslash only before a letter (Markdown eats
the one of ``\,`` and ``\{``), an underscore only after a letter (elsewhere it may begin emphasis), no
``<``, ``&`` or ``|``, and plain brackets, because a long line can break inside them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from gradsheet.expression import (
    ATOM,
    DIVERGENCE_LIMIT,
    HUBER_DELTA,
    LEAKY_SLOPE,
    POWER,
    PRODUCT,
    SUM,
    Form,
    Notation,
    format_number,
)

DIGITS = 9
"""Significant digits of the numbers in a derivation."""


_SYMBOLS: Mapping[str, str] = {
    "learning_rate": r"\eta",
    "rate": r"\eta_t",
    "iteration": "t",
    "momentum": r"\mu",
    "dampening": r"\tau",
    "weight_decay": r"\lambda",
    "alpha": r"\alpha",
    "beta1": r"\beta_1",
    "beta2": r"\beta_2",
    "epsilon": r"\varepsilon",
    "smoothing": r"\beta",
}


def latex_name(name: str) -> str:
    r"""A quantity's name in LaTeX.

    >>> print(latex_name("h2_1"), latex_name("w10"), latex_name("delta_o1[2]"), latex_name("E_total"))
    h_{2,1} w_{10} \delta_{o_1}^{(2)} E_{total}
    >>> print(latex_name("dE_dw5"), latex_name("learning_rate"))
    \frac{\partial E_{total}}{\partial w_5} \eta
    """
    if name in _SYMBOLS:
        return _SYMBOLS[name]
    if re.match(r"[a-z]{4}", name) and not name.startswith("delta_"):  # another hyper-parameter
        return rf"\text{{{name.replace('_', ' ')}}}"
    if name.startswith("dE_d"):
        return rf"\frac{{\partial E_{{total}}}}{{\partial {latex_name(name.removeprefix('dE_d'))}}}"
    base, _, sample = name.removesuffix("]").partition("[")
    if base.startswith("delta_"):
        letter, index = r"\delta", latex_name(base.removeprefix("delta_"))
    elif base[1:2] == "_" and base not in ("E_total", "E_smooth"):
        letter, index = base[0], latex_name(base[2:])
    else:
        letter, index = base[0], base[1:].removeprefix("_").replace("_", ",")
    if len(index) > 1:
        index = f"{{{index}}}"
    return letter + (index and f"_{index}") + (sample and f"^{{({sample})}}")


def _scientific(number: str) -> str:
    mantissa, e, exponent = number.partition("e")
    return rf"{mantissa} \times 10^{{{int(exponent)}}}" if e else number


def rounded(value: float) -> str:
    if math.isnan(value):
        return r"\text{not a number}"
    if math.isinf(value):
        return r"\infty" if value > 0 else r"-\infty"
    return _scientific(f"{value + 0.0:.{DIGITS}g}")  # + 0.0 makes 0 of −0


def _in_formula(number: str) -> str:
    return f"({number})" if r"\times" in number else number


LATEX = Notation(
    reference=latex_name,
    previous=lambda name: latex_name(name) + "^{-}",
    constant=lambda value: (
        {0.5: r"\frac{1}{2}", math.pi: r"\pi"}.get(value)
        or _in_formula(_scientific(format_number(value)))
    ),
    brackets="({})",
    forms={
        "add": Form("{*}", SUM, (SUM, PRODUCT), " + "),
        "subtract": Form("{0} - {1}", SUM, (SUM, PRODUCT)),
        "multiply": Form("{*}", PRODUCT, (PRODUCT, POWER), r" \cdot "),
        "divide": Form(r"\frac{{{0}}}{{{1}}}", POWER),
        "negate": Form("-{0}", SUM, (PRODUCT,)),
        "square": Form("{{{0}}}^{{2}}", POWER, (ATOM,)),
        "exp": Form("e^{{{0}}}", POWER),
        "log": Form(r"\ln({0})", POWER),
        "sigmoid": Form(r"\sigma({0})", POWER),
        "tanh": Form(r"\tanh({0})", POWER),
        "relu": Form(r"\max(0, {0})", POWER),
        "step": Form(r"\operatorname{{step}}({0})", POWER),
        "leaky_relu": Form(rf"\max({LEAKY_SLOPE} \cdot {{0}}, {{0}})", POWER, (POWER,)),
        "leaky_step": Form(r"\operatorname{{slope}}({0})", POWER),
        "softplus": Form(r"\ln(1 + e^{{{0}}})", POWER),
        "elu": Form(r"\operatorname{{elu}}({0})", POWER),
        "minimum": Form(r"\min({*})", POWER),
        "sqrt": Form(r"\sqrt{{{0}}}", POWER),
        "power": Form("{0}^{{{1}}}", POWER, (ATOM, SUM)),
        "floor": Form(r"\lfloor {0} \rfloor", POWER),
        "cos": Form(r"\cos({0})", POWER),
        "silu": Form(r"\operatorname{{silu}}({0})", POWER),
        "gelu": Form(r"\operatorname{{gelu}}({0})", POWER),
        "normal_share": Form(r"\Phi({0})", POWER),
        "absolute": Form(r"\operatorname{{abs}}({0})", POWER),
        "sign": Form(r"\operatorname{{sign}}({0})", POWER),
        "huber": Form(r"\operatorname{{huber}}({0})", POWER),
        "clip": Form(rf"\max(-{HUBER_DELTA:g}, \min({HUBER_DELTA:g}, {{0}}))", POWER),
        "detached_max": Form(r"\max({*})", POWER),
        "hold": Form(
            rf"({{1}} \text{{{{ while }}}} {{0}} \lt {DIVERGENCE_LIMIT:.0f} \text{{{{, else }}}} {{2}})",
            ATOM,
        ),
    },
)
"""Formulas in LaTeX, as in the written derivation."""

SQUARE_IN_BRACKETS = LATEX._replace(forms={**LATEX.forms, "square": Form("({0})^{{2}}", POWER)})
"""For names that have a number above them already."""

# Formulas with numbers in place of the names. Quotients stay on the line, because a fraction that
# holds a long sum could not be broken.
NUMBERS = LATEX._replace(
    constant=lambda value: _in_formula(rounded(value)),
    forms={**LATEX.forms, "divide": Form("{0} / {1}", PRODUCT, (PRODUCT, POWER))},
)
