"""Config headers: what a config changes, its command and its score, in the first three lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "configs").rglob("*.yaml")
    if not path.name.endswith(".winner.yaml")
)  # written by `python -m comp tune`
SCORED = re.compile(r"# Score: .*0\.\d{3}.* \[0\.\d{3}, 0\.\d{3}\].* 20\d\d-\d\d-\d\d.*")


@pytest.mark.parametrize("path", CONFIGS)
def test_config_header_has_change_command_and_score(path):
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    change, command, score = lines[:3]
    assert change.startswith("# ") and change.endswith(".") and "?" not in change
    assert re.match(r"# (python|make) ", command)
    assert score.startswith("# Score: not measured") or SCORED.fullmatch(score)
    assert all(len(line) <= 120 for line in lines)
