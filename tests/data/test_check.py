"""`check` must find what spoils a competition, and stay quiet about what does not."""

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


def picture(seed: int, height: int = 66, width: int = 60) -> np.ndarray:
    """A smooth random photograph: no two seeds alike, no symmetry."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path: Path, pixels: np.ndarray, *options: int) -> Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels, list(options))
    return Image(path.name, path)


def competition(root: Path, per_class: int = 4, classes: str = "ab", test: int = 4) -> Path:
    """A clean little competition: every picture different, one size, one JPEG quality.

    Four images a class are too few for the search for confounds, which most tests can do without.
    """
    seeds = iter(range(1000))
    for label in classes:
        for number in range(per_class):
            save(root / "train" / label / f"{label}{number}.jpg", picture(next(seeds)), *QUALITY)
    for number in range(test):
        save(root / "test" / f"t{number}.jpg", picture(next(seeds)), *QUALITY)
    return root


def found(root: Path, k: int = 3) -> tuple[dict, DatasetReport]:
    report = check_dataset(scan(root), k)
    return {finding.kind: finding for finding in report.issues}, report


def pairs_of(*images: Image) -> list[DuplicatePair]:
    return find_duplicates(survey(images))


def test_a_clean_set_has_no_errors_and_no_copies(tmp_path):
    findings, report = found(competition(tmp_path, per_class=8))
    assert report.exit_code == 0 and not findings
    assert "16 training images in 2 classes, 4 test images" in format_report(report)
    assert format_report(report).endswith("no errors, no warnings")


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty file"), (b"not a picture at all", "not an image"), (None, "truncated")]
)
@pytest.mark.parametrize("place", ["train/a/bad.jpg", "test/bad.jpg"])
def test_a_broken_file_is_an_error_with_its_reason(tmp_path, content, reason, place):
    whole = save(competition(tmp_path) / "whole.jpg", picture(77), *QUALITY).path
    (tmp_path / place).write_bytes(whole.read_bytes()[:-400] if content is None else content)
    findings, report = found(tmp_path)
    assert report.exit_code == 1
    assert findings["unreadable"].files == ((place,),) and reason in findings["unreadable"].remarks[0]


def test_other_files_in_class_folders_only_warn(tmp_path):
    (competition(tmp_path) / "train" / "a" / "notes.txt").write_text("hello")
    (tmp_path / "train" / "b" / ".hidden").write_text("not a matter for users")
    findings, report = found(tmp_path)
    assert report.exit_code == 0 and findings["not_images"].files == (("train/a/notes.txt",),)


def test_the_same_pixels_in_another_format_are_an_exact_copy(tmp_path):
    jpeg = competition(tmp_path) / "train" / "a" / "a0.jpg"
    save(jpeg.with_name("copy.png"), cv2.imread(str(jpeg)))
    findings, report = found(tmp_path)
    assert report.exit_code == 0  # inside a class copies do no harm: they share a fold
    assert set(findings["duplicates"].files[0]) == {"train/a/a0.jpg", "train/a/copy.png"}
    assert "train/a/copy.png" in format_report(report)


@pytest.mark.parametrize("number", range(1, 8))
def test_turned_and_mirrored_copies_are_found_and_named(tmp_path, number):
    pixels = picture(5)
    copy = np.rot90(pixels[:, ::-1] if number >= 4 else pixels, -(number % 4))
    (pair,) = pairs_of(
        save(tmp_path / "a.png", pixels), save(tmp_path / "b.png", copy), save(tmp_path / "other.png", picture(6))
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
def test_a_changed_copy_saved_at_quality_60_is_found(tmp_path, change):
    original, other = picture(3, 165, 150), picture(4, 165, 150)
    images = [
        save(tmp_path / "a.jpg", original, *QUALITY),
        save(tmp_path / "c.jpg", other, *QUALITY),
        save(tmp_path / "b.jpg", change(original), cv2.IMWRITE_JPEG_QUALITY, 60),
    ]
    (pair,) = pairs_of(*images)
    assert (pair.a.id, pair.b.id, pair.kind) == ("a.jpg", "b.jpg", "near")


def test_different_pictures_of_one_layout_are_not_paired(tmp_path):
    """Two hundred dark discs of nearly one size on pale slides: alike at a glance, never copies."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(200):
        slide = cv2.resize(rng.normal(220, 6, (12, 12)), (60, 60), interpolation=cv2.INTER_CUBIC)
        cell = cv2.resize(rng.normal(90, 25, (10, 10)), (60, 60), interpolation=cv2.INTER_CUBIC)
        disc = cv2.circle(np.zeros((60, 60)), (30, 30), int(rng.integers(16, 19)), 1.0, -1, cv2.LINE_AA)
        slide = (slide * (1 - disc) + cell * disc).clip(0, 255).astype(np.uint8)
        images.append(save(tmp_path / f"{number}.png", slide))
    assert pairs_of(*images) == []


def test_pictures_that_agree_only_at_a_glance_are_not_paired(tmp_path):
    """The same 16 px picture under two grains that average out: only the second, closer look can tell."""
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


def test_every_image_meets_every_other_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "BLOCK_ROWS", 2)
    images = [
        save(tmp_path / f"{number}.png", picture(number % 5)[:, :: 1 if number < 5 else -1]) for number in range(10)
    ]
    found_pairs = [(pair.a.id, pair.b.id) for pair in pairs_of(*images)]
    assert found_pairs == [(f"{number}.png", f"{number + 5}.png") for number in range(5)]


def test_flat_pictures_are_copies_only_of_their_own_colour(tmp_path):
    flat = {name: np.full((20, 20, 3), level, np.uint8) for name, level in (("a", 90), ("b", 90), ("c", 91))}
    images = [save(tmp_path / f"{name}.png", pixels) for name, pixels in flat.items()]
    (pair,) = pairs_of(*images, save(tmp_path / "d.png", picture(1)))
    assert (pair.a.id, pair.b.id, pair.kind) == ("a.png", "b.png", "exact")


def test_a_trace_of_common_noise_does_not_make_flat_pictures_alike(tmp_path):
    trace = np.random.default_rng(0).integers(0, 2, (32, 32), dtype=np.uint8)
    assert pairs_of(save(tmp_path / "a.png", 90 + trace), save(tmp_path / "b.png", 140 + trace)) == []


def test_odd_little_sets(tmp_path):
    assert pairs_of() == []
    dot, line = save(tmp_path / "dot.png", picture(1, 1, 1)), save(tmp_path / "line.png", picture(2, 1, 300))
    assert pairs_of(dot) == [] and pairs_of(dot, line) == []


@pytest.mark.parametrize(("turn", "kind"), [(False, "conflicting_labels"), (True, "near_conflicting_labels")])
def test_one_picture_under_two_labels_is_an_error(tmp_path, turn, kind):
    pixels = cv2.imread(str(competition(tmp_path) / "train" / "a" / "a1.jpg"))
    save(tmp_path / "train" / "b" / "copy.png", np.rot90(pixels) if turn else pixels)
    findings, report = found(tmp_path)
    assert report.exit_code == 1 and set(findings) == {kind}
    assert set(findings[kind].files[0]) == {"train/a/a1.jpg", "train/b/copy.png"}


@pytest.mark.parametrize(("turn", "kind"), [(False, "train_in_test"), (True, "near_train_in_test")])
def test_a_training_image_in_test_is_an_error(tmp_path, turn, kind):
    pixels = cv2.imread(str(competition(tmp_path) / "train" / "a" / "a1.jpg"))
    save(tmp_path / "test" / "a1.png", pixels[:, ::-1] if turn else pixels)
    findings, report = found(tmp_path)
    assert report.exit_code == 1 and set(findings) == {kind}
    assert set(findings[kind].files[0]) == {"train/a/a1.jpg", "test/a1.png"}


def test_equal_names_in_train_and_test_are_two_images(tmp_path):
    save(competition(tmp_path) / "test" / "a0.jpg", picture(500), *QUALITY)
    assert found(tmp_path)[1].issues == ()


def test_copies_inside_test_only_warn(tmp_path):
    save(competition(tmp_path) / "test" / "copy.png", cv2.imread(str(tmp_path / "test" / "t0.jpg")))
    findings, report = found(tmp_path)
    assert report.exit_code == 0 and set(findings) == {"test_duplicates"}


def test_a_class_smaller_than_k_is_an_error_and_copies_do_not_count(tmp_path):
    competition(tmp_path, per_class=5)
    assert found(tmp_path, k=5)[1].exit_code == 0
    findings, report = found(tmp_path, k=6)
    assert report.exit_code == 1 and findings["small_class"].remarks == ("a: 5", "b: 5")
    (tmp_path / "train" / "a" / "a0.jpg").write_bytes((tmp_path / "train" / "a" / "a1.jpg").read_bytes())
    assert found(tmp_path, k=5)[0]["small_class"].remarks == ("a: 4",)


def sized(root: Path, side_of, classes: str = "abc", per_class: int = 30) -> dict:
    """A training set whose picture sizes `side_of(class number, image number)` decides."""
    for label, name in enumerate(classes):
        for number in range(per_class):
            side = side_of(label, number)
            path = root / "train" / name / f"{name}{number}.jpg"
            save(path, picture(label * 100 + number, side, side), *QUALITY)
    return found(root)[0]


def test_a_size_that_gives_the_class_away_is_reported_with_figures(tmp_path):
    finding = sized(tmp_path, lambda label, number: 40 + 4 * label)["confound_picture_size"]
    assert finding.severity == "warning" and "100% balanced accuracy where chance is 3" in finding.summary


def test_a_rare_size_held_by_one_class_is_reported_with_its_files(tmp_path):
    findings = sized(tmp_path, lambda label, number: 48 if label == 1 and number < 10 else 40)
    finding = findings["confound_unusual_size"]
    assert len(finding.files[0]) == 10 and finding.files[0][0] == "train/b/b0.jpg"
    assert "48x48: 10 images, b 10, none in the other 2 classes" in finding.remarks[0]


def test_random_sizes_are_no_finding(tmp_path):
    rng = np.random.default_rng(1)
    assert sized(tmp_path, lambda label, number: int(rng.choice([40, 44, 48]))) == {}


def test_one_jpeg_quality_per_class_is_reported(tmp_path):
    for name, quality in (("a", 95), ("b", 70)):
        for number in range(20):
            save(
                tmp_path / "train" / name / f"{name}{number}.jpg",
                picture(number + quality),
                cv2.IMWRITE_JPEG_QUALITY,
                quality,
            )
    seen = survey(scan(tmp_path).train)
    assert set(seen.jpeg_quality) == {95.0, 70.0}
    assert "JPEG quality alone" in found(tmp_path)[0]["confound_jpeg_quality"].summary


def test_groups_join_chains_of_copies_under_the_smallest_id():
    a, b, c, d = (Image(name, Path(name), "x") for name in "abcd")
    test = Image("t", Path("t"))
    pairs = [DuplicatePair(c, b, "near", 0.97), DuplicatePair(b, a, "exact", 1.0), DuplicatePair(d, test, "exact", 1.0)]
    assert group_ids([d, c, b, a], pairs) == {"a": "a", "b": "a", "c": "a", "d": "d"}


def test_the_screen_shows_twenty_files_and_the_json_all(tmp_path):
    competition(tmp_path)
    for number in range(25):
        (tmp_path / "train" / "a" / f"bad{number:02}.jpg").touch()
    report = found(tmp_path)[1]
    text = format_report(report)
    assert text.count("bad") == 20 and f"and 5 more, see runs/checks/{tmp_path.name}.json" in text
    assert json.dumps(report.to_dict()).count("/bad") == 25


def test_dataset_report_survives_a_round_trip(tmp_path):
    (competition(tmp_path) / "train" / "a" / "bad.jpg").touch()
    report = found(tmp_path)[1]
    content = json.loads(json.dumps(report.to_dict()))
    assert list(content) == ["dataset", "classes", "test", "findings", "exit_code"]
    assert list(content["findings"][0]) == ["kind", "severity", "summary", "advice", "files", "remarks"]
    assert DatasetReport.from_dict(content, "cells.json") == report


def test_the_command_prints_writes_and_returns_the_status(tmp_path, monkeypatch, capsys):
    from comp.commands import data as commands

    (competition(tmp_path / "input" / "cells") / "train" / "a" / "empty.jpg").touch()
    (tmp_path / "experiment.yaml").write_text("data: {root: input/cells}\n")
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    commands.check_arguments(parser)
    assert commands.check(parser.parse_args(["-c", "experiment.yaml", "folds.k=4"])) == 1
    assert "train/a/empty.jpg (empty file)" in capsys.readouterr().out
    assert json.loads(Path("runs/checks/cells.json").read_text())["exit_code"] == 1
