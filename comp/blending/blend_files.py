"""The files of a blend in runs/blends/<name>/, for readers and for the leaderboard.

blend.json         what was fitted to which members, and its score
oof.npz            its cross-fitted predictions; oof.csv: the same for people, where it is small
pairs.csv          paired tests of every two candidates
members.csv        weight, gain and latency of each member (written by comp/blending/explanation.py)
blend.png          the same as a plot, with the correlation of errors
reliability.png    reliability diagrams
"""

from __future__ import annotations

from pathlib import Path

from comp.blending.assess import Assessment
from comp.blending.manifest import build_blend_record
from comp.blending.members import Members
from comp.prediction_file import write_oof
from comp.records.submission import SubmissionManifest
from comp.runs import BLENDS
from comp.tables import write_csv


def write_blend_files(directory: Path, assessment: Assessment, members: Members, manifest: SubmissionManifest) -> None:
    """Write the tables and blend.json, and delete the explanation of an earlier blend of this name."""
    for name in ("members.csv", "blend.png", "reliability.png"):  # written last; a single member has none
        (directory / name).unlink(missing_ok=True)
    oof_sha256 = write_oof(directory / "oof.npz", assessment.oof_table(), assessment.pool.columns)
    write_csv(directory / "pairs.csv", assessment.pairs)
    name = directory.relative_to(BLENDS).as_posix()
    build_blend_record(name, assessment, members, manifest, oof_sha256).write(directory / "blend.json")
