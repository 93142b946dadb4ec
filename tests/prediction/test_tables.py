"""A stored table of predictions is used only if it is what was written, complete, and made from the current inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comp import prediction_file
from comp.data.scan import Image
from comp.files import read_json, write_json
from comp.prediction.tables import PredictionFiles, StaleTables, oof_table
from comp.prediction.tables import test_table as make_test_table
from comp.prediction_file import write_predictions
from comp.records.predictions import Provenance, provenance_path
from comp.tables import write_csv
from comp.tasks import single_label
from tests.predictions import read_member, rewrite_member, write_old_table

CLASSES = ("a", "b")
TEST = [Image(f"{number}.jpg", Path(f"{number}.jpg"), "") for number in range(3)]
TRAIN = {fold: [Image(f"{fold}{number}.jpg", Path("x"), CLASSES[number % 2]) for number in range(4)] for fold in (0, 1)}
TEST_ORIGIN = Provenance({"0": "w0"}, None, "images")
OOF_ORIGIN = Provenance({"0": "w0", "1": "w1"}, "labels", "images")


def probabilities(count: int) -> np.ndarray:
    first = np.random.default_rng(count).random(count, dtype=np.float32)
    return np.stack([first, 1 - first], 1)


@pytest.fixture
def files(tmp_path) -> PredictionFiles:
    return PredictionFiles(tmp_path, single_label(CLASSES))


TEST_TABLE = make_test_table(TEST, probabilities(3), CLASSES)
OOF_TABLE = pd.concat([oof_table(images, fold, probabilities(4), CLASSES) for fold, images in TRAIN.items()])


def write_npz(path: Path, table: pd.DataFrame, made_from: Provenance | None) -> Path:
    columns = [column for column in table.columns if column not in ("image", "label", "fold")]
    write_predictions(path, table, columns, made_from)
    return path


def write_csv_without_hash(path: Path, table: pd.DataFrame, made_from: Provenance | None) -> Path:
    return write_old_table(path, table, made_from, hashed=False)


FORMATS = {"npz": write_npz, "csv": write_old_table, "csv without a hash": write_csv_without_hash}


@pytest.fixture
def test_file(files) -> Path:
    """A table of test images by one fold model."""
    return write_npz(files.test_path(0, "identity"), TEST_TABLE, TEST_ORIGIN)


@pytest.fixture
def oof_file(files) -> Path:
    """An OOF table of two folds."""
    return write_npz(files.oof_path("identity"), OOF_TABLE, OOF_ORIGIN)


def reasons(stale: StaleTables) -> str:
    return "; ".join(stale.paths)


def edit(**changes: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return a function that changes cells of the first row."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.reset_index(drop=True).astype({column: object for column in changes})
        for column, value in changes.items():
            table.loc[0, column] = value
        return table

    return change


DAMAGE = {
    "below 0": (edit(a=-5, b=6), "not between 0 and 1"),
    "above 1": (edit(a=1.5, b=-0.5), "not between 0 and 1"),
    "infinite": (edit(a=np.inf), "not between 0 and 1"),
    "not a number": (edit(a=np.nan), "not "),
    "a logit": (edit(a=0.9, b=0.9), "do not add up to 1"),
    "a row missing": (lambda table: table.iloc[1:], "it lacks 1 images, such as"),
    "a row too many": (
        lambda table: pd.concat([table, table.iloc[:1].assign(image="other.jpg")]),
        "it has 1 other images, such as other.jpg",
    ),
    "an image twice": (lambda table: pd.concat([table, table.iloc[:1]]), "twice"),
    "another image": (edit(image="other.jpg"), "it lacks 1 images"),
    "other classes": (lambda table: table.rename(columns={"b": "c"}), "other classes (c instead of b)"),
    "fewer classes": (lambda table: table.drop(columns="b"), "other classes (1 instead of 2)"),
}
OOF_DAMAGE = {
    "another label": (edit(label="b"), "it has another label of 1 images, such as 00.jpg"),
    "another fold": (edit(fold=1), "fold 0: it lacks 1 images, such as 00.jpg"),
    "an unknown fold": (edit(fold=7), "it has rows of a fold that it does not record"),
    "no labels": (lambda table: table.drop(columns="label"), "it has rows of a fold that it does not record"),
}
OTHER_ORIGIN = {
    "none": (lambda origin: None, "nothing in it or beside it says what it was made from"),
    "other images": (lambda origin: replace(origin, images="others"), "made from other images"),
    "other labels": (lambda origin: replace(origin, labels="others"), "made from other labels"),
    "another runtime": (lambda origin: replace(origin, runtime="onnx"), "made from another runtime"),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_read_test_damaged_table_is_not_used_and_a_reason_is_given(damage, form, files):
    path, stale = files.test_path(0, "identity"), StaleTables()
    file = FORMATS[form](path, TEST_TABLE, TEST_ORIGIN)
    table = files.read_test(path, TEST_ORIGIN, TEST, stale)
    assert not stale.paths and np.array_equal(table.to_numpy(), probabilities(3)) and table.dtypes["a"] == np.float32
    change, reason = DAMAGE[damage]
    FORMATS[form](path, change(TEST_TABLE), TEST_ORIGIN)
    assert files.read_test(path, TEST_ORIGIN, TEST, stale) is None
    assert list(stale.paths.values()) == [[file]] and reason in reasons(stale)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("damage", {**DAMAGE, **OOF_DAMAGE})
def test_read_oof_damaged_table_is_not_used_and_a_reason_is_given(damage, form, files):
    path, stale = files.oof_path("identity"), StaleTables()
    file = FORMATS[form](path, OOF_TABLE, OOF_ORIGIN)
    tables = files.read_oof(path, OOF_ORIGIN, TRAIN, stale)
    assert not stale.paths and list(tables) == [0, 1]
    assert tables[1]["image"].tolist() == [image.id for image in TRAIN[1]]
    change, reason = {**DAMAGE, **OOF_DAMAGE}[damage]
    FORMATS[form](path, change(OOF_TABLE), OOF_ORIGIN)
    tables = files.read_oof(path, OOF_ORIGIN, TRAIN, stale)
    assert 0 not in tables and file in [path for paths in stale.paths.values() for path in paths]
    assert reason in reasons(stale)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("other", OTHER_ORIGIN)
def test_read_oof_of_another_origin_is_not_used_and_a_reason_is_given(other, form, files):
    path, stale = files.oof_path("identity"), StaleTables()
    change, reason = OTHER_ORIGIN[other]
    file = FORMATS[form](path, OOF_TABLE, change(OOF_ORIGIN))
    assert not files.read_oof(path, OOF_ORIGIN, TRAIN, stale) and stale.paths == {reason: [file]}


@pytest.mark.parametrize("content", ["{", "", "[]"])
def test_read_test_csv_whose_record_is_unreadable_is_not_used(content, files):
    path, stale = files.test_path(0, "identity"), StaleTables()
    provenance_path(write_old_table(path, TEST_TABLE, TEST_ORIGIN)).write_text(content)
    assert files.read_test(path, TEST_ORIGIN, TEST, stale) is None and "says what it was made from" in reasons(stale)


@pytest.mark.parametrize("form", ["npz", "csv"])
def test_read_test_record_of_a_newer_version_is_not_used(form, files):
    path, stale = files.test_path(0, "identity"), StaleTables()
    file = FORMATS[form](path, TEST_TABLE, TEST_ORIGIN)
    if form == "npz":
        rewrite_member(file, "table.json", lambda content: content.replace(b'"images":', b'"resolution": 2, "images":'))
    else:
        write_json(provenance_path(file), {**read_json(provenance_path(file)), "views": 2})
    assert files.read_test(path, TEST_ORIGIN, TEST, stale) is None and "says what it was made from" in reasons(stale)


@pytest.mark.parametrize("form", ["npz", "csv"])
def test_read_oof_value_changed_within_range_is_noticed_by_the_hash(form, files):
    path, stale = files.oof_path("identity"), StaleTables()
    file = FORMATS[form](path, OOF_TABLE, OOF_ORIGIN)
    if form == "npz":
        other = write_npz(path.with_name("other.npz"), edit(a=0.25, b=0.75)(OOF_TABLE), OOF_ORIGIN)
        rewrite_member(file, "predictions.npy", lambda _: read_member(other, "predictions.npy"))
    else:
        write_csv(file, edit(a=0.25, b=0.75)(OOF_TABLE))
    assert files.read_oof(path, OOF_ORIGIN, TRAIN, stale) == {}
    assert stale.paths == {"its content is not what was written": [file]}


def test_read_test_npz_is_preferred_to_a_csv_beside_it(files, test_file):
    write_csv(test_file.with_suffix(".csv"), edit(a=1, b=0)(TEST_TABLE))
    table = files.read_test(test_file, TEST_ORIGIN, TEST, StaleTables())
    assert np.array_equal(table.to_numpy(), probabilities(3))


def test_read_oof_only_folds_with_other_weights_are_left_out(files, oof_file):
    stale = StaleTables()
    current = replace(OOF_ORIGIN, weights={"0": "w0", "1": "other", "2": "w2"})
    assert list(files.read_oof(oof_file, current, {**TRAIN, 2: []}, stale)) == [0]
    assert reasons(stale) == "made from other weights of fold 1"
    stale = StaleTables()  # a fold that has been deleted: its rows are no reason to predict the other again
    assert list(files.read_oof(oof_file, OOF_ORIGIN.for_folds([1]), {1: TRAIN[1]}, stale)) == [1] and not stale.paths


def test_read_test_missing_table_is_no_reason_for_a_line(files, test_file):
    stale = StaleTables()
    assert files.read_test(files.test_path(1, "identity"), TEST_ORIGIN, TEST, stale) is None
    test_file.unlink()
    assert files.read_test(test_file, TEST_ORIGIN, TEST, stale) is None and not stale.paths


def test_read_test_csv_larger_than_the_limit_is_made_again(files, monkeypatch):
    stale, path = StaleTables(), files.test_path(0, "identity")
    write_old_table(path, TEST_TABLE, TEST_ORIGIN)
    monkeypatch.setattr(prediction_file, "MAX_TABLE_BYTES", 10)
    assert files.read_test(path, TEST_ORIGIN, TEST, stale) is None and "more than the 10" in reasons(stale)


def test_read_test_other_weights_are_noticed(files, test_file):
    stale = StaleTables()
    assert files.read_test(test_file, replace(TEST_ORIGIN, weights={"0": "other"}), TEST, stale) is None
    assert reasons(stale) == "made from other weights"


def test_stale_tables_print_is_one_line_per_reason(capsys):
    stale = StaleTables()
    for name in ("a", "b", "c"):
        stale.add(Path(name), "made from other images")
    stale.add(Path("d"), "its content is not what was written")
    stale.print()
    assert capsys.readouterr().out.splitlines() == [
        "a and 2 more: made from other images, so they are made again",
        "d: its content is not what was written, so it is made again",
    ]
