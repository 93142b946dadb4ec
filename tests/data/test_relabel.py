"""Corrected labels are used by every later command, recorded, and undone; no original file is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from comp.data.duplicates import group_ids
from comp.data.folds import make_folds, read_folds, write_folds
from comp.data.relabel import corrections_file, read_filled_labels, write_corrections
from comp.data.scan import scan
from comp.errors import UserError
from comp.records.source import DataSource

CONFIG = ["data.root=input/cells"]
CORRECTIONS = Path("folds/cells.relabel.csv")


@pytest.fixture
def cells(tmp_path, monkeypatch) -> Path:
    """Six images of two classes, and an empty config, in the current directory."""
    monkeypatch.chdir(tmp_path)
    for label in ("ig", "platelet"):
        for number in range(3):
            path = Path("input/cells/train", label, f"{label}{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    Path("configs").mkdir()
    Path("configs/cells.yaml").write_text("data: {root: input/cells}\n")
    return tmp_path


@pytest.fixture
def relabel(cells, run_cli):
    """Return relabel("image,new_label\\n...", *arguments) -> (status, output, error)."""

    def call(text: str, *arguments: str):
        Path("filled.csv").write_text(text)
        return run_cli("comp", "data", "relabel", "filled.csv", "-c", "configs/cells.yaml", *arguments)

    return call


def labels() -> dict[str, str | None]:
    return {image.id: image.label for image in scan("input/cells").train}


def test_relabel_changes_labels_by_image_and_no_original_file(relabel, cells):
    before, files = labels(), sorted(cells.glob("input/**/*"))
    status, output, _ = relabel("image,label,suggested,new_label\nig1.png,ig,platelet,platelet\nig2.png,ig,platelet,\n")
    assert status == 0 and "1 of 6 labels are corrected" in output
    assert labels() == before | {"ig1.png": "platelet"} and sorted(cells.glob("input/**/*")) == files
    assert CORRECTIONS.read_text() == "image,label,new_label\nig1.png,ig,platelet\n"


def test_relabel_is_idempotent_and_adds_to_earlier_corrections(relabel):
    relabel("image,new_label\nig1.png,platelet\n")
    first = CORRECTIONS.read_bytes()
    assert relabel("image,new_label\nig1.png,platelet\n")[0] == 0
    assert CORRECTIONS.read_bytes() == first
    relabel("image,new_label\nplatelet0.png,ig\n")
    assert labels()["ig1.png"] == "platelet" and labels()["platelet0.png"] == "ig"


def test_relabel_original_label_and_undo_restore(relabel, run_cli):
    before = labels()
    relabel("image,new_label\nig1.png,platelet\nig2.png,platelet\n")
    relabel("image,new_label\nig1.png,ig\n")
    assert labels() == before | {"ig2.png": "platelet"}
    assert run_cli("comp", "data", "relabel", "--undo", "-c", "configs/cells.yaml", *CONFIG)[0] == 0
    assert labels() == before and not CORRECTIONS.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,new_label\nig1.png,plate\n", "the new label of ig1.png"),
        ("image,new_label\nig1.png,platelet\nig9.png,ig\n", "has the image ig9.png"),
        ("image,new_label\nig1.png,platelet\nig1.png,ig\n", "two new labels"),
        ("image,label\nig1.png,ig\n", "no column new_label"),
        ("image,new_label\nig1.png,\n", "has no new label"),
    ],
)
def test_relabel_what_cannot_be_applied_is_an_error_and_nothing_is_written(relabel, text, message):
    status, _, error = relabel(text)
    assert status == 2 and message in error and error.count("\n") == 1 and not CORRECTIONS.exists()


def test_relabel_missing_file_is_an_error(cells, run_cli):
    status, _, error = run_cli("comp", "data", "relabel", "none.csv", "-c", "configs/cells.yaml")
    assert status == 2 and "none.csv is missing" in error


def test_scan_correction_of_a_label_that_has_changed_since_is_refused(relabel):
    CORRECTIONS.parent.mkdir()
    CORRECTIONS.write_text("image,label,new_label\nig1.png,monocyte,platelet\n")
    with pytest.raises(UserError, match="corrects the label monocyte of ig1"):
        scan("input/cells")


def test_relabel_keeps_the_split_and_changes_the_list_of_labels(relabel):
    dataset = scan("input/cells")
    assert dataset.relabel_sha256 is None
    path = Path("folds/cells.csv")
    table = make_folds(dataset, group_ids(dataset.train, []), 3, 0)
    write_folds(path, table, dataset, 3, 0)
    relabel("image,new_label\nig1.png,platelet\n")
    corrected = scan("input/cells")
    assert corrected.relabel_sha256 and corrected.image_list_sha256 != dataset.image_list_sha256
    assert corrected.original.image_list_sha256 == dataset.image_list_sha256
    assert read_folds(path, corrected).equals(table)
    assert make_folds(corrected, group_ids(corrected.train, []), 3, 0).equals(table)
    assert corrected.targets.sum() == dataset.targets.sum() + 1


def test_relabel_numbers_and_tags_are_checked_as_labels_of_their_task(cells):
    Path("input/cells/labels.csv").write_text("image,tags\nig0.png,a b\nig1.png,b\nig2.png,\n")
    source = DataSource("input/cells", labels="labels.csv", task="multilabel", allow_missing=True)
    corrected = write_corrections(scan(source), {"ig2.png": "a"}, Path("filled.csv"))
    assert corrected.targets.tolist() == [[1, 1], [0, 1], [1, 0]] and scan(source).train == corrected.train
    with pytest.raises(UserError, match="the new label of ig1"):
        write_corrections(scan(source), {"ig1.png": "c"}, Path("filled.csv"))


def test_read_filled_labels_missing_file_is_empty(cells):
    assert read_filled_labels(Path("none.csv")) == {} and corrections_file("input/cells") == CORRECTIONS
