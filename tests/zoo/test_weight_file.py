"""Weight files of other programs: what is read, under which keys, what fits, and what is refused."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from comp.errors import UserError
from comp.zoo.build import build_model
from comp.zoo.classifier import backbone_parameters, classifier_layers
from comp.zoo.weight_file import _find_converter, load_matched, match_weights, read_weight_file

NAME = "test_resnet"


@pytest.fixture
def published() -> dict[str, torch.Tensor]:
    """The state dict of a model of 1,000 classes, as timm publishes it."""
    torch.manual_seed(3)
    return timm.create_model(NAME).state_dict()


def match_file(path: Path, name: str = NAME, **kwargs):
    model = build_model(name, 8, kwargs=kwargs)
    return model, match_weights(name, model, read_weight_file(path))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
        lambda weights: {"model": {f"module.{key}": value for key, value in weights.items()}},
        lambda weights: {"state_dict_ema": weights, "state_dict": {"fc.weight": torch.zeros(1)}},
        lambda weights: {"kit": "comp", "schema": 1, "recipe": {}, "run": "a", "fold": 0, "state_dict": weights},
    ],
    ids=["plain", "state_dict", "model and module.", "ema", "weights.pt"],
)
def test_read_weight_file_wrapped_state_dicts_fit_but_for_the_classifier(tmp_path, published, wrap):
    path = tmp_path / "weights.pth"
    torch.save(wrap(published), path)
    file = read_weight_file(path)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    model, match = match_file(path)
    own_head = model.fc.weight.clone()
    load_matched(model, match)
    assert match.has_backbone and set(match.reshaped) == {"fc.weight", "fc.bias"} and not match.missing + match.unused
    assert all(torch.equal(parameter, published[key]) for key, parameter in backbone_parameters(model).items())
    assert torch.equal(model.fc.weight, own_head)
    assert str(match) == f"{path}: {len(published) - 2} of {len(published)} tensors loaded; 2 of another shape " + (
        "(fc.weight, fc.bias)"
    )


@pytest.mark.parametrize("save", ["safetensors", "legacy", "half"])
def test_read_weight_file_formats_and_half_precision(tmp_path, published, save):
    path = tmp_path / ("w.safetensors" if save == "safetensors" else "w.pth")
    if save == "safetensors":
        safetensors.torch.save_file(published, path)
    elif save == "legacy":
        torch.save(published, path, _use_new_zipfile_serialization=False)
    else:
        published = {key: value.half() if value.is_floating_point() else value for key, value in published.items()}
        torch.save(published, path)
    model, match = match_file(path)
    load_matched(model, match)
    assert model.conv1[0].weight.dtype == torch.float32
    assert torch.equal(model.conv1[0].weight, published["conv1.0.weight"].float())


def test_match_weights_classifier_of_the_same_size_is_loaded(tmp_path):
    torch.save(timm.create_model(NAME, num_classes=8).state_dict(), tmp_path / "w.pth")
    _, match = match_file(tmp_path / "w.pth")
    assert len(match.fitting) == match.tensors and str(match).endswith("tensors loaded")


def test_match_weights_names_every_kind_abbreviated_after_five(tmp_path, published):
    del published["conv1.0.weight"]
    published["layer1.0.conv1.weight"] = torch.zeros(1)
    published |= {f"extra{number}": torch.zeros(1) for number in range(7)}
    torch.save(published, tmp_path / "w.pth")
    _, match = match_file(tmp_path / "w.pth")
    assert not match.has_backbone
    assert "3 of another shape (layer1.0.conv1.weight, fc.weight, fc.bias)" in str(match)
    assert "1 not in the file (conv1.0.weight)" in str(match)
    assert "7 of the file not used (extra0, extra1, extra2, extra3, extra4 and 2 more)" in str(match)


def test_match_weights_old_files_without_counters_are_complete(tmp_path, published):
    old = {key: value for key, value in published.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "w.pth")
    _, match = match_file(tmp_path / "w.pth")
    assert match.has_backbone and not match.missing


def test_match_weights_timm_resizes_position_embeddings(tmp_path):
    published = timm.create_model("test_vit", num_classes=8, img_size=160)
    torch.save(published.state_dict(), tmp_path / "w.pth")
    model, match = match_file(tmp_path / "w.pth", "test_vit", img_size=64)
    assert model.pos_embed.shape != published.pos_embed.shape
    assert match.has_backbone and match.fitting["pos_embed"].shape == model.pos_embed.shape


def test_convert_keys_of_torchvisions_densenet():
    convert = _find_converter("densenet121")
    assert list(convert({"features.denseblock1.denselayer1.norm.1.weight": 0})) == [
        "features.denseblock1.denselayer1.norm1.weight"
    ]


@pytest.mark.parametrize(
    "name", ["densenet121", "vgg11", "convnext_atto", "swin_tiny_patch4_window7_224", "regnetx_002"]
)
def test_find_converter_families_of_published_files_have_one(name):
    """timm keeps them under private names: this fails if it renames them."""
    assert _find_converter(name) is not None


class Code:
    """A class that only running code could restore."""


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: torch.save({"net": Code()}, path), "contains tests.zoo.test_weight_file.Code, for which code"),
        (lambda path: path.write_bytes(b"hello"), "is truncated, or not written by torch.save"),
        (
            lambda path: (torch.save({"a": torch.zeros(9)}, path), path.write_bytes(path.read_bytes()[:300])),
            "truncated",
        ),
        (lambda path: torch.save({"epoch": 1}, path), "contains no weights"),
        (lambda path: torch.save(torch.zeros(3), path), "contains no weights"),
        (lambda path: None, "is missing"),
        (lambda path: path.mkdir(), "is a folder"),
        (
            lambda path: torch.save(timm.create_model("test_vit").state_dict(), path),
            "is of another model than test_resnet",
        ),
    ],
)
def test_read_weight_file_anything_else_is_one_line(tmp_path, write, message):
    path = tmp_path / "w.pth"
    write(path)
    with pytest.raises(UserError, match=message) as error:
        match_file(path)
    assert "\n" not in str(error.value)


def test_read_weight_file_broken_safetensors_is_one_line(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="is truncated or no safetensors file"):
        read_weight_file(tmp_path / "w.safetensors")


def test_match_weights_foreign_keys_that_timm_cannot_convert_are_one_line(tmp_path, published):
    torch.save(published, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"timm cannot convert .* for convnext_atto"):
        match_file(tmp_path / "w.pth", "convnext_atto")


@pytest.mark.parametrize(
    ("name", "layers"), [("test_resnet", 1), ("sharif_deep_efficientnet", 1), ("deit_tiny_distilled_patch16_224", 2)]
)
def test_backbone_parameters_are_all_but_the_classifiers(name, layers):
    model = timm.create_model(name, num_classes=5) if layers == 2 else build_model(name, 5)
    heads = classifier_layers(model)
    assert len(heads) == layers and all(isinstance(head, nn.Linear) and head.out_features == 5 for head in heads)
    assert len(backbone_parameters(model)) == len(list(model.parameters())) - 2 * layers
    assert backbone_parameters(model).items() <= dict(model.named_parameters()).items()
