"""Read and write records: frozen dataclasses that pydantic checks, with errors that name the file and the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from comp.errors import UserError, shorten
from comp.files import read_json, write_json

Fold = int | Literal["full"]  # a fold's number, or the model trained on every image


_ADAPTERS: dict[type, TypeAdapter] = {}  # built at first use, which takes about a millisecond


def _adapter(record: type) -> TypeAdapter:
    if record not in _ADAPTERS:
        _ADAPTERS[record] = TypeAdapter(with_config(ConfigDict(strict=True))(record))
    return _ADAPTERS[record]


class Record:
    """Base of every record. A subclass is a frozen dataclass whose fields are the keys of its file.

    Keys that a record does not know are ignored, so that a newer version may add some. `SCHEMA` is the version of the
    format; a file without the key `schema` has version 1.
    """

    SCHEMA: ClassVar[int] = 1
    ADVICE: ClassVar[str] = "restore it or delete it"  # last part of the error for an invalid file

    @classmethod
    def from_dict(cls, content: object, source: Path | str) -> Self:
        """Return the record of plain Python `content`; a wrong key or type is a UserError that names `source`."""
        schema = content.get("schema", 1) if isinstance(content, dict) else None
        if schema != cls.SCHEMA and isinstance(content, dict):
            raise UserError(f"{source} has schema {shorten(schema)}, and this version reads {cls.SCHEMA}; {cls.ADVICE}")
        try:
            # Validated as JSON, because strict validation of Python objects rejects a list for a tuple.
            return _adapter(cls).validate_json(json.dumps(content), strict=True)
        except ValidationError as failure:
            error = failure.errors()[0]
            key = ".".join(map(str, error["loc"]))
            message = f"{shorten(key) + ': ' if key else ''}{error['msg'].lower()}"
            raise UserError(f"{source}: {message}; {cls.ADVICE}") from None
        except (TypeError, ValueError, RecursionError) as error:  # what JSON cannot hold
            raise UserError(f"{source}: {shorten(error)}; {cls.ADVICE}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file as plain Python, keys in the order of the fields."""
        return _adapter(type(self)).dump_python(self, mode="json")

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls.from_dict(read_json(path), path)

    def write(self, path: Path) -> None:
        write_json(path, self.to_dict())
