"""Labels and ids without an image, and images without a label: an error, or left out and counted in a line."""

from __future__ import annotations

from collections.abc import Sequence

from comp.errors import UserError, shorten_list

SHOWN = 5


def check_missing(names: Sequence[str], problem: str, advice: str, *, result: str, allowed: bool) -> str:
    """Refuse `names` that lack their other half: count them, and name five. Where that is allowed, return this as a
    line with the `result`; an empty text if none is missing.

    `problem` follows the count, `advice` says what to do.
    """
    if not names:
        return ""
    shown = shorten_list([name or "''" for name in names], SHOWN, 60)
    line = f"{len(names):,} {problem}, such as {shown}"
    if not allowed:
        raise UserError(f"{line}; {advice}, or set data.allow_missing=true (data adopt --allow-missing)")
    return f"{line}: {result} (data.allow_missing)"
