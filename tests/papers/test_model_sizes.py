from __future__ import annotations

import pytest

from comp.papers.model_sizes import count_model_size
from comp.papers.model_table import PAPER_MODELS
from tests.papers.small_models import KIT_MODELS

# name, kwargs, image size, trainable, total as Keras counts, multiply-adds in millions
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
# Gupta's table 2, experiments 1 to 13: total and multiply-adds (millions) with pools of stride 1, then of stride 2
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


@pytest.mark.parametrize(("name", "kwargs", "image_size", "trainable", "total", "macs"), COUNTS)
def test_count_model_size_is_that_of_the_paper(name, kwargs, image_size, trainable, total, macs):
    size = count_model_size(name, kwargs, image_size)
    assert size.trainable == trainable
    assert size.total == total or total is None
    assert macs is None or size.macs / 1e6 == pytest.approx(macs, abs=0.051)  # the reference is rounded


@pytest.mark.parametrize("number", range(1, 14))
def test_count_model_size_gupta_experiment_is_that_of_the_paper_with_either_stride(number):
    model = [model for model in PAPER_MODELS if model.name == "gupta_cnn"][number - 1]
    stride_1 = count_model_size(model.name, model.kwargs, model.image_size)
    stride_2 = count_model_size(model.name, {**model.kwargs, "pool_stride": 2}, model.image_size)
    expected = EXPERIMENTS[number - 1]
    assert (stride_1.total, stride_2.total) == expected[::2]
    assert (stride_1.macs / 1e6, stride_2.macs / 1e6) == pytest.approx(expected[1::2], abs=0.051)
    assert model.kwargs["bn"] == (number == 5)


def test_model_table_has_every_model_of_the_kit():
    assert {model.name for model in PAPER_MODELS} == {*KIT_MODELS, "resnet18"}
    assert {model.name for model in PAPER_MODELS} == {name for name, *_ in COUNTS}


def test_weights_mib_karakus_is_all_numbers_in_32_bits():
    sizes = [
        count_model_size(model.name, model.kwargs, model.image_size)
        for model in PAPER_MODELS
        if model.paper == "karakus"
    ]
    # the paper's table 4
    assert [f"{size.weights_mib:.2f}" for size in sizes] == ["4.36", "16.36", "8.36", "0.14", "1.17", "0.17"]
