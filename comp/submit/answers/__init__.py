"""Answers, one file each: a class, a probability, a number, tags, or the best classes in a row of a submission."""

from comp.submit.answers.base import Answer
from comp.submit.answers.choose import choose_answer

__all__ = ["Answer", "choose_answer"]
