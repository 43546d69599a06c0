"""The loss of a table: its targets, how far it is from c·(t − a)², and how the total adds it up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradsheet.check.formula import Cell, Unreadable, leaves
from gradsheet.check.formula import Reference as SheetReference
from gradsheet.check.layers import Layers
from gradsheet.check.neurons import labelled_cells
from gradsheet.check.reader import Formula, Key, NotUnderstood, Reader, Source, same
from gradsheet.check.reading import DRAWS, column_numbers
from gradsheet.expression import Array

MOST_BEHIND_A_LOSS = 60
"""Cells between a loss and the outputs: where there are more it is no loss, and long chains
of cells that are followed for every column take seconds."""


@dataclass(frozen=True)
class Loss:
    """What was found out about the loss: the target of every output, the factor c of each c·(t − a)²
    (None for the cross-entropy), and what the total multiplies their sum with. ``guessed`` where no
    column of the loss told the factor. ``unnamed`` are columns of losses without a header, by kind."""

    targets: tuple[Source, ...]
    factor: float | None
    share: float
    guessed: bool
    unnamed: Mapping[str, list[int]]


class LossFinder:
    """Finds the loss of one arrangement of layers: its targets, and what it computes."""

    def __init__(self, reader: Reader, layers: Layers, parameters: Mapping[int, str]) -> None:
        self.reader = reader
        self.layers = layers
        self.parameters = parameters

    @property
    def outputs(self) -> list[Key]:
        """The outputs of the network."""
        return [Key(neuron.places[0]) for neuron in self.layers.neurons[-1]]

    def find(self) -> list[Loss]:
        """The targets, and how far the sheet's loss is from c·(t − a)²: several, where the losses of two
        outputs, or the rows of their total, do not agree."""
        table, outputs = self.reader.table, self.outputs
        by_kind: dict[str, list[int]] = {"loss": [], "total": []}
        for place, label in table.labels.items():
            if label.kind in by_kind and self.reader.usual(place) is not None:
                by_kind[label.kind].append(place)
        unnamed: dict[str, list[int]] = {}
        if not by_kind["loss"] and not by_kind["total"]:
            self.sort_losses(outputs, by_kind)
            unnamed = {kind: list(places) for kind, places in by_kind.items()}
        labelled = {
            int(label.key): Key(place) for place, label in table.labels.items() if label.kind == "target"
        }
        targets: list[Source | None] = [None] * len(outputs)
        factors: list[float | None] = []
        shares: list[float] = []
        firsts: list[float | None] = []  # as the first row has it, where that is another one
        for place in by_kind["loss"]:
            for k, output in enumerate(outputs):
                found = self.loss_of(self.reader.usual(place), output, outputs)
                if found is not None:
                    targets[k], factor = found
                    factors.append(factor)
                firsts += self.first_factor(place, output, outputs)
        for place in by_kind["loss"]:
            read = self.only_target(place, outputs)
            if read is not None and targets[read[0]] is None:
                targets[read[0]] = read[1]
        for place in by_kind["total"]:
            own = self.shares_of(place, by_kind["loss"])
            if own:
                shares += own
                continue
            for k, output in enumerate(outputs):
                found = self.loss_of(self.reader.usual(place), output, outputs)
                if found is not None:
                    targets[k] = found[0] if targets[k] is None else targets[k]
                    if not by_kind["loss"]:
                        factors.append(found[1])
                if not by_kind["loss"]:
                    firsts += self.first_factor(place, output, outputs)
        labelled = labelled or labelled_cells(self.reader, "target")
        numbers = sorted(labelled)
        for k in range(len(outputs)):
            if targets[k] is None and len(labelled) == len(outputs):
                targets[k] = labelled[numbers[k]]
        complete = [target for target in targets if target is not None]
        if len(complete) < len(outputs):
            raise NotUnderstood("the targets of its outputs were not found")
        if len(set(complete)) < len(complete) and len(labelled) == len(outputs):
            complete = [labelled[number] for number in numbers]  # one loss reads the wrong target
        if not factors:
            factors, shares = self.loss_by_numbers(outputs, complete)
        if not factors and not firsts:
            self.refuse_deeper(by_kind["loss"] or by_kind["total"], outputs)
        possible = _most_common(factors) or _most_common(firsts) or [0.5, 1.0]
        if len(set(firsts)) == 1:
            possible += [factor for factor in firsts[:1] if factor not in possible]
        return [
            Loss(tuple(complete), factor, share, not (factors or firsts), unnamed)
            for factor in possible
            for share in _most_common(shares) or [1.0]
        ]

    def refuse_deeper(self, places: Sequence[int], outputs: Sequence[Key]) -> None:
        """Raise `NotUnderstood` where every loss goes by other ways than the outputs that were found:
        then there are further layers, which were not understood."""
        others = 0
        for place in places:
            formula = self.reader.usual(place)
            try:
                read = self.leaves(formula, outputs) if formula is not None else []
            except Unreadable:
                read = []
            others += any(key not in outputs and self.is_learnt(key.place) for key in read)
        if places and others == len(places):
            raise NotUnderstood("its losses depend on more than the outputs that were found")

    def is_learnt(self, place: int | None) -> bool:
        """Whether a column follows from others of the table, as a weight does, and data do not."""
        formula = self.reader.usual(place) if place is not None else None
        try:
            keys = self.reader.keys(formula) if formula is not None else []
        except Unreadable:
            return False
        return any(key.place not in (None, place) for key in keys)

    def first_factor(self, place: int, output: Key, outputs: Sequence[Key]) -> list[float | None]:
        """The factor of a loss in the first row, where its formula is not the usual one."""
        first, usual = self.reader.formula(place, 0), self.reader.usual(place)
        if first is None or usual is None or first.tree == usual.tree:
            return []
        found = self.loss_of(first, output, outputs)
        return [] if found is None else [found[1]]

    def loss_by_numbers(
        self, outputs: Sequence[Key], targets: Sequence[Source]
    ) -> tuple[list[float | None], list[float]]:
        """Factors and share of losses that were pasted as values."""
        errors = []
        for output, target in zip(outputs, targets, strict=True):
            if isinstance(target, Key):
                errors.append((self.column(target) - self.column(output)) ** 2)
        if len(errors) < len(outputs):
            return [], []
        labels = self.reader.table.labels
        factors: list[float | None] = []
        for place, label in labels.items():
            k = int(label.key) - 1 if label.kind == "loss" else len(errors)
            if k < len(errors):
                factors += [c for c in (0.5, 1.0) if _mostly(self.column(Key(place)), c * errors[k])]
        for place, label in labels.items():
            if label.kind != "total":
                continue
            for c in {c for c in factors if c is not None} or {0.5, 1.0}:
                for share in (1.0, round(1 / len(errors), 9)):
                    if _mostly(self.column(Key(place)), c * share * np.sum(errors, axis=0)):
                        return [c], [share]
            return factors, [1.0, round(1 / len(errors), 9)]  # the total holds a mistake
        return factors, []

    def column(self, key: Key) -> Array:
        """The numbers of a key by iteration."""
        table, book = self.reader.table, self.reader.book
        if key.place is None:
            assert key.cell is not None
            return np.full(len(table.lines), book.number(key.cell))
        return column_numbers(self.reader, key.place)

    def sort_losses(self, outputs: Sequence[Key], by_kind: Mapping[str, list[int]]) -> None:
        """Losses without a header: columns that are a loss of one output, or of all outputs."""
        neurons = {p for layer in self.layers.neurons for n in layer for p in n.places}
        for place in self.reader.table.places:
            if place in neurons or place in self.parameters or place in self.reader.table.labels:
                continue
            usual = self.reader.usual(place)
            hits = sum(self.loss_of(usual, output, outputs) is not None for output in outputs)
            if hits:
                by_kind["loss" if hits == 1 and len(outputs) > 1 else "total"].append(place)

    def only_target(self, place: int, outputs: Sequence[Key]) -> tuple[int, Key] | None:
        """Output and target of a loss that is none that is known, but reads just one of each."""
        formula = self.reader.usual(place)
        if formula is None:
            return None
        try:
            leaves = self.leaves(formula, outputs)
        except Unreadable:
            return None
        read = [k for k, output in enumerate(outputs) if output in leaves]
        others = [key for key in leaves if key not in outputs]
        return (read[0], others[0]) if len(read) == len(others) == 1 else None

    def loss_of(
        self, formula: Formula | None, output: Key, outputs: Sequence[Key]
    ) -> tuple[Source, float | None] | None:
        """Target and factor of what a column computes from an output: c·(t − a)², or a cross-entropy."""
        if formula is None:
            return None
        try:
            leaves = self.leaves(formula, outputs)
            if output not in leaves:
                return None
            generator = np.random.default_rng(3)
            base = {key: generator.uniform(0.15, 0.85, DRAWS) for key in leaves}
            a = generator.uniform(0.15, 0.85, DRAWS)

            def value(**moved: Any) -> Any:
                changes = {output: moved["a"]} if "a" in moved else {}
                if "t" in moved:
                    changes[moved["key"]] = moved["t"]
                return self.reader.value(formula, {**base, **changes})

            slope = value(a=a) - value()
            others = [key for key in leaves if key not in outputs]
            for key in others:
                t = generator.uniform(0.15, 0.85, DRAWS)
                mixed = value(a=a, key=key, t=t) - value(key=key, t=t) - slope
                if np.abs(mixed).max() < 1e-9:
                    continue
                t0, a0 = base[key], base[output]
                factor = -mixed / (2 * (a - a0) * (t - t0))
                if same(factor, factor[0]) and same(slope, factor[0] * ((t0 - a) ** 2 - (t0 - a0) ** 2)):
                    return key, nice(float(factor[0]))
                entropy = _entropy(t0, a) - _entropy(t0, a0)
                if same(slope, entropy) and self.layers.activations[-1] == "sigmoid":
                    return key, None
            if not others and not self.reads_nothing(formula):
                return self.typed_target(formula, output, base)
        except Unreadable:
            pass
        return None

    def reads_nothing(self, formula: Formula) -> bool:
        """Whether a formula reads an empty cell: then 0 is no target that was typed."""
        cells = (
            leaf.at(formula.home) for leaf in leaves(formula.tree) if isinstance(leaf, SheetReference)
        )
        return any(self.reader.book.value(cell) is None for cell in cells)

    def typed_target(
        self, formula: Formula, output: Key, base: Mapping[Key, Array]
    ) -> tuple[Source, float | None] | None:
        """The target that is typed into c·(t − a)²: where the parabola in a has its lowest point."""
        x = np.linspace(0.1, 0.9, 5)
        points = ({**base, output: np.full(DRAWS, v)} for v in x)
        y = np.array([np.mean(self.reader.value(formula, point)) for point in points])
        c, b, _ = np.polyfit(x, y, 2)
        if c > 1e-6 and same(np.polyval(np.polyfit(x, y, 2), x), y):
            return round(float(-b / (2 * c)), 9), nice(float(c))
        return None

    def leaves(self, formula: Formula, outputs: Sequence[Key]) -> list[Key]:
        """What a formula depends on in the end: outputs of the network, and cells without formulas."""
        found: dict[Key, None] = {}
        stack = [formula]
        seen: set[Cell] = set()
        while stack:
            current = stack.pop()
            for key in self.reader.keys(current):
                if key in outputs:
                    found[key] = None
                    continue
                if key.place in self.reader.constant:
                    found[key] = None
                    continue
                cell = self.cell(key, current.iteration)
                if cell in seen:
                    continue
                seen.add(cell)
                tree = self.reader.book.tree(cell)
                if tree is None or (key.place is not None and key.shift != 0):
                    found[key] = None
                else:
                    stack.append(Formula(tree, cell, current.iteration))
            if len(seen) > MOST_BEHIND_A_LOSS:
                raise Unreadable("a loss that depends on very many cells")
        return list(found)

    def cell(self, key: Key, iteration: int) -> Cell:
        if key.place is None:
            assert key.cell is not None
            return key.cell
        return self.reader.table.cell(key.place, iteration + key.shift)

    def shares_of(self, place: int, losses: Sequence[int]) -> list[float]:
        """What a total multiplies the losses with: 1 for their sum, 1/n for their mean; as most of its
        rows have it, and as the first has it."""
        written = (self.reader.usual(place), self.reader.formula(place, 0))
        shares = (self.share_of(formula, losses) for formula in written if formula is not None)
        return list(dict.fromkeys(share for share in shares if share is not None))

    def share_of(self, formula: Formula, losses: Sequence[int]) -> float | None:
        try:
            keys = self.reader.keys(formula)
            parts = [key for key in keys if key.place in losses]
            if not parts:
                return None
            values = {key: np.float64(0.3 + 0.1 * n) for n, key in enumerate(parts)}
            base = self.reader.value(formula, values)
            slopes = [
                float(self.reader.value(formula, {**values, key: values[key] + 1.0}) - base)
                for key in parts
            ]
        except (Unreadable, TypeError):
            return None
        common = Counter(round(slope, 9) for slope in slopes).most_common(1)[0][0]
        return common if common in (1.0, round(1 / len(losses), 9), 0.5) else 1.0


def loss_words(loss: Loss, outputs: int) -> str:
    if loss.factor is None:
        words = "binary cross-entropy"
    elif loss.factor == 0.5:
        words = "half squared error"
    elif loss.factor == 1.0:
        words = "squared error"
    else:
        words = f"{loss.factor:g} times the squared error"
    if outputs > 1:
        words += ", summed" if loss.share == 1.0 else ", averaged"
        if loss.share not in (1.0, round(1 / outputs, 9)):
            words = words.replace("averaged", f"summed and multiplied by {loss.share:g}")
    return words


def _most_common(found: Sequence[float | None]) -> list[Any]:
    """What was found most often; all of them where several were."""
    counts = Counter(found)
    return [each for each, count in counts.items() if count == max(counts.values())]


def _mostly(a: Array, b: Array) -> bool:
    """Whether most rows agree as far as a few printed digits go."""
    known = ~np.isnan(a) & ~np.isnan(b)
    known &= np.abs(b) > 0.1 * np.abs(b[known]).max(initial=0.0)  # small ones have few digits left
    close = np.abs(a - b)[known] <= 1e-2 * np.abs(b)[known]
    return bool(known.any() and close.mean() > 0.6)


def nice(factor: float) -> float:
    """A factor without its rounding."""
    return round(factor, 6)


def _entropy(t: Any, a: Any) -> Any:
    return -t * np.log(a) - (1 - t) * np.log(1 - a)
