from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from comp.batches.augment_batch import to_device
from comp.engine import predict
from comp.engine.fit import prepare_batch
from comp.engine.predict import normalise, predict_models, predict_probabilities
from comp.zoo.build import build_model

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (11, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
OPTIONS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "device": CPU, "precision": "fp32"}


def models(count: int = 1):
    """Return models whose BatchNorm has seen the images; untouched ones predict nearly the same for every image."""
    torch.manual_seed(0)
    networks = [build_model("sharif_deep_efficientnet", 8).train() for _ in range(count)]
    with torch.no_grad():
        for model in networks:
            for _ in range(30):
                model(normalise(IMAGES, OPTIONS["mean"], OPTIONS["std"], CPU))
    return networks


def test_normalise_is_the_torchvision_formula():
    expected = (IMAGES.permute(0, 3, 1, 2) / 255 - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).view(3, 1, 1)
    assert torch.allclose(normalise(IMAGES, OPTIONS["mean"], OPTIONS["std"], CPU), expected, atol=1e-6)


def test_predict_models_batch_that_does_not_fit_into_memory_is_predicted_in_parts():
    class Small(nn.Module):
        """A model for which the memory of the device holds three images."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return images.mean((2, 3))

    in_parts, one_by_one = (
        predict_models([Small()], IMAGES.split(count), views=["identity", "hflip"], **OPTIONS) for count in (11, 1)
    )
    assert in_parts.shape == (1, 2, 11, 3) and np.allclose(in_parts, one_by_one)


def test_predict_models_one_image_that_does_not_fit_is_an_error():
    class TooLarge(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        predict_models([TooLarge()], [IMAGES], views=["identity"], **OPTIONS)


@pytest.mark.parametrize(("device", "waits"), [("cuda", False), ("mps", True)])
def test_copies_to_a_device_wait_unless_it_is_cuda(monkeypatch, device, waits):
    waited = []

    def record(tensor: torch.Tensor, *_, non_blocking: bool = False) -> torch.Tensor:
        waited.append(not non_blocking)
        return tensor

    monkeypatch.setattr(torch.Tensor, "to", record)
    monkeypatch.setattr(predict, "_on_device", lambda *_: torch.ones(3).view(1, 3, 1, 1))
    images, target = IMAGES.clone(), torch.device(device)
    normalise(images, [0.5] * 3, [0.5] * 3, target)
    to_device(np.zeros(3), target)
    predict_probabilities([lambda x: x.float().mean((1, 2))], [images], views=["identity"], device=target)
    prepare_batch((images, images), 0, lambda x: x, target, (0, 0), None)
    assert waited == [waits] * 4


def test_predict_models_batch_size_and_order_change_nothing():
    [model] = models()
    whole = predict_models([model], [IMAGES], views=["identity"], **OPTIONS)[0, 0]
    in_batches = predict_models([model], IMAGES.split(3), views=["identity"], **OPTIONS)[0, 0]
    reversed_order = predict_models([model], [IMAGES.flip(0)], views=["identity"], **OPTIONS)[0, 0][::-1]
    for other in (in_batches, reversed_order):
        assert np.abs(whole - other).max() < 1e-5
        assert np.array_equal(whole.argmax(1), other.argmax(1))
    assert whole.dtype == np.float32 and np.allclose(whole.sum(1), 1, atol=1e-5)


def test_predict_models_view_equals_prediction_of_the_turned_image():
    [model] = models()
    views = predict_models([model], [IMAGES], views=["identity", "hflip", "rot90"], **OPTIONS)[0]
    flipped = predict_models([model], [IMAGES.flip(2)], views=["identity"], **OPTIONS)[0, 0]
    turned = predict_models([model], [torch.rot90(IMAGES, 1, (1, 2))], views=["identity"], **OPTIONS)[0, 0]
    assert np.allclose(views[1], flipped, atol=1e-6) and np.allclose(views[2], turned, atol=1e-6)
    assert not np.allclose(views[0], views[1], atol=1e-5)


def test_predict_models_many_models_share_batches_and_keep_their_mode():
    two = models(2)
    decoded = []

    def batches():
        for batch in IMAGES.split(4):
            decoded.append(len(batch))
            yield batch

    together = predict_models(two, batches(), views=["identity", "vflip"], **OPTIONS)
    assert together.shape == (2, 2, 11, 8) and sum(decoded) == 11
    assert np.allclose(
        together[1], predict_models(two[1:], [IMAGES], views=["identity", "vflip"], **OPTIONS)[0], atol=1e-5
    )
    assert all(model.training for model in two)
