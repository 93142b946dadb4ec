"""Text for the terminal: one renderer of tables, and the short form of a name that is too long for its column."""

from __future__ import annotations

from collections.abc import Collection, Sequence

WIDTH = 120  # columns of a page
ABBREVIATIONS = ("f1", "auc", "rmse", "mae", "r2", "mcc")  # in names of metrics
MIN_COLUMN = 16  # minimum width of a column of names; "inside the noise" fits


def format_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: Collection[int] = (0,),
    *,
    width: int | None = None,
    max_rows: int | None = None,
) -> str:
    """Return a table as lines of aligned columns, two spaces apart, without trailing spaces.

    Columns whose index is in `left` are aligned to the left, the others to the right, and columns without a single
    cell of text are left out. With `width`, the longest left columns are made narrower until a line fits, their names
    shortened in the middle. With `max_rows`, a last line counts the rows that are not shown.
    """
    shown = rows if max_rows is None else rows[:max_rows]
    columns = [
        ([title, *(row[index] for row in shown)], index in left)
        for index, title in enumerate(titles)
        if any(row[index] for row in shown)
    ]
    widths = [max(map(len, cells)) for cells, _ in columns]
    if width is not None:
        _narrow(widths, [aligned for _, aligned in columns], width)
    lines = [
        "  ".join(
            shorten(cells[line], size).ljust(size) if aligned else cells[line].rjust(size)
            for (cells, aligned), size in zip(columns, widths, strict=True)
        ).rstrip()
        for line in range(len(shown) + 1 if columns else 0)
    ]
    return "\n".join(lines if len(shown) == len(rows) else [*lines, f"and {len(rows) - len(shown)} more"])


def _narrow(widths: list[int], left: Sequence[bool], width: int) -> None:
    """Make the longest left columns narrower, in place, until all columns and the gaps between them fit in `width`."""
    names = [index for index, aligned in enumerate(left) if aligned and widths[index] > MIN_COLUMN]
    while sum(widths) + 2 * (len(widths) - 1) > width and names:
        widths[max(names, key=lambda index: widths[index])] -= 1


def shorten(name: str, length: int) -> str:
    """Return `name` in at most `length` characters, shortened in the middle.

    Names of runs begin with the config and end with the last override.
    """
    tail = (length - 1) // 2
    return name if len(name) <= length else f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"


def format_interval(interval: tuple[float, float], digits: int = 4, signed: bool = False) -> str:
    """Return an interval as `[0.9500, 0.9700]`; with `signed`, as `[-0.0012, +0.0040]`."""
    sign = "+" if signed else "-"
    return "[" + ", ".join(f"{end:{sign}z.{digits}f}" for end in interval) + "]"


def format_count(count: int) -> str:
    """Return a number of parameters as `1.84 M` or `840 k`."""
    return f"{count / 1e6:.2f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"


def format_duration(seconds: float) -> str:
    """Return a duration as `42 s`, `12 min` or `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def format_share(share: float) -> str:
    """Return a share of 1 as `97.9 %`, or `98 %` where the digit after it is 0."""
    return f"{share:.1%}".replace(".0%", "%").replace("%", "\N{NO-BREAK SPACE}%")


def format_metric(name: str) -> str:
    """Return the name of a metric in words: `macro_f1` as `macro F1`. That of a user's own file stays as it is."""
    if ":" in name:
        return name
    return " ".join(word.upper() if word in ABBREVIATIONS else word for word in name.split("_"))
