from __future__ import annotations

import numpy as np
import torch

from comp.engine.predict import normalise, predict_models
from comp.zoo.build import build_model

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (11, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
FEED = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "device": CPU, "precision": "fp32"}


def models(count: int = 1):
    """Their BatchNorm statistics have seen the images: an untouched network says nearly the same of every picture."""
    torch.manual_seed(0)
    made = [build_model("sharif_deep_efficientnet", 8).train() for _ in range(count)]
    with torch.no_grad():
        for model in made:
            for _ in range(30):
                model(normalise(IMAGES, FEED["mean"], FEED["std"], CPU))
    return made


def test_pixels_are_normalised_as_everybody_does():
    by_hand = (IMAGES.permute(0, 3, 1, 2) / 255 - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).view(3, 1, 1)
    assert torch.allclose(normalise(IMAGES, FEED["mean"], FEED["std"], CPU), by_hand, atol=1e-6)


def test_neither_batch_size_nor_order_matters():
    [model] = models()
    whole = predict_models([model], [IMAGES], views=["identity"], **FEED)[0, 0]
    parts = predict_models([model], IMAGES.split(3), views=["identity"], **FEED)[0, 0]
    turned = predict_models([model], [IMAGES.flip(0)], views=["identity"], **FEED)[0, 0][::-1]
    for other in (parts, turned):
        assert np.abs(whole - other).max() < 1e-5
        assert np.array_equal(whole.argmax(1), other.argmax(1))
    assert whole.dtype == np.float32 and np.allclose(whole.sum(1), 1, atol=1e-5)


def test_a_view_is_the_prediction_of_the_turned_picture():
    [model] = models()
    views = predict_models([model], [IMAGES], views=["identity", "hflip", "rot90"], **FEED)[0]
    flipped = predict_models([model], [IMAGES.flip(2)], views=["identity"], **FEED)[0, 0]
    turned = predict_models([model], [torch.rot90(IMAGES, 1, (1, 2))], views=["identity"], **FEED)[0, 0]
    assert np.allclose(views[1], flipped, atol=1e-6) and np.allclose(views[2], turned, atol=1e-6)
    assert not np.allclose(views[0], views[1], atol=1e-5)


def test_many_models_look_at_one_decode_and_are_left_as_they_were():
    two = models(2)
    decoded = []

    def batches():
        for batch in IMAGES.split(4):
            decoded.append(len(batch))
            yield batch

    together = predict_models(two, batches(), views=["identity", "vflip"], **FEED)
    assert together.shape == (2, 2, 11, 8) and sum(decoded) == 11
    assert np.allclose(
        together[1], predict_models(two[1:], [IMAGES], views=["identity", "vflip"], **FEED)[0], atol=1e-5
    )
    assert all(model.training for model in two)
