"""The images and the split that a training would use, and the logins; nothing is sent, and no secret is read out."""

from __future__ import annotations

import os
from pathlib import Path

from comp.doctor.report import Report
from comp.schema import Config


def check_data(report: Report, config: Config) -> None:
    """Report the images and the split of the config; an error where training would refuse them."""
    from comp.data.folds import read_folds
    from comp.data.scan import scan

    dataset = scan(config.source)
    classes = f"{len(dataset.classes)} {'classes' if dataset.task.has_confusion else 'columns'}"
    report.add("images", f"{config.data.root}: {len(dataset.train):,} train, {len(dataset.test):,} test, {classes}")
    split = read_folds(config.folds_file, dataset, config.folds.allow_split_groups)
    folds = sorted(int(fold) for fold in split["fold"].unique() if fold >= 0)
    report.add("split", f"{config.folds_file}: folds {', '.join(map(str, folds))}")


def check_logins(report: Report, config: Config) -> None:
    """Report whether W&B and Kaggle have a key."""
    from comp.observers.wandb_login import has_wandb_key, wandb_mode

    wandb_key, mode = has_wandb_key(), wandb_mode(config.log.wandb)
    report.add("W&B", f"{'a key is set' if wandb_key else 'no key'}, log.wandb {mode}")
    if mode == "online" and not wandb_key:
        report.warn("W&B is online and has no key; run `wandb login`, or set log.wandb=off")
    kaggle_key, competition = _has_kaggle_key(), config.submit.kaggle
    report.add("Kaggle", f"{'a key is set' if kaggle_key else 'no key'}, competition {competition or 'not set'}")
    if competition and not kaggle_key:
        report.warn(
            "`submit push` has no key for Kaggle; put an API token into ~/.kaggle/access_token or KAGGLE_API_TOKEN"
        )


def _has_kaggle_key() -> bool:
    """Return whether Kaggle's client would find a key, without importing it: its import sends a request."""
    directory = Path(os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle")
    files = (directory / "kaggle.json", directory / "access_token")
    variables = ("KAGGLE_API_TOKEN", "KAGGLE_KEY")
    return any(os.environ.get(name) for name in variables) or any(path.is_file() for path in files)
