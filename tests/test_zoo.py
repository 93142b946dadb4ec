from __future__ import annotations

import argparse
import inspect
import subprocess
import sys

import pytest
import timm
import torch
from torch import nn

from comp.commands import study
from comp.errors import UserError
from comp.papers.model_sizes import PAPER_MODELS, ModelSize, PaperModel, build_on_meta, compare_counts, count_model_size
from comp.papers.models import gupta
from comp.zoo.attention import ATTENTION_MODULES, SE_MODES, make_attention
from comp.zoo.build import build_model, normalisation, register_models
from comp.zoo.layers import SamePadMaxPool

register_models()
OURS = [name for name in timm.list_models() if timm.models.model_entrypoint(name).__module__.startswith("comp.")]
FLAT = {name for name in OURS if name.partition("_")[0] in ("gupta", "pinto")} - {"gupta_resnet34"} | {
    "sharif_simple_cnn",
    "karakus_baseline_cnn",
    "karakus_unet_encoder",
}
SMALLEST = {"gupta_vgg15": 32, "gupta_se_vgg15": 32, "gupta_sa_vgg15": 32, "gupta_cbam_vgg15": 32, "gupta_vgg18": 64}
DROPLESS = {"pinto_cnn", "pinto_mlnn", "gupta_resnet34"}

# name, kwargs, px, trainable, total as Keras has it, multiply-adds in millions
COUNTS = [
    ("sharif_simple_cnn", {}, 224, 26_084_104, 26_085_064, 762.7),
    ("resnet18", {}, 224, 11_180_616, 11_190_216, 1813.6),
    ("sharif_efficientnet_lite", {}, 224, 545_000, 558_888, 209.1),
    ("sharif_deep_efficientnet", {}, 224, 1_840_228, 1_860_148, 273.4),
    ("sharif_deep_efficientnet", {"se": False}, 224, 810_088, None, 272.4),
    ("sharif_deep_efficientnet_text", {}, 224, 564_664, None, None),
    ("sharif_deep_efficientnet_text", {"se": False}, 224, 248_488, None, None),
    ("karakus_baseline_cnn", {}, 64, 1_143_432, 1_143_880, 42.3),
    ("karakus_baseline_cnn", {}, 128, 4_289_160, 4_289_608, 169.35),
    ("karakus_unet_encoder", {}, 128, 2_191_432, 2_191_880, 167.25),
    ("karakus_inception_cnn", {}, 128, 36_828, 37_164, 59.8),
    ("karakus_skip_cnn", {}, 128, 307_112, 308_008, 634.9),
    ("karakus_inception_skip_cnn", {}, 128, 45_124, 45_524, 73.6),
    ("pinto_cnn", {}, 28, 422_344, 422_344, 8.23),
    ("pinto_mlnn", {"hidden_layers": 1}, 28, 2_785_988, 2_785_988, 2.79),
    ("pinto_mlnn", {"hidden_layers": 2}, 28, 4_179_568, 4_179_568, None),
    ("gupta_cnn", {}, 64, 8_777_992, 8_778_952, 1597.4),
    ("gupta_vgg8_convs", {}, 64, 1_206_952, 1_208_872, 211.2),
    ("gupta_vgg8", {}, 64, 4_616_104, 4_617_000, 158.9),
    ("gupta_vgg12", {}, 64, 3_995_816, 3_998_248, 251.1),
    ("gupta_vgg15", {}, 64, 8_850_088, 8_855_592, 344.5),
    ("gupta_vgg18", {}, 64, 15_146_152, 15_154_728, 372.0),
    ("gupta_vgg8", {"dense": []}, 64, 353_448, 354_344, 154.6),
    ("gupta_vgg12", {"dense": []}, 64, 1_797_544, 1_799_976, 248.9),
    ("gupta_vgg15", {"dense": []}, 64, 7_684_008, 7_689_512, 343.3),
    ("gupta_vgg18", {"dense": []}, 64, 14_754_216, 14_762_792, 371.6),
    ("gupta_inception", {}, 64, 15_561_608, 15_586_888, 3341.2),
    ("gupta_resnet34", {}, 64, 21_297_288, 21_314_312, 299.0),
    ("gupta_autoclassifier", {}, 64, 1_590_696, 2_245_224, 66.7),
    ("gupta_se_cnn", {}, 64, 465_672, 466_632, 60.2),
    ("gupta_se_cnn", {"se_mode": "average"}, 64, 465_672, 466_632, 60.2),
    ("gupta_se_cnn", {"se_mode": "shared"}, 64, 465_672, 466_632, 60.3),
    ("gupta_sa_cnn", {}, 64, 422_544, 423_504, 60.3),
    ("gupta_cbam_cnn", {}, 64, 466_064, 467_024, 60.4),
    ("gupta_cnn", {"pool_stride": 2, "attention": "cbam"}, 64, 466_064, 467_024, 60.4),
    ("gupta_se_vgg15", {}, 64, 7_268_008, 7_273_000, 305.7),
    ("gupta_sa_vgg15", {}, 64, 7_093_906, 7_098_898, 305.7),
    ("gupta_cbam_vgg15", {}, 64, 7_268_498, 7_273_490, 305.9),
]
# Gupta's table 2 by number: total and multiply-adds with pools of stride 1, the same of stride 2
EXPERIMENTS = [
    (4_287_560, 385.2, 355_400, 41.6),
    (4_287_560, 385.2, 158_792, 41.4),
    (8_777_032, 1597.4, 519_496, 60.3),
    (8_777_032, 1597.4, 421_192, 60.2),
    (8_778_952, 1597.4, 423_112, 60.2),
    (67_203_272, 448.1, 4_288_712, 45.5),
    (134_313_288, 515.2, 8_484_168, 49.7),
    (67_203_272, 448.1, 1_142_984, 42.3),
    (134_313_288, 515.2, 2_192_712, 43.4),
    (134_607_304, 1723.2, 2_486_728, 62.3),
    (268_826_184, 1857.4, 4_585_032, 64.4),
    (134_607_304, 1723.2, 913_864, 60.7),
    (268_826_184, 1857.4, 1_439_304, 61.2),
]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def small(name: str, **kwargs) -> nn.Module:
    return build_model(name, 8, size=SMALLEST.get(name, 28), kwargs=kwargs)


def numbers(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: nn.Module) -> set[str]:
    return {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize(("name", "kwargs", "size", "trainable", "total", "macs"), COUNTS)
def test_the_papers_counts_are_met_exactly(name, kwargs, size, trainable, total, macs):
    counted = count_model_size(PaperModel(name, kwargs, "", size))
    assert counted.trainable == trainable
    assert counted.total == total or total is None
    assert macs is None or counted.macs / 1e6 == pytest.approx(macs, abs=0.051)  # the spec rounds


@pytest.mark.parametrize("number", range(1, 14))
def test_guptas_experiments_count_as_in_the_paper_with_either_stride(number):
    entry = [entry for entry in PAPER_MODELS if entry.name == "gupta_cnn"][number - 1]
    halving = PaperModel(entry.name, {**entry.kwargs, "pool_stride": 2}, entry.paper, entry.size)
    one, two = count_model_size(entry), count_model_size(halving)
    expected = EXPERIMENTS[number - 1]
    assert (one.total, two.total) == expected[::2]
    assert (one.macs / 1e6, two.macs / 1e6) == pytest.approx(expected[1::2], abs=0.051)
    assert entry.kwargs["bn"] == (number == 5)


def test_every_model_of_ours_is_in_the_papers_table():
    assert {entry.name for entry in PAPER_MODELS} == {*OURS, "resnet18"}
    assert {entry.name for entry in PAPER_MODELS} == {name for name, *_ in COUNTS}


def test_no_name_of_ours_is_one_of_timms():
    # timm only warns of a collision, when the second of the two is imported
    subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            "import timm; from comp.zoo.build import register_models; register_models()",
        ],
        check=True,
    )


@pytest.mark.parametrize(
    ("reported", "counted", "verdict"),
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
def test_a_printed_count_is_held_against_ours_in_its_own_convention(reported, counted, verdict):
    ours = ModelSize(trainable=1_234_567, frozen=1_001, statistics=5_000, macs=0)
    assert compare_counts(PaperModel("x", {}, "", 64, reported, counted), ours) == verdict


def test_the_memory_that_karakus_prints_is_all_numbers_in_32_bits():
    sizes = [f"{count_model_size(entry).weights_mib:.2f}" for entry in PAPER_MODELS if entry.paper == "karakus"]
    assert sizes == ["4.36", "16.36", "8.36", "0.14", "1.17", "0.17"]  # the paper's table 4


def test_the_verb_prints_an_aligned_row_per_model(capsys):
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
    assert [row.split()[0] for row in rows] == [entry.name for entry in PAPER_MODELS if entry.paper == "sharif"]
    assert "se=false" in rows[4] and "no: 564,664" in rows[5]
    assert {row[header.index(" px") - 1 : header.index(" px") + 3] for row in rows} == {" 224"}
    with pytest.raises(UserError, match="did you mean pinto"):
        study.zoo(argparse.Namespace(paper="pintoo"))


@pytest.mark.parametrize("name", OURS)
def test_every_model_takes_small_images_and_shows_its_last_map(name):
    model, images = small(name), torch.rand(2, 3, *[SMALLEST.get(name, 28)] * 2)
    scores = model.train()(images)
    scores.sum().backward()
    assert scores.shape == (2, 8) and torch.isfinite(scores).all()
    head = model.get_classifier()
    assert isinstance(head, nn.Linear) and head.weight.grad.abs().sum() > 0
    assert (head.in_features, head.out_features) == (model.num_features, model.num_classes)
    if name != "pinto_mlnn":
        assert model.forward_features(images).ndim == 4


@pytest.mark.parametrize("name", OURS)
def test_every_model_takes_other_sizes_and_channels(name):
    sizes = {"img_size": 96} if name in FLAT else {}
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=3, in_chans=1, **sizes).eval()
        assert model(torch.zeros(1, 1, 96, 96)).shape == (1, 3)


def test_those_that_end_in_dense_layers_say_that_they_take_a_size():
    assert {name for name in OURS if "img_size" in inspect.signature(timm.model_entrypoint(name)).parameters} == FLAT


@pytest.mark.parametrize(
    ("name", "size", "smallest"),
    [
        ("gupta_vgg18", 28, 64),
        ("gupta_cbam_vgg15", 28, 32),
        ("sharif_simple_cnn", 15, 16),
        ("gupta_autoclassifier", 12, 16),
    ],
)
def test_images_too_small_are_refused_by_name_of_the_smallest(name, size, smallest):
    with pytest.raises(ValueError, match=f"img_size={size} .* the smallest is {smallest}"):
        timm.create_model(name, img_size=size)
    with pytest.raises(UserError, match=f"the smallest is {smallest}"):
        build_model(name, 8, size=size)


def test_the_map_before_pooling_is_the_papers_14_by_14():
    model = build_model("sharif_deep_efficientnet", 8).eval()
    assert model.forward_features(torch.zeros(1, 3, 224, 224)).shape == (1, 320, 14, 14)
    assert model(torch.zeros(2, 3, 96, 96)).shape == (2, 8)


def test_weights_of_the_deep_network_keep_their_names():
    names = list(build_model("sharif_deep_efficientnet", 8).state_dict())
    assert len(names) == 294
    assert {
        "stem.0.weight",
        "blocks.0.body.3.reduce.weight",
        "blocks.12.body.6.expand.bias",
        "head.1.running_var",
        "fc.bias",
    } < set(names)


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


@pytest.mark.parametrize("name", sorted({*OURS, "resnet10t"} - DROPLESS))
def test_dropout_reaches_the_head(name):
    model = build_model(name, 8, size=64, dropout=0.7)
    layers = [layer.p for layer in getattr(model, "neck", nn.Identity()).modules() if isinstance(layer, nn.Dropout)]
    assert set(layers or [model.drop_rate]) == {0.7}


def test_the_papers_dropouts_are_the_defaults():
    rates = {
        name: {layer.p for layer in small(name).neck.modules() if isinstance(layer, nn.Dropout)}
        for name in (
            "karakus_baseline_cnn",
            "karakus_skip_cnn",
            "gupta_cnn",
            "gupta_vgg8",
            "gupta_sa_cnn",
            "gupta_vgg8_convs",
            "gupta_inception",
            "gupta_autoclassifier",
            "pinto_cnn",
        )
    }
    assert list(rates.values()) == [{0.5}, {0.3}, {0.0}, {0.2}, {0.2}, {0.0}, {0.2}, {0.3}, set()]


def test_a_pool_of_stride_1_keeps_the_map_and_takes_the_maximum_to_the_right_and_below():
    pooled = SamePadMaxPool()(torch.tensor([[[[5.0, 1.0, 2.0], [0.0, 3.0, 4.0], [-2.0, -7.0, -9.0]]]]))
    assert pooled.tolist() == [[[[5.0, 4.0, 4.0], [3.0, 4.0, 4.0], [-2.0, -7.0, -9.0]]]]


def test_averages_leave_the_padding_out_as_in_keras():
    ones = torch.ones(1, 1, 8, 8)
    assert torch.equal(gupta.downsample_pool()(ones), ones[..., :4, :4])
    assert torch.equal(gupta.avg_pool_branch(1, 1)[0](ones), ones)


@pytest.mark.parametrize(
    ("kwargs", "side"),
    [
        ({}, 32),
        ({"final_pool": False}, 32),
        ({"pool_stride": 2}, 2),
        ({"pool_stride": 2, "final_pool": False}, 4),
        ({"pool_stride": 2, "layers": 3}, 4),
    ],
)
def test_guptas_pools_halve_the_map_only_with_stride_2(kwargs, side):
    model = build_on_meta(PaperModel("gupta_cnn", kwargs, "", 32))
    assert model.forward_features(torch.zeros(1, 3, 32, 32, device="meta")).shape[2:] == (side, side)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("karakus_baseline_cnn", ["Conv2d", "ReLU", "BatchNorm2d"] * 3),
        ("karakus_skip_cnn", ["Conv2d", "ReLU", "BatchNorm2d"] * 2),
        ("gupta_cnn", ["Conv2d", "BatchNorm2d", "ReLU"] * 4),
        ("gupta_vgg8", ["Conv2d", "BatchNorm2d", "ReLU"] * 6),
        ("gupta_autoclassifier", ["Conv2d", "BatchNorm2d", "ReLU"] * 5),
    ],
)
def test_karakus_normalises_after_the_activation_and_gupta_before(name, order):
    layers = [type(layer).__name__ for layer in small(name).features.modules()]
    assert [layer for layer in layers if layer in order][: len(order)] == order


@pytest.mark.parametrize("name", [name for name in OURS if name.startswith(("karakus", "gupta"))])
def test_batch_statistics_move_as_in_keras(name):
    norms = [
        layer for layer in build_on_meta(PaperModel(name, {}, "", 64)).modules() if isinstance(layer, nn.BatchNorm2d)
    ]
    assert norms and {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


@pytest.mark.parametrize("mode", SE_MODES)
@pytest.mark.parametrize(("name", "gate"), [("se", 0.5), ("sa", 0.5), ("cbam", 0.25)])
def test_attention_that_has_learnt_nothing_halves_the_map(name, gate, mode):
    part = make_attention(name, 32, mode)
    for weight in part.parameters():
        nn.init.zeros_(weight)
    x = torch.randn(2, 32, 9, 7)
    assert torch.equal(part(x), gate * x)


@pytest.mark.parametrize("mode", SE_MODES)
def test_channel_gates_are_one_per_channel_and_know_no_places(mode):
    part, x = make_attention("se", 32, mode), torch.rand(2, 32, 6, 6) + 0.1
    gates = part(x) / x
    assert torch.allclose(gates, gates[:, :, :1, :1].expand_as(gates)) and gates.std((0, 1)).max() > 0.01
    assert torch.allclose(part(x.flip(2)), part(x).flip(2), atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "hears", "hidden"), [("separate", True, [4, 4]), ("average", False, [8]), ("shared", True, [8])]
)
def test_only_the_average_is_deaf_to_spikes_that_cancel(mode, hears, hidden):
    part = make_attention("se", 32, mode)
    flat = (torch.rand(1, 32, 1, 1) + 0.1).repeat(1, 1, 6, 6)
    spiked = flat.clone()
    spiked[..., 0, 0] += 5
    spiked[..., 5, 5] -= 5
    assert torch.allclose(part(spiked)[..., 2, 2], part(flat)[..., 2, 2], atol=1e-5) != hears
    assert [weight.shape[0] for weight in part.parameters()][::2] == hidden


def test_spatial_gates_are_one_per_place_and_know_no_channels():
    part, x = make_attention("sa", 32), torch.rand(2, 32, 9, 9) + 0.1
    gates = part(x) / x
    assert torch.allclose(gates, gates[:, :1].expand_as(gates)) and gates.std((2, 3)).max() > 0.001
    assert torch.allclose(part(x.flip(1)), part(x).flip(1), atol=1e-6)


@pytest.mark.parametrize("name", [None, *ATTENTION_MODULES])
def test_attention_fits_both_plain_families(name):
    kwargs = {"attention": name, "se_mode": "average"} if name else {}
    for family in ("gupta_cnn", "gupta_vgg8"):
        assert small(family, **kwargs)(torch.rand(2, 3, 28, 28)).shape == (2, 8)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"attention": "cbma"}, "attention=cbma is none of se, sa, cbam"),
        ({"attention": "se", "se_mode": "mean"}, "se_mode=mean is none of separate, average, shared"),
        ({"pool_stride": 3}, "pool_stride 1 or 2"),
        ({"layers": 7}, "1 to 6 groups"),
    ],
)
def test_words_that_gupta_does_not_have_are_refused(kwargs, words):
    with pytest.raises(UserError, match=words):
        small("gupta_cnn", **kwargs)


def learn(model: nn.Module, loss) -> None:
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
    loss(model.train()(torch.rand(4, 3, 28, 28))).backward()
    optimizer.step()


def test_a_frozen_encoder_does_not_change_while_the_classifier_learns():
    model = small("gupta_autoclassifier")
    before = numbers(model)
    learn(model, torch.Tensor.sum)
    moved = changed(before, model)
    assert {"fc.weight", "features.2.running_mean"} < moved and not [key for key in moved if "encoder" in key]
    assert not model.encoder.training and model.features.training


def test_pretraining_changes_the_classifiers_own_encoder_and_nothing_else_of_it():
    model = small("gupta_autoclassifier")
    stage, before = model.autoencoder(), numbers(model)
    drawing = numbers(stage.decoder)
    learn(stage, torch.Tensor.mean)
    moved = changed(before, model)
    assert {"encoder.latent.weight", "encoder.layers.0.weight", "encoder.layers.1.running_mean"} < moved
    assert all(key.startswith("encoder.") for key in moved)
    assert changed(drawing, stage.decoder) == set(drawing)
    model.freeze()
    before = numbers(model)
    learn(model, torch.Tensor.sum)
    assert "fc.weight" in changed(before, model) and not [key for key in changed(before, model) if "encoder" in key]
    assert before.keys() == small("gupta_autoclassifier").state_dict().keys()  # no decoder in it


@pytest.mark.parametrize("size", [28, 64])
def test_the_reconstruction_error_is_a_mean_over_each_image(size):
    stage, images = build_model("gupta_autoclassifier", 8, size=size).autoencoder().eval(), torch.rand(3, 3, size, size)
    for weight in stage.decoder[-1].parameters():
        nn.init.zeros_(weight)
    assert torch.allclose(stage(images), images.square().mean((1, 2, 3)))


def test_the_autoencoder_has_the_papers_count_and_is_made_where_the_model_is():
    stage = build_on_meta(PaperModel("gupta_autoclassifier", {}, "", 64)).autoencoder()
    statistics = sum(value.numel() for key, value in stage.state_dict().items() if "running" in key)
    assert sum(weight.numel() for weight in stage.parameters() if weight.requires_grad) + statistics == 1_306_947
    assert {weight.device.type for weight in stage.parameters()} == {"meta"}
    assert sum(isinstance(layer, nn.ELU) for layer in stage.modules()) == 4 + 4


@pytest.mark.parametrize("name", OURS)
def test_every_entry_refuses_unknown_words_and_pretrained_weights(name):
    with pytest.raises(UserError, match=f"model {name}: does not take 'sse'"):
        build_model(name, 8, size=64, kwargs={"sse": True})
    with pytest.raises(UserError, match=r"model.pretrained=false"):
        build_model(name, 8, size=64, pretrained=True)
    with pytest.raises(RuntimeError, match="no pretrained weights exist for this architecture"):
        timm.create_model(name, pretrained=True)


@pytest.mark.parametrize("name", sorted(DROPLESS))
def test_a_model_without_dropout_says_so(name):
    with pytest.raises(UserError, match=r"model.dropout=null"):
        build_model(name, 8, size=64, dropout=0.5)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("resnet81", {}, "did you mean resnet"),
        ("resnet18", {"kwargs": {"sse": True}}, "does not take 'sse'"),
        ("gupta_se_cnn", {"size": 64, "kwargs": {"attention": "sa"}}, "got multiple values"),
    ],
)
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


@pytest.mark.parametrize("name", OURS)
def test_models_are_fed_as_in_their_paper(name):
    imagenet = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    fed = normalisation(build_on_meta(PaperModel(name, {}, "", 64)))
    assert fed == (imagenet if name.startswith("sharif") else ([0.0] * 3, [1.0] * 3))


def test_timms_models_are_fed_as_their_weights_were():
    assert normalisation(build_model("test_vit", 8))[0] == [0.5, 0.5, 0.5]
