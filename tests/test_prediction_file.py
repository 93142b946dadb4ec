"""x.npz is what was written, or an error of one line; a kill leaves the old file or the new one."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comp import prediction_file
from comp.errors import UserError
from comp.prediction_file import (
    content_sha256,
    find_table,
    prediction_table,
    prediction_values,
    read_predictions,
    recorded_sha256,
    write_oof,
    write_predictions,
)
from comp.records.predictions import Provenance, provenance_path
from tests.predictions import rewrite_member, write_old_table

COLUMNS = ("a", "b", "ü, 'c'\n")
ORIGIN = Provenance({"0": "w0"}, "labels", "images")


def values(rows: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed).random((rows, len(COLUMNS)), np.float32)
    return random / random.sum(1, keepdims=True)


def table(rows: int = 5, seed: int = 0) -> pd.DataFrame:
    index = pd.DataFrame({"image": [f"{row:03}" for row in range(rows)], "label": "NA", "fold": 0})
    return prediction_table(index, values(rows, seed), COLUMNS)


@pytest.fixture
def file(tmp_path) -> Path:
    write_predictions(tmp_path / "oof.npz", table(), COLUMNS, ORIGIN)
    return tmp_path / "oof.npz"


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_write_predictions_round_trip_keeps_names_and_bits(rows, tmp_path):
    path = tmp_path / "oof.npz"
    sha256 = write_predictions(path, table(rows), COLUMNS, ORIGIN)
    stored = read_predictions(path, COLUMNS)
    assert (stored.columns, stored.made_from, stored.sha256) == (COLUMNS, ORIGIN, sha256)
    assert sha256 == recorded_sha256(path) == content_sha256(path)
    assert prediction_values(stored.table, COLUMNS).tobytes() == values(rows).tobytes()
    assert stored.table.reset_index()[["image", "label"]].to_numpy().tolist() == [
        [f"{row:03}", "NA"] for row in range(rows)
    ]


def test_write_predictions_file_is_read_by_numpy_alone(file):
    with np.load(file, allow_pickle=False) as archive:
        assert archive["predictions"].tobytes() == values(5).tobytes()
        assert archive["images.csv"].decode() == pd.DataFrame(table()[["image", "label", "fold"]]).to_csv(index=False)
        assert json.loads(archive["table.json"])["columns"] == list(COLUMNS)


def test_write_predictions_same_table_has_the_same_bytes(file):
    content = file.read_bytes()
    write_predictions(file, table(), COLUMNS, ORIGIN)
    assert file.read_bytes() == content


def test_read_predictions_any_byte_changed_or_cut_is_an_error_or_changes_nothing(file):
    content, unnoticed = file.read_bytes(), 0
    for position in range(len(content)):
        for damaged in (
            content[:position],
            content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :],
        ):
            file.write_bytes(damaged)
            try:
                stored = read_predictions(file, COLUMNS)
            except UserError as error:
                assert "\n" not in str(error) and str(error).startswith(str(file))
            else:
                unnoticed += 1
                assert stored.table.equals(table().set_index("image")) and stored.made_from == ORIGIN
    assert unnoticed < 200  # times and attributes that a zip file has of its members


NPY = {
    "of float64": values(5).astype(np.float64),
    "by column": np.asfortranarray(values(5)),
    "of fewer rows": values(4),
    "flat": values(5).reshape(-1),
    "of objects": np.array([[None] * 3] * 5, object),
}


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize("matrix", NPY)
def test_read_predictions_other_matrix_is_one_error(matrix, file):
    rewrite_member(file, "predictions.npy", lambda _: npy(NPY[matrix]))
    with pytest.raises(UserError, match=r"oof\.npz(: its content is not what was written| is damaged); predict again"):
        read_predictions(file, COLUMNS)


def test_read_predictions_size_that_a_header_claims_is_not_allocated(file):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (2**50, 3), "fortran_order": False, "descr": "<f4"})
    rewrite_member(file, "predictions.npy", lambda _: header.getvalue() + bytes(60))
    with pytest.raises(UserError, match="is damaged"):
        read_predictions(file, COLUMNS)


def test_read_predictions_compressed_or_incomplete_file_is_one_error(file):
    content = file.read_bytes()
    rewrite_member(file, "", lambda content: content, compress=True)
    with pytest.raises(UserError, match="is damaged"):
        read_predictions(file, COLUMNS)
    file.write_bytes(content)
    rewrite_member(file, "images.csv", lambda content: content.replace(b"004", b"003"))
    with pytest.raises(UserError, match="is not what was written"):
        read_predictions(file, COLUMNS)
    np.savez(file, predictions=values(5))
    with pytest.raises(UserError, match="is damaged"):
        read_predictions(file, COLUMNS)
    assert content_sha256(file) == recorded_sha256(file) == ""


def test_write_predictions_that_fails_leaves_the_old_file(file, monkeypatch):
    content = file.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("comp.files.os.fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*oof\.npz"):
        write_predictions(file, table(seed=1), COLUMNS, ORIGIN)
    assert file.read_bytes() == content and [path.name for path in file.parent.iterdir()] == ["oof.npz"]


def test_write_predictions_table_of_an_older_version_is_replaced(tmp_path):
    old = write_old_table(tmp_path / "oof.npz", table(), ORIGIN)
    assert find_table(tmp_path / "oof.npz") == old and read_predictions(old, COLUMNS).made_from == ORIGIN
    assert recorded_sha256(old) == content_sha256(old) == read_predictions(old, COLUMNS).sha256
    write_predictions(tmp_path / "oof.npz", table(seed=1), COLUMNS, ORIGIN)
    assert find_table(tmp_path / "oof.npz") == tmp_path / "oof.npz"
    assert not old.exists() and not provenance_path(old).exists()


def test_write_oof_without_space_for_the_csv_is_not_complete(tmp_path, monkeypatch):
    """A complete oof.npz is not written again: without the order, the table for people would stay missing."""

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prediction_file, "write_csv", fail)
    with pytest.raises(OSError):
        write_oof(tmp_path / "oof.npz", table(), COLUMNS)
    assert not (tmp_path / "oof.npz").exists()


def test_write_oof_small_table_has_a_csv_for_people(tmp_path, monkeypatch):
    path = tmp_path / "oof.npz"
    write_oof(path, table(), COLUMNS, ORIGIN)
    readable = pd.read_csv(path.with_suffix(".csv"), dtype={"image": str}, keep_default_na=False)
    assert readable[list(COLUMNS)].to_numpy(np.float32).tobytes() == values(5).tobytes()
    monkeypatch.setattr(prediction_file, "MAX_READABLE_VALUES", 14)
    write_oof(path, table(), COLUMNS, ORIGIN)
    assert [path.name for path in tmp_path.iterdir()] == ["oof.npz"]
