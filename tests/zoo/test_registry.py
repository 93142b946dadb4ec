from __future__ import annotations

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
    # timm only warns when a name is registered a second time
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


def test_takes_img_size_is_true_for_models_that_end_in_dense_layers():
    assert {name for name in KIT_MODELS if takes_img_size(name)} == MODELS_WITH_DENSE_LAYERS
