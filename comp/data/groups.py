"""The groups of training images that a split keeps in one fold: copies, and what data.group and data.row name."""

from __future__ import annotations

from comp.data.cache import stats_file
from comp.data.dataset import Dataset
from comp.data.duplicates import find_duplicates, group_ids
from comp.data.image_stats import survey
from comp.data.stratify import join_groups
from comp.errors import UserError


def find_groups(dataset: Dataset) -> dict[str, str]:
    """Return the group of each training image by id: its copies, and those of its group and row; refuse unreadable."""
    stats = survey(dataset.train, kept=stats_file(dataset))
    if stats.unreadable:
        example = stats.unreadable[0].image.path
        raise UserError(f"cannot read {len(stats.unreadable)} images, e.g. {example}; see: python -m comp data check")
    copies = group_ids(dataset.train, find_duplicates(stats))
    if all(image.group is None and image.row is None for image in dataset.train):
        return copies
    ids, groups, rows = zip(*((image.id, image.group, image.row) for image in dataset.train), strict=True)
    return join_groups(ids, [copies[id] for id in ids], groups, rows)
