"""Check a workbook: find its tables, read each as a network, judge it, explain what is wrong."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gradsheet import network as net
from gradsheet.backends import arrays
from gradsheet.backends.workbook_layout import NETWORK, sheet_notation
from gradsheet.backends.workbook_optimizers import COMPARED
from gradsheet.check.causes import explain, shown
from gradsheet.check.formula import Cell, Reference, Unreadable
from gradsheet.check.judge import (
    Judgement,
    Wrong,
    expected_numbers,
    judge,
    numbers,
    rate_numbers,
    rule_of,
    step_of,
)
from gradsheet.check.labels import read_label
from gradsheet.check.learning import with_optimizer
from gradsheet.check.links import at_own_rates, wrong_links
from gradsheet.check.methods import at_typed_rate, other_method, updates_in_batches, with_own_rates
from gradsheet.check.neurons import find_parameters
from gradsheet.check.own import own_reading
from gradsheet.check.rates import labelled_rate
from gradsheet.check.reader import Formula, Key, NotUnderstood, Reader
from gradsheet.check.reading import COUNTERS, Reading, is_backward, new_name
from gradsheet.check.readings import readings, refuse_unused
from gradsheet.check.sheets import Book, Sheet, read, texts
from gradsheet.check.tables import LONGEST, Table, find_tables
from gradsheet.check.texts import disagreements
from gradsheet.check.verdict import Finding, LearningRate, Outcome, Understood, Verdict
from gradsheet.errors import InputError
from gradsheet.expression import (
    ATOM,
    POWER,
    PRODUCT,
    Expression,
    Form,
    Previous,
    format_number,
    negate,
    render,
)


def check(path: Path, *, sheet: str | None = None, columns: Mapping[str, str] | None = None) -> Verdict:
    """What is right and wrong in a workbook that anyone made.

    ``sheet`` restricts the check to one sheet. ``columns`` tells where quantities stand, such as
    ``{"w3": "G"}``, and outdoes the headers.

    Raises `InputError` for a file that cannot be used.
    """
    book = read(path)
    if sheet is not None and book.sheet(sheet) is None:
        names = ", ".join(map(repr, book.sheets))
        raise InputError(f"{path}: has no sheet {sheet!r}; its sheets are {names}")
    if COMPARED in book.sheets and NETWORK in book.sheets:
        reason = "it compares optimizers, as gradsheet sweep writes it: gradsheet verify proves that"
        return Verdict(str(path), "not understood", reason=reason)
    understood: list[Understood] = []
    findings: list[Finding] = []
    effects: list[str] = []
    reasons: list[str] = []
    notes: list[str] = []
    judgements: list[Judgement] = []
    for current in book.sheets.values():
        if sheet is None or current.name.casefold() == sheet.casefold():
            found, why = _understood(book, current, columns)
            judgements += found
            reasons += why
    for judgement in at_own_rates(judgements):
        understood.append(describe(judgement))
        own = list(_findings(judgement))
        if judgement.reading.table.labels:
            notes += disagreements(judgement.reading)
        strange, why = other_method(judgement, own)
        own = [finding for finding in own if finding not in strange]
        reasons += why
        findings += own
        if own:
            effects += _effects(judgement)
    findings += wrong_links(judgements)
    findings += _rate_names(path, understood)
    if not understood and not reasons:
        reasons.append("no table with the weights, sums and gradients of a network was found in it")
    outcome: Outcome = "wrong" if findings else "not understood" if reasons else "correct"
    if understood:
        notes += [f"not understood: {reason}" for reason in reasons]
    reason = "; ".join(reasons) if outcome == "not understood" else ""
    return Verdict(
        str(path),
        outcome,
        tuple(understood),
        tuple(findings),
        tuple(effects),
        tuple(notes),
        reason,
    )


def _understood(
    book: Book, sheet: Sheet, columns: Mapping[str, str] | None
) -> tuple[list[Judgement], list[str]]:
    """The judgements of a sheet's tables, and why others were not understood.

    Of several ways to find tables in the sheet the first counts that leads to one that is understood.
    """
    own = own_reading(book)
    if own is not None:
        return ([judge(own)] if sheet.name == own.table.sheet.name else []), []
    first: list[str] | None = None
    for tables in find_tables(book, sheet, columns):
        judgements, reasons = [], []
        for table in tables:
            try:
                reader = Reader(book, table)
                judgements.append(best(reader))
            except (NotUnderstood, Unreadable) as error:
                if _only_links(reader) or (not table.labels and not find_parameters(reader)):
                    continue  # a summary of other sheets, say: nothing in it computes a network
                reasons.append(f"{sheet.name}, headers in {_line(table)}: {error}")
        if judgements:
            return judgements, reasons + _unjudged(sheet, judgements)
        first = reasons if first is None else first
    return [], first or []


def _only_links(reader: Reader) -> bool:
    """Whether all formulas of a table only show what stands elsewhere."""
    cells = [
        reader.table.cell(place, k)
        for place in reader.table.places
        for k in range(len(reader.table.lines))
    ]
    trees = [(cell, reader.book.tree(cell)) for cell in cells if reader.book.formula(cell) is not None]
    return bool(trees) and all(
        isinstance(tree, Reference) and reader.table.locate(tree.at(cell)) is None
        for cell, tree in trees
    )


def _unjudged(sheet: Sheet, judgements: Sequence[Judgement]) -> list[str]:
    """Why there is no verdict on a sheet that speaks of gradients, where none and no update is found."""
    for each in judgements:
        reading = each.reading
        learns = len(reading.table.lines) > 1 and reading.updated
        if learns or any(map(is_backward, reading.keys)):
            return []
    for row, column, text in texts(sheet):
        label = read_label(text) if len(text) <= 60 else None
        if label is not None and label.kind == "gradient":
            address = sheet.cell(row, column).address
            return [
                f"{sheet.name}: it speaks of gradients ({text.strip()} in {address}), but none was found"
            ]
    return []


def best(reader: Reader) -> Judgement:
    """The judgement of the reading under which the fewest columns are wrong.

    Raises `NotUnderstood`, also where most of what it says of the forward pass would be wrong.
    """
    found = [with_optimizer(reading) for reading in readings(reader)]
    refuse_unused(reader, found)
    judged = [with_own_rates(at_typed_rate(judge(reading))) for reading in found]
    judged = [each for each in judged if _follows(each)]
    if not judged:
        raise NotUnderstood(found[0].layers.doubt)
    chosen = min(judged, key=_doubt)
    if chosen.judged == 0:
        raise NotUnderstood("its formulas could not be read")
    if updates_in_batches(chosen.reading):
        raise NotUnderstood("its weights change once in several rows, after a batch of samples")
    columns = {w.place for w in chosen.wrong if w.kind != "blank"}
    # without headers a reading has less to go by
    if len(columns) > len(chosen.reading.quantities) / (2 if reader.table.labels else 4):
        raise NotUnderstood("most of it is not what a network computes that learns by gradient descent")
    forward = [name for name in chosen.reading.quantities.values() if _is_forward(chosen.reading, name)]
    lines = len(chosen.reading.table.lines)
    wrong = {
        w.place
        for w in chosen.wrong
        if w.place in columns and _is_forward(chosen.reading, w.name) and 2 * len(w.iterations) > lines
    }
    if 2 * len(wrong) > len(forward):
        raise NotUnderstood("most of its forward pass is not what a dense network computes")
    return chosen


def _doubt(judgement: Judgement) -> tuple[int, bool, int]:
    """How much a reading leaves unexplained: wrong columns, then a convention that nobody names, then
    wrong cells."""
    reading = judgement.reading
    return judgement.columns, reading.factor != 1.0 or not reading.steady, judgement.cells


def _follows(judgement: Judgement) -> bool:
    """Whether all that follows from an activation that was only assumed is right, and it takes but one
    change, such as a bracket, to make the formula that stands there this activation."""
    reading = judgement.reading
    assumed = reading.layers.assumed
    if assumed is None:
        return True
    network = reading.program.network
    outputs = [
        net.activation_name(network, assumed, k) for k in range(1, network.sizes[assumed + 1] + 1)
    ]
    learns = sum(is_backward(name) or reading.is_update(name) for name in reading.keys)
    if learns < 2 or not all(wrong.name in outputs for wrong in judgement.wrong):
        return False
    formulas = (reading.reader.usual(wrong.place) for wrong in judgement.wrong)
    slips = zip(judgement.wrong, formulas, strict=True)
    return all(f is not None and explain(reading, w.name, f).formula for w, f in slips)


def _is_forward(reading: Reading, name: str) -> bool:
    return name in reading.program and reading.program[name].role == "forward"


# ---------------------------------------------------------------- what was understood


def _line(table: Table) -> str:
    return f"column {table.name(table.header)}" if table.turned else f"row {table.header + 1}"


def describe(judgement: Judgement) -> Understood:
    """How a table was read, for a reader."""
    reading, table = judgement.reading, judgement.reading.table
    notes = list(reading.notes)
    if judgement.pasted:
        names = ", ".join(map(shown, judgement.pasted))
        notes.append(f"pasted as values, judged to their printed digits: {names}")
    updated = [name for name in reading.updated if reading.keys[name].place is not None]
    if len(table.lines) == LONGEST:
        notes.append(f"only its first {LONGEST:,} iterations were read")
    labelled = labelled_rate(reading.reader)
    used = _learning_rate(reading)
    if labelled is not None and labelled.cell is not None and used.value is not None:
        value = reading.reader.book.number(labelled.cell)
        if labelled != reading.rate and value != used.value:
            where = _address(reading, labelled.cell)
            notes.append(
                f"the updates do not use the learning rate {value:g} in {where}, but {used.value:g}"
            )
    if len(table.lines) > 1 and isinstance(reading.rate, float):
        notes.append(f"the learning rate {reading.rate:g} is typed into the updates")
    if not reading.updated or not updated:
        notes.append("no weight is updated in it")
    complete = [k for k in range(len(table.lines)) if reading.is_filled(k)] or [0]
    columns: dict[str, str] = {}
    for key, name in sorted(reading.quantities.items(), key=lambda item: _position(item[0])):
        columns.setdefault(_display(reading, name, columns), _place(reading, key))
    for place, label in table.labels.items():
        if (
            label.kind in ("step", "rate")
            and place in table.places
            and place not in reading.reader.loose
            and Key(place) not in reading.quantities
        ):
            columns.setdefault("step" if label.kind == "step" else "learning rate", table.name(place))
    if isinstance(reading.rate, Key) and reading.rate.place is not None:
        columns.setdefault("learning rate", table.name(reading.rate.place))
    activations = dict.fromkeys(reading.layers.activations)
    return Understood(
        table.sheet.name,
        table.header + 1,
        (table.lines[0] + 1, table.lines[complete[-1]] + 1),
        _layout(table),
        reading.program.network.architecture,
        ", then ".join(name.replace("_", " ") for name in activations),
        reading.loss,
        used,
        columns,
        tuple(notes),
    )


def _position(key: Key) -> tuple[int, int]:
    return (0, key.place) if key.place is not None else (1, 0)


def _display(reading: Reading, name: str, taken: Mapping[str, str]) -> str:
    text = shown(name)
    return f"a_{text}" if text in taken and f"a_{text}" not in taken else text


def _place(reading: Reading, key: Key) -> str:
    if key.place is not None:
        return reading.table.name(key.place)
    assert key.cell is not None
    return _address(reading, key.cell)


def _address(reading: Reading, cell: Cell) -> str:
    if cell.sheet.casefold() == reading.table.sheet.name.casefold():
        return cell.address
    return f"{cell.sheet}!{cell.address}"


def _layout(table: Table) -> str:
    if len(table.lines) == 1:
        return "one iteration"
    stride = table.lines[1] - table.lines[0]
    if table.turned:
        return "an iteration per column"
    return "an iteration per row" if stride == 1 else f"an iteration in every block of {stride} rows"


def _learning_rate(reading: Reading) -> LearningRate:
    rate = reading.rate
    if rate is None:
        return LearningRate(None, None)
    values = rate_numbers(reading, len(reading.table.lines))
    value = None if math.isnan(values[0]) else float(values[0])
    if isinstance(rate, float):
        return LearningRate(None, value)
    cell = rate.cell
    if rate.place is not None:
        if np.isfinite(values).sum() > 1:
            return LearningRate(reading.table.name(rate.place), value)
        cell = reading.table.cell(rate.place, int(np.isfinite(values).argmax()))
    assert cell is not None
    return LearningRate(_address(reading, cell), value)


# ---------------------------------------------------------------- findings


def _findings(judgement: Judgement) -> Iterator[Finding]:
    found = numbers(judgement.reading)
    for wrong in judgement.wrong:
        yield _finding(judgement.reading, wrong, found)


def _finding(reading: Reading, wrong: Wrong, found: Mapping[str, np.ndarray]) -> Finding:
    table, book = reading.table, reading.reader.book
    k = _exemplar(reading, wrong)
    cell = table.cell(wrong.place, k)
    text = book.formula(cell)
    expected, cause = "", ""
    if wrong.name in reading.given:
        expected = reading.given[wrong.name][k] or ""
    elif wrong.kind != "slides":
        expected = expected_formula(reading, wrong.name, k)
    if wrong.kind == "formula":
        formula = reading.reader.formula(wrong.place, k)
        assert formula is not None
        explanation = explain(reading.of(wrong.name), wrong.name, formula)
        cause = explanation.cause
        expected = explanation.formula or expected
    elif wrong.kind == "slides":
        cause, expected = _slid(reading, wrong)
    elif wrong.kind == "pasted":
        what = "a text stands" if isinstance(book.value(cell), str) else "a number was pasted"
        cause = f"{what} over the formula: it does not follow when anything changes"
    elif wrong.kind == "data":
        cause = "these are not the data that belong there"
    elif wrong.kind == "blank":
        cause = "not filled in" if reading.complete else "nothing stands there: it counts as 0"
    else:
        cause = "the number does not follow from the others"
        if text is not None:
            cause = "the formula cannot be read, and its value does not follow from the others"
        value = expected_numbers(reading, found, wrong.name)[k]
        expected = f"{value:.10g}" if text is None and math.isfinite(value) else expected
    value = book.value(cell)
    if isinstance(value, str) and value.startswith("#"):
        cause += f"; the cell shows {value}"
    shown_text = text if text is not None else "" if value is None else str(value)
    quantity = shown(wrong.name)
    if wrong.name in reading.updated:
        quantity = f"update of {wrong.name}"
    elif wrong.name.startswith("new_"):
        quantity = f"update of {wrong.name.removeprefix('new_')}"
    place, iterations = wrong.place, wrong.iterations
    step = _step_behind(reading, wrong, k)
    if step is not None:
        place, iterations, expected = step
        shown_text = book.formula(table.cell(place, iterations[0])) or str(
            book.value(table.cell(place, iterations[0]))
        )
    return Finding(
        table.sheet.name,
        quantity,
        _cells(table, place, iterations),
        len(iterations),
        shown_text,
        expected,
        cause,
        None if math.isnan(wrong.error) else wrong.error,
    )


def _step_behind(reading: Reading, wrong: Wrong, k: int) -> tuple[int, tuple[int, ...], str] | None:
    """The step Δw that a wrong update only adds or subtracts: then the mistake stands in its cells.

    Gives its place, its wrong iterations, and what belongs there.
    """
    reader, table, book = reading.reader, reading.table, reading.reader.book
    formula = reader.formula(wrong.place, k)
    if wrong.kind != "formula" or formula is None or not reading.is_update(wrong.name):
        return None
    _, shift = rule_of(reading, wrong.name)
    found = _step_read(reading, wrong.name, formula)
    if found is None:
        return None
    step, sign = found
    place = step.place
    assert place is not None
    signs = Counter(other[1] for name in reading.keys if (other := _usual_step(reading, name)))
    if signs[-sign] > signs[sign]:
        return None  # the others take their steps with the other sign: it is the update that is wrong
    label = table.labels.get(place)
    if label is not None and label.key != wrong.name.removeprefix("new_"):
        return None  # the step of another weight: it is the update that takes the wrong one
    change, downhill = step_of(reading, wrong.name)
    if downhill == (sign > 0):
        change = negate(change)
    same_as = {book.pattern(table.cell(place, i + step.shift)) for i in wrong.iterations} - {None}
    lines = range(len(table.lines))
    iterations = tuple(
        i
        for i in lines
        if i - step.shift in wrong.iterations or book.pattern(table.cell(place, i)) in same_as
    )
    if {i - step.shift for i in iterations} - {*wrong.iterations, len(table.lines)}:
        return None  # the same step is right in other rows
    return place, iterations, "=" + _in_their_references(reading, change, k + shift)


def _usual_step(reading: Reading, name: str) -> tuple[Key, int] | None:
    """`_step_read` of the formula that most cells of an update hold."""
    key = reading.keys[name]
    formula = reading.reader.usual(key.place) if key.place is not None else None
    if formula is None or not reading.is_update(name):
        return None
    return _step_read(reading, name, formula)


def _step_read(reading: Reading, name: str, formula: Formula) -> tuple[Key, int] | None:
    """The column that an update adds (1) to the weight or subtracts (−1) from it, where it reads no
    other and this holds no quantity that is known. It stands in the row of the old weight or the new."""
    reader, (_, shift) = reading.reader, rule_of(reading, name)
    own = reading.keys[name.removeprefix("new_")]._replace(shift=shift)
    others = [key for key in reader.keys(formula) if key != own]
    if len(others) != 1 or others[0].shift not in (shift, 0):
        return None
    step = others[0]
    if step.place is None or reading.name_of(step) is not None or reader.usual(step.place) is None:
        return None
    change = reader.value(formula, {own: 0.5, step: 0.25}) - 0.5
    if not math.isclose(abs(change), 0.25):
        return None
    return step, 1 if change > 0 else -1


def _slid(reading: Reading, wrong: Wrong) -> tuple[str, str]:
    """Cause and right formula of data whose reference slides off the cell that holds it."""
    first = reading.reader.formula(wrong.place, 0)
    assert first is not None
    assert isinstance(first.tree, Reference)
    anchored = _absolute(reading, first.tree.at(first.home))
    return f"the reference slides to empty cells: anchor it as {anchored}", f"={anchored}"


def _exemplar(reading: Reading, wrong: Wrong) -> int:
    """The first of the wrong cells that holds what most of them hold."""
    table, book = reading.table, reading.reader.book
    patterns = [book.pattern(table.cell(wrong.place, k)) for k in wrong.iterations]
    common = max(dict.fromkeys(patterns), key=patterns.count)
    return wrong.iterations[patterns.index(common)]


def _cells(table: Table, place: int, iterations: Sequence[int]) -> str:
    """Ranges such as ``Z22:Z121``, several with commas."""
    runs: list[list[int]] = []
    for k in iterations:
        if runs and k == runs[-1][-1] + 1 and (table.lines[k] - table.lines[k - 1] == 1):
            runs[-1].append(k)
        else:
            runs.append([k])
    parts = []
    for run in runs:
        first, last = table.cell(place, run[0]).address, table.cell(place, run[-1]).address
        parts.append(first if first == last else f"{first}:{last}")
    return ",".join(parts)


def expected_formula(reading: Reading, name: str, k: int) -> str:
    """The formula that belongs into a cell, in the user's own references."""
    rule, shift = rule_of(reading, name)
    if reading.is_state(name):
        state = reading.program[reading.states[name]]
        rule = state.first if k == 0 and state.first is not None else state.rule or rule
    if name in reading.updated and new_name(name) in reading.keys:
        place = reading.keys[new_name(name)].place
        assert place is not None
        return f"={reading.table.cell(place, max(k - 1, 0)).address}"
    scale = reading.factor if is_backward(name) else 1.0
    if scale != 1.0:
        rule = scale * rule
    return "=" + _in_their_references(reading, rule, k + shift)


def _in_their_references(reading: Reading, rule: Expression, k: int) -> str:
    """A rule as a formula on the sheet's own cells of iteration ``k``."""

    def reference(quantity: str, k: int = k) -> str:
        if quantity == "learning_rate":
            return _rate_text(reading, k)
        if quantity in reading.typed:
            return format_number(reading.typed[quantity])
        key = reading.keys.get(quantity)
        if key is None:  # what stands a row below
            key, k = reading.keys.get(_LATE.get(quantity, Previous(quantity).key)), k + 1
        if key is None:
            return "t" if quantity == "iteration" else quantity
        if key.place is None:
            assert key.cell is not None
            return _absolute(reading, key.cell)
        return reading.table.cell(key.place, max(k, 0)).address

    notation = sheet_notation(reference, lambda state: reference(state, k - 1))
    plain = {  # as people type it
        "sigmoid": Form("1/(1+EXP(-{0}))", PRODUCT, (ATOM,)),
        "power": Form("{0}^{1}", POWER, (ATOM,)),
    }
    return render(rule, notation._replace(forms={**notation.forms, **plain}, of_atoms={}))


_LATE = dict([COUNTERS])
"""The number of the iterations that are past, in the next row, is that of this one."""


def _absolute(reading: Reading, cell: Cell) -> str:
    letters = re.sub(r"\d", "", cell.address)
    address = f"${letters}${cell.row + 1}"
    if cell.sheet.casefold() == reading.table.sheet.name.casefold():
        return address
    return "'" + cell.sheet.replace("'", "''") + f"'!{address}"


def _rate_text(reading: Reading, k: int) -> str:
    rate = reading.rate
    if rate is None:
        return "η"
    if isinstance(rate, float):
        return format_number(rate)
    if rate.place is not None:
        return reading.table.cell(rate.place, max(k, 0)).address
    assert rate.cell is not None
    return _absolute(reading, rate.cell)


# ---------------------------------------------------------------- effects


def _effects(judgement: Judgement) -> Iterator[str]:
    """What the mistakes of a table do to learning: the final loss with and without them."""
    reading, table = judgement.reading, judgement.reading.table
    program = reading.program
    if reading.rate is None or not reading.steady or len(table.lines) < 2 or not reading.updated:
        return
    found = numbers(reading)
    losses = found.get(program.loss)
    rates = rate_numbers(reading, len(table.lines))
    if losses is None:
        return
    last = max((k for k in range(len(losses)) if math.isfinite(losses[k])), default=0)
    data = {q.name: found[q.name][: last + 1] for q in program.of_role("data") if q.name not in COUNTERS}
    fixed = all(np.ptp(values) <= 1e-9 * max(np.abs(values).max(), 1e-9) for values in data.values())
    start = {q.name: found[q.name][0] for q in program.of_role("parameter")}
    if last < 1 or not fixed or not all(map(math.isfinite, [*start.values(), rates[0]])):
        return
    if np.ptp(rates[np.isfinite(rates)]) > 0:
        return
    inputs = {**start, **{name: values[0] for name, values in data.items()}}
    settings = {name: float(found[name][0]) for name in program.hyperparameters if name in found}
    program = replace(program, hyperparameters={**program.hyperparameters, **settings})
    right = arrays.train(
        program, last + 1, rates[0] * abs(reading.factor), inputs=inputs, record=[program.loss]
    )
    final = float(right[program.loss][-1])
    now = float(losses[last])
    if not math.isfinite(final):
        return
    difference = abs(now - final) / max(abs(final), 1e-300)
    yield (
        f"{table.sheet.name}: after {last} update{'s' * (last > 1)} the loss is {now:.9g}; "
        f"with the right formulas it is {final:.9g} ({difference:.1e} relative)"
    )


# ---------------------------------------------------------------- names that speak of a learning rate

_NAMED_RATE = re.compile(
    r"(?:learning[ _-]*rate[ _=:-]*(?:of[ _-]*)?|(?<![a-z])(?:lr|eta|η)[ _=:-]+)"
    r"(0[.,]\d+|[1-9]\d{0,2}(?:[.,]\d+)?)"
    r"(?![\d%e]|[.,]\d|[ _]*%|[ _-]*to[ _-]|[ _]*[-–][ _]*\d)",  # no 1e-1, 50 %, 1 to 10
    re.IGNORECASE,
)


def _rate_names(path: Path, understood: Sequence[Understood]) -> Iterator[Finding]:
    """File and sheet names that state another learning rate than the sheet uses."""
    values = [table.learning_rate.value for table in understood]
    spoken = _NAMED_RATE.search(path.stem)
    if spoken and values and None not in values:
        named = float(spoken[1].replace(",", "."))
        if all(abs(named - value) > 1e-9 * max(named, 1) for value in values if value is not None):
            yield _name_finding(understood[0], f"the file's name says {named:g}", named)
    numeric = {}
    for table in understood:
        match = _NAMED_RATE.search(table.sheet)
        plain = re.fullmatch(r"\s*(\d+(?:[.,]\d+)?)\s*", table.sheet)
        found = match or plain
        if found and table.learning_rate.value is not None:
            named = float(found[1].replace(",", "."))
            agrees = abs(named - table.learning_rate.value) <= 1e-9 * max(named, 1)
            numeric[table.sheet] = (table, named, agrees, match is not None)
    agreeing = sum(agrees for _, _, agrees, _ in numeric.values())
    for table, named, agrees, explicit in numeric.values():
        # a bare number is the name of a learning rate only where most such sheets agree with theirs
        if not agrees and (explicit or agreeing > len(numeric) / 2):
            yield _name_finding(table, f"the sheet's name says {named:g}", named)


def _name_finding(table: Understood, says: str, named: float) -> Finding:
    value = table.learning_rate.value
    assert value is not None
    return Finding(
        table.sheet,
        "learning rate",
        table.learning_rate.cell or "the updates",
        1,
        f"{value:g}",
        f"{named:g}",
        f"{says}, but the sheet uses {value:g}: the curve kept under this name is another one's",
        abs(value - named) / max(abs(value), abs(named)),
    )
