"""The numbers of the rows that some samples have before the ids, as pandas writes them: they are no ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

UNNAMED = re.compile("|Unnamed: 0")  # pandas writes the first, and reads it as the second
NAMED = re.compile("index|row|row_?(number|num|id|index)|number|no|#")


@dataclass(frozen=True)
class RowNumbers:
    """The first column of a table that numbers its rows: its name, and its text in each row."""

    name: str
    texts: tuple[str, ...]


def find_row_numbers(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> RowNumbers | None:
    """Return the numbers in the first column; None if it is the column of ids.

    Ids and answers are beside them. Without a name they are different whole numbers. Under a name such as `index` they
    count from 0 or 1, and the ids are no numbers: `index` is itself the id where probabilities follow.
    """
    is_named = bool(columns) and not UNNAMED.fullmatch(columns[0])
    if len(columns) < 3 or not rows or any(len(row) != len(columns) for row in rows):
        return None
    texts = tuple(row[0] for row in rows)
    if is_named:
        counting = [tuple(str(start + row) for row in range(len(rows))) for start in (0, 1)]
        is_id = texts not in counting or all(_is_number(row[1]) for row in rows)
        if is_id or not NAMED.fullmatch(columns[0].lower()):
            return None
    elif not all(text.isdecimal() for text in texts) or len(set(texts)) < len(texts):
        return None
    return RowNumbers(columns[0], texts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
