"""Bars appear in a notebook, each in a place of its own, and not in a file."""

from __future__ import annotations

import io
import sys
from types import ModuleType

from comp.progress_bar import progress_bar


class Output:
    """A place in the output of a cell, as IPython's display handle."""

    def __init__(self, texts: list[str]):
        self.texts = texts

    def update(self, content: dict[str, str], raw: bool) -> None:
        self.texts.append(content["text/plain"])


def test_progress_bar_notebook_replaces_the_text_of_a_place_of_its_own(monkeypatch, capsys):
    outputs: list[Output] = []

    def display(content: dict[str, str], raw: bool, display_id: bool) -> Output:
        outputs.append(Output([content["text/plain"]]))
        return outputs[-1]

    module = ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stdout", stream)
    for _ in progress_bar(range(2), "outer", mininterval=0, dynamic_ncols=True):
        with progress_bar(total=3, desc="inner", mininterval=0) as bar:
            bar.update(3)
            bar.write("a line", file=sys.stdout)
    list(progress_bar(range(2), "hidden", disable=True))
    assert stream.getvalue() == "a line\na line\n" and tuple(capsys.readouterr()) == ("", "")
    outer, *inner = [output.texts for output in outputs]
    assert len(inner) == 2 and all("inner: 100%" in "".join(texts) and texts[-1] == "" for texts in inner)
    assert any(text.startswith("outer:  50%|") for text in outer) and outer[-1] == ""
    assert not any(character in text for texts in (outer, *inner) for text in texts for character in "\r\n\x1b")


def test_progress_bar_without_terminal_writes_nothing(capsys):
    assert list(progress_bar(range(3), "hidden", mininterval=0)) == [0, 1, 2]
    assert tuple(capsys.readouterr()) == ("", "")
