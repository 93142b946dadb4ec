"""The status of a competition: its submissions as a table, CV against LB, two picks, and whether FINAL is valid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from comp.data.scan import scan
from comp.errors import UserError
from comp.records.submission import Competition, SubmissionManifest
from comp.schema import Config
from comp.stats import wilson_interval
from comp.submit import ledger
from comp.submit.competition import from_config
from comp.submit.final import final_warning, read_final_id
from comp.submit.ledger import LedgerEntry
from comp.submit.ledger_lines import parse_time
from comp.submit.manifest import manifest_path, read_manifest
from comp.submit.picks import ImageCounts, Pick, format_correlation, propose_picks
from comp.submit.sample import load_sample
from comp.text import format_interval, format_table

HEADINGS = ("#", "id", "written (UTC)", "sent (UTC)", "CV", "", "public", "private", "rank", "message")


@dataclass(frozen=True)
class Status:
    """The content of the table and the plot of `submit status`."""

    competition: Competition
    metric: str
    entries: list[LedgerEntry]  # newest first; a CV by another metric is left out
    images: ImageCounts
    picks: list[Pick]
    final: str | None  # the id that FINAL names
    final_warning: str | None

    def to_text(self) -> str:
        """Return the table of submissions, the correlation of CV and LB, the picks, and the state of FINAL."""
        if not self.entries:
            return (
                f"{self.competition.ledger} has no submission for {self.competition.name} yet; for another "
                f"competition, pass its config: -c CONFIG"
            )
        lines = [_table(self.entries, self.final), "", format_correlation(self.entries), _lb_noise(self)]
        lines += [f"pick {number}: {pick.entry.id}, {pick.reason}" for number, pick in enumerate(self.picks, 1)]
        if len(self.picks) < 2:
            lines.append("a pick by CV and LB together needs submissions that have both")
        lines.append(f"warning: {self.final_warning}" if self.final_warning else f"FINAL is {self.final}")
        return "\n".join(lines)


def status(config: Config) -> Status:
    """Return the status of the config's competition, from its ledger and its dataset."""
    competition, metric = from_config(config), config.train.metric
    latest = ledger.latest_entries(ledger.read(Path(competition.ledger), metric))
    entries = [
        _drop_other_metric(entry, metric) for entry in latest.values() if entry.competition in ("", competition.name)
    ]
    entries.sort(key=_last_time)
    entries.reverse()
    images = count_images(competition, entries)
    return Status(
        competition=competition,
        metric=metric,
        entries=entries,
        images=images,
        picks=propose_picks(entries, metric, images),
        final=read_final_id(competition.final),
        final_warning=final_warning(competition, latest),
    )


def count_images(competition: Competition, entries: Iterable[LedgerEntry]) -> ImageCounts:
    """Count the images behind the scores.

    For LB they are the rows of the sample times the public share; for each CV the number in its manifest, else all
    training images.
    """
    try:
        dataset = scan(competition.source)
        rows, train = len(load_sample(dataset).rows), len(dataset.train)
    except UserError:
        return ImageCounts()
    manifests = {entry.id: _matching_manifest(entry) for entry in entries}
    cv = {id: manifest.oof.images if manifest and manifest.oof else train for id, manifest in manifests.items()}
    return ImageCounts(round(rows * competition.public_share) or None, cv)


def _table(entries: Sequence[LedgerEntry], final: str | None) -> str:
    """Return a table with a row per submission; `*` marks the one that counts. Times are UTC, as a day's quota is."""
    rows = [
        [
            f"{number}{'*' if entry.id == final else ''}",
            entry.id,
            _format_time(entry.written),
            _format_time(entry.sent),
            _format_score(entry.cv),
            "" if entry.cv_low is None or entry.cv_high is None else format_interval((entry.cv_low, entry.cv_high)),
            _format_score(entry.public),
            _format_score(entry.private),
            "-" if entry.rank is None else f"{entry.rank:g}",
            entry.message[:60],
        ]
        for number, entry in enumerate(entries, 1)
    ]
    return format_table(HEADINGS, rows, left=(0, 1, 9))


def _lb_noise(status: Status) -> str:
    """Return a line with the interval of the best LB score, or why it is unknown."""
    images, scores = status.images.public, [entry.public for entry in status.entries if entry.public is not None]
    if status.metric != "accuracy":
        return f"the noise of LB is unknown: {status.metric} has no interval from a score and a number of images alone"
    if not images:
        return f"the noise of LB is unknown: {status.competition.root} is missing, so its test images are not counted"
    if not scores:
        return f"LB is of {images:,} images"
    best = max(scores)
    interval = format_interval(wilson_interval(best, images))
    return f"LB is of {images:,} images: the 95 % interval of its best score, {best:.4f}, is {interval}"


def _drop_other_metric(entry: LedgerEntry, metric: str) -> LedgerEntry:
    return entry if entry.metric in ("", metric) else replace(entry, cv=None, cv_low=None, cv_high=None)


def _matching_manifest(entry: LedgerEntry) -> SubmissionManifest | None:
    """Return the manifest beside the entry's file if it is of the same content."""
    path = Path(entry.file)
    if not entry.file or not manifest_path(path).is_file():
        return None
    try:
        manifest = read_manifest(path)
    except UserError:  # `submit check` reports a broken manifest
        return None
    return manifest if manifest.sha256 in (entry.sent_sha256, entry.written_sha256) else None


def _last_time(entry: LedgerEntry) -> datetime:
    return max(parse_time(time) for time in (entry.written, entry.sent, entry.scored) if time)


def _format_time(time: str | None) -> str:
    return "-" if time is None else f"{parse_time(time).astimezone(UTC):%m-%d %H:%M}"


def _format_score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
