"""Figures: one style, PNG files, and matplotlib only where something is drawn."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from comp.figures import new_figure, save_figure, set_title, style_axis
from tests.conftest import REPO_ROOT


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("grid", ["x", "both"])
def test_save_figure_writes_a_png_of_the_given_inches(grid, tmp_path):
    figure = new_figure(4, 2)
    style_axis(figure.subplots(), "weight", "line: 95 %", grid)
    set_title(figure, "a blend")
    save_figure(tmp_path / "deep" / "blend.png", figure)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["blend.png"]
    with Image.open(tmp_path / "deep" / "blend.png") as image:
        assert image.format == "PNG" and image.size == (4 * 130, 2 * 130)


def test_figures_import_does_not_import_matplotlib():
    code = "import sys, comp.figures; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=REPO_ROOT, check=True)
