"""The record beside an exported model: model.<runtime>.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from comp.records.base import Record


@dataclass(frozen=True)
class ParityRecord(Record):
    """The agreement of an exported model with torch on training images."""

    images: int
    difference: float  # the largest between two logits
    largest: float  # the largest absolute logit of torch
    agreeing: int  # images of the same predicted class


@dataclass(frozen=True)
class ExportRecord(Record):
    """An exported model: the weights it was exported from, its files, input and output, and its parity with torch."""

    ADVICE: ClassVar[str] = "export the run again"

    schema: int
    runtime: str
    weights_sha256: str
    files: dict[str, str]  # name -> sha256
    input: str  # for readers
    output: str
    precision: str
    name: str  # name of the model
    classes: tuple[str, ...]
    size: int
    fit: str
    crop: int | None
    parity: ParityRecord
    versions: dict[str, str]  # versions of the packages that exported it
