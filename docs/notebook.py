"""Run run.ipynb from top to bottom and keep what its cells print and draw: ``make notebook``."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat

NOTEBOOK = Path(__file__).parent.parent / "run.ipynb"

if __name__ == "__main__":
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # Coalesced: a progress bar is many lines, each written over the one before; one is enough.
    client = nbclient.NotebookClient(
        notebook, timeout=1200, coalesce_streams=True, resources={"metadata": {"path": NOTEBOOK.parent}}
    )
    client.execute()
    nbformat.write(notebook, NOTEBOOK)
