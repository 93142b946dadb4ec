"""The dataset check finds what harms a training or a score, and reports nothing else."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from comp.data import duplicates
from comp.data.check import check_dataset
from comp.data.check_text import format_report
from comp.data.duplicates import TRANSFORMS, DuplicatePair, find_duplicates, group_ids
from comp.data.image_stats import survey
from comp.data.scan import Image, scan
from comp.records.dataset import DatasetReport

QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 92]


def make_pixels(seed: int, height: int = 66, width: int = 60) -> np.ndarray:
    """Return a smooth random image without symmetry; every seed gives another."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path: Path, pixels: np.ndarray, *options: int) -> Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels, list(options))
    return Image(path.name, path)


def write_dataset(root: Path, per_class: int = 4, classes: str = "ab", test: int = 4) -> Path:
    """Write a small dataset without issues: every image different, one size, one JPEG quality.

    Four images per class are too few for the search for confounds, which most tests do not need.
    """
    seeds = iter(range(1000))
    for label in classes:
        for number in range(per_class):
            save(root / "train" / label / f"{label}{number}.jpg", make_pixels(next(seeds)), *QUALITY)
    for number in range(test):
        save(root / "test" / f"t{number}.jpg", make_pixels(next(seeds)), *QUALITY)
    return root


def check(root: Path, k: int = 3) -> tuple[dict, DatasetReport]:
    report = check_dataset(scan(root), k)
    return {issue.kind: issue for issue in report.issues}, report


def pairs_of(*images: Image) -> list[DuplicatePair]:
    return find_duplicates(survey(images))


def test_check_dataset_clean_dataset_has_no_issues(tmp_path):
    issues, report = check(write_dataset(tmp_path, per_class=8))
    assert report.exit_code == 0 and not issues
    assert "16 training images in 2 classes, 4 test images" in format_report(report)
    assert format_report(report).endswith("no errors, no warnings")


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty file"), (b"not a picture at all", "not an image"), (None, "truncated")]
)
@pytest.mark.parametrize("file", ["train/a/bad.jpg", "test/bad.jpg"])
def test_check_dataset_unreadable_image_is_an_error_with_its_reason(tmp_path, content, reason, file):
    complete = save(write_dataset(tmp_path) / "whole.jpg", make_pixels(77), *QUALITY).path
    (tmp_path / file).write_bytes(complete.read_bytes()[:-400] if content is None else content)
    issues, report = check(tmp_path)
    assert report.exit_code == 1
    assert issues["unreadable"].files == ((file,),) and reason in issues["unreadable"].remarks[0]


def test_check_dataset_other_file_is_a_warning(tmp_path):
    (write_dataset(tmp_path) / "train" / "a" / "notes.txt").write_text("hello")
    (tmp_path / "train" / "b" / ".hidden").write_text("not a matter for users")
    issues, report = check(tmp_path)
    assert report.exit_code == 0 and issues["not_images"].files == (("train/a/notes.txt",),)


def test_check_dataset_same_pixels_in_another_format_are_an_exact_duplicate(tmp_path):
    jpeg = write_dataset(tmp_path) / "train" / "a" / "a0.jpg"
    save(jpeg.with_name("copy.png"), cv2.imread(str(jpeg)))
    issues, report = check(tmp_path)
    assert report.exit_code == 0  # inside a class copies do no harm: they share a fold
    assert set(issues["duplicates"].files[0]) == {"train/a/a0.jpg", "train/a/copy.png"}
    assert "train/a/copy.png" in format_report(report)


@pytest.mark.parametrize("number", range(1, 8))
def test_find_duplicates_rotated_or_mirrored_copy_names_the_transform(tmp_path, number):
    pixels = make_pixels(5)
    copy = np.rot90(pixels[:, ::-1] if number >= 4 else pixels, -(number % 4))
    (pair,) = pairs_of(
        save(tmp_path / "a.png", pixels), save(tmp_path / "b.png", copy), save(tmp_path / "other.png", make_pixels(6))
    )
    assert (pair.a.id, pair.b.id, pair.kind, pair.transform) == ("a.png", "b.png", "near", TRANSFORMS[number])
    assert pair.similarity > 0.99


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        lambda pixels: cv2.resize(pixels, None, fx=1.7, fy=1.7, interpolation=cv2.INTER_LINEAR),
        lambda pixels: cv2.convertScaleAbs(pixels, alpha=0.9),
        lambda pixels: pixels,
    ],
    ids=["smaller", "larger", "darker", "re-encoded"],
)
def test_find_duplicates_changed_copy_at_quality_60_is_found(tmp_path, change):
    original, other = make_pixels(3, 165, 150), make_pixels(4, 165, 150)
    images = [
        save(tmp_path / "a.jpg", original, *QUALITY),
        save(tmp_path / "c.jpg", other, *QUALITY),
        save(tmp_path / "b.jpg", change(original), cv2.IMWRITE_JPEG_QUALITY, 60),
    ]
    (pair,) = pairs_of(*images)
    assert (pair.a.id, pair.b.id, pair.kind) == ("a.jpg", "b.jpg", "near")


def test_find_duplicates_different_images_of_one_layout_are_not_paired(tmp_path):
    """Two hundred dark discs of nearly one size on pale slides: similar, but not copies."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(200):
        image = cv2.resize(rng.normal(220, 6, (12, 12)), (60, 60), interpolation=cv2.INTER_CUBIC)
        cell = cv2.resize(rng.normal(90, 25, (10, 10)), (60, 60), interpolation=cv2.INTER_CUBIC)
        disc = cv2.circle(np.zeros((60, 60)), (30, 30), int(rng.integers(16, 19)), 1.0, -1, cv2.LINE_AA)
        image = (image * (1 - disc) + cell * disc).clip(0, 255).astype(np.uint8)
        images.append(save(tmp_path / f"{number}.png", image))
    assert pairs_of(*images) == []


def test_find_duplicates_images_equal_only_at_16_px_are_not_paired(tmp_path):
    """The same 16 px image with two patterns of grain that average out: only the second comparison sees them."""
    rng = np.random.default_rng(0)
    glance = np.kron(rng.integers(80, 176, (16, 16)), np.ones((2, 2)))
    grains = [np.kron(rng.choice([-15, 15], (16, 16)), [[1, -1], [-1, 1]]) for _ in "ab"]
    assert (
        pairs_of(
            *[
                save(tmp_path / f"{number}.png", (glance + grain).astype(np.uint8))
                for number, grain in enumerate(grains)
            ]
        )
        == []
    )


def test_find_duplicates_compares_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "BLOCK_ROWS", 2)
    images = [
        save(tmp_path / f"{number}.png", make_pixels(number % 5)[:, :: 1 if number < 5 else -1]) for number in range(10)
    ]
    pair_ids = [(pair.a.id, pair.b.id) for pair in pairs_of(*images)]
    assert pair_ids == [(f"{number}.png", f"{number + 5}.png") for number in range(5)]


def test_find_duplicates_flat_images_match_only_their_own_colour(tmp_path):
    flat = {name: np.full((20, 20, 3), level, np.uint8) for name, level in (("a", 90), ("b", 90), ("c", 91))}
    images = [save(tmp_path / f"{name}.png", pixels) for name, pixels in flat.items()]
    (pair,) = pairs_of(*images, save(tmp_path / "d.png", make_pixels(1)))
    assert (pair.a.id, pair.b.id, pair.kind) == ("a.png", "b.png", "exact")


def test_find_duplicates_flat_images_with_common_noise_are_not_paired(tmp_path):
    trace = np.random.default_rng(0).integers(0, 2, (32, 32), dtype=np.uint8)
    assert pairs_of(save(tmp_path / "a.png", 90 + trace), save(tmp_path / "b.png", 140 + trace)) == []


def test_find_duplicates_tiny_inputs_have_no_pairs(tmp_path):
    assert pairs_of() == []
    dot, line = save(tmp_path / "dot.png", make_pixels(1, 1, 1)), save(tmp_path / "line.png", make_pixels(2, 1, 300))
    assert pairs_of(dot) == [] and pairs_of(dot, line) == []


@pytest.mark.parametrize(("rotate", "kind"), [(False, "conflicting_labels"), (True, "near_conflicting_labels")])
def test_check_dataset_one_image_under_two_labels_is_an_error(tmp_path, rotate, kind):
    pixels = cv2.imread(str(write_dataset(tmp_path) / "train" / "a" / "a1.jpg"))
    save(tmp_path / "train" / "b" / "copy.png", np.rot90(pixels) if rotate else pixels)
    issues, report = check(tmp_path)
    assert report.exit_code == 1 and set(issues) == {kind}
    assert set(issues[kind].files[0]) == {"train/a/a1.jpg", "train/b/copy.png"}


@pytest.mark.parametrize(("rotate", "kind"), [(False, "train_in_test"), (True, "near_train_in_test")])
def test_check_dataset_training_image_in_test_is_an_error(tmp_path, rotate, kind):
    pixels = cv2.imread(str(write_dataset(tmp_path) / "train" / "a" / "a1.jpg"))
    save(tmp_path / "test" / "a1.png", pixels[:, ::-1] if rotate else pixels)
    issues, report = check(tmp_path)
    assert report.exit_code == 1 and set(issues) == {kind}
    assert set(issues[kind].files[0]) == {"train/a/a1.jpg", "test/a1.png"}


def test_check_dataset_equal_names_in_train_and_test_are_no_issue(tmp_path):
    save(write_dataset(tmp_path) / "test" / "a0.jpg", make_pixels(500), *QUALITY)
    assert check(tmp_path)[1].issues == ()


def test_check_dataset_duplicates_in_test_are_a_warning(tmp_path):
    save(write_dataset(tmp_path) / "test" / "copy.png", cv2.imread(str(tmp_path / "test" / "t0.jpg")))
    issues, report = check(tmp_path)
    assert report.exit_code == 0 and set(issues) == {"test_duplicates"}


def test_check_dataset_class_smaller_than_k_without_copies_is_an_error(tmp_path):
    write_dataset(tmp_path, per_class=5)
    assert check(tmp_path, k=5)[1].exit_code == 0
    issues, report = check(tmp_path, k=6)
    assert report.exit_code == 1 and issues["small_class"].remarks == ("a: 5", "b: 5")
    (tmp_path / "train" / "a" / "a0.jpg").write_bytes((tmp_path / "train" / "a" / "a1.jpg").read_bytes())
    assert check(tmp_path, k=5)[0]["small_class"].remarks == ("a: 4",)


def check_sizes(root: Path, side_of, classes: str = "abc", per_class: int = 30) -> dict:
    """Check a training set whose image sizes `side_of(class index, image index)` decides."""
    for label, name in enumerate(classes):
        for number in range(per_class):
            side = side_of(label, number)
            path = root / "train" / name / f"{name}{number}.jpg"
            save(path, make_pixels(label * 100 + number, side, side), *QUALITY)
    return check(root)[0]


def test_check_dataset_size_that_predicts_the_class_is_reported_with_scores(tmp_path):
    issue = check_sizes(tmp_path, lambda label, number: 40 + 4 * label)["confound_picture_size"]
    assert issue.severity == "warning" and "100% balanced accuracy where chance is 3" in issue.summary


def test_check_dataset_unusual_size_in_one_class_is_reported_with_its_files(tmp_path):
    issues = check_sizes(tmp_path, lambda label, number: 48 if label == 1 and number < 10 else 40)
    issue = issues["confound_unusual_size"]
    assert len(issue.files[0]) == 10 and issue.files[0][0] == "train/b/b0.jpg"
    assert "48x48: 10 images, b 10, none in the other 2 classes" in issue.remarks[0]


def test_check_dataset_random_sizes_are_no_issue(tmp_path):
    rng = np.random.default_rng(1)
    assert check_sizes(tmp_path, lambda label, number: int(rng.choice([40, 44, 48]))) == {}


def test_check_dataset_jpeg_quality_per_class_is_reported(tmp_path):
    for name, quality in (("a", 95), ("b", 70)):
        for number in range(20):
            save(
                tmp_path / "train" / name / f"{name}{number}.jpg",
                make_pixels(number + quality),
                cv2.IMWRITE_JPEG_QUALITY,
                quality,
            )
    stats = survey(scan(tmp_path).train)
    assert set(stats.jpeg_quality) == {95.0, 70.0}
    assert "JPEG quality alone" in check(tmp_path)[0]["confound_jpeg_quality"].summary


def test_group_ids_joins_chains_under_the_smallest_id():
    a, b, c, d = (Image(name, Path(name), "x") for name in "abcd")
    test = Image("t", Path("t"))
    pairs = [DuplicatePair(c, b, "near", 0.97), DuplicatePair(b, a, "exact", 1.0), DuplicatePair(d, test, "exact", 1.0)]
    assert group_ids([d, c, b, a], pairs) == {"a": "a", "b": "a", "c": "a", "d": "d"}


def test_format_report_shows_twenty_files_and_the_json_all(tmp_path):
    write_dataset(tmp_path)
    for number in range(25):
        (tmp_path / "train" / "a" / f"bad{number:02}.jpg").touch()
    report = check(tmp_path)[1]
    text = format_report(report)
    assert text.count("bad") == 20 and f"and 5 more, see runs/checks/{tmp_path.name}.json" in text
    assert json.dumps(report.to_dict()).count("/bad") == 25


def test_dataset_report_survives_a_round_trip(tmp_path):
    (write_dataset(tmp_path) / "train" / "a" / "bad.jpg").touch()
    report = check(tmp_path)[1]
    content = json.loads(json.dumps(report.to_dict()))
    assert list(content) == ["dataset", "classes", "test", "findings", "exit_code"]
    assert list(content["findings"][0]) == ["kind", "severity", "summary", "advice", "files", "remarks"]
    assert DatasetReport.from_dict(content, "cells.json") == report


def test_check_command_prints_writes_and_returns_the_status(tmp_path, monkeypatch, capsys):
    from comp.commands import data as commands

    (write_dataset(tmp_path / "input" / "cells") / "train" / "a" / "empty.jpg").touch()
    (tmp_path / "experiment.yaml").write_text("data: {root: input/cells}\n")
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    commands.check_arguments(parser)
    assert commands.check(parser.parse_args(["-c", "experiment.yaml", "folds.k=4"])) == 1
    assert "train/a/empty.jpg (empty file)" in capsys.readouterr().out
    assert json.loads(Path("runs/checks/cells.json").read_text())["exit_code"] == 1
