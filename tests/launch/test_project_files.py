"""A copy of a project on another machine has the files of home, and only what changed is transferred."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comp.config import load
from comp.data.cache import cache_key, make_square_spec
from comp.data.scan import scan
from comp.errors import UserError
from comp.launch import project_files
from comp.launch.project_files import Piece, list_project_files, update_copy
from tests.conftest import SMALL


@pytest.fixture
def transferred(monkeypatch) -> list[Path]:
    """The files whose bytes were read at home, in order."""
    paths: list[Path] = []
    read = Piece.read
    monkeypatch.setattr(Piece, "read", lambda piece: (paths.append(piece.file.path), read(piece))[1])
    return paths


def copy_project(copy: Path, *overrides: str) -> None:
    home = Path.cwd()
    [config] = load("configs/deep_efficientnet.yaml", [*SMALL, *overrides])
    files = list_project_files(config, scan(config.source), [0])
    update_copy(files, Path(config.data.root), copy, lambda pieces: [piece.read() for piece in pieces])
    assert Path.cwd() == home


def test_update_copy_has_the_image_key_of_home_and_no_test_images(workspace, tmp_path_factory, monkeypatch):
    def image_key() -> str:
        images = scan("input/tiny").train
        return cache_key(images, make_square_spec(images, 24, "squash", None))

    copy, home_key = tmp_path_factory.mktemp("copy"), image_key()
    monkeypatch.setattr(project_files, "BLOCK_BYTES", 1000)  # so that an image has several pieces
    copy_project(copy)
    monkeypatch.chdir(copy)
    assert image_key() == home_key and not scan("input/tiny").test


def test_update_copy_transfers_what_changed_and_removes_what_is_gone(workspace, tmp_path_factory, transferred):
    copy = tmp_path_factory.mktemp("copy")
    first, second, *_ = sorted(Path("input/tiny/train").rglob("*.jpg"))
    copy_project(copy)
    transferred.clear()
    copy_project(copy)
    assert transferred == []
    first.write_bytes(second.read_bytes())
    Path("folds").mkdir()
    Path("folds/tiny.relabel.csv").write_text("image,label,new_label\n")
    copy_project(copy)
    assert transferred == [first, Path("folds/tiny.relabel.csv")]
    assert (copy / first).read_bytes() == second.read_bytes()
    Path("folds/tiny.relabel.csv").unlink()
    second.unlink()
    copy_project(copy)
    assert not (copy / second).exists() and not (copy / "folds/tiny.relabel.csv").exists() and (copy / first).exists()


def test_update_copy_that_changes_under_way_is_refused_and_leaves_no_file(workspace, tmp_path):
    image = sorted(Path("input/tiny/train").rglob("*.jpg"))[0]
    [config] = load("configs/deep_efficientnet.yaml", SMALL)
    file = next(file for file in list_project_files(config, scan(config.source), [0]) if file.path == image)
    with pytest.raises(UserError, match="changed while it was copied"):
        update_copy([file], Path("input/tiny"), tmp_path / "copy", lambda pieces: [b"x" * file.size])
    assert not (tmp_path / "copy" / image).exists()


def test_list_project_files_outside_the_folder_is_refused(workspace):
    os.rename("input/tiny", "elsewhere")
    [config] = load("configs/deep_efficientnet.yaml", [*SMALL, f"data.root={workspace}/elsewhere"])
    with pytest.raises(UserError, match="is not below this folder; link it"):
        list_project_files(config, scan(config.source), [0])
