"""A past submission is reproduced byte for byte, or the change that prevents it is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from comp.files import read_json, write_json
from comp.records.blend import MemberRecord
from comp.ship.changes import possible_causes
from comp.submit.manifest import read_manifest

SUBMISSION = Path("submissions/both.csv")

MANIFEST = Path("submissions/both.json")


def test_reproduce_missing_file_is_written_from_weights_alone(workspace, run_cli):
    before = SUBMISSION.read_bytes()
    assert run_cli("comp", "submit", "reproduce", "both")[:2] == (
        0,
        f"{SUBMISSION}: the same bytes, sha256 {read_json(MANIFEST)['sha256'][:12]}\n",
    )
    SUBMISSION.unlink()
    for file in Path("runs").rglob("test_fold*.npz"):  # stored predictions are not used
        file.write_text("image,label\n")
    status, out, _ = run_cli("comp", "submit", "reproduce", "submissions/both.csv")
    assert status == 0 and out.endswith("restored\n") and SUBMISSION.read_bytes() == before
    assert run_cli("comp", "submit", "check", "both")[0] in (0, 1)


def other_weights() -> None:
    shutil.copy("runs/bert/fold1/weights.pt", "runs/anna/fold1/weights.pt")


def missing_weights() -> None:
    Path("runs/anna/fold2/weights.pt").unlink()


def missing_run() -> None:
    shutil.rmtree("runs/bert")


def changed_image() -> None:
    shutil.copy("input/tiny/test/img_0.jpg", "input/tiny/test/img_1.jpg")


def missing_image() -> None:
    Path("input/tiny/test/img_3.jpg").unlink()


def changed_sample() -> None:
    sample = Path("input/tiny/sample_submission.csv")
    sample.write_bytes(sample.read_bytes().replace(b"img_3.jpg", b"img_3"))


def renamed_class() -> None:
    Path("input/tiny/train/platelet").rename("input/tiny/train/thrombocyte")
    Path("input/tiny/class_map.json").unlink()


def inconsistent_classes() -> None:
    Path("input/tiny/train/platelet").rename("input/tiny/train/thrombocyte")


def changed_blend() -> None:
    manifest = read_json(MANIFEST)
    manifest["blend"]["parts"][0]["temperature"] *= 1.01
    write_json(MANIFEST, {**manifest, "versions": {**manifest["versions"], "torch": "1.0"}})


CHANGES = {
    other_weights: "changed: the weights of anna, fold 1: runs/anna/fold1/weights.pt has changed",
    missing_weights: "changed: the weights of anna, fold 2: runs/anna/fold2/weights.pt is missing",
    missing_run: "changed: the run bert: runs/bert is missing",
    changed_image: "changed: the test images: input/tiny/test has others, or other bytes (8 images now)",
    missing_image: "such as img_3.jpg",
    changed_sample: "changed: the sample submission of input/tiny has changed",
    renamed_class: "changed: the classes of input/tiny, or their order: ",
    inconsistent_classes: "changed: input/tiny/class_map.json and the folders of train/ disagree about: platelet, ",
    changed_blend: "possible cause: torch 1.0 then",
}


@pytest.mark.parametrize("change", CHANGES)
def test_reproduce_after_change_names_it_and_writes_nothing(change, workspace, run_cli):
    change()
    SUBMISSION.unlink()
    status, out, err = run_cli("comp", "submit", "reproduce", "both")
    assert (status, err) == (1, "") and CHANGES[change] in out and not SUBMISSION.exists()
    assert ("possible cause" in out) == (
        change in (changed_image, changed_sample, changed_blend)
    )  # where it was predicted


def test_possible_causes_names_changed_training_images(workspace):
    assert not any("training images" in line for line in possible_causes(read_manifest(SUBMISSION)))
    shutil.copy("input/tiny/test/img_0.jpg", "input/tiny/train/platelet/one_more.jpg")
    assert any("the list of training images changed" in line for line in possible_causes(read_manifest(SUBMISSION)))


def test_member_record_folds_keep_order_of_manifest():
    assert MemberRecord("a", "runs/a", "torch", {"2": "a", "0": "b"}).folds == [2, 0]
    assert MemberRecord("a", "runs/a", "torch", {"full": "a"}).folds == ["full"]


def test_reproduce_edited_file_is_not_overwritten(workspace, run_cli):
    SUBMISSION.write_bytes(SUBMISSION.read_bytes() + b"\n")
    status, out, _ = run_cli("comp", "submit", "reproduce", "both")
    assert status == 1 and "has other bytes than were written" in out and SUBMISSION.read_bytes().endswith(b"\n\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no manifest of a submission both"),
        ("{", "is not readable JSON"),
        ("{}", "is not the manifest of a submission"),
        ('{"schema": 1, "sha256": "x"}', "does not record how it was made"),
    ],
)
def test_reproduce_unreadable_manifest_is_one_line(content, message, workspace, run_cli):
    if content is None:
        MANIFEST.unlink()
    else:
        MANIFEST.write_text(content)
    status, _, err = run_cli("comp", "submit", "reproduce", "both")
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"hflip"', '"hflop"', "there is no view 'hflop'; did you mean hflip?"),
        ('"temperature": ', '"temperature": -', "which must be above 0"),
        ('"method": "stack"', '"method": "mean"', "have the weights none, none, which must be 0 or more and sum to 1"),
        ('"name": "anna"', '"name": "carl"', "members.carl is missing"),
        ('"temperature": ', '"temperature": NaN, "old": ', "is not readable JSON"),
        ('"runtime": "torch"', '"runtime": "tensorflow"', "runtime: string should match"),
        ('"per_day": 5', '"per_day": -5', "competition.per_day"),
        ('"public_share": 1.0', '"public_share": 98.4', "competition.public_share"),
    ],
)
def test_reproduce_edited_manifest_is_one_line(old, new, message, workspace, run_cli):
    assert old in MANIFEST.read_text()
    MANIFEST.write_text(MANIFEST.read_text().replace(old, new))
    status, out, err = run_cli("comp", "submit", "reproduce", "both")
    assert (status, out) == (2, "") and err.startswith(f"error: {MANIFEST}") and err.count("\n") == 1 and message in err
    for command in (["check", "both"], ["status"]):
        status, _, err = run_cli("comp", "submit", *command)
        assert status in (0, 1) or err.count("\n") == 1


def test_reproduce_member_without_weights_is_refused(workspace, run_cli):
    content = read_json(MANIFEST)
    content["members"][0]["weights_sha256"] = {}
    write_json(MANIFEST, content)
    status, _, err = run_cli("comp", "submit", "reproduce", "both")
    assert status == 2 and "members.anna.weights_sha256 is missing" in err
