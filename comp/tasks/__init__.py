"""The kinds of target, one file each: single labels, yes or no, tags, grades and numbers. None knows another.

A task owns all that differs between them: reading labels, the outputs of the network and its loss, predictions and
their checks, the baseline, calibration, and the decision that turns predictions into answers.
"""

from comp.tasks.base import Task
from comp.tasks.registry import TASKS, make_task, single_label

__all__ = ["TASKS", "Task", "make_task", "single_label"]
