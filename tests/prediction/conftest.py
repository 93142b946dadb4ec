from __future__ import annotations

import pytest

from comp import runs
from comp.runs import Run


@pytest.fixture
def anna(trained_copy) -> Run:
    """A finished run of three folds; its workspace is the current directory."""
    [run] = runs.find_runs(["anna"])
    return run
