from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from comp.zoo.registry import takes_img_size
from tests.conftest import REPO_ROOT
from tests.papers.small_models import KIT_MODELS, MODELS_WITH_DENSE_LAYERS


def run_python(code: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *options, "-c", code], cwd=REPO_ROOT, capture_output=True, text=True, check=False
    )


def test_register_models_no_name_is_one_of_timms():
    # timm only warns of a collision, when the second of the two is registered
    code = "import timm; from comp.zoo.registry import register_models; register_models()"
    result = run_python(code, "-W", "error")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "code",
    [
        "from comp.zoo.build import build_model; build_model('gupta_cnn', 8, size=16)",
        "from comp.papers.model_sizes import count_model_size; count_model_size('gupta_cnn', {}, 16)",
    ],
)
def test_register_models_first_lookup_in_a_process_knows_the_papers_models(code):
    """Training, its child processes, prediction and bundles all build models by `build_model`."""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def imported_modules(code: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_papers_are_imported_by_commands_only():
    files = [*(REPO_ROOT / "comp").rglob("*.py"), REPO_ROOT / "train.py", REPO_ROOT / "infer.py"]
    importers = {
        file.relative_to(REPO_ROOT).parts[1] if file.parent != REPO_ROOT else file.name
        for file in files
        if any(f"{name}.".startswith("comp.papers.") for name in imported_modules(file.read_text(encoding="utf-8")))
    }
    assert importers == {"papers", "commands"}


def test_takes_img_size_is_true_for_models_that_end_in_dense_layers():
    assert {name for name in KIT_MODELS if takes_img_size(name)} == MODELS_WITH_DENSE_LAYERS
