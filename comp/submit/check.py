"""May this file be sent? Everything that is known of it, its competition and what was sent before, in one report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp.data.scan import scan
from comp.errors import UserError, did_you_mean
from comp.files import file_sha256
from comp.metrics import METRICS
from comp.schema import Config
from comp.submit import class_shares, format_checks, ledger, previous
from comp.submit.competition import Competition, resolve_competition
from comp.submit.format_checks import SubmissionIssue
from comp.submit.sample import detect_label_format, load_sample, read_table_unchecked
from comp.submit.write import manifest_path, read_manifest, submission_id

SEVERITIES = ("broken", "doubtful", "warning", "note")
SEVERITY_LABELS = {"broken": "refused", "doubtful": "doubtful", "warning": "warning", "note": ""}


@dataclass(frozen=True)
class SubmissionReport:
    file: Path
    id: str
    sha256: str
    note: dict[str, Any] | None  # None: there is none beside the file
    competition: Competition
    rows: int
    findings: tuple[SubmissionIssue, ...]
    yes: bool = False  # what is only doubtful may be sent

    @property
    def refused(self) -> bool:
        levels = {finding.level for finding in self.findings}
        return "broken" in levels or ("doubtful" in levels and not self.yes)

    def render(self) -> str:
        lines = [f"{self.file}: {self.rows:,} rows for {self.competition.name}, sha256 {self.sha256[:12]}"]
        lines += [f"  {SEVERITY_LABELS[finding.level]:<8} {finding.text}" for finding in self.findings]
        if not self.refused:
            return "\n".join([*lines, "it may be sent"])
        broken = any(finding.level == "broken" for finding in self.findings)
        return "\n".join(
            [*lines, "it must not be sent" if broken else "it would waste a shot; to send it all the same: --yes"]
        )


def check_submission(file: Path, config: Config | None = None, yes: bool = False) -> SubmissionReport:
    """`config` names the competition; without one the note beside the file does."""
    sha256 = file_sha256(file)
    note = read_manifest(file) if manifest_path(file).is_file() else None
    if note is None and config is None:
        raise UserError(f"{file} has no {manifest_path(file).name} beside it; name its competition with -c CONFIG")
    competition = resolve_competition(config, note)
    submission, dataset = read_table_unchecked(file), scan(competition.root)
    sample, metric = load_sample(dataset), _metric(config, note)
    asked = detect_label_format(sample, dataset.classes, dataset.class_numbers)
    found = list(format_checks.format_issues(submission, sample, asked))
    if note is not None and note.get("sha256") != sha256:
        found.append(
            SubmissionIssue(
                "warning",
                f"its bytes are not those that {manifest_path(file).name} notes: it was changed after it was written",
            )
        )
    if not any(finding.level == "broken" for finding in found):
        mine = format_checks.predicted_labels(submission, asked, dataset.classes)
        others = [
            entry
            for entry in ledger.entries_by_content(ledger.read(Path(competition.ledger)))
            if entry.competition in ("", competition.name)
        ]
        found += class_shares.class_share_issues(mine.values(), Counter(image.label for image in dataset.train))
        found += previous.previous_submission_issues(
            submission_id(file), sha256, mine, others, asked, dataset.classes, metric
        )
    found.sort(key=lambda finding: SEVERITIES.index(finding.level))
    return SubmissionReport(
        file, submission_id(file), sha256, note, competition, len(submission.rows), tuple(found), yes
    )


def _metric(config: Config | None, note: dict[str, Any] | None) -> str:
    """Of the note's score, else the config's: it says what is better, and whether probabilities count."""
    said = ((note or {}).get("oof") or {}).get("metric") or (config.train.metric if config else "accuracy")
    if said not in METRICS:
        raise UserError(f"there is no metric {said!r}{did_you_mean(said, METRICS)}")
    return said
