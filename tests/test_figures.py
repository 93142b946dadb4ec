"""Figures: one style, PNG files, and matplotlib only where something is drawn."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from comp.figures import new_figure, page_style, save_figure, set_title, style_axis, to_svg, use_log_scale
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


@pytest.mark.parametrize("linear_below", [None, 10])
def test_use_log_scale_labels_are_plain_numbers_on_a_page(linear_below):
    with page_style():
        figure = new_figure(3, 2)
        axis = figure.subplots()
        axis.plot([1, 2], [1, 5000])
        use_log_scale(axis, "y", linear_below)
        svg = to_svg(figure)
    assert "1000<" in svg and "mathdefault" not in svg


def test_to_svg_texts_are_escaped_texts_and_no_formulas():
    with page_style():
        figure = new_figure(3, 2)
        figure.text(0.5, 0.5, "<b>$\\frac$")
        svg = to_svg(figure)
    assert "&lt;b&gt;$\\frac$" in svg and svg.startswith("<svg") and "<script" not in svg
