"""The types of config keys: numbers with ranges, paths, and the base of every section."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # as numpy and scikit-learn take it
MAX_WORKERS = 256  # each is a process that imports torch: 0.3 GB


def _check_path(text: str) -> str:
    if not text or any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise PydanticCustomError("path", "must be a path without control characters")
    return text


def check_root(text: str) -> str:
    if Path(text).name in ("", ".."):
        raise PydanticCustomError("path", "must end with the name of a dataset")
    return text


PathText = Annotated[str, AfterValidator(_check_path)]


def as_tuple(value: str | list[str] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
