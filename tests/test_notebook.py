"""run.ipynb runs from top to bottom in a real kernel, and what is committed with it is whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
nbclient = pytest.importorskip("nbclient")
import nbformat  # noqa: E402

NOTEBOOK = Path(__file__).parent.parent / "run.ipynb"


def outputs(notebook) -> str:
    """All that the cells printed."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return "".join(out.get("text", "") for cell in cells for out in cell.outputs)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # other tests run beside this one
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (at,) = (k for k, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    fast = f"limit = 600\nfolder = {str(tmp_path / 'made')!r}"
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(fast))
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}})
    client.execute()
    assert re.search(r"test accuracy \d", outputs(notebook))
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert made == {"weights.safetensors", "model.onnx"}


def test_the_committed_notebook_has_its_outputs_and_is_small():
    assert NOTEBOOK.stat().st_size < 1_500_000
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(out.output_type == "error" for cell in cells for out in cell.outputs)
    pictures = sum("image/png" in out.get("data", {}) for cell in cells for out in cell.outputs)
    assert pictures == 6
    accuracy = re.search(r"test accuracy (\d\d\.\d\d)%", outputs(notebook))
    assert accuracy is not None
    assert float(accuracy[1]) > 99.1  # six epochs, 55,000 images
