"""The training images that are most like an image, and whether it is unlike all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

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
FAR_PERCENTILE = 99  # of the distances among images that the model was not trained on: beyond it an image is unlike


@dataclass(frozen=True, eq=False)
class Nearest:
    """The training images most like an image, the nearest first."""

    images: tuple[Image, ...]
    is_unlike: bool  # farther from the validation images than 99 % of these are from each other


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The features of all training images by one fold model, in memory.

    The warning compares with the validation images of that fold alone: a model's features of images that it was
    trained on lie apart from those of others.
    """

    loaded: LoadedModel
    member: ServedMember
    device: torch.device
    images: tuple[Image, ...]
    index: NearestNeighbors
    validation: Neighbourhood
    limit: float

    @classmethod
    def open(cls, model: ServedModel, device_name: str) -> TrainingImages:
        """Read the features, or compute and store them; without finished folds or training images, a UserError."""
        member = model.record.members[0]
        explainer = Explainer.open(read_run(Path(member.path)), choose_device(device_name))
        fold = explainer.folds[0]
        features = explainer.train_features(fold).features
        validation = Neighbourhood.fit(features[explainer.predictor.read_split() == fold])
        return cls(
            explainer.model(fold),
            member,
            explainer.predictor.device,
            tuple(explainer.dataset.train),
            NearestNeighbors(n_neighbors=min(COUNT, len(features))).fit(unit_length(features)),
            validation,
            float(np.percentile(validation.own, FAR_PERCENTILE)),
        )

    def nearest(self, image: np.ndarray) -> Nearest:
        """Return the training images most like an RGB image, uint8 (height, width, 3)."""
        spec = self.loaded.spec
        batch = normalise(torch.from_numpy(prepare_images(self.member, [image])), spec.mean, spec.std, self.device)
        precision = choose_inference_precision(spec.precision, self.device)
        classifier = next(iter(classifier_layers(self.loaded.model)), None)
        with torch.no_grad(), autocast(self.device, precision):
            features = compute_features(self.loaded.model, classifier, batch)[0].cpu().numpy()
        [rows] = self.index.kneighbors(unit_length(features), return_distance=False)
        is_unlike = bool(self.validation.distances(features)[0] > self.limit)
        return Nearest(tuple(self.images[row] for row in rows), is_unlike)
