"""The only wiring: a config becomes parts, parts become a run directory, a run directory becomes predictions."""

from comp.experiment.export import export_run
from comp.experiment.infer import infer
from comp.experiment.predict import measured_cost, predict_run
from comp.experiment.summary import closing_line
from comp.experiment.train import run_experiment

__all__ = ["closing_line", "export_run", "infer", "measured_cost", "predict_run", "run_experiment"]
