"""Bars appear in a notebook, without a character that it cannot show, and not in a file."""

from __future__ import annotations

import io
import sys

from comp.progress_bar import progress_bar


def test_progress_bar_notebook_draws_on_stdout_in_one_line(monkeypatch, capsys):
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stdout", stream)
    for _ in progress_bar(range(2), "outer", mininterval=0):
        with progress_bar(total=3, desc="inner", mininterval=0) as bar:
            bar.update(3)
            bar.write("a line", file=sys.stdout)
    written = stream.getvalue()
    assert "outer:  50%" in written and "inner: 100%" in written and written.count("a line\n") == 2
    assert written.count("\n") == 2 and "\x1b" not in written  # it cannot go up a line
    assert not written.rpartition("\n")[2].rpartition("\r")[2].strip()  # no bar is left
    assert capsys.readouterr().err == ""


def test_progress_bar_without_terminal_writes_nothing(capsys):
    assert list(progress_bar(range(3), "hidden", mininterval=0)) == [0, 1, 2]
    assert tuple(capsys.readouterr()) == ("", "")
