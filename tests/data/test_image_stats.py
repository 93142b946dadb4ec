"""Statistics of images are kept between commands, and never those of a file that changed."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from comp.data import file_hashes, image_stats
from comp.data.image_stats import Survey, survey
from comp.data.scan import Image
from tests.data.image_files import make_pixels, save


@pytest.fixture(autouse=True)
def settled_at_once(monkeypatch) -> None:
    monkeypatch.setattr(file_hashes, "MIN_AGE_NS", -(10**9))


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The ids of the images that are decoded from here on."""
    ids: list[str] = []
    read = image_stats._read_stats

    def read_and_note(image: Image) -> object:
        ids.append(image.id)
        return read(image)

    monkeypatch.setattr(image_stats, "_read_stats", read_and_note)
    return ids


def draw_images(folder: Path) -> list[Image]:
    return [save(folder / f"{number}.jpg", make_pixels(number, 40 + number)) for number in range(4)]


def assert_same(a: Survey, b: Survey) -> None:
    for field in fields(Survey):
        assert np.array_equal(getattr(a, field.name), getattr(b, field.name), equal_nan=field.name == "jpeg_quality")


def test_survey_of_some_of_the_images_reads_none_again(tmp_path, decoded):
    images, kept = draw_images(tmp_path), tmp_path / "kept.npz"
    survey(images, kept=kept)
    assert sorted(decoded) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    decoded.clear()
    part = survey(images[1:3], kept=kept)
    assert decoded == []
    assert_same(part, survey(images[1:3]))


def test_survey_reads_a_changed_an_unreadable_and_a_new_image(tmp_path, decoded):
    images, kept = draw_images(tmp_path), tmp_path / "kept.npz"
    broken = Image("broken.jpg", tmp_path / "broken.jpg")
    broken.path.write_bytes(b"no image")
    survey([*images[:3], broken], kept=kept)
    decoded.clear()
    save(images[0].path, make_pixels(9))
    stats = survey([*images, broken], kept=kept)
    assert sorted(decoded) == ["0.jpg", "3.jpg", "broken.jpg"]
    assert_same(stats, survey([*images, broken]))


def test_survey_young_files_are_not_kept(tmp_path, decoded, monkeypatch):
    monkeypatch.setattr(file_hashes, "MIN_AGE_NS", 10**12)
    images, kept = draw_images(tmp_path), tmp_path / "kept.npz"
    survey(images, kept=kept)
    survey(images, kept=kept)
    assert len(decoded) == 8


@pytest.mark.parametrize("damage", ["cut", "changed", "other version", "directory"])
def test_survey_damaged_statistics_are_read_again(tmp_path, decoded, damage, monkeypatch):
    images, kept = draw_images(tmp_path), tmp_path / "kept.npz"
    whole = survey(images, kept=kept)
    decoded.clear()
    content = kept.read_bytes()
    if damage == "cut":
        kept.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        position = content.index(whole.thumbnails[0].tobytes()) + 100
        kept.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
    elif damage == "other version":
        monkeypatch.setattr("comp.data.image_stats_file.FORMAT", "0")
    else:
        kept.unlink()
        kept.mkdir()
    assert_same(survey(images, kept=kept), whole)
    assert len(decoded) == 4
