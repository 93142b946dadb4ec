"""Fill W&B from run directories, submissions and the ledger: what is there already is not written again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comp import config as configs
from comp.cli import DEFAULT_CONFIG
from comp.data.dataset import Dataset
from comp.errors import UserError
from comp.observers.tracked import TrackedRun
from comp.observers.wandb import write_run
from comp.progress_bar import progress_bar
from comp.records.base import Fold
from comp.records.submission import SubmissionManifest
from comp.runs import Run, list_runs, read_run
from comp.submit import ledger
from comp.submit.manifest import SUBMISSIONS, manifest_path, read_manifest
from comp.track.dataset import scan_dataset
from comp.track.fold import track_fold
from comp.track.live import find_manifest
from comp.track.submission import track_inference, track_sent
from comp.track.summary import read_metrics, track_summary

Describe = Callable[[], TrackedRun]


@dataclass
class SyncReport:
    """The numbers of W&B runs, and a line about each that was left out."""

    written: int = 0
    unchanged: int = 0
    left_out: list[str] = field(default_factory=list)


def sync(runs: Sequence[Run] | None, mode: str) -> SyncReport:
    """Write runs and the submissions made of them; None: all runs and all submissions."""
    report = SyncReport()
    items = list(_items(runs, report))
    with progress_bar(items, "W&B", unit="run") as bar:
        for name, describe in bar:
            bar.set_postfix_str(name, refresh=False)
            try:
                content = describe()
            except UserError as error:  # a broken file concerns its own W&B run only
                report.left_out.append(f"{name}: {error}")
                continue
            if write_run(content, mode):
                report.written += 1
            else:
                report.unchanged += 1
    return report


def _items(runs: Sequence[Run] | None, report: SyncReport) -> Iterator[tuple[str, Describe]]:
    """Yield the name of each W&B run, and the function that describes it."""
    for run in _read_all(report) if runs is None else runs:
        yield from _run_items(run, report)
    names = None if runs is None else {run.name for run in runs}
    yield from _submission_items(names, report)


def _read_all(report: SyncReport) -> Iterator[Run]:
    for path in list_runs().values():
        try:
            yield read_run(path)
        except UserError as error:
            report.left_out.append(str(error))


def _run_items(run: Run, report: SyncReport) -> Iterator[tuple[str, Describe]]:
    """Yield the folds that have ended, and the summary. A soup was not trained: it has a summary alone."""
    dataset = _Once(lambda: scan_dataset(run))
    folds: tuple[Fold, ...] = () if run.record.soup_of else (*run.record.folds, "full")
    for fold in folds:
        name = f"{run.name} fold {fold}"
        try:
            record = run.fold_dir(fold).read_record()
        except UserError as error:
            report.left_out.append(str(error))
            continue
        if record and record.status == "running":
            report.left_out.append(f"{name} is not finished; run the command that trains it again")
        elif record:
            yield name, _describe_fold(run, fold, dataset)
    try:
        metrics = read_metrics(run)
    except UserError as error:
        report.left_out.append(str(error))
        return
    if metrics:
        yield f"{run.name} summary", lambda: track_summary(run, metrics, dataset())


def _describe_fold(run: Run, fold: Fold, dataset: _Once) -> Describe:
    return lambda: track_fold(run, fold, dataset())


def _submission_items(names: set[str] | None, report: SyncReport) -> Iterator[tuple[str, Describe]]:
    """Yield the submissions with a manifest, and those that the ledger says were sent; of these runs, if any."""
    ledgers = {Path(configs.load(DEFAULT_CONFIG)[0].submit.ledger)}
    for path, manifest in _read_manifests(report):
        if manifest.competition:
            ledgers.add(Path(manifest.competition.ledger))
        if names is None or {member.run for member in manifest.members} & names:
            yield f"{manifest.id} infer", _describe_inference(path, manifest)
    for path in sorted(ledgers):
        for entry in ledger.entries_by_content(ledger.read(path)):
            sent = find_manifest(entry)
            members = {member.run for member in sent.members} if sent else set()
            if entry.sent and (names is None or members & names):
                yield f"{entry.id} submit", _describe_sent(entry, sent)


def _describe_inference(path: Path, manifest: SubmissionManifest) -> Describe:
    return lambda: track_inference(path, manifest)


def _describe_sent(entry: ledger.LedgerEntry, manifest: SubmissionManifest | None) -> Describe:
    return lambda: track_sent(entry, Path(entry.file), manifest)


def _read_manifests(report: SyncReport) -> Iterator[tuple[Path, SubmissionManifest]]:
    for file in sorted(SUBMISSIONS.rglob("*.json")):
        stem = file.name.removesuffix(".about.json")
        path = file.with_suffix(".csv") if stem == file.name else file.with_name(f"{stem}.json")
        if manifest_path(path) != file:
            continue
        try:
            manifest = read_manifest(path)
        except UserError as error:
            report.left_out.append(str(error))
            continue
        if manifest.id and manifest.sha256:
            yield path, manifest


class _Once:
    """The images of a run, listed when they are first needed."""

    def __init__(self, scan: Callable[[], Dataset | None]):
        self.scan, self.result = scan, list[Dataset | None]()

    def __call__(self) -> Dataset | None:
        if not self.result:
            self.result.append(self.scan())
        return self.result[0]
