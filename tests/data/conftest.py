"""A competition to adopt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.competition import Competition


@pytest.fixture
def competition(tmp_path: Path) -> Competition:
    (tmp_path / "cells").mkdir()
    return Competition(tmp_path / "cells")
