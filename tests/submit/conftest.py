"""Fixtures of the submission tests."""

from __future__ import annotations

import hashlib
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comp.records.blend import OofSummary
from comp.records.submission import Competition, SubmissionManifest
from comp.submit import ledger as ledgers
from comp.submit import push
from comp.submit.check import SubmissionReport
from tests.kaggle_service import COMPETITION
from tests.submit.cells import CLASSES, ROWS, touch


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """Return a function that writes a sample into an empty current directory."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, suffix: str = "csv") -> Path:
        path = Path(f"sample_submission.{suffix}")
        path.write_bytes(text.encode())
        return path

    return write


@pytest.fixture(params=["names", "numbers", "probabilities"])
def form(request) -> str:
    """The format of the labels in the sample."""
    return request.param


@pytest.fixture
def cells_workspace(tmp_path, monkeypatch) -> Path:
    """A competition of four equal classes, as the current directory. No test opens an image, so the files are empty."""
    monkeypatch.chdir(tmp_path)
    for label in CLASSES:
        for number in range(25):
            touch(Path(f"input/cells/train/{label}/{label}_{number}.jpg"))
    for id, _ in ROWS:
        touch(Path(f"input/cells/test/{id}"))
    return tmp_path


@pytest.fixture
def recorded_workspace(tmp_path, monkeypatch) -> Path:
    """A competition of 50 test images and 80 training images, as the current directory."""
    monkeypatch.chdir(tmp_path)
    for directory in ("train/a", "train/b", "test"):
        for number in range(50 if directory == "test" else 40):
            path = Path(f"input/cells/{directory}/{directory[-1]}{number}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    Path("cells.yaml").write_text("data: {root: input/cells}\nsubmit: {public_share: 0.5}\n")
    return tmp_path


@pytest.fixture
def report(tmp_path, monkeypatch) -> SubmissionReport:
    """A checked file with a CV, ready to be sent."""
    monkeypatch.setattr(push, "MIN_POLL_SECONDS", 0.01)
    # no two events have the same time: equal lines of the ledger count once
    start, seconds = datetime.now(UTC), itertools.count()
    monkeypatch.setattr(
        ledgers, "utc_now", lambda: (start + timedelta(seconds=next(seconds))).isoformat(timespec="seconds")
    )
    path = tmp_path / "mine.csv"
    path.write_text("id,label\na,1\n")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    oof = OofSummary("accuracy", 0.9484, (0.931, 0.963), 0.95, 0.2, 0.01, (0.9484,), 3200)
    competition = Competition("blood-cells", "input/blood-cells", str(tmp_path / "ledger.csv"), COMPETITION)
    return SubmissionReport(path, "mine", sha256, SubmissionManifest(oof=oof, sha256=sha256), competition, 1, ())


@pytest.fixture
def ledger(tmp_path) -> Path:
    """The path of a ledger that does not exist yet."""
    return tmp_path / "submissions" / "ledger.csv"
