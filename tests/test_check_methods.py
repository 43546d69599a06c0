"""`gradsheet check` on what real sheets do beside plain gradient descent: schedules, momentum,
penalties, layers that stay as they are, formulas that cannot be read, names and gaps of all kinds.

Every sheet is the course's own with some formulas changed. A right one may be `not understood`, and is
so where another method is used, but is never called wrong; a mistake beside a gap is still found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from gradsheet.check import batch, examine
from gradsheet.check.examine import check
from gradsheet.check.verdict import Verdict
from gradsheet.engines import ironcalc
from handmade import Mistake, Sheet, Table, build, mistakes

COURSE = Sheet()
HIDDEN, OUTPUT = ("w1", "w2", "w3", "w4"), ("w5", "w6", "w7", "w8")
WEIGHTS = (*HIDDEN, *OUTPUT)
COURSE_ROWS = range(COURSE.rows)


@dataclass(frozen=True)
class Cells:
    """The course's sheet, to be changed: its cells by quantity and row."""

    sheet: Any
    table: Table
    values: Mapping[tuple[int, int], Any]

    @property
    def rows(self) -> range:
        return range(self.table.first_row, self.table.last_row + 1)

    def at(self, name: str, row: int) -> str:
        return f"{self.table.columns[name]}{row}"

    def put(self, name: str, row: int, content: Any) -> None:
        self.sheet[self.at(name, row)] = content

    def value(self, name: str, row: int) -> float:
        cell = self.sheet[self.at(name, row)]
        return float(self.values[cell.row - 1, cell.column - 1])

    def change(self, name: str, rule: str) -> None:
        """Put a rule into all rows; {itself} is the formula that stands there, {w1} a cell."""
        for row in self.rows:
            cells = {other: self.at(other, row) for other in self.table.columns}
            itself = str(self.sheet[self.at(name, row)].value)[1:]
            self.put(name, row, "=" + rule.format(itself=itself, **cells))

    def update(self, rule: str, names: tuple[str, ...] = WEIGHTS, first: int = 1) -> None:
        """Put an update into rows from ``first`` on: {w} and {g} stand one row above, {before} two."""
        for k, row in enumerate(self.rows):
            for name in names if k >= first else ():
                above = {"w": self.at(name, row - 1), "g": self.at(f"dE/d{name}", row - 1)}
                loss, before = self.at("E_total", row - 1), self.at(name, row - 2)
                self.put(name, row, "=" + rule.format(**above, loss=loss, before=before, k=k))

    def name(self, quantity: str, header: str) -> None:
        self.put(quantity, self.table.header_row, header)


def verdict_after(
    tmp_path: Path, change: Callable[[Cells], None], mistake: Mistake | None = None
) -> Verdict:
    truth = build(tmp_path / "sheet.xlsx", COURSE, mistake)
    table = truth.tables[0]
    book = openpyxl.load_workbook(truth.path)
    change(Cells(book[table.sheet], table, ironcalc.recalculate(truth.path)[table.sheet]))
    book.save(truth.path)
    return check(truth.path)


# ---------------------------------------------------------------- right, though unusual


def a_schedule(cells: Cells) -> None:
    cells.update("{w}-$F$2/(1+0.1*{k})*{g}")


def a_schedule_that_is_typed(cells: Cells) -> None:
    cells.update("{w}-IF({k}<5,0.5,0.1)*{g}")


def a_schedule_by_row(cells: Cells) -> None:
    cells.update("{w}-$F$2/(1+0.1*ROW())*{g}")


def a_schedule_of_chosen_rates(cells: Cells) -> None:
    cells.update("{w}-CHOOSE(MOD(ROW(),3)+1,0.5,0.25,0.1)*{g}")


def updates_in_every_third_row(cells: Cells) -> None:
    cells.update("IF(MOD(ROW(),3)=0,{w}-$F$2*{g},{w})")


def a_rate_for_each_layer(cells: Cells) -> None:
    cells.sheet["H2"], cells.sheet["I2"] = "η output", 0.2
    cells.update("{w}-$I$2*{g}", OUTPUT)


def a_typed_rate_for_each_layer(cells: Cells) -> None:
    cells.update("{w}-0.5*{g}", HIDDEN)
    cells.update("{w}-0.2*{g}", OUTPUT)


def a_layer_that_stays(cells: Cells) -> None:
    cells.update("{w}", HIDDEN)
    for name in HIDDEN:
        for row in range(cells.table.header_row, cells.rows[-1] + 1):
            cells.put(f"dE/d{name}", row, None)


def samples_under_the_same_weights(cells: Cells) -> None:
    cells.update("{w}")
    for row in cells.rows:
        for k, name in enumerate(("i1", "i2", "t1", "t2")):
            cells.put(name, row, (7 * row + 3 * k) % 10 / 10)


def a_first_row_that_is_typed(cells: Cells) -> None:
    for name in ("h1", "a_h1", "h2", "a_h2"):
        cells.put(name, cells.rows[0], round(cells.value(name, cells.rows[0]), 4))


def gradients_pasted_with_three_decimals(cells: Cells) -> None:
    for name in WEIGHTS:
        for row in cells.rows:
            cells.put(f"dE/d{name}", row, round(cells.value(f"dE/d{name}", row), 3))


def weights_of_the_output_named_v(cells: Cells) -> None:
    for number, name in enumerate(OUTPUT, 11):
        cells.name(name, f"v{number}")
        cells.name(f"dE/d{name}", f"dE/dv{number}")


def weights_named_by_letters(cells: Cells) -> None:
    for name, letter in zip(WEIGHTS, "abcdefgh", strict=True):
        cells.name(name, letter)
        cells.name(f"dE/d{name}", f"dE/d{letter}")


def targets_named_y(cells: Cells) -> None:
    """Copied down, beside a loss that is typed otherwise in the first row."""
    for name in ("1", "2"):
        cells.name(f"t{name}", f"y{name}")
        for row in cells.rows[1:]:
            cells.put(f"t{name}", row, f"={cells.at(f't{name}', row - 1)}")
            difference = f"{cells.at(f't{name}', row)}-{cells.at(f'a_o{name}', row)}"
            cells.put(f"E{name}", row, f"=POWER({difference},2)/2")


def a_step_before_its_gradient(cells: Cells) -> None:
    """Δw5 = −η·∂E/∂w5, which the update adds, stands where ∂E/∂w5 stood; that moves to the end."""
    column = cells.sheet.max_column + 1
    for row in range(cells.table.header_row, cells.rows[-1] + 1):
        gradient = cells.sheet.cell(row, column)
        gradient.value = cells.sheet[cells.at("dE/dw5", row)].value
        cells.put("dE/dw5", row, f"=-$F$2*{gradient.coordinate}")
    cells.name("dE/dw5", "Δw5")
    cells.update("{w}+{g}", ("w5",))


def a_summary_on_a_sheet_of_its_own(cells: Cells) -> None:
    summary = cells.sheet.parent.create_sheet("Summary")
    for k, row in enumerate(cells.rows, 1):
        for column, name in enumerate(("E1", "E2", "E_total", "a_o1", "a_o2"), 1):
            summary.cell(k, column).value = f"='{cells.sheet.title}'!{cells.at(name, row)}"


def products_of_areas(cells: Cells) -> None:
    cells.change("h1", "SUMPRODUCT({i1}:{i2}*{w1}:{w2})")


def changes_since_the_start(cells: Cells) -> None:
    for number, name in enumerate(WEIGHTS):
        for row in cells.rows:
            first = re.sub(r"([A-Z]+)(\d+)", r"$\1$\2", cells.at(name, cells.rows[0]))
            cells.sheet.cell(row, 40 + number).value = f"={cells.at(name, row)}-{first}"


def a_second_training_below(cells: Cells) -> None:
    first, last = cells.rows[0], cells.rows[-1]
    below = last + 6
    cells.sheet[f"E{below - 2}"], cells.sheet[f"F{below - 2}"] = "η =", 2
    for row in cells.rows:
        for cell in cells.sheet[row]:
            moved = re.sub(
                r"(?<!\$)\b([A-Z]+)(\d+)",
                lambda m: f"{m[1]}{int(m[2]) + below - first}",
                str(cell.value),
            ).replace("$F$2", f"$F${below - 2}")
            is_formula = str(cell.value).startswith("=")
            cells.sheet.cell(row + below - first, cell.column).value = (
                moved if is_formula else cell.value
            )


@pytest.mark.parametrize(
    "change",
    [
        a_schedule,
        a_schedule_that_is_typed,
        a_schedule_by_row,
        a_schedule_of_chosen_rates,
        updates_in_every_third_row,
        a_rate_for_each_layer,
        a_typed_rate_for_each_layer,
        a_layer_that_stays,
        samples_under_the_same_weights,
        a_first_row_that_is_typed,
        gradients_pasted_with_three_decimals,
        weights_of_the_output_named_v,
        weights_named_by_letters,
        targets_named_y,
        a_step_before_its_gradient,
        a_summary_on_a_sheet_of_its_own,
        products_of_areas,
        changes_since_the_start,
        a_second_training_below,
    ],
)
def test_what_is_unusual_but_right_is_correct(tmp_path: Path, change: Callable[[Cells], None]) -> None:
    verdict = verdict_after(tmp_path, change)
    assert (verdict.outcome, verdict.findings, verdict.reason) == ("correct", (), "")


def test_a_second_training_below_is_read(tmp_path: Path) -> None:
    verdict = verdict_after(tmp_path, a_second_training_below)
    assert verdict.understood[0].rows == (4, 28)


def test_a_labelled_rate_that_no_update_uses_is_told(tmp_path: Path) -> None:
    def beside(cells: Cells) -> None:
        cells.sheet["E2"], cells.sheet["F2"] = "η", 2
        cells.sheet["E200"], cells.sheet["F200"] = "η", 0.5
        cells.update("{w}-$F$200*{g}")

    verdict = verdict_after(tmp_path, beside)
    assert verdict.outcome == "correct"
    told = "the updates do not use the learning rate 2 in F2, but 0.5"
    assert told in verdict.understood[0].notes


def test_one_bias_in_two_layers_is_not_understood(tmp_path: Path) -> None:
    """o2 = … + b1, where b2 is the bias that both outputs share."""
    sheet = Sheet(biases=("shared", "shared"))
    truth = build(tmp_path / "sheet.xlsx", sheet)
    book, table = openpyxl.load_workbook(truth.path), truth.tables[0]
    cells = book[table.sheet]
    for row in range(table.first_row, table.last_row + 1):
        for total in ("o1", "o2"):
            cell = cells[f"{table.columns[total]}{row}"]
            cell.value = cell.value.replace(f"{table.columns['b2']}{row}", f"{table.columns['b1']}{row}")
    book.save(truth.path)
    verdict = check(truth.path)
    assert (verdict.outcome, verdict.findings) == ("not understood", ())


@pytest.mark.parametrize("step", ["0.2*{g}", "$F$2*2*{g}"])
def test_a_rate_that_one_update_only_has_is_a_mistake(tmp_path: Path, step: str) -> None:
    verdict = verdict_after(tmp_path, lambda cells: cells.update("{w}-" + step, ("w5",)))
    assert [finding.quantity for finding in verdict.findings] == ["update of w5"]


def test_among_updates_that_cannot_be_read_one_that_differs_is_a_mistake(tmp_path: Path) -> None:
    wrong = []

    def mixed_up(cells: Cells) -> None:
        updates_in_every_third_row(cells)
        row = next(row for row in cells.rows[4:] if row % 3 == 0)
        own, other = cells.at("dE/dw5", row - 1), cells.at("dE/dw6", row - 1)
        cells.put("w5", row, cells.sheet[cells.at("w5", row)].value.replace(own, other))
        wrong.append(cells.at("w5", row))

    verdict = verdict_after(tmp_path, mixed_up)
    assert [finding.cells for finding in verdict.findings] == wrong


def test_a_rate_from_a_cell_that_nothing_calls_one_is_a_mistake(tmp_path: Path) -> None:
    def elsewhere(cells: Cells) -> None:
        cells.sheet["I2"] = 0.2
        cells.update("{w}-$I$2*{g}", OUTPUT)

    verdict = verdict_after(tmp_path, elsewhere)
    assert [finding.quantity for finding in verdict.findings] == [f"update of {name}" for name in OUTPUT]


def test_weights_that_stay_beside_their_gradients_are_a_mistake(tmp_path: Path) -> None:
    verdict = verdict_after(tmp_path, lambda cells: cells.update("{w}", HIDDEN))
    assert [finding.quantity for finding in verdict.findings] == [f"update of {name}" for name in HIDDEN]


def test_a_pasted_gradient_that_does_not_follow_is_a_mistake(tmp_path: Path) -> None:
    def paste(cells: Cells) -> None:
        gradients_pasted_with_three_decimals(cells)
        row = cells.rows[3]
        cells.put("dE/dw6", row, cells.value("dE/dw6", row) + 0.01)

    verdict = verdict_after(tmp_path, paste)
    assert [(f.quantity, f.count) for f in verdict.findings] == [("dE/dw6", 1)]


def test_a_pasted_bias_that_never_changes_is_a_mistake(tmp_path: Path) -> None:
    """It has two digits where the other weights have ten, but not because it was rounded."""
    sheet = Sheet(biases=("each", "each"), pasted=10, seed=2, learning_rates=(0.01,), rows=4)
    slip = next(m for m in mistakes(sheet, "bias never updated") if m.planted[0][0] == "b3")
    verdict = check(build(tmp_path / "sheet.xlsx", sheet, slip).path)
    assert [finding.quantity for finding in verdict.findings] == ["update of b3"]


def test_of_two_sums_that_fit_most_pasted_rows_the_one_that_fits_all_is_taken(tmp_path: Path) -> None:
    """Three samples of XOR leave a choice of weights for h1 = w1·i1 + w3·i2."""
    sheet = Sheet(sizes=(2, 2, 1), data="samples", rows=3, pasted=6, numbering="by source")
    verdict = check(build(tmp_path / "sheet.xlsx", sheet).path)
    assert (verdict.outcome, verdict.findings) == ("correct", ())


def data_in_the_first_row_only(cells: Cells) -> None:
    """As typed once, and read from everywhere by $A$4."""
    names = ("t1", "t2", "i1", "i2")
    letters = "|".join(cells.table.columns[name] for name in names)
    for row in cells.rows:
        for cell in cells.sheet[row]:
            if isinstance(cell.value, str) and cell.value.startswith("="):
                cell.value = re.sub(rf"\b({letters})\d+", rf"$\1${cells.rows[0]}", cell.value)
        for name in names if row > cells.rows[0] else ():
            cells.put(name, row, None)


def test_data_may_stand_in_the_first_row_only(tmp_path: Path) -> None:
    verdict = verdict_after(tmp_path, data_in_the_first_row_only)
    assert (verdict.outcome, verdict.findings) == ("correct", ())


@pytest.mark.parametrize(("quantity", "data"), [("E1", "t1"), ("dE/dw3", "i1"), ("h2", "i2")])
def test_a_reference_that_slides_off_the_first_row_is_a_mistake(
    tmp_path: Path, quantity: str, data: str
) -> None:
    def slide(cells: Cells) -> None:
        data_in_the_first_row_only(cells)
        letter, first = cells.table.columns[data], cells.rows[0]
        for row in cells.rows:
            formula = str(cells.sheet[cells.at(quantity, row)].value)
            cells.put(quantity, row, formula.replace(f"${letter}${first}", f"{letter}{row}"))

    verdict = verdict_after(tmp_path, slide)
    (finding,) = verdict.findings
    assert (finding.quantity, finding.count) == (quantity, len(COURSE_ROWS) - 1)


# ---------------------------------------------------------------- other methods


def momentum_within_the_update(cells: Cells) -> None:
    cells.update("{w}-$F$2*{g}+0.9*({w}-{before})", first=2)


def stopping_early(cells: Cells) -> None:
    cells.update("IF({loss}<0.01,{w},{w}-$F$2*{g})")


def a_batch_of_two_epochs(cells: Cells) -> None:
    for k, row in enumerate(cells.rows):
        for name in WEIGHTS if k else ():
            gradient = cells.table.columns[f"dE/d{name}"]
            step = f"-$F$2*SUM({gradient}{row - 5}:{gradient}{row - 1})" if k == 5 else ""
            cells.put(name, row, f"={cells.at(name, row - 1)}{step}")


def a_penalty_in_the_loss(cells: Cells) -> None:
    cells.change("E_total", "{itself}+0.01*({w1}^2+{w5}^2)")


def a_penalty_in_the_gradients(cells: Cells) -> None:
    for name in WEIGHTS:
        cells.change(f"dE/d{name}", "{itself}+0.02*{" + name + "}")


def clipped_gradients(cells: Cells) -> None:
    for name in WEIGHTS:
        cells.change(f"dE/d{name}", "MAX(-0.01,MIN(0.01,{itself}))")


def a_neuron_by_a_macro(cells: Cells) -> None:
    cells.change("h2", "DOTP({i1}:{i2},{w3}:{w4})")


def a_neuron_by_let(cells: Cells) -> None:
    cells.change("o2", "_xlfn.LET(_xlpm.a,{a_h1},_xlpm.a*{w7}+{a_h2}*{w8})")


def thresholds(cells: Cells) -> None:
    for number in (1, 2):
        cells.sheet.cell(cells.table.header_row, 39 + number).value = f"θ{number}"
        for row in cells.rows:
            cell = cells.sheet.cell(row, 39 + number)
            above = f"{cell.column_letter}{row - 1}"
            step = f"{cells.at(f'a_o{number}', row - 1)}-{cells.at(f't{number}', row - 1)}"
            output = cells.at(f"a_o{number}", row - 1)
            cell.value = 0.3
            if row > cells.rows[0]:
                cell.value = f"={above}+$F$2*({step})*{output}*(1-{output})"
            total = str(cells.sheet[cells.at(f"o{number}", row)].value)
            cells.put(f"o{number}", row, f"{total}-{cell.coordinate}")


def gradients_in_rows_of_their_own(cells: Cells) -> None:
    """Below the table, under headers of their own, one block an iteration: none is read."""
    for name in WEIGHTS:
        cells.update("{w}", (name,))
        for row in range(cells.table.header_row, cells.rows[-1] + 1):
            cells.put(f"dE/d{name}", row, None)
        cells.sheet[f"{cells.table.columns[name]}40"] = f"∂E/∂{name}"
        cells.sheet[f"{cells.table.columns[name]}41"] = 0.1


@pytest.mark.parametrize(
    "change",
    [
        gradients_in_rows_of_their_own,
        momentum_within_the_update,
        stopping_early,
        a_batch_of_two_epochs,
        a_penalty_in_the_loss,
        a_penalty_in_the_gradients,
        clipped_gradients,
        a_neuron_by_a_macro,
        a_neuron_by_let,
        thresholds,
    ],
)
def test_on_what_is_another_method_no_verdict_is_given(
    tmp_path: Path, change: Callable[[Cells], None]
) -> None:
    verdict = verdict_after(tmp_path, change)
    assert (verdict.outcome, verdict.findings) == ("not understood", ())
    assert verdict.reason


# ---------------------------------------------------------------- rows apart


def a_blank_row(cells: Cells) -> None:
    """Between the third iteration and the fourth."""
    first, columns = cells.rows[3], cells.sheet.max_column
    letters = openpyxl.utils.get_column_letter(columns)
    cells.sheet.move_range(f"A{first}:{letters}{cells.rows[-1]}", rows=1, translate=True)
    for name in WEIGHTS:
        weight, gradient = cells.at(name, first - 1), cells.at(f"dE/d{name}", first - 1)
        cells.put(name, first + 1, f"={weight}-$F$2*{gradient}")


def test_a_blank_row_ends_no_table(tmp_path: Path) -> None:
    verdict = verdict_after(tmp_path, a_blank_row)
    assert verdict.outcome == "correct"
    assert verdict.understood[0].rows == (4, 14)


def test_a_mistake_after_a_blank_row_is_found(tmp_path: Path) -> None:
    slip = next(m for m in mistakes(COURSE, "wrong neuron's slope"))

    def late(cells: Cells) -> None:
        right = openpyxl.load_workbook(build(tmp_path / "right.xlsx", COURSE).path).active
        for row in cells.rows[:5]:
            for cell in cells.sheet[row]:
                cell.value = right.cell(row, cell.column).value
        a_blank_row(cells)

    verdict = verdict_after(tmp_path, late, slip)
    assert verdict.outcome == "wrong"
    assert all(re.fullmatch(r"[A-Z]+10:[A-Z]+14", finding.cells) for finding in verdict.findings)


def test_averages_below_are_no_iterations(tmp_path: Path) -> None:
    def averages(cells: Cells) -> None:
        for cell in cells.sheet[cells.rows[-1]]:
            span = f"{cell.column_letter}{cells.rows[0]}:{cell.column_letter}{cells.rows[-1]}"
            cells.sheet.cell(cells.rows[-1] + 1, cell.column).value = f"=AVERAGE({span})"

    verdict = verdict_after(tmp_path, averages)
    assert (verdict.outcome, verdict.understood[0].rows) == ("correct", (4, 13))


# ---------------------------------------------------------------- nothing stops a class


def test_a_failure_of_gradsheet_itself_is_told_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Verdict:
        raise StopIteration("deep inside")

    monkeypatch.setattr(examine, "check", broken)
    verdict = batch._check(tmp_path / "a.xlsx", None, {})
    assert verdict.outcome == "not understood"
    assert "deep inside" in verdict.reason
