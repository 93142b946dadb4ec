"""Files are read within limits, with errors of one line that name them, and killed writers leave nothing for long."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from comp import files
from comp.errors import UserError
from comp.files import (
    MissingFileError,
    check_regular,
    file_exists,
    file_sha256,
    parse_json,
    read_json,
    read_text,
    write_atomic,
    write_json,
)
from tests.conftest import REPO_ROOT


def make_obstacle(kind: str, folder: Path) -> Path:
    """Return a path below `folder` that no file can be read from."""
    path = folder / "record.json"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a link to a pipe":
        os.mkfifo(folder / "pipe")
        path.symlink_to("pipe")
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a link to itself":
        path.symlink_to(path)
    elif kind == "a file below a file":
        path.write_text("{}")
        path = path / "inner.json"
    elif kind == "a long name":
        path = folder / ("x" * 300)
    elif kind == "a NUL":
        path = folder / "re\0cord.json"
    elif kind == "a character that no file name has":
        path = folder / "\ud800.json"
    return path


OBSTACLES = {
    "a pipe": "is a pipe, a socket or a device",
    "a link to a pipe": "is a pipe, a socket or a device",
    "a device": "is a pipe, a socket or a device",
    "a socket": "is a pipe, a socket or a device",
    "a folder": "is a folder",
    "a link to itself": "it is a link to itself",
    "a file below a file": "a part of its path is not a folder",
    "a long name": "its name is too long",
    "a NUL": "cannot be a path",
    "a character that no file name has": "cannot be a path",
}


@pytest.mark.parametrize("kind", OBSTACLES)
@pytest.mark.parametrize("read", [read_json, read_text, file_sha256, file_exists])
def test_read_obstacle_is_one_user_error(kind, read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = make_obstacle(kind, tmp_path)
    with pytest.raises(UserError, match=OBSTACLES[kind]) as caught:
        read(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_read_missing_file_and_dangling_link_are_missing(tmp_path):
    (tmp_path / "link").symlink_to("nothing")
    for name in ("nothing", "link"):
        with pytest.raises(MissingFileError, match=f"{name} is missing"):
            read_text(tmp_path / name)
        assert not file_exists(tmp_path / name)


def test_read_forbidden_file_is_a_user_error(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("{}")

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files, "open", refuse, raising=False)  # root may read everything
    with pytest.raises(UserError, match=r"a\.json cannot be read: you may not read it"):
        read_json(tmp_path / "a.json")


def test_read_regular_file_behind_a_link_is_read(tmp_path):
    (tmp_path / "a.json").write_text("\ufeff[1]", encoding="utf-8")
    (tmp_path / "link.json").symlink_to("a.json")
    assert read_json(tmp_path / "link.json") == [1] and file_exists(tmp_path / "link.json")


def test_read_text_larger_than_its_limit_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("12345")
    assert read_text(path, max_bytes=5) == "12345"
    with pytest.raises(UserError, match="has 5 bytes, more than the 4 that are read"):
        read_text(path, max_bytes=4)
    os.truncate(path, 2**40)  # without blocks on the disk
    with pytest.raises(UserError, match="more than"):
        read_json(path)
    check_regular(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[" * 60 + "]" * 60, "nested deeper than 50 levels"),
        ('{"a":' * 60 + "1" + "}" * 60, "nested deeper than 50 levels"),
        ('{"a": 1, "a": 2}', "the key 'a' twice"),
        ('{"b": [{"a": 1, "a": 2}]}', "the key 'a' twice"),
        ("NaN", "the number NaN"),
        ("[-Infinity]", "the number -Infinity"),
        ("1e999", "the number 1e999"),
        ("9" * 5000, "the number 9999"),
        ("9223372036854775808", "beyond 64 bits"),
        ("-9223372036854775808", "beyond 64 bits"),
        ("[" * 51 + "]" * 51, "nested deeper than 50 levels"),
        ("[1, 2", "not readable JSON"),
        ("", "not readable JSON"),
    ],
)
def test_read_json_malformed_text_is_one_user_error(tmp_path, text, reason):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=f"{path}.*{reason}.*; restore it or delete it") as caught:
        read_json(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_read_json_at_the_depth_limit_is_read(tmp_path):
    (tmp_path / "a.json").write_text("[" * 50 + "]" * 50)
    assert read_json(tmp_path / "a.json")


def test_parse_json_values_within_the_limits_are_kept():
    text = '{"a": [1, -9223372036854775807, 1e308, null, true, "NaN"]}'
    assert parse_json(text) == {"a": [1, -(2**63) + 1, 1e308, None, True, "NaN"]}
    assert parse_json("[" * 50 + "]" * 50)
    assert parse_json('{"a": 1, "a": 2}', tuple) == (("a", 1), ("a", 2))


def test_write_json_name_that_is_not_utf_8_is_readable(tmp_path):
    write_json(tmp_path / "a.json", {"command": "train.py \udcff"})
    assert read_json(tmp_path / "a.json") == {"command": "train.py ?"}


def write_and_die(path: Path) -> None:
    """Write a file in a process that is killed before the file has its name."""
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    write_atomic(path, "torn")


def test_write_atomic_removes_what_killed_writers_left(tmp_path):
    context = multiprocessing.get_context("fork")
    for name in ("a.csv", "b.csv"):
        writer = context.Process(target=write_and_die, args=(tmp_path / name,))
        writer.start()
        writer.join()
    assert len(list(tmp_path.glob(".*.tmp"))) == 2
    (tmp_path / ".a.csv.123.tmp").write_text("of an older version")
    write_atomic(tmp_path / "a.csv", "whole")
    assert [path.name[:6] for path in tmp_path.glob(".*.tmp")] == [".b.csv"]  # its next writer removes it
    assert (tmp_path / "a.csv").read_text() == "whole"


def test_write_atomic_leaves_the_file_of_a_living_writer(tmp_path, monkeypatch):
    path, fsync = tmp_path / "a.csv", os.fsync

    def meanwhile(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        write_atomic(path, "of another process")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_atomic(path, "mine")
    assert path.read_text() == "mine" and os.listdir(tmp_path) == ["a.csv"]


def test_write_atomic_without_locks_writes_and_leaves_leftovers(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    (tmp_path / ".a.csv.1-00.tmp").write_text("of a process on this or another machine")
    write_atomic(tmp_path / "a.csv", "whole")
    assert (tmp_path / "a.csv").read_text() == "whole" and (tmp_path / ".a.csv.1-00.tmp").exists()


WRITER = """
import sys
from pathlib import Path
from comp.files import write_atomic
for _ in range(int(sys.argv[2])):
    write_atomic(Path(sys.argv[1]), sys.argv[3] * 1000)
"""


def test_write_atomic_writers_of_one_name_all_succeed(tmp_path):
    path = tmp_path / "a.csv"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, "300", letter], cwd=REPO_ROOT, stderr=subprocess.PIPE)
        for letter in "ab"
    ]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            assert path.read_text() in ("a" * 1000, "b" * 1000)
        time.sleep(0.001)
    assert [writer.communicate()[1] for writer in writers] == [b"", b""] and os.listdir(tmp_path) == ["a.csv"]
