"""Text without the paths of this machine: what is sent to others names files by their last part."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

ABSOLUTE = re.compile(r"(?<![\w./~:\\-])(?:~|[A-Za-z]:)?[/\\][^\s'\",;=]*")


def without_paths(value: Any) -> Any:
    """Return plain Python in which every absolute path, also inside a text, is its last part."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(item) for item in value]
    return ABSOLUTE.sub(_last_part, value) if isinstance(value, str) else value


def _last_part(match: re.Match[str]) -> str:
    return PurePosixPath(match[0].replace("\\", "/")).name or match[0]
