from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from comp.errors import UserError
from comp.zoo.build import build_model, normalisation
from tests.papers.small_models import KIT_MODELS, MODELS_WITHOUT_DROPOUT


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet81", {}, "did you mean resnet"),
        ("resnet18", {"kwargs": {"sse": True}}, "does not take 'sse'"),
        ("gupta_se_cnn", {"size": 64, "kwargs": {"attention": "sa"}}, "got multiple values"),
    ],
)
def test_build_model_errors_name_the_config_value(name, arguments, message):
    with pytest.raises(UserError, match=message):
        build_model(name, 8, **arguments)


@pytest.mark.parametrize("name", KIT_MODELS)
def test_build_model_unknown_argument_or_pretrained_weights_are_refused(name):
    with pytest.raises(UserError, match=f"model {name}: does not take 'sse'"):
        build_model(name, 8, size=64, kwargs={"sse": True})
    with pytest.raises(UserError, match=r"model.pretrained=false"):
        build_model(name, 8, size=64, pretrained=True)
    with pytest.raises(RuntimeError, match="no pretrained weights exist for this architecture"):
        timm.create_model(name, pretrained=True)


@pytest.mark.parametrize("name", sorted(MODELS_WITHOUT_DROPOUT))
def test_build_model_dropout_for_a_model_without_it_is_refused(name):
    with pytest.raises(UserError, match=r"model.dropout=null"):
        build_model(name, 8, size=64, dropout=0.5)


@pytest.mark.parametrize("name", sorted({*KIT_MODELS, "resnet10t"} - MODELS_WITHOUT_DROPOUT))
def test_build_model_dropout_reaches_the_head(name):
    model = build_model(name, 8, size=64, dropout=0.7)
    rates = {layer.p for layer in getattr(model, "neck", nn.Identity()).modules() if isinstance(layer, nn.Dropout)}
    assert (rates or {model.drop_rate}) == {0.7}


def test_build_model_missing_pretrained_weights_are_one_error(monkeypatch):
    arguments = {}

    def create_model(name, **kwargs):
        arguments.update(kwargs, name=name)
        raise OSError("no way there")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(UserError, match="train from scratch"):
        build_model("resnet18", 8, pretrained=True)
    assert arguments["pretrained"] is True and arguments["name"] == "resnet18"


def test_build_model_passes_the_size_only_to_models_that_need_it():
    assert build_model("pinto_cnn", 8, size=56)(torch.zeros(1, 3, 56, 56)).shape == (1, 8)
    assert build_model("resnet18", 8, size=56)(torch.zeros(1, 3, 40, 40)).shape == (1, 8)
    assert build_model("pinto_cnn", 8, size=56, kwargs={"img_size": 28})(torch.zeros(1, 3, 28, 28)).shape == (1, 8)


def test_normalisation_of_a_timm_model_is_that_of_its_weights():
    assert normalisation(build_model("test_vit", 8))[0] == [0.5, 0.5, 0.5]
