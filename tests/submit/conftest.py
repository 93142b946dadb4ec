"""Fixtures of the submission tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """Return a function that writes a sample into an empty current directory."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, suffix: str = "csv") -> Path:
        path = Path(f"sample_submission.{suffix}")
        path.write_bytes(text.encode())
        return path

    return write
