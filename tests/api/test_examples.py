"""help(comp) teaches the API: every public name has an example, and each example runs."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys

import pytest

import comp
from tests.conftest import REPO_ROOT

HEAVY = {"torch", "pandas", "sklearn", "scipy", "numpy", "pydantic", "matplotlib", "yaml", "tqdm"}


def public_examples() -> dict[str, doctest.DocTest]:
    """Return the examples of the module, and of each public name and method."""
    finder = doctest.DocTestFinder(recurse=False, exclude_empty=False)
    objects: dict[str, object] = {"comp": comp}
    for name in comp.__all__:
        objects[name] = value = getattr(comp, name)
        if inspect.isclass(value):
            objects |= {
                f"{name}.{member}": part
                for member, part in vars(value).items()
                if not member.startswith("_") and (callable(part) or isinstance(part, property))
            }
    return {name: finder.find(value, name, globs={})[0] for name, value in objects.items()}


def test_every_public_name_has_an_example():
    examples = public_examples()
    assert {"train", "LoadedRun.predict", "LoadedRun.scores", "Report.figures"} < set(examples)
    assert not [name for name, example in examples.items() if not example.examples]


@pytest.mark.slow
def test_examples_of_all_public_names_run(workspace):
    examples = public_examples()
    printed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for example in examples.values():
        runner.run(example, out=printed.append)
    assert not printed, "".join(printed)


def test_help_shows_every_public_name():
    script = f"import sys; sys.path.insert(0, {str(REPO_ROOT)!r}); import comp; help(comp)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert all(f"{name}(" in shown for name in comp.__all__)


def test_import_comp_imports_nothing_heavy():
    script = "import sys, comp; dir(comp); comp.UserError; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", script], cwd=REPO_ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "comp" in modules and not HEAVY & set(modules)
