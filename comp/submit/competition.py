"""The competition of a submission: its dataset, its ledger, and what Kaggle allows."""

from __future__ import annotations

from comp import config as configs
from comp.cli import DEFAULT_CONFIG
from comp.errors import UserError
from comp.records.submission import Competition, SubmissionManifest
from comp.schema import Config


def from_config(config: Config) -> Competition:
    """Return the competition that a config describes."""
    submit = config.submit
    return Competition(
        config.dataset,
        config.data.root,
        submit.ledger,
        submit.kaggle,
        submit.per_day,
        submit.public_share,
        config.source.unless_folders,
    )


def from_manifest(manifest: SubmissionManifest) -> Competition:
    """Return the competition that a manifest names; a UserError if it names none."""
    if manifest.competition is None:
        raise UserError(
            f"the manifest of {manifest.id or 'this submission'} names no competition; name it with -c CONFIG"
        )
    return manifest.competition


def config_from_args(file: str | None, overrides: list[str]) -> Config | None:
    """Return the config of the command line, or None if there is neither a file nor an override."""
    return configs.load(file or DEFAULT_CONFIG, overrides)[0] if file or overrides else None


def resolve_competition(config: Config | None, manifest: SubmissionManifest | None) -> Competition:
    """Return the competition of `config`; without one, of the manifest; without either, of the default config."""
    if config is None and manifest is not None:
        return from_manifest(manifest)
    return from_config(config or configs.load(DEFAULT_CONFIG)[0])
