"""Send a file to Kaggle once, whatever happens on the way, and wait for its score.

The message that goes with a file ends with the beginning of its content's hash. So the service's own list tells whether
a content was sent, even when the process was killed between the upload and the ledger: it is never sent twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from comp.errors import UserError
from comp.submit import kaggle, ledger, quota
from comp.submit.check import SubmissionReport
from comp.submit.competition import Competition
from comp.submit.kaggle import KaggleSubmission, KaggleTemporaryError
from comp.submit.ledger import Event
from comp.submit.write import manifest_score

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 2.0, 30.0  # seconds between two looks at the service's list


@dataclass(frozen=True)
class PendingSubmission:
    """A file, and all that is noted of it wherever it is sent."""

    path: Path
    competition: Competition
    about: Event  # its id, file, hash and CV: every event of it is this one with more filled in

    @property
    def mark(self) -> str:
        return self.about.sha256[:12]


def prepare_submission(report: SubmissionReport) -> PendingSubmission:
    """The file that was examined. The CV of the note beside it is its own while it has the bytes that are noted."""
    if not report.competition.kaggle:
        raise UserError(
            "it is not said which competition of Kaggle this is for: set submit.kaggle to the last part of "
            "its address, in the config or as -c CONFIG submit.kaggle=NAME"
        )
    note = report.note or {}
    score = manifest_score(note) if note.get("sha256") == report.sha256 else {}
    return PendingSubmission(
        report.file,
        report.competition,
        Event(
            report.id, "", "", report.sha256, file=report.file.as_posix(), competition=report.competition.name, **score
        ),
    )


def push(report: SubmissionReport, message: str, timeout: float) -> int:
    """The exit status: 0 when the score is in the ledger, 1 when the file is not sent or not scored."""
    shot = prepare_submission(report)
    sent = _find_event(shot, "sent")
    if sent:  # perhaps under another name
        shot = replace(shot, about=replace(shot.about, id=sent.id, file=sent.file))
    else:
        print(report.render(), flush=True)
        if report.refused:
            return 1
    listed = _find_on_kaggle(shot)
    failed = listed.ref if listed and listed.status == "error" else None
    if (not sent and not listed) or (failed and report.yes and not report.refused):
        return _send(shot, message, timeout, failed)
    when = listed.date.isoformat(timespec="seconds") if listed else sent.time
    print(f"{shot.path} was sent already ({when}), and is not sent again", flush=True)
    if not sent:
        _append_event(shot, "sent", message=listed.message, time=when)
    if not listed and (known := _find_event(shot, "scored")):  # sent and entered by hand
        return _print_scores(shot, known.public, known.private)
    return _record_score(shot, listed if listed and listed.status != "pending" else _wait(shot, timeout))


def format_message(shot: PendingSubmission, message: str) -> str:
    """`mine | accuracy 0.9484 [0.931, 0.963] | 1a2b3c4d5e6f`: what the service's list shows beside the file."""
    about = shot.about
    cv = "" if about.cv is None else f"{about.metric} {about.cv:.4f}"
    if cv and about.cv_low is not None and about.cv_high is not None:
        cv += f" [{about.cv_low:.3f}, {about.cv_high:.3f}]"
    return " | ".join(part for part in (" ".join(message.split()), cv, shot.mark) if part)


def _find_on_kaggle(shot: PendingSubmission, ignored: int | None = None) -> KaggleSubmission | None:
    """The newest file in the service's list with this content."""
    rows = kaggle.list_submissions(shot.competition.kaggle)
    return next((row for row in rows if shot.mark in row.message and row.ref != ignored), None)


def _send(shot: PendingSubmission, message: str, timeout: float, failed: int | None) -> int:
    """`failed`: the number of an earlier try with this content that could not be scored."""
    competition, text = shot.competition, format_message(shot, message)
    left = quota.remaining_today(competition)
    if left.files < 1:
        print(f"not sent: {quota.quota_message(left)}")
        return 1
    try:
        kaggle.upload(competition.kaggle, shot.path, text)
    except KaggleTemporaryError as trouble:
        raise UserError(f"{trouble} (it looks first whether the file has arrived)") from trouble
    _append_event(shot, "sent", message=text)
    print(f"{shot.path} is sent to {competition.kaggle}; {left.files - 1} more may follow today", flush=True)
    return _record_score(shot, _wait(shot, timeout, ignored=failed))


def _wait(shot: PendingSubmission, timeout: float, ignored: int | None = None) -> KaggleSubmission | None:
    """Look at the list, less and less often, until the file is scored. None when the time is up."""
    print(f"waiting for its score, {timeout:.0f} s at most", flush=True)
    ends, pause = time.monotonic() + timeout, MIN_POLL_SECONDS
    with tqdm(bar_format="{desc}, {elapsed}", desc="Kaggle is scoring it", disable=None, leave=False) as line:
        while True:
            try:
                row = _find_on_kaggle(shot, ignored)
                line.set_description_str("Kaggle is scoring it" if row else "Kaggle does not list it yet")
            except KaggleTemporaryError as trouble:  # the file is there; only the answer is late
                row = None
                line.set_description_str(str(trouble).partition(";")[0])
            if row and row.status != "pending":
                return row
            if time.monotonic() + pause > ends:
                return None
            time.sleep(pause)
            pause = min(pause * 1.5, MAX_POLL_SECONDS)


def _record_score(shot: PendingSubmission, row: KaggleSubmission | None) -> int:
    if row is None:
        print("not scored yet: the same command, given again, waits on")
        return 1
    known = _find_event(shot, "scored")
    if row.status == "error":
        reason = f"Kaggle could not score it: {row.reason or 'it does not say why'}"
        if not known or known.message != reason:
            _append_event(shot, "scored", message=reason)
        print(f"{shot.path}: {reason} (--yes sends it once more)")
        return 1
    if not known or (known.public, known.private) != (row.public, row.private):
        _append_event(shot, "scored", public=row.public, private=row.private)
    return _print_scores(shot, row.public, row.private)


def _print_scores(shot: PendingSubmission, public: float | None, private: float | None) -> int:
    scores = {"public": public, "private": private, f"CV ({shot.about.metric})": shot.about.cv}
    told = [f"{name} {score:.5g}" for name, score in scores.items() if score is not None]
    print(f"{shot.path} is scored: {', '.join(told) or 'but Kaggle shows no score'}")
    return 0


def _find_event(shot: PendingSubmission, kind: str) -> Event | None:
    """The ledger's last such event of this content."""
    return next(
        (
            event
            for event in reversed(ledger.read(Path(shot.competition.ledger)))
            if event.event == kind and event.sha256 == shot.about.sha256 and event.competition == shot.about.competition
        ),
        None,
    )


def _append_event(shot: PendingSubmission, kind: str, **more) -> None:
    ledger.append(Path(shot.competition.ledger), replace(shot.about, event=kind, **{"time": ledger.utc_now(), **more}))
