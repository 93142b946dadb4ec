"""A submission: how it was made, and its line of the ledger."""

from __future__ import annotations

from comp.records.run import describe_unlabelled
from comp.report.section import Finding, Section
from comp.report.source import Source


def build(source: Source) -> Section | None:
    manifest, ledger = source.submission, source.ledger
    if manifest is None:
        return None
    findings = []
    if ledger and ledger.public is not None:
        findings.append(Finding("good", f"Public leaderboard {ledger.public:.5g}", "fine"))
    if ledger and ledger.private is not None:
        findings.append(Finding("good", f"Private leaderboard {ledger.private:.5g}", "fine"))
    if manifest.full:
        findings.append(Finding("trust", "By models of all images: there is no score out of fold", "notice"))
    elif source.blend is None:
        findings.append(Finding("trust", "Its blend is not here any more: run infer.py again", "notice"))
    remark = describe_unlabelled(manifest.unlabelled_images)
    if remark and source.blend is None:  # else the headline has it
        findings.append(Finding("trust", remark[0].upper() + remark[1:], "notice"))
    if manifest.git.dirty:
        findings.append(Finding("trust", "The code had changes that are in no commit", "notice"))
    values = {"manifest": manifest, "ledger": ledger}
    return Section("Submission", "submission", "submission.html", values, findings=tuple(findings))
