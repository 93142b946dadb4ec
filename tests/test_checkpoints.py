"""Checkpoints read back unchanged; any other file is one error, and claims no memory that it does not have."""

from __future__ import annotations

import os
import pickle
import zipfile

import pytest
import torch

from comp.checkpoints import load_checkpoint, load_state_dict, save_checkpoint
from comp.errors import UserError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pt"


def test_load_checkpoint_reads_back_what_was_saved(path):
    save_checkpoint(path, {"w": torch.arange(3.0), "epoch": 2})
    content = load_checkpoint(path)
    assert content["w"].tolist() == [0, 1, 2] and content["epoch"] == 2


def save_compressed(path):
    """Write a checkpoint of 80 MB in some 80 kB."""
    torch.save({"kit": "comp", "schema": 1, "w": torch.zeros(20_000_000)}, path.with_suffix(".whole"))
    with (
        zipfile.ZipFile(path.with_suffix(".whole")) as whole,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in whole.namelist():
            small.writestr(name, whole.read(name))


FAULTS = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("weights"),
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"kit": "comp", "schema": 1})),
    "of torch's old format": lambda path: torch.save(
        {"kit": "comp", "schema": 1}, path, _use_new_zipfile_serialization=False
    ),
    "compressed": save_compressed,
    "an archive of something else": lambda path: zipfile.ZipFile(path, "w").close(),
    "a list": lambda path: torch.save([1], path),
    "a tensor": lambda path: torch.save(torch.ones(1), path),
    "of another kit": lambda path: torch.save({"kit": "other", "schema": 1}, path),
    "of another schema": lambda path: torch.save({"kit": "comp", "schema": 2}, path),
    "a schema that is a tensor": lambda path: torch.save({"kit": "comp", "schema": torch.ones(2)}, path),
    "a kit that is a tensor": lambda path: torch.save({"kit": torch.ones(2), "schema": 1}, path),
    "code": lambda path: torch.save({"kit": "comp", "schema": 1, "run": os.getpid}, path),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_load_checkpoint_other_file_is_one_user_error(fault, path):
    FAULTS[fault](path)
    with pytest.raises(UserError, match=r"weights\.pt is truncated or not a checkpoint of this kit; restore it"):
        load_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99])
def test_load_checkpoint_truncated_file_is_one_user_error(share, path):
    save_checkpoint(path, {"w": torch.arange(1000.0)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match="truncated"):
        load_checkpoint(path)


def test_load_checkpoint_storage_larger_than_its_record_is_refused(path):
    """A tensor of 16 bytes in the archive claims a gigabyte in the pickle beside it."""
    save_checkpoint(path, {"w": torch.arange(4.0)})
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    [name] = [name for name in entries if name.endswith("data.pkl")]
    changed = entries[name].replace(b"K\x04t", b"J\x00\x00\x00\x10t").replace(b"K\x04\x85", b"J\x00\x00\x00\x10\x85")
    assert changed != entries[name]
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in {**entries, name: changed}.items():
            archive.writestr(entry, content)
    with pytest.raises(UserError, match="truncated"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [
        {"weight": torch.ones(2, 3, dtype=torch.int64)},
        {"weight": torch.ones(2, 3, dtype=torch.float64)},
        {"weight": torch.ones(2, 3, dtype=torch.bfloat16)},
        {"weight": torch.ones(3, 2)},
        {"weight": torch.ones(6)},
        {"other": torch.ones(2)},
    ],
)
def test_load_state_dict_other_weights_are_refused(change):
    model = torch.nn.Linear(3, 2)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    load_state_dict(model, weights)
    with pytest.raises(RuntimeError):
        load_state_dict(model, {**weights, **change})
    with pytest.raises(RuntimeError):
        load_state_dict(model, {"weight": weights["weight"]})
