"""The competition of a submission: its dataset, its ledger, and what Kaggle allows."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from comp import config as configs
from comp.cli import DEFAULT_CONFIG
from comp.errors import UserError
from comp.records.submission import Competition
from comp.schema import Config


def from_config(config: Config) -> Competition:
    submit = config.submit
    return Competition(
        config.dataset, config.data.root, submit.ledger, submit.kaggle, submit.per_day, submit.public_share
    )


def from_manifest(manifest: dict[str, Any]) -> Competition:
    try:
        return TypeAdapter(Competition).validate_python(manifest["competition"])
    except (KeyError, ValidationError):
        raise UserError(
            f"the manifest of {manifest.get('id', 'this submission')} names no competition; name it with -c CONFIG"
        ) from None


def config_from_args(file: str | None, overrides: list[str]) -> Config | None:
    """Return the config of the command line, or None if there is neither a file nor an override."""
    return configs.load(file or DEFAULT_CONFIG, overrides)[0] if file or overrides else None


def resolve_competition(config: Config | None, manifest: dict[str, Any] | None) -> Competition:
    """Return the competition of `config`; without one, of the manifest; without either, of the default config."""
    if config is None and manifest is not None:
        return from_manifest(manifest)
    return from_config(config or configs.load(DEFAULT_CONFIG)[0])
