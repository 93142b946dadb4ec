"""The plain mean: hard to beat, nothing to fit."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from comp.errors import UserError


def mean(tables: Sequence[pd.DataFrame], classes: Sequence[str]) -> pd.DataFrame:
    """Mean probabilities over tables indexed by image, whatever order their rows are in."""
    first = tables[0]
    for table in tables[1:]:
        if set(table.index) != set(first.index):
            raise UserError(f"members predict different images ({len(first)} and {len(table)}); "
                            f"train the same folds of each")
    result = first.copy()
    result[list(classes)] = sum(table.loc[first.index, list(classes)] for table in tables) / len(tables)
    return result
