"""Predictions as answers for people and programs: a line, a row of a CSV, an object of JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from comp.tasks import Task
from comp.text import format_table

RUNNERS_UP = 2  # classes shown after the answer
SMALLEST_SHOWN = 0.0005  # as 0.001; a smaller probability is no runner-up


@dataclass(frozen=True)
class Answer:
    """The prediction for one image."""

    image: str
    text: str  # the class, the tags, the grade or the number
    predictions: dict[str, float]  # by column

    @property
    def column(self) -> int:
        """The column of the largest prediction, which a heat map explains."""
        return int(np.argmax(list(self.predictions.values())))

    def to_dict(self) -> dict[str, Any]:
        return {"image": self.image, "answer": self.text, "predictions": self.predictions}


def make_answers(task: Task, images: Sequence[Path | str], predictions: np.ndarray) -> list[Answer]:
    """Return the answer to each image, from predictions (images, columns)."""
    return [
        Answer(str(image), _text(task, row), dict(zip(task.columns, row.tolist(), strict=True)))
        for image, row in zip(images, predictions, strict=True)
    ]


def _text(task: Task, row: np.ndarray) -> str:
    if task.form == "classes":
        return task.columns[int(row.argmax())]
    if task.form == "tags":
        return task.spec.separator.join(tag for tag, value in zip(task.columns, row, strict=True) if value >= 0.5)
    return f"{row[0]:.6g}"


def format_answers(task: Task, answers: Sequence[Answer], width: int | None = None) -> str:
    """Return a table with a line per image: the answer, its probability, and the classes that come next."""
    if task.form == "numbers":
        return format_table(["image", "answer"], [[answer.image, answer.text] for answer in answers], width=width)
    rows = []
    for answer in answers:
        ranked = sorted(answer.predictions.items(), key=lambda item: -item[1])
        first, others = (ranked[0], ranked[1:]) if task.form == "classes" else (None, ranked)
        shown = [f"{name} {value:.3f}" for name, value in others[: RUNNERS_UP + 1] if value >= SMALLEST_SHOWN]
        rows.append(
            [answer.image, answer.text or "none", f"{first[1]:.3f}" if first else "", ", ".join(shown[:RUNNERS_UP])]
        )
    titles = ["image", "answer", "probability", "next" if task.form == "classes" else "probabilities"]
    return format_table(titles, rows, left=(0, 1, 3), width=width)


def csv_header(task: Task) -> str:
    """Return the first line of a CSV of answers."""
    return _line(["image", "answer", *task.columns])


def csv_rows(answers: Sequence[Answer]) -> str:
    """Return a line per answer; 9 digits, so that float32 survives the round trip."""
    return "".join(
        _line([answer.image, answer.text, *(f"{value:.9g}" for value in answer.predictions.values())])
        for answer in answers
    )


def _line(cells: Sequence[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()
