"""The mistakes as pictures, the most confident first, and where in the image the answer comes from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from comp.data.cache import decode, make_square_spec
from comp.data.images import resize
from comp.engine.explain import resize_maps, shade
from comp.errors import UserError
from comp.report.mistakes import Mistake, find_mistakes
from comp.report.oof import OofPredictions
from comp.report.pictures import SIDE, jpeg_data_uri
from comp.report.section import Section
from comp.report.source import Source

MAX_MISTAKES = 48


@dataclass(frozen=True)
class MistakePicture:
    """A mistake on the page."""

    image: str
    uri: str
    heat_uri: str  # the image, bright where the answer comes from; "" without a model
    mistake: Mistake


def build(source: Source) -> Section | None:
    oof = source.oof
    mistakes = find_mistakes(oof) if oof else []
    if oof is None or not mistakes or not source.pictures.paths:
        return None
    shown = mistakes[:MAX_MISTAKES]
    heats, reason = _draw_heat(source, oof, shown)
    pictures = [
        MistakePicture(image := oof.images[mistake.row], source.pictures.data_uri(image), heat, mistake)
        for mistake, heat in zip(shown, heats, strict=True)
    ]
    values = {
        "pictures": pictures,
        "mistakes": len(mistakes),
        "images": len(oof.images),
        "form": oof.task.form,
        "has_heat": any(heats),
        "reason": reason,
        "member": source.explainer.run.name if source.explainer and source.run is None else "",
    }
    title = "Largest errors" if oof.task.form == "numbers" else "Mistakes"
    return Section(title, "mistakes", "mistakes.html", values)


def _draw_heat(source: Source, oof: OofPredictions, mistakes: Sequence[Mistake]) -> tuple[list[str], str]:
    """Return a picture per mistake that is bright where the answer comes from, and why there is none."""
    explainer, nothing = source.explainer, [""] * len(mistakes)
    if explainer is None:
        return nothing, ""
    train = {image.id: image for image in explainer.dataset.train}
    data = explainer.run.config.data
    spec = make_square_spec(explainer.dataset.train, data.size, data.fit, data.crop)
    try:
        maps = explainer.heat_maps([(oof.images[item.row], oof.task.columns[item.column]) for item in mistakes])
        enlarged = resize_maps(torch.tensor(maps), SIDE).numpy()
        squares = [resize(decode(train[oof.images[item.row]], spec), SIDE) for item in mistakes]
    except (UserError, KeyError) as error:
        print(f"warning: heat maps are left out: {error}", file=sys.stderr)
        return nothing, str(error)
    return [jpeg_data_uri(shade(square, heat)) for square, heat in zip(squares, enlarged, strict=True)], ""
