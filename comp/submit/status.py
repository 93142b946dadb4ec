"""The ledger as people want it: a table, what CV says about LB, what to pick, and whether FINAL holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path

from comp.data.scan import scan
from comp.errors import UserError
from comp.schema import Config
from comp.stats import wilson_interval
from comp.submit import ledger
from comp.submit.competition import Competition, from_config
from comp.submit.final import final_warning, read_final_id
from comp.submit.ledger import LedgerEntry, parse_time
from comp.submit.picks import ImageCounts, Pick, format_correlation, propose_picks
from comp.submit.sample import load_sample
from comp.submit.write import manifest_path, read_manifest


@dataclass(frozen=True)
class Status:
    competition: Competition
    metric: str
    entries: list[LedgerEntry]  # newest first; a CV by another metric is left out
    images: ImageCounts
    picks: list[Pick]
    final: str | None  # the id that FINAL names
    doubt: str | None  # why it may not hold

    def render(self) -> str:
        if not self.entries:
            return (
                f"{self.competition.ledger} has no submission for {self.competition.name} yet; another "
                f"competition is asked for by its config: -c CONFIG"
            )
        lines = [*format_table(self.entries, self.final), "", format_correlation(self.entries), _lb_noise(self)]
        lines += [f"pick {place}: {pick.entry.id}, {pick.reason}" for place, pick in enumerate(self.picks, 1)]
        if len(self.picks) < 2:
            lines.append("a pick by CV and LB together needs submissions that have both")
        return "\n".join([*lines, f"warning: {self.doubt}" if self.doubt else f"FINAL is {self.final}"])


def status(config: Config) -> Status:
    competition, metric = from_config(config), config.train.metric
    known = ledger.latest_entries(ledger.read(Path(competition.ledger)))
    mine = [
        _drop_other_metric(entry, metric) for entry in known.values() if entry.competition in ("", competition.name)
    ]
    mine.sort(key=lambda entry: max(parse_time(time) for time in (entry.written, entry.sent, entry.scored) if time))
    mine.reverse()
    images = count_images(competition, mine)
    return Status(
        competition,
        metric,
        mine,
        images,
        propose_picks(mine, metric, images),
        read_final_id(competition.final),
        final_warning(competition, known),
    )


def count_images(competition: Competition, entries: Iterable[LedgerEntry]) -> ImageCounts:
    """Of the leaderboard by the sample and the public share; of each CV by its note, else all training images."""
    try:
        dataset = scan(competition.root)
        rows, train = len(load_sample(dataset).rows), len(dataset.train)
    except UserError:
        return ImageCounts()
    cv = {entry.id: (_matching_manifest(entry).get("oof") or {}).get("images", train) for entry in entries}
    return ImageCounts(round(rows * competition.public_share) or None, cv)


def format_table(entries: Sequence[LedgerEntry], final: str | None) -> list[str]:
    """Aligned, a line per submission; `*` is the one that counts. Times are UTC, as a day's quota is."""
    rows = [["#", "id", "written, UTC", "sent, UTC", "CV", "", "public", "private", "rank", "message"]]
    for place, entry in enumerate(entries, 1):
        low = "" if entry.cv_low is None else f"[{entry.cv_low:.4f}, {entry.cv_high:.4f}]"
        rows.append(
            [
                f"{place}{'*' if entry.id == final else ''}",
                entry.id,
                _day(entry.written),
                _day(entry.sent),
                _score(entry.cv),
                low,
                _score(entry.public),
                _score(entry.private),
                "-" if entry.rank is None else f"{entry.rank:g}",
                entry.message[:60],
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _lb_noise(state: Status) -> str:
    scored = [entry.public for entry in state.entries if entry.public is not None]
    if state.metric != "accuracy":
        return f"no noise of LB is known: {state.metric} cannot be had from the score and the number of images alone"
    if not state.images.public:
        return f"no noise of LB is known: {state.competition.root} is not here, so its test images cannot be counted"
    if not scored:
        return f"LB is of {state.images.public:,} images"
    low, high = wilson_interval(max(scored), state.images.public)
    return f"LB is of {state.images.public:,} images: 95 % of its best, {max(scored):.4f}, are [{low:.4f}, {high:.4f}]"


def _drop_other_metric(entry: LedgerEntry, metric: str) -> LedgerEntry:
    return entry if entry.metric in ("", metric) else replace(entry, cv=None, cv_low=None, cv_high=None)


def _matching_manifest(entry: LedgerEntry) -> dict:
    path = Path(entry.file)
    try:
        note = read_manifest(path) if entry.file and manifest_path(path).is_file() else {}
    except UserError:  # a broken note is told by `submit check`
        note = {}
    return note if note.get("sha256") in (entry.sent_sha256, entry.written_sha256) else {}


def _day(time: str | None) -> str:
    return "-" if time is None else f"{parse_time(time).astimezone(UTC):%m-%d %H:%M}"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
