"""Records: frozen dataclasses that are checked when they are read from plain Python or a file."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field

import pytest

from comp.errors import UserError
from comp.files import read_json, write_json
from comp.records.base import Record


@dataclass(frozen=True)
class Inner(Record):
    commit: str | None


@dataclass(frozen=True)
class Outer(Record):
    ADVICE = "make it again"

    name: str
    classes: tuple[str, ...]
    inner: Inner
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None


CONTENT = {"name": "x", "classes": ["a", "b"], "inner": {"commit": None}, "scores": {"accuracy": 0.1}, "seconds": 2.5}


def test_record_round_trip_keeps_every_value(tmp_path):
    record = Outer.from_dict(CONTENT, "x.json")
    assert record == Outer("x", ("a", "b"), Inner(None), {"accuracy": 0.1}, 2.5)
    assert record.to_dict() == CONTENT and list(record.to_dict()) == list(CONTENT)
    record.write(tmp_path / "x.json")
    assert read_json(tmp_path / "x.json") == CONTENT and Outer.read(tmp_path / "x.json") == record


def test_record_is_immutable():
    with pytest.raises(FrozenInstanceError):
        Outer.from_dict(CONTENT, "x.json").name = "y"  # type: ignore[misc]


def test_record_unknown_keys_are_ignored_and_defaults_fill_missing_ones():
    record = Outer.from_dict({"name": "x", "classes": [], "inner": {"commit": "c", "new": 1}, "newer": {}}, "x.json")
    assert record == Outer("x", (), Inner("c"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 1}, "x.json: name: "),
        ({"name": None}, "x.json: name: "),
        ({"classes": "ab"}, "x.json: classes: "),
        ({"classes": ["a", 2]}, "x.json: classes.1: "),
        ({"inner": []}, "x.json: inner: "),
        ({"inner": {}}, "x.json: inner.commit: field required"),
        ({"scores": {"accuracy": "high"}}, "x.json: scores.accuracy: "),
        ({"seconds": True}, "x.json: seconds: "),
        ({"schema": 2}, "x.json has schema 2, and this version reads 1"),
        ({"name": {1, 2}}, "x.json: "),
    ],
)
def test_record_wrong_value_error_names_file_and_key(changes, message):
    with pytest.raises(UserError) as error:
        Outer.from_dict({**CONTENT, **changes}, "x.json")
    assert str(error.value).startswith(message) and str(error.value).endswith("; make it again")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, [], "text", 3, {}])
def test_record_file_that_is_no_record_is_one_error(tmp_path, content):
    write_json(tmp_path / "x.json", content)
    with pytest.raises(UserError, match=r"x\.json: .*; make it again"):
        Outer.read(tmp_path / "x.json")
