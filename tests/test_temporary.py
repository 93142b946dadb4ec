"""A temporary directory is removed, whatever ends the program."""

from __future__ import annotations

import os

import pytest

from comp.signals import SignalReceivedError
from comp.temporary import temporary_directory


def test_temporary_directory_signal_during_its_removal_removes_it(monkeypatch):
    def interrupt(*_, **__):
        monkeypatch.undo()
        raise SignalReceivedError

    with pytest.raises(SignalReceivedError), temporary_directory("test") as directory:
        (directory / "file").touch()
        monkeypatch.setattr(os, "unlink", interrupt)
    assert not directory.exists()
