"""Lines appear on stdout and in train.log."""

from __future__ import annotations

import os

import pytest
from tqdm import tqdm

from comp.errors import UserError
from comp.observers.console import log_line


def test_log_line_is_printed_and_appended_with_its_time(tmp_path, capsys):
    with tqdm(disable=True) as bar:
        for line in ("epoch 1", "epoch 2"):
            log_line(line, bar, tmp_path / "train.log")
    logged = (tmp_path / "train.log").read_text().splitlines()
    assert [line.partition("  ")[2] for line in logged] == ["epoch 1", "epoch 2"]
    assert capsys.readouterr().out == "epoch 1\nepoch 2\n"


@pytest.mark.parametrize("obstruct", [os.mkfifo, os.mkdir])
def test_log_line_does_not_wait_for_a_pipe(tmp_path, obstruct):
    obstruct(tmp_path / "train.log")
    with tqdm(disable=True) as bar, pytest.raises(UserError, match=r"train\.log is a"):
        log_line("epoch 1", bar, tmp_path / "train.log")
