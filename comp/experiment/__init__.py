"""The only wiring: a config becomes parts, parts become a run directory, a run directory becomes predictions."""

from comp.experiment.export import export_run
from comp.experiment.infer import Wish, infer
from comp.experiment.predict import open_predictor, predict_run
from comp.experiment.summary import closing_line
from comp.experiment.train import run_experiment

__all__ = ["Wish", "closing_line", "export_run", "infer", "open_predictor", "predict_run", "run_experiment"]
