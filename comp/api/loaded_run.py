"""A finished run, blend or submission in memory: its scores, out-of-fold predictions, answers and report."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from comp.api.command_line import recorded_as
from comp.errors import UserError
from comp.text import format_interval

if TYPE_CHECKING:
    import pandas as pd

    from comp.serving.model import ServedModel
    from comp.serving.pixels import ImageLike


def load(name: str | Path) -> LoadedRun:
    """Return a run, a blend or a submission by its name or path, as `python -m comp predict --run NAME` finds it.

    >>> import comp
    >>> comp.load("demo")  # doctest: +ELLIPSIS
    run demo of demo: accuracy ... [...], folds 0, 1, 2
    >>> comp.load("submissions/both.csv").path.name
    'both.csv'
    """
    from comp import runs
    from comp.serving.reference import parse_reference

    reference = parse_reference(str(name))
    if reference.kind == "submissions":
        from comp.ship.reproduce import find_manifest

        return LoadedRun(reference.name, find_manifest(reference.name)[0], is_run=False)
    matches = runs.find_runs([reference.name])
    if len(matches) > 1:
        raise UserError(f"{name} matches {len(matches)} runs; pass one")
    return LoadedRun(matches[0].name, matches[0].path, is_run=True)


@dataclass(frozen=True, eq=False, repr=False)
class LoadedRun:
    """A run, or a submission with its blend; made by `load`, `train` and `infer`.

    >>> import comp
    >>> comp.load("demo")  # doctest: +ELLIPSIS
    run demo of demo: accuracy ... [...], folds 0, 1, 2
    """

    name: str
    path: Path  # the directory of a run, the file of a submission
    is_run: bool
    _models: dict[tuple[str, str], ServedModel] = field(default_factory=dict, init=False)

    @property
    def score(self) -> float:
        """The out-of-fold score in the run's metric; cross-fitted for a submission.

        >>> import comp
        >>> 0 <= comp.load("demo").score <= 1
        True
        """
        return self._validated.score

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the score.

        >>> import comp
        >>> low, high = comp.load("demo").interval
        >>> low <= comp.load("demo").score <= high
        True
        """
        return self._validated.interval

    @property
    def scores(self) -> pd.DataFrame:
        """The score of each fold, and of all out-of-fold predictions together.

        >>> import comp
        >>> comp.load("demo").scores["fold"].tolist()
        ['0', '1', '2', 'OOF']
        """
        import pandas as pd

        scores = self._validated
        return pd.DataFrame(
            {"fold": [*scores.per_fold, "OOF"], scores.metric: [*scores.per_fold.values(), scores.score]}
        )

    def oof(self) -> pd.DataFrame:
        """Return the out-of-fold predictions: image, label, fold, and a column per class.

        >>> import comp
        >>> table = comp.load("demo").oof()
        >>> len(table), table.columns[:4].tolist()
        (48, ['image', 'label', 'fold', 'basophil'])
        """
        from comp.prediction_file import find_table, read_any_predictions
        from comp.runs import BLENDS

        directory = self.path / "predictions" / "identity" if self.is_run else BLENDS / self.name
        file = find_table(directory / "oof.npz")
        if file is None:
            raise UserError(f"{self.path} has no out-of-fold predictions; train its folds, and for a blend run infer")
        return read_any_predictions(file).table.reset_index()

    def predict(
        self, images: ImageLike | Iterable[ImageLike], *, runtime: str = "torch", device: str = "auto"
    ) -> pd.DataFrame:
        """Return the answer to each image and the prediction of each class, as `python -m comp predict` computes them.

        Images are files, folders, patterns, PIL images, or uint8 arrays of shape (height, width, 3) in RGB.

        >>> import comp, numpy
        >>> run = comp.load("demo")
        >>> run.predict("input/demo/test/img_*.jpg")["image"].tolist()[:2]
        ['input/demo/test/img_0.jpg', 'input/demo/test/img_1.jpg']
        >>> grey = numpy.full((64, 64, 3), 128, numpy.uint8)
        >>> run.predict([grey]).columns[:3].tolist()
        ['image', 'answer', 'basophil']
        """
        import pandas as pd

        from comp.serving.answers import make_answers
        from comp.serving.pixels import find_any, predict_any

        items = find_any(images)
        model = self._model(runtime, device)
        names, predictions = predict_any(model, items)
        answers = make_answers(model.task, names, predictions)
        index = {"image": [answer.image for answer in answers], "answer": [answer.text for answer in answers]}
        return pd.concat([pd.DataFrame(index), pd.DataFrame(predictions, columns=list(model.task.columns))], axis=1)

    def report(self, *, quick: bool = False, device: str = "auto") -> Report:
        """Write the report as `python -m comp report` does, and return it. `quick` leaves out what runs a model.

        >>> import comp
        >>> comp.load("demo").report(quick=True).path.as_posix()
        'runs/reports/demo/report.html'
        """
        from comp.report.page import write_report
        from comp.report.source import find_source

        reference = f"runs/{self.name}" if self.is_run else str(self.path)
        with recorded_as(["comp", "report", reference, *(["--quick"] if quick else [])]):
            return Report(write_report(find_source([reference], None if quick else device)))

    @cached_property
    def _dataset(self) -> str:
        from comp.runs import read_run
        from comp.submit.manifest import read_manifest

        if self.is_run:
            return read_run(self.path).config.dataset
        competition = read_manifest(self.path).competition
        return competition.name if competition else "another competition"

    @cached_property
    def _scores(self) -> _Scores | None:
        """The scores; None before a fold is done, and for a model of all images."""
        from comp.files import file_exists
        from comp.records.metrics import RunMetrics
        from comp.submit.manifest import read_manifest

        if self.is_run:
            file = self.path / "metrics.json"
            metrics = RunMetrics.read(file) if file_exists(file) else None
            if metrics is None or metrics.scores is None:
                return None
            kept, per_fold = metrics.scores.oof.kept, metrics.scores.per_fold[metrics.kept]
            return _Scores(metrics.metric, kept.score, kept.interval, _by_fold(metrics.folds_done, per_fold))
        manifest = read_manifest(self.path)
        if manifest.oof is None:
            return None
        summary, folds = manifest.oof, manifest.members[0].folds
        return _Scores(summary.metric, summary.score, summary.interval, _by_fold(folds, summary.per_fold))

    @property
    def _validated(self) -> _Scores:
        if self._scores is None:
            raise UserError(f"{self.path} has no score; train its folds (a model of all images has none)")
        return self._scores

    def _model(self, runtime: str, device: str) -> ServedModel:
        from comp.serving.model import open_model

        if (runtime, device) not in self._models:
            reference = f"runs/{self.name}" if self.is_run else str(self.path)
            self._models[runtime, device] = open_model(reference, runtime, device)
        return self._models[runtime, device]

    def _rows(self) -> dict[str, str]:
        """Return what the object shows of itself, by title."""
        scores = self._scores
        rows = {"run" if self.is_run else "submission": self.name, "dataset": self._dataset}
        if scores is None:
            return {**rows, "score": "none yet"}
        value = f"{scores.score:.4f} {format_interval(scores.interval)}"
        return {**rows, scores.metric: value, "folds": ", ".join(scores.per_fold)}

    def __repr__(self) -> str:
        (kind, name), (_, dataset), *rows = self._rows().items()
        return f"{kind} {name} of {dataset}: " + ", ".join(f"{title} {value}" for title, value in rows)

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><th>{html.escape(title)}</th><td>{html.escape(value)}</td></tr>"
            for title, value in self._rows().items()
        )
        return f"<table>{''.join(rows)}</table>"


@dataclass(frozen=True)
class Report:
    """A report: a page, and its figures as PNG files by name. A notebook shows the page.

    >>> import comp, pathlib
    >>> "confusion" in comp.Report(pathlib.Path("runs/reports/demo/report.html")).figures
    True
    """

    path: Path

    @property
    def figures(self) -> dict[str, Path]:
        """The PNG files beside the page, by name.

        >>> import comp, pathlib
        >>> comp.Report(pathlib.Path("runs/reports/demo/report.html")).figures["confusion"].name
        'confusion.png'
        """
        return {file.stem: file for file in sorted(self.path.parent.glob("*.png"))}

    def _repr_html_(self) -> str:
        page = html.escape(self.path.read_text(encoding="utf-8"))
        style = "width: 100%; height: 640px; border: 1px solid #8884"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'


@dataclass(frozen=True)
class _Scores:
    """Out-of-fold scores: of all folds, with a 95 % interval, and of each."""

    metric: str
    score: float
    interval: tuple[float, float]
    per_fold: dict[str, float]


def _by_fold(folds: Iterable[int | str], scores: Sequence[float]) -> dict[str, float]:
    return dict(zip(map(str, sorted(fold for fold in folds if fold != "full")), scores, strict=True))
