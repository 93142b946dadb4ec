"""A mutant is the module with one realistic mistake; strings, types, guards and messages are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.mutants.__main__ import EQUIVALENT, TARGETS, sample
from tests.mutants.operators import Mutant, mutants_of

MODULE = '''"""Text with 1 number."""
from typing import Literal

LIMIT: Literal[5] = 5
__all__ = ["f" + "g"]


def f(values, scale=2, *, ordered: bool = True):
    """Return 3."""
    if not values:
        raise ValueError("no " + "values", 4)
    values.sort(reverse=ordered)
    assert scale > 0
    return [a * scale for a, _ in zip(values, values, strict=True)]
'''


@pytest.fixture
def module(tmp_path) -> Path:
    path = tmp_path / "module.py"
    path.write_text(MODULE)
    return path


def valid(path: Path) -> list[Mutant]:
    return [mutant for mutant in mutants_of(path) if mutant.is_valid()]


def test_mutants_of_change_one_line_to_a_realistic_mistake(module):
    changes = {tuple(line[1:].strip() for line in mutant.changed_lines()) for mutant in valid(module)}
    assert changes == {
        ("LIMIT: Literal[5] = 5", "LIMIT: Literal[5] = 6"),
        ("def f(values, scale=2, *, ordered: bool = True):", "def f(values, scale=3, *, ordered: bool = True):"),
        ("def f(values, scale=2, *, ordered: bool = True):", "def f(values, scale=2, *, ordered: bool = False):"),
        ("if not values:", "if values:"),
        ("if not values:", "if not (not values):"),
        ("values.sort(reverse=ordered)", "pass"),
        (
            "return [a * scale for a, _ in zip(values, values, strict=True)]",
            "return [a / scale for a, _ in zip(values, values, strict=True)]",
        ),
    }


def test_sample_has_each_modules_share_and_is_the_same_twice(module, tmp_path):
    longer = tmp_path / "longer.py"
    longer.write_text("\n".join(f"x{line} = {line}" for line in range(93)))
    mutants = {module: mutants_of(module), longer: mutants_of(longer)}
    total = sum(map(len, mutants.values()))
    chosen = sample(mutants, 20, seed=1)
    assert [mutant.name for mutant in sample(mutants, 20, seed=1)] == [mutant.name for mutant in chosen]
    of_module = [mutant for mutant in chosen if mutant.path == module]
    assert len(chosen) == 20 and abs(len(of_module) - 20 * len(mutants[module]) / total) < 1
    assert [mutant.name for mutant in sample(mutants, 20, 1, only="module.py$")] == [
        mutant.name for mutant in of_module
    ]
    assert len(sample(mutants, 0, 1)) == len(valid(module)) + 93


def test_targets_name_files_that_exist():
    """A module that was moved would otherwise drop out of the score without a word."""
    assert [pattern for pattern in TARGETS if not any(Path().glob(pattern))] == []
    assert [test for tests in TARGETS.values() for test in tests if not Path(test).exists()] == []


def test_equivalent_mutants_change_lines_that_exist():
    for entry in yaml.safe_load(EQUIVALENT.read_text()):
        lines = {" ".join(line.split()) for line in Path(entry["path"]).read_text().splitlines()}
        old = [change[2:] for change in entry["change"] if change.startswith("-")]
        assert old and set(old) <= lines, entry
