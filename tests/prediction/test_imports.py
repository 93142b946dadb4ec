"""Programs that only predict import no training code; for a bundle see tests/ship/test_bundle.py."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPO_ROOT


def test_infer_imports_no_training():
    code = "import sys, comp.blending.infer; print(*[name for name in sys.modules if name.startswith('comp.training')])"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPO_ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
