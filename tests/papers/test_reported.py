from __future__ import annotations

import csv
import inspect

import pytest
import timm

from comp.config import load
from comp.data.medmnist_import import BLOOD_CELLS
from comp.metrics import METRICS
from comp.papers.measure import COSTS
from comp.papers.model_table import PAPER_MODELS
from comp.papers.reported import KEY_COLUMNS, TEXT_COLUMNS, config_file, list_papers, read_rows
from comp.zoo.registry import register_models
from tests.conftest import REPO_ROOT

register_models()

PAPERS = ("gupta", "karakus", "pinto", "sharif")


@pytest.mark.parametrize("paper", PAPERS)
def test_read_rows_every_row_is_valid_and_has_a_config(paper):
    rows = read_rows(paper)
    with open(REPO_ROOT / "configs" / "papers" / paper / "reported.csv", newline="") as file:
        columns = next(csv.reader(file))
    assert set(columns) <= {
        *KEY_COLUMNS,
        *TEXT_COLUMNS,
        *METRICS,
        *COSTS,
        "weights_mib",
        *(f"f1_{name}" for name in BLOOD_CELLS),
    }
    for row in rows:
        assert load(config_file(paper, row.config))[0].name == f"papers/{paper}/{row.config}"
        assert row.scored_on in ("validation", "test")
        assert all(0 < row.reported[name] <= 1 for name in row.reported if name in METRICS)


@pytest.mark.parametrize("paper", PAPERS)
def test_paper_configs_train_the_models_of_the_model_table(paper):
    counted_models = {
        (model.name, str(build_arguments(model.name, model.kwargs)), model.image_size)
        for model in PAPER_MODELS
        if model.paper == paper
    }
    for row in read_rows(paper):
        config = load(config_file(paper, row.config))[0]
        key = config.model.name, str(build_arguments(config.model.name, config.model.kwargs)), config.data.size
        if row.config != "mlnn_2":  # neither a row of the paper nor in the table of models
            assert key in counted_models, row.config


def build_arguments(name: str, kwargs) -> list:
    """Return all arguments, defaults included: a config and the table of models may state a default or leave it out."""
    parameters = inspect.signature(timm.model_entrypoint(name)).parameters
    defaults = {key: value.default for key, value in parameters.items() if value.default is not inspect.Parameter.empty}
    return sorted(
        (key, str(value))
        for key, value in {**defaults, **kwargs}.items()
        if key not in ("num_classes", "in_chans", "img_size", "drop_rate")
    )


def test_list_papers_returns_the_directories():
    assert tuple(list_papers()) == PAPERS


def test_read_rows_sharif_ablation_has_15_rows_of_12_runs():
    rows = [row for row in read_rows("sharif") if row.table == "ablation"]
    assert len(rows) == 15 and len({row.config for row in rows}) == 12
    identities = [str(load(config_file("sharif", row.config))[0].identity()) for row in rows]
    assert len(set(identities)) == 12
