"""Find labels in the names of files, such as cat.0.jpg."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

NAME_FORMS = (  # of a file's name: the label, what is beside it, and the pattern that finds it
    (re.compile(r"([A-Za-z][A-Za-z_-]*)\.\d+\.\w+"), "{label}.*"),
    (re.compile(r"([A-Za-z][A-Za-z-]*)_\d+\.\w+"), "{label}_*"),
    (re.compile(r"([A-Za-z][A-Za-z_]*)-\d+\.\w+"), "{label}-*"),
    (re.compile(r"\d+_([A-Za-z][A-Za-z-]*)\.\w+"), None),
)


def find_patterns(paths: Sequence[str]) -> list[str]:
    """Return the patterns of file names such as cat.0.jpg that fit most training images and give a few labels."""
    images = [PurePosixPath(path) for path in paths]
    suffixes = Counter(image.suffix for image in images)
    suffix = next(iter(suffixes)) if len(suffixes) == 1 else ""
    patterns = []
    for form, pattern in NAME_FORMS:
        labels = Counter(match[1] for image in images if (match := form.fullmatch(image.name)))
        is_likely = 1 < len(labels) <= max(2, len(images) // 4) and labels.total() >= 0.95 * len(images)
        if is_likely and (pattern or suffix):
            patterns.append(f"{pattern}{suffix}" if pattern else f"*_{{label}}{suffix}")
    return patterns
