from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from comp.errors import UserError
from comp.report.page import write_report
from comp.report.sections import classes, comparison, confused, curves, headline
from comp.report.source import find_source
from comp.tasks import TASKS
from tests.conftest import REPO_ROOT
from tests.report.pages import Page, parse_page
from tests.report.stored_runs import write_run

SCRIPT = "<script>document.title='changed'</script>"
IMAGE = "<img src=x onerror=\"document.title='changed'\">$x_$"


OF_CLASSES = ["score", "classes", "confused", "confidence", "sets", "training", "run"]
SECTIONS = {
    "single": OF_CLASSES,
    "binary": OF_CLASSES,
    "ordinal": OF_CLASSES,
    "multilabel": ["score", "tags", "confidence", "training", "run"],
    "regression": ["score", "numbers", "sets", "training", "run"],
}
KNOWN = {anchor for anchors in SECTIONS.values() for anchor in anchors}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Iterator[Path]:
    """A folder with a finished run of each kind and its report. Two classes of `single` have script in their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("reports"))
        for kind in TASKS:
            write_run(kind, kind, labels=[SCRIPT, IMAGE, "ig"] if kind == "single" else None)
        stale = Path("runs/reports/single/old.png")
        stale.parent.mkdir(parents=True)
        stale.write_bytes(b"")
        write_report(find_source(["single"], device=None))
        draw_nothing(patch)
        for kind in TASKS.keys() - {"single"}:
            write_report(find_source([kind], device=None))
        yield Path.cwd()


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing of figures, which takes nearly all of the time of a report."""
    patch.setattr("comp.report.page.to_svg", lambda drawing: "<svg></svg>")
    patch.setattr("comp.report.page.save_figure", lambda path, drawing: path.write_bytes(b""))


@pytest.fixture
def old_runs(tmp_path, monkeypatch) -> None:
    """The runs, blends and submissions of an older version, as the current directory."""
    shutil.copytree(REPO_ROOT / "tests/on_disk/made", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    draw_nothing(monkeypatch)


@pytest.mark.parametrize(
    ("names", "anchors"),
    [
        (["few"], ["trials"]),
        (["blends/both"], ["score", "members", "classes", "confused", "confidence", "sets"]),
        (["submissions/both.csv"], ["submission", "score", "members", "classes", "confused", "confidence", "sets"]),
        (["anna", "bert", "blends/both"], ["comparison"]),
        (["bert+soup"], [*OF_CLASSES[:5], "run"]),
    ],
)
def test_report_of_what_an_older_version_wrote(old_runs, names, anchors):
    page = parse_page(write_report(find_source(names, device=None)))
    assert [anchor for anchor in page.anchors if anchor in {*KNOWN, *anchors}] == anchors


def read_html(workspace: Path, kind: str) -> str:
    return (workspace / "runs/reports" / kind / "report.html").read_text()


def read_page(workspace: Path, kind: str) -> Page:
    return parse_page(workspace / "runs/reports" / kind / "report.html")


@pytest.mark.parametrize("kind", TASKS)
def test_report_has_the_sections_with_a_meaning_for_the_kind(workspace, kind):
    assert [anchor for anchor in read_page(workspace, kind).anchors if anchor in KNOWN] == SECTIONS[kind]


def test_report_figures_beside_the_page_are_those_of_this_report(workspace):
    names = {file.name for file in (workspace / "runs/reports/single").glob("*.png")}
    assert "old.png" not in names and {"confusion.png", "reliability.png", "loss.png", "coverage.png"} <= names


def test_report_loads_nothing_and_says_so_to_the_browser(workspace):
    page = read_page(workspace, "single")
    addresses = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action", "data")]
    assert all(value.startswith(("#", "data:image/")) for value in addresses) and "link" not in page.tags
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:;") and "script-src 'sha256-" in policy
    assert "connect-src" not in policy


def test_report_names_with_script_are_text(workspace):
    page = read_page(workspace, "single")
    assert page.tags.count("script") == 1 and SCRIPT in page.text and IMAGE in page.text
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_report_figures_take_their_ink_from_the_page(workspace):
    svg = "".join(re.findall(r"<svg.*?</svg>", read_html(workspace, "single"), re.S))
    assert "currentColor" in svg and "var(--good)" in svg and "#1f2328" not in svg and "#ffffff" not in svg


@pytest.mark.parametrize("kind", TASKS)
def test_report_every_figure_says_its_n(workspace, kind):
    html = read_html(workspace, kind)
    captions = re.findall(r"<div class=\"plot\".*?<figcaption>(.*?)</figcaption>", html, re.S)
    assert captions and all("n = " in caption for caption in captions)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_report_in_a_browser_runs_no_script_of_a_name(workspace):
    address = (workspace / "runs/reports/single/report.html").as_uri()
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", address]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<title>single: report</title>" in dom and "&lt;script&gt;" in dom


def test_report_of_a_submission_stays_in_its_directory(old_runs):
    manifest = Path("submissions/both.json")
    manifest.write_text(manifest.read_text().replace('"id": "both"', '"id": "../../../both"'))
    source = find_source(["submissions/both.csv"], device=None)
    assert source.submission and source.submission.id == "../../../both" and source.name == "submissions/both"


@pytest.fixture
def empty_workspace(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_report_before_a_fold_is_done_has_the_curves_alone(empty_workspace):
    write_run("x", "single", folds=0)
    source = find_source(["x"], device=None)
    assert curves.build(source) is not None
    assert headline.build(source) is classes.build(source) is confused.build(source) is None


def test_report_leaves_out_a_section_whose_file_is_damaged(empty_workspace, monkeypatch, capsys):
    path = write_run("x", "single")
    (path / "fold1" / "history.csv").write_text("not a table")
    draw_nothing(monkeypatch)
    anchors = parse_page(write_report(find_source(["x"], device=None))).anchors
    assert "training" not in anchors and "classes" in anchors
    assert "warning: the section curves is left out: runs/x/fold1/history.csv" in capsys.readouterr().err


def test_report_of_some_folds_says_how_many(empty_workspace):
    write_run("x", "single", folds=2)
    section = headline.build(find_source(["x"], device=None))
    assert section and "Only 2 of 3 folds are done" in [finding.text for finding in section.findings]


def test_report_without_images_leaves_out_pictures(empty_workspace):
    write_run("x", "single")
    assert confused.build(find_source(["x"], device=None)) is not None
    shutil.rmtree("input")
    assert confused.build(find_source(["x"], device=None)) is None


def test_report_of_many_classes_lists_errors_instead_of_a_matrix(empty_workspace):
    write_run("x", "single", labels=[f"class {number}" for number in range(48)])
    section = classes.build(find_source(["x"], device=None))
    assert section and section.values["matrix"] is None and section.values["confusions"]


def test_report_of_several_runs_compares_them(empty_workspace):
    for seed in (1, 2):
        write_run(f"seed{seed}", "single", seed=seed)
    source = find_source(["seed*"], device=None)
    section = comparison.build(source)
    assert source.name == "compared/seed1+seed2" and section
    (table,) = section.values["tables"]
    assert [row.test is None for row in table.rows] == [row.is_best for row in table.rows]
    assert [figure.name for figure in section.figures] == ["cost-parameters", "cost-time"]


def test_report_of_an_unknown_name_suggests_one(empty_workspace):
    write_run("first", "single")
    with pytest.raises(UserError, match=r"there is no run, blend, submission or study frist; did you mean first\?"):
        find_source(["frist"])
