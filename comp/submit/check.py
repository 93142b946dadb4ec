"""Check a submission before it is sent: its format, its class shares, and what was sent before."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from comp.data.scan import scan
from comp.errors import UserError
from comp.files import file_exists, file_sha256
from comp.metrics import find_metric
from comp.records.run import describe_unlabelled
from comp.records.submission import Competition, SubmissionManifest
from comp.schema import Config
from comp.submit import ledger
from comp.submit.answers import choose_answer
from comp.submit.class_shares import class_share_issues
from comp.submit.competition import resolve_competition
from comp.submit.format_checks import SubmissionIssue, format_issues, has_errors
from comp.submit.manifest import manifest_path, read_manifest, submission_id
from comp.submit.previous import Candidate, previous_submission_issues
from comp.submit.sample import load_sample
from comp.submit.submission_table import read_table_unchecked

SEVERITIES = ("error", "suspicious", "warning", "info")
SEVERITY_LABELS = {"error": "refused", "suspicious": "suspicious", "warning": "warning", "info": ""}


@dataclass(frozen=True)
class SubmissionReport:
    """The result of `submit check`: every issue of a file, and whether it may be sent."""

    file: Path
    id: str
    sha256: str
    manifest: SubmissionManifest | None  # None: there is none beside the file
    competition: Competition
    rows: int
    issues: tuple[SubmissionIssue, ...]  # errors first
    allow_suspicious: bool = False

    @property
    def is_refused(self) -> bool:
        """Return whether the file must not be sent: it has an error, or it is suspicious and that is not allowed."""
        is_suspicious = any(issue.severity == "suspicious" for issue in self.issues)
        return has_errors(self.issues) or (is_suspicious and not self.allow_suspicious)

    def to_text(self) -> str:
        """Return the report as lines for the terminal, the verdict last."""
        lines = [f"{self.file}: {self.rows:,} rows for {self.competition.name}, sha256 {self.sha256[:12]}"]
        lines += [f"  {SEVERITY_LABELS[issue.severity]:<10} {issue.text}" for issue in self.issues]
        if not self.is_refused:
            verdict = "it may be sent"
        elif has_errors(self.issues):
            verdict = "it must not be sent"
        else:
            verdict = "it would probably waste a submission; to send it all the same, use --yes"
        return "\n".join([*lines, verdict])


def check_submission(file: Path, config: Config | None = None, allow_suspicious: bool = False) -> SubmissionReport:
    """Return every issue of a submission. `config` names its competition; without one, its manifest does."""
    sha256 = file_sha256(file)
    manifest = read_manifest(file) if file_exists(manifest_path(file)) else None
    if manifest is None and config is None:
        raise UserError(f"{file} has no {manifest_path(file).name} beside it; name its competition with -c CONFIG")
    competition = resolve_competition(config, manifest)
    submission, dataset = read_table_unchecked(file), scan(competition.source)
    sample, metric = load_sample(dataset), _metric(config, manifest)
    answer = choose_answer(sample, dataset)
    issues = list(format_issues(submission, sample, answer))
    if manifest is not None and manifest.sha256 != sha256:
        text = f"its sha256 is not the one in {manifest_path(file).name}: it was changed after it was written"
        issues.append(SubmissionIssue("warning", text))
    if manifest is not None and (remark := describe_unlabelled(manifest.unlabelled_images)):
        issues.append(
            SubmissionIssue("warning", f"its models were {remark}, without labels; check that the rules allow it")
        )
    if not has_errors(issues):
        labels = answer.labels(submission)
        if dataset.task.has_confusion and set(labels.values()) <= set(dataset.classes):
            counts = Counter(image.label for image in dataset.train if image.label)
            issues += class_share_issues(labels.values(), counts)
        candidate = Candidate(submission_id(file), sha256, labels, answer, metric)
        issues += previous_submission_issues(candidate, _entries_of(competition, metric))
    issues.sort(key=lambda issue: SEVERITIES.index(issue.severity))
    return SubmissionReport(
        file=file,
        id=submission_id(file),
        sha256=sha256,
        manifest=manifest,
        competition=competition,
        rows=len(submission.rows),
        issues=tuple(issues),
        allow_suspicious=allow_suspicious,
    )


def _entries_of(competition: Competition, metric: str) -> list[ledger.LedgerEntry]:
    """Return the ledger's entries of the competition, and those that name none."""
    entries = ledger.entries_by_content(ledger.read(Path(competition.ledger), metric))
    return [entry for entry in entries if entry.competition in ("", competition.name)]


def _metric(config: Config | None, manifest: SubmissionManifest | None) -> str:
    """Return the metric of the manifest's score, else the config's.

    It decides which score is better, and whether probabilities matter.
    """
    default = config.train.metric if config else "accuracy"
    metric = manifest.oof.metric if manifest and manifest.oof else default
    find_metric(metric)  # a UserError, if there is none
    return metric
