from __future__ import annotations

import subprocess
import sys

import pytest
import timm
import torch

import comp.zoo  # noqa: F401
from comp.errors import UserError
from comp.zoo.build import build_model, normalisation


def parameters(model) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(("kwargs", "count"), [({}, 1_840_228), ({"se": False}, 810_088)])
def test_the_papers_count_is_met_exactly(kwargs, count):
    assert parameters(timm.create_model("sharif_deep_efficientnet", num_classes=8, **kwargs)) == count


def test_the_map_before_pooling_is_the_papers_14_by_14():
    model = build_model("sharif_deep_efficientnet", 8).eval()
    assert model.forward_features(torch.zeros(1, 3, 224, 224)).shape == (1, 320, 14, 14)
    assert model(torch.zeros(2, 3, 96, 96)).shape == (2, 8)


def test_no_name_of_ours_is_one_of_timms():
    ours = [name for name in timm.list_models() if timm.models.model_entrypoint(name).__module__.startswith("comp.")]
    assert ours == ["sharif_deep_efficientnet"]
    # timm only warns of a collision, when the second of the two is imported
    subprocess.run([sys.executable, "-W", "error", "-c", "import timm; import comp.zoo"], check=True)


def test_stochastic_depth_drops_residual_branches_in_training_only():
    model = build_model("sharif_deep_efficientnet", 8, drop_path=0.5, dropout=0.0)
    rates = {m.drop_prob for m in model.modules() if type(m).__name__ == "DropPath"}
    assert rates == {0.5}
    picture = torch.randn(4, 3, 64, 64)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(picture), model(picture))
        model.train()
        assert not torch.equal(model(picture), model(picture))


def test_dropout_reaches_the_head():
    assert build_model("sharif_deep_efficientnet", 8, dropout=0.7).drop_rate == 0.7
    assert build_model("resnet10t", 8, dropout=0.7).drop_rate == 0.7


@pytest.mark.parametrize(("name", "changes", "words"), [
    ("resnet81", {}, "did you mean resnet"),
    ("resnet18", {"kwargs": {"sse": True}}, "does not take 'sse'"),
    ("sharif_deep_efficientnet", {"pretrained": True}, "model.pretrained=false"),
])
def test_errors_speak_the_words_of_the_config(name, changes, words):
    with pytest.raises(UserError, match=words):
        build_model(name, 8, **changes)


def test_pretrained_weights_are_asked_of_timm_and_their_absence_is_one_line(monkeypatch):
    asked = {}

    def create(name, **kwargs):
        asked.update(kwargs, name=name)
        raise OSError("no way there")
    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(UserError, match="train from scratch"):
        build_model("resnet18", 8, pretrained=True)
    assert asked["pretrained"] is True and asked["name"] == "resnet18"


def test_models_are_fed_as_their_weights_were():
    assert normalisation(build_model("sharif_deep_efficientnet", 8))[0] == [0.485, 0.456, 0.406]
    assert normalisation(build_model("test_vit", 8))[0] == [0.5, 0.5, 0.5]
