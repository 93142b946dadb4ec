"""The dataset check finds what harms a training or a score, and reports nothing else."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest

from comp.data.check import check_dataset
from comp.data.check_text import format_report
from comp.data.folds import make_folds, write_folds
from comp.data.scan import scan
from comp.errors import UserError
from comp.records.dataset import DatasetReport
from tests.data.image_files import QUALITY, check, make_pixels, save, write_dataset


def test_check_dataset_clean_dataset_has_no_issues(tmp_path):
    issues, report = check(write_dataset(tmp_path, per_class=8))
    assert report.exit_code == 0 and not issues
    assert "16 training images in 2 classes, 4 test images" in format_report(report)
    assert format_report(report).endswith("no errors, no warnings")


def test_check_dataset_prints_and_records_how_values_become_8_bits(tmp_path):
    write_dataset(tmp_path)
    assert "conversions" not in check(tmp_path)[1].to_dict() and "8 bits" not in format_report(check(tmp_path)[1])
    for name, array in {
        "train/a/x.npy": make_pixels(78)[..., 0] * 9.5,
        "test/y.npy": make_pixels(79)[..., :2].T,
    }.items():
        np.save(tmp_path / name, array)
    report = check(tmp_path)[1]
    assert report.exit_code == 0
    rules = {"percentiles 0.5 to 99.5 of the image become 0 to 255": 1, "2 arrays one below the other": 1}
    assert report.to_dict()["conversions"] == rules
    assert all(f"1 image: {rule}" in format_report(report) for rule in rules)


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


def test_check_dataset_lists_what_is_no_file_with_its_kind(tmp_path):
    train = write_dataset(tmp_path) / "train" / "a"
    os.mkfifo(train / "1.jpg")
    (train / "2.jpg").symlink_to("nowhere.jpg")
    (train / "3.jpg").symlink_to("/dev/zero")
    (train / "4.jpg").mkdir()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
        relative_path = os.path.relpath(train / "5.jpg")  # a socket's path has at most 107 characters
        server.bind(relative_path)
        issues, report = check(tmp_path)
    assert report.exit_code == 0
    assert issues["not_images"].files == tuple((f"train/a/{number}.jpg",) for number in range(1, 6))
    assert issues["not_images"].remarks == ("pipe", "broken link", "device", "directory", "socket")


@pytest.mark.parametrize(("name", "other"), [("x.jpg", "X.jpg"), ("\u00e9.jpg", "e\u0301.jpg"), ("x.jpg", "x.JPG")])
def test_check_dataset_names_that_differ_in_case_or_composition_are_a_warning(tmp_path, name, other):
    train = write_dataset(tmp_path) / "train" / "a"
    for seed, file in enumerate((name, other), 700):
        save(train / "new.jpg", make_pixels(seed), *QUALITY).path.rename(train / file)
    issues, report = check(tmp_path)
    assert report.exit_code == 0 and issues["similar_names"].files == (
        tuple(sorted((f"train/a/{name}", f"train/a/{other}"))),
    )


def test_check_dataset_same_pixels_in_another_format_are_an_exact_duplicate(tmp_path):
    jpeg = write_dataset(tmp_path) / "train" / "a" / "a0.jpg"
    save(jpeg.with_name("copy.png"), cv2.imread(str(jpeg)))
    issues, report = check(tmp_path)
    assert report.exit_code == 0  # inside a class copies do no harm: they share a fold
    assert set(issues["duplicates"].files[0]) == {"train/a/a0.jpg", "train/a/copy.png"}
    assert "train/a/copy.png" in format_report(report)


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


def test_check_dataset_class_smaller_than_k_is_a_warning_as_folds_makes_a_split(tmp_path):
    write_dataset(tmp_path, per_class=5)
    for number in (1, 2, 3, 4):
        (tmp_path / "train" / "a" / f"a{number}.jpg").unlink()
    issues, report = check(tmp_path, k=5)
    assert report.exit_code == 0 and issues["small_class"].remarks == ("a: 1",)
    dataset = scan(tmp_path)
    table = make_folds(dataset, {image.id: image.id for image in dataset.train}, 5, 0)
    assert table.loc[table["label"] == "a", "fold"].tolist() == [-1]


@pytest.mark.parametrize("left", [0, 5])
def test_check_dataset_small_classes_that_leave_no_split_are_an_error(tmp_path, left):
    write_dataset(tmp_path, per_class=5)
    for number in range(left, 5):
        (tmp_path / "train" / "a" / f"a{number}.jpg").unlink()
    assert check(tmp_path, k=5 if left == 0 else 6)[1].exit_code == 1
    dataset = scan(tmp_path)
    with pytest.raises(UserError):
        make_folds(dataset, {image.id: image.id for image in dataset.train}, 5 if left == 0 else 6, 0)


def test_check_dataset_copies_do_not_count_as_images_of_a_class(tmp_path):
    write_dataset(tmp_path, per_class=5)
    assert check(tmp_path, k=5)[1].exit_code == 0
    issues, report = check(tmp_path, k=6)
    assert report.exit_code == 1 and issues["small_class"].remarks == ("a: 5", "b: 5")
    (tmp_path / "train" / "a" / "a0.jpg").write_bytes((tmp_path / "train" / "a" / "a1.jpg").read_bytes())
    assert check(tmp_path, k=5)[0]["small_class"].remarks == ("a: 4",)


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
    assert list(content) == ["dataset", "classes", "test", "train", "findings", "exit_code"]
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


@pytest.mark.parametrize("is_official", [False, True])
def test_check_dataset_copies_in_several_folds_are_reported(tmp_path, is_official):
    jpeg = write_dataset(tmp_path) / "train" / "a" / "a0.jpg"
    save(jpeg.with_name("copy.png"), cv2.imread(str(jpeg)))
    fold_of = {image.id: 0 for image in scan(tmp_path).train}
    assert not [i for i in check_dataset(scan(tmp_path), 3, fold_of, is_official).issues if i.kind == "split_groups"]
    report = check_dataset(scan(tmp_path), 3, {**fold_of, "copy.png": -1}, is_official)
    [issue] = [issue for issue in report.issues if issue.kind == "split_groups"]
    assert set(issue.files[0]) == {"train/a/a0.jpg", "train/a/copy.png"}
    assert set(issue.remarks[0].split(", ")) == {"fold 0", "fold -1"}
    assert report.exit_code == (0 if is_official else 1)


def test_check_command_finds_copies_whose_group_was_edited(tmp_path, monkeypatch, capsys):
    from comp.commands import data as commands

    root = write_dataset(tmp_path / "input" / "cells")
    save(root / "train" / "a" / "copy.png", cv2.imread(str(root / "train" / "a" / "a0.jpg")))
    monkeypatch.chdir(tmp_path)
    dataset = scan(Path("input/cells"))
    table = make_folds(dataset, {image.id: image.id for image in dataset.train}, 3, 0)  # as if none were a copy
    table.loc[table["image"] == "copy.png", "fold"] = (table.loc[table["image"] == "a0.jpg", "fold"].item() + 1) % 3
    write_folds(Path("folds/cells.csv"), table, dataset, 3, 0)
    (tmp_path / "experiment.yaml").write_text("data: {root: input/cells}\n")
    parser = argparse.ArgumentParser()
    commands.check_arguments(parser)
    assert commands.check(parser.parse_args(["-c", "experiment.yaml", "folds.k=3"])) == 1
    assert "1 image with copies in several folds of the split" in capsys.readouterr().out
