"""Heat maps of a served model: where in an image its answer comes from, in torch.

A map is the mean over the fold models of one member: that of the largest weight in the blend, as members may see
different squares of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from comp.data.images import SquareSpec, read_image, resize
from comp.engine.device import choose_device
from comp.engine.explain import SpatialLayer, check_captum, find_spatial_layer, heat_maps, resize_maps, shade
from comp.engine.predict import normalise
from comp.files import write_atomic
from comp.prediction.load import LoadedModel, load_model
from comp.progress_bar import progress_bar
from comp.records.served import ServedMember
from comp.records.weights import read_weights
from comp.serving.answers import Answer
from comp.serving.model import ServedModel, prepare_images
from comp.tasks import Task

SIDE = 256  # pixels of a picture with its heat map
JPEG_QUALITY = 90


@dataclass(frozen=True, eq=False)
class HeatMapper:
    """Computes heat maps with the fold models of a member."""

    task: Task
    member: ServedMember
    models: tuple[LoadedModel, ...]
    layers: tuple[SpatialLayer, ...]
    device: torch.device

    @classmethod
    def open(cls, model: ServedModel, device_name: str) -> HeatMapper:
        """Load the models; without captum, or of a model whose layers have no positions, a UserError."""
        check_captum()
        device = choose_device(device_name)
        weights = [part.weight or 0.0 for part in model.record.blend.parts]
        member = model.record.members[int(np.argmax(weights))]
        models = tuple(
            load_model(read_weights(Path(member.path) / f"fold{fold}" / "weights.pt", sha256), device)
            for fold, sha256 in member.weights_sha256.items()
        )
        grey = np.full((1, member.size, member.size, 3), 128, np.uint8)
        layers = tuple(find_spatial_layer(loaded.model, _input(loaded, grey, device)) for loaded in models)
        return cls(model.task, member, models, layers, device)

    def picture(self, image: np.ndarray, column: int) -> np.ndarray:
        """Return the square of an RGB image that the models see, dark where the prediction of `column` ignores it."""
        task, prepared, maps = self.task, prepare_images(self.member, [image]), []
        score = None if task.outputs == len(task.columns) else lambda outputs: task.activate(outputs).log()
        for loaded, layer in zip(self.models, self.layers, strict=True):
            batch = _input(loaded, prepared, self.device)
            heat = heat_maps(loaded.model, layer, batch, torch.tensor([column]), score)
            maps.append(resize_maps(heat, SIDE)[0].numpy())
        mean = np.mean(maps, axis=0)
        mean /= max(float(mean.max()), float(np.finfo(np.float32).tiny))
        return shade(resize(SquareSpec(**vars(self.member.square))(image), SIDE), mean)


def write_heat_maps(mapper: HeatMapper, answers: Sequence[Answer], folder: Path) -> None:
    """Write the picture with its heat map of every answer as <name>.cam.jpg; equal names get a number."""
    folder.mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    for answer in progress_bar(answers, "heat maps", unit="img", delay=1):
        stem = Path(answer.image).stem
        name, number = stem, 2
        while name in written:
            name, number = f"{stem}-{number}", number + 1
        written.add(name)
        pixels = mapper.picture(read_image(Path(answer.image)), answer.column)
        _, content = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        write_atomic(folder / f"{name}.cam.jpg", content.tobytes())


def _input(loaded: LoadedModel, prepared: np.ndarray, device: torch.device) -> torch.Tensor:
    return normalise(torch.from_numpy(prepared), loaded.spec.mean, loaded.spec.std, device)
