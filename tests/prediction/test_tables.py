"""A stored table of predictions is used only if it is what was written, complete, and made from the current inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comp.data.scan import Image
from comp.errors import UserError
from comp.files import read_json, write_json
from comp.prediction import tables
from comp.prediction.tables import PredictionFiles, StaleTables, oof_table
from comp.prediction.tables import test_table as make_test_table
from comp.records.predictions import Provenance
from comp.tables import write_csv
from comp.tasks import single_label

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


@pytest.fixture
def test_file(files) -> Path:
    """A table of test images by one fold model."""
    path = files.test_path(0, "identity")
    files.write(path, make_test_table(TEST, probabilities(3), CLASSES), TEST_ORIGIN)
    return path


@pytest.fixture
def oof_file(files) -> Path:
    """An OOF table of two folds."""
    path = files.oof_path("identity")
    rows = [oof_table(images, fold, probabilities(4), CLASSES) for fold, images in TRAIN.items()]
    files.write(path, pd.concat(rows), OOF_ORIGIN)
    return path


def reasons(stale: StaleTables) -> str:
    return "; ".join(stale.paths)


def edit(**changes: object) -> Callable[[Path], None]:
    """Return a function that changes cells of the first row."""

    def change(path: Path) -> None:
        table = pd.read_csv(path, dtype=str)
        for column, value in changes.items():
            table.loc[0, column] = str(value)
        table.to_csv(path, index=False)

    return change


def rewrite(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    return lambda path: write_csv(path, change(pd.read_csv(path)))


def change_record(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        record = path.with_name(f"{path.stem}.from.json")
        write_json(record, {**read_json(record), **changes})

    return change


DAMAGE = {
    "below 0": (edit(a=-5, b=6), "not between 0 and 1"),
    "above 1": (edit(a=1.5, b=-0.5), "not between 0 and 1"),
    "infinite": (edit(a="inf"), "not between 0 and 1"),
    "not a number": (edit(a="nan"), "not a number"),
    "a logit": (edit(a=0.9, b=0.9), "do not add up to 1"),
    "a row missing": (rewrite(lambda table: table.iloc[1:]), "it lacks 1 images, such as"),
    "a row too many": (
        rewrite(lambda table: pd.concat([table, table.iloc[:1].assign(image="other.jpg")])),
        "it has 1 other images, such as other.jpg",
    ),
    "an image twice": (rewrite(lambda table: pd.concat([table, table.iloc[:1]])), "twice"),
    "another image": (edit(image="other.jpg"), "it lacks 1 images"),
    "other classes": (rewrite(lambda table: table.rename(columns={"b": "c"})), "has the classes a,c"),
    "half-written": (lambda path: path.write_bytes(path.read_bytes()[:10]), ""),
    "no record": (lambda path: path.with_name(f"{path.stem}.from.json").unlink(), "no file beside it says"),
    "a record that is no JSON": (
        lambda path: path.with_name(f"{path.stem}.from.json").write_text("{"),
        "no file beside it says",
    ),
    "a record of a newer version": (change_record(views=2), "no file beside it says"),
    "other images": (change_record(images="others"), "made from other images"),
    "other labels": (change_record(labels="others"), "made from other labels"),
    "another runtime": (change_record(runtime="onnx"), "made from another runtime"),
}
OOF_DAMAGE = {
    "another label": (edit(label="b"), "it has another label of 1 images, such as 00.jpg"),
    "another fold": (edit(fold=1), "fold 0: it lacks 1 images, such as 00.jpg"),
    "an unknown fold": (edit(fold=7), "it has rows of a fold that it does not record"),
    "no labels": (rewrite(lambda table: table.drop(columns="label")), "it has rows of a fold that it does not record"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("old", [False, True], ids=["with a hash", "of an older version"])
def test_read_test_damaged_table_is_not_used_and_a_reason_is_given(damage, old, files, test_file):
    if old:
        TEST_ORIGIN.write(test_file.with_name("test_fold0.from.json"))
    stale = StaleTables()
    table = files.read_test(test_file, TEST_ORIGIN, TEST, stale)
    assert not stale.paths and np.array_equal(table.to_numpy(), probabilities(3)) and table.dtypes["a"] == np.float32
    change, reason = DAMAGE[damage]
    content = test_file.read_bytes()
    change(test_file)
    assert files.read_test(test_file, TEST_ORIGIN, TEST, stale) is None
    has_record = test_file.with_name("test_fold0.from.json").is_file() and "record" not in damage
    if not old and has_record and test_file.read_bytes() != content:
        reason = "its content is not what was written"
    assert list(stale.paths.values()) == [[test_file]] and reason in reasons(stale)


@pytest.mark.parametrize("damage", {**DAMAGE, **OOF_DAMAGE})
@pytest.mark.parametrize("old", [False, True], ids=["with a hash", "of an older version"])
def test_read_oof_damaged_table_is_not_used_and_a_reason_is_given(damage, old, files, oof_file):
    if old:
        OOF_ORIGIN.write(oof_file.with_name("oof.from.json"))
    stale = StaleTables()
    tables = files.read_oof(oof_file, OOF_ORIGIN, TRAIN, stale)
    assert not stale.paths and list(tables) == [0, 1]
    assert tables[1]["image"].tolist() == [image.id for image in TRAIN[1]]
    change, reason = {**DAMAGE, **OOF_DAMAGE}[damage]
    content = oof_file.read_bytes()
    change(oof_file)
    tables = files.read_oof(oof_file, OOF_ORIGIN, TRAIN, stale)
    has_record = oof_file.with_name("oof.from.json").is_file() and "record" not in damage
    if not old and has_record and oof_file.read_bytes() != content:
        reason = "its content is not what was written"
    assert 0 not in tables and oof_file in [path for paths in stale.paths.values() for path in paths]
    assert reason in reasons(stale)


def test_read_oof_value_changed_within_range_is_noticed_by_the_hash(files, oof_file):
    edit(a=0.25, b=0.75)(oof_file)
    stale = StaleTables()
    assert files.read_oof(oof_file, OOF_ORIGIN, TRAIN, stale) == {} and reasons(stale) == (
        "its content is not what was written"
    )


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


def test_read_test_table_larger_than_the_limit_is_refused(files, test_file, monkeypatch):
    monkeypatch.setattr(tables, "MAX_TABLE_BYTES", 10)
    with pytest.raises(UserError, match=test_file.name):
        files.read_test(test_file, TEST_ORIGIN, TEST, StaleTables())


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
