"""The content of the local page: the answer, its probabilities, its heat map, and training images like the image."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from comp.errors import UserError
from comp.report.pictures import Pictures, jpeg_data_uri, thumbnail_uri
from comp.serving.answers import SMALLEST_SHOWN, make_answers
from comp.serving.model import ServedModel
from comp.serving.upload import MAX_BYTES, MAX_PIXELS, RefusedUploadError, decode_upload

if TYPE_CHECKING:  # both import torch, which takes seconds
    from comp.serving.heat import HeatMapper
    from comp.serving.neighbours import TrainingImages

MAX_FILES = 10  # that the page takes at once
MAX_BARS = 6
SIDE = 256  # pixels of the longer side of a picture

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Page:
    """A model and what explains its answers.

    One thread decodes and predicts one image at a time, which bounds the memory; in the thread of each connection,
    torch would prepare its networks again.
    """

    model: ServedModel
    mapper: HeatMapper | None = None
    training: TrainingImages | None = None
    notes: tuple[str, ...] = ()  # what the page lacks, and why
    worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def describe(self) -> dict[str, Any]:
        """Return what the page shows before the first image."""
        parts = self.model.record.blend.parts
        return {
            "name": self.model.record.name,
            "form": self.model.task.form,
            "columns": len(self.model.task.columns),
            "models": sum(len(member.weights_sha256) for member in self.model.record.members),
            "is_calibrated": any(part.temperature != 1 for part in parts) or self.model.record.blend.stack is not None,
            "is_explained": bool(self.mapper or self.training),
            "notes": list(self.notes),
            "max_files": MAX_FILES,
            "max_bytes": MAX_BYTES,
            "max_pixels": MAX_PIXELS,
        }

    def answer(self, content: bytes) -> dict[str, Any]:
        """Return the answer to an uploaded file; one that is refused is a RefusedUploadError."""
        return self.worker.submit(self._answer, content).result()

    def explain(self, content: bytes, column: int) -> dict[str, Any]:
        """Return the heat map of a column and the training images that are most like an uploaded file."""
        return self.worker.submit(self._explain, content, column).result()

    def _answer(self, content: bytes) -> dict[str, Any]:
        image, task = decode_upload(content), self.model.task
        [answer] = make_answers(task, ["image"], _predict(lambda: self.model.predict([image.pixels])))
        ranked = sorted(answer.predictions.items(), key=lambda item: -item[1]) if task.form != "numbers" else []
        bars = [(name, value) for name, value in ranked[:MAX_BARS] if value >= SMALLEST_SHOWN or name == ranked[0][0]]
        return {
            "answer": answer.text,
            "column": answer.column,
            "bars": bars,
            "picture": thumbnail_uri(image.pixels, SIDE),
            "rule": image.rule,
        }

    def _explain(self, content: bytes, column: int) -> dict[str, Any]:
        pixels, mapper, training = decode_upload(content).pixels, self.mapper, self.training
        heat = jpeg_data_uri(_predict(lambda: mapper.picture(pixels, column))) if mapper else ""
        nearest = _predict(lambda: training.nearest(pixels)) if training else None
        if nearest is None:
            return {"heat": heat, "nearest": [], "unlike": ""}
        pictures = Pictures({image.id: image.path for image in nearest.images})
        images = [
            {"picture": pictures.data_uri(image.id), "label": image.label or "", "id": image.id}
            for image in nearest.images
        ]
        return {"heat": heat, "nearest": images, "unlike": nearest.unlike}


def open_page(model: ServedModel, runtime: str, device: str) -> Page:
    """Return the page of a model; what cannot be shown is a note."""
    if runtime != "torch":
        return Page(model, notes=(f"Heat maps and nearest training images need torch, not {runtime}.",))
    from comp.serving.heat import HeatMapper  # imported here: torch takes seconds
    from comp.serving.neighbours import TrainingImages

    notes: list[str] = []

    def attempt(open_part: Callable[[ServedModel, str], T], title: str) -> T | None:
        try:
            return open_part(model, device)
        except UserError as error:
            notes.append(f"No {title}: {error}.")
            return None

    mapper = attempt(HeatMapper.open, "heat maps")
    training = attempt(TrainingImages.open, "nearest training images")
    return Page(model, mapper, training, tuple(notes))


def _predict(compute: Callable[[], T]) -> T:
    """Return the result of a model; its error, such as too little memory, ends this answer and not the server."""
    try:
        return compute()
    except (RuntimeError, MemoryError, UserError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RefusedUploadError(f"The model failed on this image: {reason}.") from None
