"""docs/notebooks/first-competition.ipynb is valid, stored without outputs, and goes from images to a submission."""

from __future__ import annotations

import json

import nbformat
import pytest
from PIL import Image

import comp
from comp.ship.notebook import code_cells
from tests.conftest import REPO_ROOT

NOTEBOOK = REPO_ROOT / "docs" / "notebooks" / "first-competition.ipynb"


def test_notebook_is_valid_and_has_no_outputs():
    nbformat.validate(nbformat.read(NOTEBOOK, 4))
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells and not any(cell["outputs"] or cell["execution_count"] for cell in cells)


@pytest.mark.slow
def test_notebook_runs_from_images_to_a_submission(workspace, capsys):
    names: dict = {}
    for cell in code_cells(NOTEBOOK.read_text()):
        exec(cell, names)
    submission = comp.load("submissions/first.csv")
    assert len(submission.predict("input/demo/test")) == len(submission.path.read_text().splitlines()) - 1 == 8
    assert isinstance(names["picture"], Image.Image) and names["report"].path.is_file()
    assert "wrote submissions/first.csv: 8 rows" in capsys.readouterr().out
