"""The training images that are most like an image, and whether it is unlike all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from comp.data.cache import load_cache
from comp.data.images import SquareSpec, resize
from comp.data.scan import Image
from comp.diagnosis.outliers import Neighbourhood, unit_length
from comp.engine.device import choose_device
from comp.engine.features import compute_features
from comp.engine.precision import autocast, choose_inference_precision
from comp.engine.predict import normalise
from comp.prediction.explanations import Explainer
from comp.prediction.load import LoadedModel
from comp.records.served import ServedMember
from comp.runs import read_run
from comp.serving.model import ServedModel, prepare_images
from comp.zoo.classifier import classifier_layers

COUNT = 4  # training images shown
FAR_PERCENTILE = 99  # of the distances of training images to others: beyond it an image is unlike
MAX_LOOKS = 2000  # training images whose look is compared, evenly spaced
LOOK_SIDE = 8


@dataclass(frozen=True, eq=False)
class Nearest:
    """The training images most like an image, the nearest first."""

    images: tuple[Image, ...]
    unlike: str  # in what it is farther from training images than 99 % of them are from others; "" in nothing


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The features of all training images by one fold model, and their look, in memory.

    Features are compared with those of the fold's validation images alone: a model's features of images that it was
    trained on lie apart from those of others. A network that was trained on blood cells has features of blood cells
    for noise, too; so the look, colours and contrast on a coarse grid, is compared as well.
    """

    loaded: LoadedModel
    member: ServedMember
    device: torch.device
    images: tuple[Image, ...]
    index: NearestNeighbors
    features: Neighbourhood
    looks: Neighbourhood

    @classmethod
    def open(cls, model: ServedModel, device_name: str) -> TrainingImages:
        """Read the features, or compute and store them; without finished folds or training images, a UserError."""
        member = model.record.members[0]
        explainer = Explainer.open(read_run(Path(member.path)), choose_device(device_name))
        fold = explainer.folds[0]
        features = explainer.train_features(fold).features
        images = explainer.dataset.train
        squares = load_cache(explainer.dataset.name, images, SquareSpec(**vars(member.square)))
        rows = range(0, len(images), -(-len(images) // MAX_LOOKS))
        unit_features = unit_length(features)
        return cls(
            explainer.model(fold),
            member,
            explainer.predictor.device,
            tuple(images),
            NearestNeighbors(n_neighbors=min(COUNT, len(features))).fit(unit_features),
            Neighbourhood.fit(unit_features[explainer.predictor.read_split() == fold]),
            Neighbourhood.fit(np.stack([look(resize(squares[row], member.size)) for row in rows])),
        )

    def nearest(self, image: np.ndarray) -> Nearest:
        """Return the training images most like an RGB image, uint8 (height, width, 3)."""
        spec, prepared = self.loaded.spec, prepare_images(self.member, [image])
        batch = normalise(torch.from_numpy(prepared), spec.mean, spec.std, self.device)
        precision = choose_inference_precision(spec.precision, self.device)
        classifier = next(iter(classifier_layers(self.loaded.model)), None)
        with torch.no_grad(), autocast(self.device, precision):
            features = compute_features(self.loaded.model, classifier, batch)[0].cpu().numpy()
        features = unit_length(features)
        [rows] = self.index.kneighbors(features, return_distance=False)
        comparisons = (
            ("colour and contrast", self.looks, look(prepared[0])[None]),
            ("what the model sees", self.features, features),
        )
        unlike = (name for name, reference, vector in comparisons if _is_far(reference, vector))
        return Nearest(tuple(self.images[row] for row in rows), next(unlike, ""))


def look(pixels: np.ndarray) -> np.ndarray:
    """Return the colours of an RGB image on a coarse grid, and the contrast of its finer parts there."""
    values = pixels.astype(np.float32)
    size = (LOOK_SIDE, LOOK_SIDE)
    mean = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    squares = cv2.resize(values**2, size, interpolation=cv2.INTER_AREA)
    return np.concatenate([mean.ravel(), np.sqrt(np.maximum(squares - mean**2, 0)).ravel()])


def _is_far(reference: Neighbourhood, vector: np.ndarray) -> bool:
    return bool(reference.distances(vector)[0] > np.percentile(reference.own, FAR_PERCENTILE))
