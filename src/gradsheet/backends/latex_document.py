"""A written derivation as a document, and how it is printed: as Markdown, LaTeX or HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from latex2mathml.converter import convert


@dataclass(frozen=True)
class Math:
    """A formula within a line of text."""

    latex: str


@dataclass(frozen=True)
class Paragraph:
    """Running text. Its strings are plain: what a user wrote stands in them as it was written."""

    pieces: tuple[str | Math, ...]


@dataclass(frozen=True)
class Equation:
    """A formula on a line of its own: two or more sides with ``=`` between them."""

    latex: str


Block = Paragraph | Equation


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Derivation:
    """A written derivation, to be printed by `to_markdown`, `to_tex` or `to_html`."""

    title: str
    sections: tuple[Section, ...]


def _line(paragraph: Paragraph, text: Callable[[str], str], math: Callable[[str], str]) -> str:
    return "".join(
        math(piece.latex) if isinstance(piece, Math) else text(piece) for piece in paragraph.pieces
    )


def to_markdown(derivation: Derivation) -> str:
    """Markdown with ``$`` formulas, as GitHub, Jupyter and most viewers take it."""

    def text(plain: str) -> str:
        escaped = re.sub(r"[\\`*_\[\]<>&|~#]", r"\\\g<0>", plain)
        return escaped.replace("$", "<span>$</span>")  # GitHub knows no escape for it beside formulas

    parts = [f"# {text(derivation.title)}"]
    for section in derivation.sections:
        parts.append(f"## {text(section.title)}")
        for block in section.blocks:
            if isinstance(block, Equation):
                parts.append(f"$$\n{block.latex}\n$$")
            else:
                parts.append(_line(block, text, "${}$".format))
    return "\n\n".join(parts) + "\n"


_TEX_CHARACTERS = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        **{character: "\\" + character for character in "{}$&#%_"},
    }
)
_TEX_SYMBOLS: Mapping[str, str] = {
    "∂": r"\partial",
    "δ": r"\delta",
    "η": r"\eta",
    "σ": r"\sigma",
    "−": "-",
}
# What pdfLaTeX prints without further packages: Latin-1 save six characters, and some punctuation.
_TEX_READY = ({chr(code) for code in range(0xA0, 0x100)} - set("«»ÐÞðþ")) | set("–—‘’“”…")


def to_tex(derivation: Derivation) -> str:
    """A complete LaTeX document in UTF-8; needs only amsmath.

    In pdfLaTeX a letter outside Latin-1 is printed as its code, such as U+4E2D; LuaLaTeX and XeLaTeX
    print what their font has.
    """

    def text(plain: str) -> str:
        return plain.translate(_TEX_CHARACTERS)

    body = [rf"\title{{{text(derivation.title)}}}", r"\maketitle"]
    for section in derivation.sections:
        body.append(rf"\section*{{{text(section.title)}}}")
        for block in section.blocks:
            if isinstance(block, Equation):
                body.append(rf"\formula{{{block.latex}}}")
            else:
                body.append(_line(block, text, "${}$".format) + r"\par")
    foreign = sorted({letter for line in body for letter in line if ord(letter) > 127} - _TEX_READY)
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage{amsmath}",
            *(
                rf"\ifdefined\DeclareUnicodeCharacter\DeclareUnicodeCharacter{{{ord(letter):04X}}}"
                rf"{{{_tex_symbol(letter)}}}\fi"
                for letter in foreign
            ),
            r"\newcommand{\formula}[1]{{\hangindent=2em $\displaystyle #1$\par}} % breaks, as text does",
            r"\date{}",
            r"\begin{document}",
            r"\raggedright\setlength{\parskip}{\medskipamount}",
            *body,
            r"\end{document}",
            "",
        ]
    )


def _tex_symbol(letter: str) -> str:
    if letter in _TEX_SYMBOLS:
        return rf"\ensuremath{{{_TEX_SYMBOLS[letter]}}}"
    return rf"\texttt{{U+{ord(letter):04X}}}"


_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 52rem; padding: 1rem 1.5rem 4rem; line-height: 1.6;
       font-family: system-ui, sans-serif; }
h1, h2 { line-height: 1.25; font-weight: 600; }
h2 { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid #8886; }
p { margin: 0.8rem 0; }
math { font-size: 1.08em; text-indent: 0; }
.formula { margin: 0; padding: 0.3rem 0 0.3rem 4rem; text-indent: -2rem; line-height: 2;
           overflow-x: auto; }
.formula math { display: inline math; }
"""


def to_html(derivation: Derivation) -> str:
    """One page that needs nothing else: MathML for the formulas, light or dark as the reader has it."""

    def text(plain: str) -> str:
        return html.escape(plain, quote=False)

    body = [f"<h1>{text(derivation.title)}</h1>"]
    for section in derivation.sections:
        body.append(f"<section>\n<h2>{text(section.title)}</h2>")
        for block in section.blocks:
            if isinstance(block, Equation):
                pieces = (_mathml(piece, "block") for piece in _breakable(block.latex))
                body.append(f'<p class="formula">{"<wbr />".join(pieces)}</p>')
            else:
                body.append(f"<p>{_line(block, text, _mathml)}</p>")
        body.append("</section>")
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8" />',
            '<meta name="viewport" content="width=device-width, initial-scale=1" />',
            f"<title>{text(derivation.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            *body,
            "</body>\n</html>\n",
        ]
    )


LINE = 40
"""So many letters and digits of a formula surely fit on one line."""


def _mathml(latex: str, display: str = "inline") -> str:
    # The converter leaves two kinds of space too much: around a minus that is a sign, which is one that
    # follows an operator but no closing bracket; and around the name of a function such as max.
    mathml = convert(latex, display=display)
    sign = r"(?<=</mo>)(?<!&#x00029;</mo>)<mo>(?=&#x02212;</mo>)"
    return re.sub("<mo>([a-z]+)</mo>", r"<mi>\1</mi>", re.sub(sign, '<mo form="prefix">', mathml))


def _breakable(latex: str) -> list[str]:
    """A long formula in pieces, split at = and + outside braces: browsers break no line within one."""
    if len(re.sub(r"\\[a-z]+|\W|_", "", latex)) <= LINE:
        return [latex]
    pieces: list[str] = []
    for part in re.split(r" (?== )|(?<= \+) ", latex):
        if pieces and pieces[-1].count("{") != pieces[-1].count("}"):
            pieces[-1] += " " + part
        else:
            pieces.append(part)
    return pieces
