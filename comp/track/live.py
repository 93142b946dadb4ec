"""Write to W&B while programs run, by the functions that `comp track sync` uses. A failure is a warning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from comp.data.dataset import Dataset
from comp.observers.wandb import WandbObserver, try_wandb, write_run
from comp.observers.wandb_login import wandb_mode
from comp.records.base import Fold
from comp.records.submission import SubmissionManifest
from comp.runs import Run
from comp.submit import ledger
from comp.submit.manifest import find_with_manifest, read_manifest
from comp.track.fold import fold_config, track_fold
from comp.track.identity import fold_identity
from comp.track.submission import first_member, track_inference, track_sent
from comp.track.summary import read_metrics, track_summary


def wandb_observers(run: Run, fold: Fold, dataset: Dataset) -> Sequence[WandbObserver]:
    """Return the W&B observer of a fold, or nothing where W&B is off."""
    mode = wandb_mode(run.config.log.wandb)
    if mode == "off":
        return ()
    identity, config = fold_identity(run, fold), fold_config(run, fold)
    return (WandbObserver(identity, config, mode, lambda: track_fold(run, fold, dataset)),)


def report_summary(run: Run, dataset: Dataset) -> None:
    """Write the scores of a run to W&B, unless it is off or folds are missing."""
    mode = wandb_mode(run.config.log.wandb)
    if mode != "off" and (metrics := read_metrics(run)):
        try_wandb(lambda: write_run(track_summary(run, metrics, dataset), mode), "has no summary of this run")


def report_inference(path: Path, requested: str) -> None:
    """Write how a submission was made to W&B; `requested` is `log.wandb` of its first member."""
    mode = wandb_mode(requested)
    if mode != "off":
        manifest = read_manifest(path)
        try_wandb(lambda: write_run(track_inference(path, manifest), mode), "has no record of this submission")


def report_scores(id: str, ledger_path: Path) -> None:
    """Write what the ledger has of a submission to W&B, unless `log.wandb` of its first member is off."""
    for entry in ledger.entries_by_content(ledger.read(ledger_path)):
        if entry.id == id and entry.sent:
            try_wandb(partial(_report_entry, entry), "has no scores of this submission")


def _report_entry(entry: ledger.LedgerEntry) -> None:
    manifest = find_manifest(entry)
    run = first_member(manifest) if manifest else None
    mode = wandb_mode(run.config.log.wandb if run else "auto")
    if mode != "off":
        write_run(track_sent(entry, Path(entry.file), manifest), mode)


def find_manifest(entry: ledger.LedgerEntry) -> SubmissionManifest | None:
    """Return the manifest beside the file of an entry, if it is of the content that was sent."""
    path = find_with_manifest(entry.file) if entry.file else None
    manifest = read_manifest(path) if path else None
    return manifest if manifest and manifest.sha256 == entry.sent_sha256 else None
