"""Programs that only predict import no training code."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import REPO_ROOT


@pytest.mark.parametrize("module", ["comp.blending.infer", "comp.ship.bundle_runtime"])
def test_prediction_imports_no_training(module):
    code = f"import sys, {module}; print(*[name for name in sys.modules if name.startswith('comp.training')])"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPO_ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
