"""Find and read what a report is about. Everything in it is joined by image id."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from comp import runs
from comp.data.cache import stats_file
from comp.data.image_stats import Survey, survey
from comp.data.scan import Dataset, scan
from comp.engine.device import choose_device
from comp.errors import UserError, did_you_mean
from comp.files import file_exists
from comp.prediction.explanations import Explainer
from comp.prediction_file import find_table
from comp.records.base import Fold
from comp.records.blend import BlendRecord
from comp.records.metrics import RunMetrics
from comp.records.study import is_study
from comp.records.submission import SubmissionManifest
from comp.report.oof import OofPredictions
from comp.report.pictures import Pictures
from comp.runs import BLENDS, RUNS, Run
from comp.study.leaderboard.entries import read_entries
from comp.study.leaderboard.ranking import LeaderboardGroup, group_entries
from comp.submit.ledger import LedgerEntry, latest_entries
from comp.submit.ledger import read as read_ledger
from comp.submit.manifest import find_with_manifest, read_manifest, submission_id

SourceKind = Literal["run", "blend", "submission", "study", "comparison"]
REPORTS = RUNS / "reports"
MAX_NAME = 80  # characters of the directory of a comparison


@dataclass(frozen=True, eq=False)
class Source:
    """The subject of a report. A part that it does not have is None or empty; a section uses the parts it needs."""

    kind: SourceKind
    name: str  # below runs/reports/; of a blend it begins with blends/
    runs: tuple[Run, ...]  # the run; the members of a blend; the trials of a study; what is compared
    oof: OofPredictions | None = None  # of the run or the blend; None for several runs, and before a fold is done
    blend: BlendRecord | None = None
    submission: SubmissionManifest | None = None
    ledger: LedgerEntry | None = None  # of the submission
    groups: tuple[LeaderboardGroup, ...] = ()  # of several runs: those that are comparable, with paired tests
    device: str | None = "auto"  # for sections that run a model; None: they are left out

    @property
    def title(self) -> str:
        """The heading of the page."""
        return (
            f"{sum(len(group.entries) for group in self.groups)} compared" if self.kind == "comparison" else self.name
        )

    @property
    def run(self) -> Run | None:
        """The one run that the report is about, also as the only member of a blend; None for several."""
        return self.runs[0] if len(self.runs) == 1 else None

    @cached_property
    def metrics(self) -> RunMetrics | None:
        """The scores of the one run; None before a fold is done."""
        return read_metrics(self.run) if self.run else None

    @cached_property
    def dataset(self) -> Dataset | None:
        """The images of the first run; None where this machine does not have them."""
        try:
            return scan(self.runs[0].config.source) if self.runs else None
        except UserError:
            return None

    @cached_property
    def pictures(self) -> Pictures:
        """Small pictures of training and test images, by image id."""
        images = (*self.dataset.train, *self.dataset.test) if self.dataset else ()
        return Pictures({image.id: image.path for image in reversed(images)})  # the training image of two equal ids

    @cached_property
    def explainer(self) -> Explainer | None:
        """Features and heat maps by the models of the first run; None without a device, a finished fold, or images."""
        if self.device is None or self.dataset is None or not self.runs[0].folds_done():
            return None
        try:
            return Explainer.open(self.runs[0], choose_device(self.device))
        except UserError as error:
            print(f"warning: the sections that run a model are left out: {error}", file=sys.stderr)
            return None

    @cached_property
    def survey(self) -> Survey | None:
        """The statistics of the readable training images; None where this machine does not have them."""
        if self.dataset is None:
            return None
        return survey(self.dataset.train, kept=stats_file(self.dataset))

    @property
    def directory(self) -> Path:
        """The directory that the report is written into."""
        return REPORTS / self.name

    @property
    def directories(self) -> list[Path]:
        """The directories whose files the report is about."""
        study = [RUNS / self.name] if self.kind == "study" else []
        return [*study, *(run.path for run in self.runs)]

    @property
    def blend_directory(self) -> Path:
        """The directory of the blend's files."""
        return BLENDS / self.blend.name if self.blend else BLENDS


def find_source(references: Sequence[str], device: str | None = "auto") -> Source:
    """Return what names or paths of a run, a blend, a submission or a study refer to; several are compared."""
    if len(references) > 1 or any(character in references[0] for character in "*?["):
        return _comparison(references, device)
    reference = references[0].rstrip("/")
    name = reference.removeprefix(f"{RUNS}/")
    if (RUNS / name / "blend.json").is_file():
        return _blend_source(RUNS / name, device)
    if is_study(RUNS / name):
        return _study_source(name, device)
    is_run = name in runs.list_runs() or (Path(reference) / "run.json").is_file()
    if not is_run and (path := find_with_manifest(reference)):
        return _submission_source(path, device)
    if not is_run:
        blends = (file.parent.relative_to(RUNS).as_posix() for file in BLENDS.rglob("blend.json"))
        raise UserError(
            f"there is no run, blend, submission or study {reference}{did_you_mean(name, [*runs.list_runs(), *blends])}"
        )
    return _run_source(runs.find_runs([reference])[0], device)


def read_metrics(run: Run) -> RunMetrics | None:
    """Return the scores of a run; None before a fold is done."""
    file = run.path / "metrics.json"
    metrics = RunMetrics.read(file) if file_exists(file) else None
    return metrics if metrics and metrics.scores else None


def possible_folds(run: Run) -> list[Fold]:
    """Return the folds of a run, trained or not, and "full", the model trained on all images."""
    return [*run.record.folds, "full"]


def _run_source(run: Run, device: str | None) -> Source:
    file = find_table(run.path / "predictions" / "identity" / "oof.npz")
    oof = OofPredictions.read(file, run.task, run.record.metric) if file else None
    return Source("run", run.name, (run,), oof, device=device)


def _blend_source(path: Path, device: str | None) -> Source:
    record = BlendRecord.read(path / "blend.json")
    members = tuple(runs.find_runs(member.path for member in record.members))
    task = members[0].task
    file = find_table(path / "oof.npz")
    oof = OofPredictions.read(file, task, record.metric, task.needs_decision(record.metric)) if file else None
    return Source("blend", path.relative_to(RUNS).as_posix(), members, oof, record, device=device)


def _submission_source(path: Path, device: str | None) -> Source:
    """Return a submission with its blend, if that is still the one that wrote it."""
    manifest, name = read_manifest(path), submission_id(path)
    directory = BLENDS / name
    source = _blend_source(directory, device) if file_exists(directory / "blend.json") else None
    is_same = source and source.blend and source.blend.members == manifest.members
    competition = manifest.competition
    ledger = latest_entries(read_ledger(Path(competition.ledger))).get(name) if competition else None
    return Source(
        "submission",
        f"submissions/{name}",
        source.runs if source and is_same else tuple(runs.find_runs(member.path for member in manifest.members)),
        source.oof if source and is_same else None,
        source.blend if source and is_same else None,
        manifest,
        ledger,
        device=device,
    )


def _study_source(name: str, device: str | None) -> Source:
    trials = tuple(run for run in runs.find_runs([f"{name}/trial_*"]))
    return Source("study", name, trials, groups=_groups([run.name for run in trials]), device=device)


def _comparison(references: Sequence[str], device: str | None) -> Source:
    groups = _groups(references)
    entries = [entry for group in groups for entry in group.entries]
    compared = tuple(runs.read_run(entry.path) for entry in entries if not entry.is_blend)
    name = "+".join(entry.name.replace("/", "-") for entry in entries)
    if len(name) > MAX_NAME:
        name = f"{name[:MAX_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return Source("comparison", f"compared/{name}", compared, groups=groups, device=device)


def _groups(references: Sequence[str]) -> tuple[LeaderboardGroup, ...]:
    return tuple(group_entries(read_entries(references)[0]))
