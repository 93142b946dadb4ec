from __future__ import annotations

import argparse

import pytest

from comp.commands import study
from comp.errors import UserError
from comp.papers.model_sizes import ModelSize
from comp.papers.model_table import PAPER_MODELS, PaperModel, compare_counts


@pytest.mark.parametrize(
    ("reported", "count_kind", "result"),
    [
        ("", "trainable", "not reported"),
        ("1,234,567", "trainable", "exact"),
        ("1,234,568", "trainable", "no: 1,234,567"),
        ("1,240,568", "keras", "exact"),
        ("1.23M", "trainable", "rounds to it"),
        ("1.235M", "trainable", "rounds to it"),
        ("1.24M", "keras", "rounds to it"),
        ("1.23M", "keras", "no: 1.24M"),
    ],
)
def test_compare_counts_uses_the_papers_convention(reported, count_kind, result):
    size = ModelSize(trainable=1_234_567, frozen=1_001, statistics=5_000, macs=0)
    assert compare_counts(PaperModel("x", {}, "", 64, reported, count_kind), size) == result


def test_zoo_command_prints_an_aligned_row_per_model(capsys):
    study.zoo(argparse.Namespace(paper="sharif"))
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "model",
        "paper",
        "px",
        "trainable",
        "statistics",
        "all",
        "numbers",
        "MiB",
        "MMACs",
        "reported",
        "match",
    ]
    assert [row.split()[0] for row in rows] == [model.name for model in PAPER_MODELS if model.paper == "sharif"]
    assert "se=false" in rows[4] and "no: 564,664" in rows[5]
    assert {row[header.index(" px") - 1 : header.index(" px") + 3] for row in rows} == {" 224"}
    with pytest.raises(UserError, match="did you mean pinto"):
        study.zoo(argparse.Namespace(paper="pintoo"))
