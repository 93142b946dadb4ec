"""A watched folder: every image is answered once, also across a stop in the middle of a line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from comp.errors import UserError
from comp.serving.model import open_model
from comp.serving.watch import watch_folder

ONE = Path("input/tiny/test/img_0.jpg")


def test_watch_answers_each_image_once_when_it_is_complete(workspace, capsys):
    model, folder, file = open_model("anna", device="cpu"), Path("inbox"), Path("answers.csv")
    folder.mkdir()
    shutil.copy(ONE, folder / "a.jpg")
    watch = watch_folder(model, folder, file, interval=0)
    assert next(watch) == []  # it may still be written
    assert [answer.image for answer in next(watch)] == ["inbox/a.jpg"]
    (folder / "b.jpg").write_bytes(ONE.read_bytes()[:200])
    assert next(watch) == [] and next(watch) == [] and next(watch) == []
    assert capsys.readouterr().out.count("warning: cannot read inbox/b.jpg") == 1
    shutil.copy(ONE, folder / "b.jpg")
    assert [len(next(watch)) for _ in range(3)] == [0, 1, 0]
    lines = file.read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["image", "inbox/a.jpg", "inbox/b.jpg"]
    assert lines[1].partition(",")[2] == lines[2].partition(",")[2]

    with open(file, "r+") as stream:  # a kill in the middle of the last line
        stream.truncate(os.path.getsize(file) - 5)
    again = watch_folder(model, folder, file, interval=0)
    assert [[answer.image for answer in next(again)] for _ in range(2)] == [[], ["inbox/b.jpg"]]
    assert file.read_text().splitlines() == lines


def test_watch_refuses_a_file_of_other_answers(workspace):
    Path("inbox").mkdir()
    Path("other.csv").write_text("image,answer,cat\nx.jpg,cat,1\n")
    with pytest.raises(UserError, match=r"other\.csv has other columns"):
        next(watch_folder(open_model("anna", device="cpu"), Path("inbox"), Path("other.csv")))
    assert Path("other.csv").read_text() == "image,answer,cat\nx.jpg,cat,1\n"
