"""May this file be sent? Everything that is known of it, its competition and what was sent before, in one report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp.data.scan import scan
from comp.errors import UserError, nearest
from comp.metrics import METRICS
from comp.schema import Config
from comp.submit import compare, form, ledger, prior
from comp.submit.competition import Competition, choose
from comp.submit.form import Finding
from comp.submit.sample import find_sample, form_of, read_rows
from comp.submit.write import note_path, read_note, submission_id
from comp.tables import file_sha256

ORDER = ("broken", "doubtful", "warning", "note")
SAID = {"broken": "refused", "doubtful": "doubtful", "warning": "warning", "note": ""}


@dataclass(frozen=True)
class Report:
    file: Path
    id: str
    sha256: str
    note: dict[str, Any] | None        # None: there is none beside the file
    competition: Competition
    rows: int
    findings: tuple[Finding, ...]
    yes: bool = False                  # what is only doubtful may be sent

    @property
    def refused(self) -> bool:
        levels = {finding.level for finding in self.findings}
        return "broken" in levels or ("doubtful" in levels and not self.yes)

    def render(self) -> str:
        lines = [f"{self.file}: {self.rows:,} rows for {self.competition.name}, sha256 {self.sha256[:12]}"]
        lines += [f"  {SAID[finding.level]:<8} {finding.text}" for finding in self.findings]
        if not self.refused:
            return "\n".join([*lines, "it may be sent"])
        broken = any(finding.level == "broken" for finding in self.findings)
        return "\n".join([*lines, "it must not be sent" if broken else "it would waste a shot; to send it all the "
                                                                       "same: --yes"])


def examine(file: Path, config: Config | None = None, yes: bool = False) -> Report:
    """`config` names the competition; without one the note beside the file does."""
    sha256 = file_sha256(file)
    note = read_note(file) if note_path(file).is_file() else None
    if note is None and config is None:
        raise UserError(f"{file} has no {note_path(file).name} beside it; name its competition with -c CONFIG")
    competition = choose(config, note)
    submission, dataset = read_rows(file), scan(competition.root)
    sample, metric = find_sample(dataset), _metric(config, note)
    asked = form_of(sample, dataset.classes, dataset.numbers)
    found = list(form.findings(submission, sample, asked))
    if note is not None and note.get("sha256") != sha256:
        found.append(Finding("warning", f"its bytes are not those that {note_path(file).name} notes: it was changed "
                                        f"after it was written"))
    if not any(finding.level == "broken" for finding in found):
        mine = form.answers(submission, asked, dataset.classes)
        others = [entry for entry in ledger.contents(ledger.read(Path(competition.ledger)))
                  if entry.competition in ("", competition.name)]
        found += prior.findings(mine.values(), Counter(image.label for image in dataset.train))
        found += compare.findings(submission_id(file), sha256, mine, others, asked, dataset.classes, metric)
    found.sort(key=lambda finding: ORDER.index(finding.level))
    return Report(file, submission_id(file), sha256, note, competition, len(submission.rows), tuple(found), yes)


def _metric(config: Config | None, note: dict[str, Any] | None) -> str:
    """Of the note's score, else the config's: it says what is better, and whether probabilities count."""
    said = ((note or {}).get("oof") or {}).get("metric") or (config.train.metric if config else "accuracy")
    if said not in METRICS:
        raise UserError(f"there is no metric {said!r}{nearest(said, METRICS)}")
    return said
