"""Reliability, the histogram of confidences, and the accuracy of what is not sent to a person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comp.ensemble.calibrate import Confidence, expected_calibration_error, reliability_curve
from comp.figures import BAD, GOOD, QUIET, new_figure, style_axis, use_log_scale
from comp.report.oof import OofPredictions
from comp.report.section import Figure, Finding, Section
from comp.report.source import Source
from comp.stats import wilson_interval
from comp.text import format_share

SENT_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)  # of the images, sent to a person
SENTENCE_SHARE = 0.02
MAX_SENT = 0.3  # that is drawn
MAX_ERROR = 0.05  # of the calibration that is good enough


@dataclass(frozen=True)
class Sent:
    """The least certain images are sent to a person, the others are answered."""

    share: float
    images: int
    errors: int  # among the images sent
    accuracy: float  # of the others
    interval: tuple[float, float]


def build(source: Source) -> Section | None:
    oof = source.oof
    confidence = _confidence(oof) if oof and oof.has_confidence else None
    if oof is None or confidence is None:
        return None
    unit = "images" if oof.has_classes else "answers (a yes or no per image and tag)"
    count = f"n = {len(confidence.correct):,} {unit}"
    error = expected_calibration_error(confidence)
    excess = float(confidence.confidence.mean() - confidence.correct.mean())
    figures = [_draw_reliability(confidence, count), _draw_histogram(confidence, count)]
    sent = []
    if oof.has_classes and not confidence.correct.all():
        sent = [send_least_certain(confidence, share) for share in SENT_SHARES if share * len(confidence.correct) >= 1]
        figures.append(_draw_coverage(confidence, count))
    sentence = next((row for row in sent if row.share == SENTENCE_SHARE), None)
    accuracy = float(confidence.correct.mean())
    values = {
        "error": error,
        "excess": excess,
        "sent": sent,
        "sentence": sentence,
        "accuracy": accuracy,
        "wrong": int((~confidence.correct).sum()),
        "images": len(confidence.correct),
    }
    findings = _findings(error, excess, sentence, accuracy)
    return Section("Confidence", "confidence", "calibration.html", values, tuple(figures), tuple(findings))


def _confidence(oof: OofPredictions) -> Confidence | None:
    exclusive = oof.task.to_exclusive(oof.predictions)
    return None if exclusive is None else Confidence.of(oof.task.exclusive_targets(oof.targets), exclusive)


def send_least_certain(confidence: Confidence, share: float) -> Sent:
    """Return what is left when the `share` of the least certain images goes to a person."""
    images = len(confidence.correct)
    count = round(share * images)
    order = np.argsort(confidence.confidence, kind="stable")
    kept = confidence.correct[order[count:]]
    errors = int((~confidence.correct[order[:count]]).sum())
    return Sent(share, count, errors, float(kept.mean()), wilson_interval(float(kept.mean()), len(kept)))


def _findings(error: float, excess: float, sentence: Sent | None, accuracy: float) -> list[Finding]:
    direction = "too high" if excess > 0 else "too low"
    text = f"Calibration error {error:.3f}: confidences are {direction} by {abs(excess):.3f} on average"
    findings = [Finding("trust", text, "fine" if error < MAX_ERROR else "notice")]
    if sentence:
        findings.append(
            Finding(
                "trust",
                f"Send the least certain {format_share(sentence.share)} to a person: accuracy {accuracy:.3f} becomes "
                f"{sentence.accuracy:.3f}",
                "fine",
            )
        )
    return findings


def _draw_reliability(confidence: Confidence, count: str) -> Figure:
    figure = new_figure(4.5, 3.2)
    axis = figure.subplots()
    curve = reliability_curve(confidence)
    hits = zip(curve.accuracy, curve.images, strict=True)
    intervals = np.array([wilson_interval(float(accuracy), int(images)) for accuracy, images in hits])
    low = max(0.0, min(float(curve.confidence.min()), float(intervals.min())) - 0.03)
    axis.plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle="--")
    axis.vlines(curve.confidence, intervals[:, 0], intervals[:, 1], color=GOOD, linewidth=1, alpha=0.6)
    axis.plot(curve.confidence, curve.accuracy, "o-", color=GOOD, markersize=4, linewidth=1.2)
    axis.set(xlim=(low, 1.01), ylim=(low, 1.02), ylabel="share that is right")
    style_axis(axis, label="confidence", grid="both")
    caption = f"Share of right answers by confidence, {len(curve.images)} bins of equal size with 95 % intervals; "
    return Figure("reliability", figure, f"{caption}dashed: well calibrated ({count})")


def _draw_histogram(confidence: Confidence, count: str) -> Figure:
    figure = new_figure(4.5, 3.2)
    axis = figure.subplots()
    edges = np.linspace(float(confidence.confidence.min()), 1, 26)
    for name, chosen, colour, hatch in (
        ("right", confidence.correct, GOOD, None),
        ("wrong", ~confidence.correct, BAD, "////"),
    ):
        values, label = np.histogram(confidence.confidence[chosen], edges)[0], f"{name} ({int(chosen.sum()):,})"
        axis.stairs(values, edges, color=colour, fill=True, alpha=0.55, label=label, hatch=hatch)
    use_log_scale(axis, "y", linear_below=10)
    axis.set_ylabel("number, logarithmic above 10")
    axis.legend(loc="upper left")
    style_axis(axis, label="confidence", grid="both")
    return Figure("confidences", figure, f"Confidence of right and of wrong answers ({count})")


def _draw_coverage(confidence: Confidence, count: str) -> Figure:
    figure = new_figure(4.5, 3.2)
    axis = figure.subplots()
    images = len(confidence.correct)
    correct = confidence.correct[np.argsort(confidence.confidence, kind="stable")]  # the least certain first
    answered = np.arange(images, 0, -1)
    accuracy = np.cumsum(correct[::-1])[::-1] / answered
    shown = max(1, int(MAX_SENT * images))
    axis.plot(100 * np.arange(shown) / images, accuracy[:shown], color=GOOD, linewidth=1.5)
    axis.set_ylabel("accuracy of the others")
    style_axis(axis, label="images sent to a person (%), the least certain first", grid="both")
    return Figure("coverage", figure, f"Accuracy of the answered images when the others go to a person ({count})")
