"""What a submission is for: the dataset, the ledger that notes it, and what the service allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from comp import config as configs
from comp.cli import DEFAULT_CONFIG
from comp.errors import UserError
from comp.records.submission import Competition
from comp.schema import Config


def from_config(config: Config) -> Competition:
    asked = config.submit
    return Competition(config.dataset, config.data.root, asked.ledger, asked.kaggle, asked.per_day, asked.public_share)


def from_manifest(note: dict[str, Any]) -> Competition:
    try:
        return TypeAdapter(Competition).validate_python(note["competition"])
    except (KeyError, ValidationError):
        raise UserError(
            f"the note of {note.get('id', 'this submission')} does not say what competition it is for; "
            f"name it with -c CONFIG"
        ) from None


def config_from_args(file: str | None, overrides: Sequence[str]) -> Config | None:
    """The config of the command line; None where nothing is said of one."""
    return configs.load(file or DEFAULT_CONFIG, overrides)[0] if file or overrides else None


def resolve_competition(config: Config | None, note: dict[str, Any] | None) -> Competition:
    """The config that was asked for, else what the note says, else the default config's."""
    if config is None and note is not None:
        return from_manifest(note)
    return from_config(config or configs.load(DEFAULT_CONFIG)[0])
