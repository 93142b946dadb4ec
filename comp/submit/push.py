"""Send a file to Kaggle once, also if the process is killed or an answer is lost, and wait for its score.

The message sent with a file ends with the first digits of its content's hash. So Kaggle's own list shows whether a
content was sent, even when the process was killed between the upload and the ledger: it is never sent twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from comp.errors import UserError
from comp.progress_bar import progress_bar
from comp.records.submission import Competition
from comp.submit import kaggle, ledger, quota
from comp.submit.check import SubmissionReport
from comp.submit.kaggle import KaggleSubmission
from comp.submit.kaggle_errors import KaggleTemporaryError
from comp.submit.ledger_lines import Event, format_line, score_problem

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 2.0, 30.0  # between two requests for Kaggle's list


@dataclass(frozen=True)
class PendingSubmission:
    """A file to send, and the event that records it."""

    path: Path
    competition: Competition
    kaggle_name: str  # the competition's name at Kaggle
    event: Event  # its id, file, hash and CV: every event of it is this one with more filled in

    @property
    def hash_prefix(self) -> str:
        return self.event.sha256[:12]


def prepare_submission(report: SubmissionReport) -> PendingSubmission:
    """Return the checked file, ready to send.

    CV and remarks are taken from the manifest only if the file's bytes still match the manifest's hash.
    """
    competition = report.competition
    if not competition.kaggle:
        raise UserError(
            "no Kaggle competition is set; set submit.kaggle to the last part of the competition's URL, "
            "in the config or with -c CONFIG submit.kaggle=NAME"
        )
    manifest = report.manifest
    event = ledger.make_event(
        "sent",
        id=report.id,
        sha256=report.sha256,
        file=report.file,
        competition=competition.name,
        manifest=manifest if manifest and manifest.sha256 == report.sha256 else None,
    )
    format_line(event)  # a CV that the ledger refuses must be found before the file is sent
    return PendingSubmission(report.file, competition, competition.kaggle, event)


def push(report: SubmissionReport, message: str, timeout: float) -> int:
    """Send the file unless its content was sent before, wait for its score, and record both in the ledger.

    Return the exit status: 0 when the score is in the ledger, 1 when the file is not sent or not scored.
    """
    pending = prepare_submission(report)
    sent = _find_event(pending, "sent")
    if sent:  # perhaps under another name
        pending = replace(pending, event=replace(pending.event, id=sent.id, file=sent.file))
    else:
        print(report.to_text(), flush=True)
        if report.is_refused:
            return 1
    listed = _find_on_kaggle(pending)
    failed = listed.ref if listed and listed.status == "error" else None
    send_again = failed is not None and report.allow_suspicious and not report.is_refused
    if send_again or (listed is None and sent is None):
        return _send(pending, message, timeout, failed)
    return _resume(pending, sent, listed, timeout)


def _resume(pending: PendingSubmission, sent: Event | None, listed: KaggleSubmission | None, timeout: float) -> int:
    """Record the score of a content that was sent before: `sent` is its event, `listed` its row in Kaggle's list."""
    sent_at = listed.date.isoformat(timespec="seconds") if listed else sent.time if sent else ""
    print(f"{pending.path} was sent already ({sent_at}), and is not sent again", flush=True)
    if listed and not sent:
        _append_event(pending, "sent", message=listed.message, time=sent_at)
    if not listed and (scored := _find_event(pending, "scored")):  # both events were entered by hand
        return _print_scores(pending, scored.public, scored.private)
    return _record_score(pending, listed if listed and listed.status != "pending" else _wait(pending, timeout))


def format_message(pending: PendingSubmission, message: str) -> str:
    """Return the message that is sent with the file: `mine | accuracy 0.9484 [0.931, 0.963] | 1a2b3c4d5e6f`.

    Before the score it says which pixels without labels the models saw, if they did.
    """
    event = pending.event
    cv = "" if event.cv is None else f"{event.metric} {event.cv:.4f}"
    if cv and event.cv_low is not None and event.cv_high is not None:
        cv += f" [{event.cv_low:.3f}, {event.cv_high:.3f}]"
    parts = (" ".join(message.split()), event.message, cv, pending.hash_prefix)
    return " | ".join(text for text in parts if text)


def _find_on_kaggle(pending: PendingSubmission, ignored: int | None = None) -> KaggleSubmission | None:
    """Return the newest submission in Kaggle's list with this content, except number `ignored`."""
    for submission in kaggle.list_submissions(pending.kaggle_name):
        if pending.hash_prefix in submission.message and submission.ref != ignored:
            return submission
    return None


def _send(pending: PendingSubmission, message: str, timeout: float, failed: int | None) -> int:
    """Send the file if the quota allows it. `failed`: the number of an earlier try that Kaggle could not score."""
    text = format_message(pending, message)
    left = quota.remaining_today(pending.competition, pending.kaggle_name)
    if left.remaining < 1:
        print(f"not sent: {quota.quota_message(left)}")
        return 1
    try:
        kaggle.upload(pending.kaggle_name, pending.path, text)
    except KaggleTemporaryError as error:
        raise UserError(f"{error} (it checks first whether the file has arrived)") from error
    _append_event(pending, "sent", message=text)
    print(f"sent {pending.path} to {pending.kaggle_name}; {left.remaining - 1} more may be sent today", flush=True)
    return _record_score(pending, _wait(pending, timeout, ignored=failed))


def _wait(pending: PendingSubmission, timeout: float, ignored: int | None = None) -> KaggleSubmission | None:
    """Poll Kaggle's list, less and less often, until the file is scored; return None when the time is up."""
    print(f"waiting for its score, {timeout:.0f} s at most", flush=True)
    deadline, pause = time.monotonic() + timeout, MIN_POLL_SECONDS
    with progress_bar(bar_format="{desc}, {elapsed}", desc="Kaggle is scoring it") as line:
        while True:
            try:
                submission = _find_on_kaggle(pending, ignored)
                line.set_description_str("Kaggle is scoring it" if submission else "Kaggle does not list it yet")
            except KaggleTemporaryError as error:  # the file has arrived; only the answer is late
                submission = None
                line.set_description_str(str(error).partition(";")[0])
            if submission and submission.status != "pending":
                return submission
            if time.monotonic() + pause > deadline:
                return None
            time.sleep(pause)
            pause = min(pause * 1.5, MAX_POLL_SECONDS)


def _record_score(pending: PendingSubmission, submission: KaggleSubmission | None) -> int:
    """Record and print Kaggle's result, unless the ledger has it already; return the exit status."""
    if submission is None:
        print("not scored yet; run the same command again to continue waiting")
        return 1
    scored = _find_event(pending, "scored")
    if submission.status == "error":
        reason = f"Kaggle could not score it: {submission.reason or 'it does not say why'}"  # compared with the ledger
        if not scored or scored.message != reason:
            _append_event(pending, "scored", message=reason)
        print(f"{pending.path}: {reason} (use --yes to send it once more)")
        return 1
    for name, score in (("public", submission.public), ("private", submission.private)):
        if score is not None and (problem := score_problem(pending.event.metric, score)):
            raise UserError(
                f"Kaggle gives {pending.path} the {name} score {score:g}, and {problem.partition(':')[0]}; it is not "
                f"recorded, for the competition has another metric: train with that one, train.metric=NAME"
            )
    scores = submission.public, submission.private
    if not scored or (scored.public, scored.private) != scores:
        _append_event(pending, "scored", public=submission.public, private=submission.private)
    return _print_scores(pending, *scores)


def _print_scores(pending: PendingSubmission, public: float | None, private: float | None) -> int:
    scores = {"public": public, "private": private, f"CV ({pending.event.metric})": pending.event.cv}
    shown = [f"{name} {score:.5g}" for name, score in scores.items() if score is not None]
    print(f"{pending.path} is scored: {', '.join(shown) or 'but Kaggle shows no score'}")
    return 0


def _find_event(pending: PendingSubmission, kind: str) -> Event | None:
    """Return the ledger's last event of this kind and content."""
    for event in reversed(ledger.read(Path(pending.competition.ledger))):
        if (event.event, event.sha256, event.competition) == (kind, pending.event.sha256, pending.event.competition):
            return event
    return None


def _append_event(
    pending: PendingSubmission,
    kind: str,
    *,
    time: str | None = None,
    message: str = "",
    public: float | None = None,
    private: float | None = None,
) -> None:
    event = replace(
        pending.event, event=kind, time=time or ledger.utc_now(), message=message, public=public, private=private
    )
    ledger.append(Path(pending.competition.ledger), event)
