"""A submission file is read whole, up to its limits, or named in one short line."""

from __future__ import annotations

import json

import pytest

from comp.errors import UserError
from comp.submit import submission_table
from comp.submit.submission_table import read_table


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("", "csv"),
        ("id,label\n", "csv"),
        ("id\nimg_1\n", "csv"),
        ("id,label\nimg_1,0,1\n", "csv"),
        ("id,label\nimg_1\n", "csv"),
        ("id,label\nimg_1,0\nimg_1,0\n", "csv"),
        ("[" * 100_000, "json"),
        ("{", "json"),
        ("{}", "json"),
        ("[]", "json"),
        ("3", "json"),
        ('["img_1"]', "json"),
        ('[{"id": "img_1", "label": 0}, {"id": "img_2"}]', "json"),
    ],
)
def test_read_table_invalid_file_is_named(sample, text, suffix):
    path = sample(text, suffix)
    with pytest.raises(UserError, match=str(path)):
        read_table(path)


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        (f"id,{','.join(map(str, range(100_000)))}\n", "csv", "has a line of 100,001 columns, more than 10,001"),
        ("id,label\n1,a\n" + "," * 200_000, "csv", "has a line of 200,001 columns"),
        ("id,label\n" + "".join(f"{row},0\n" for row in range(12)), "csv", "has more than 10 rows"),
        (json.dumps({str(row): 0 for row in range(12)}), "json", "has more than 10 rows"),
        (f'{{"img_1": {"9" * 5000}}}', "json", "is not a readable submission file"),
        ('{"img_1": NaN}', "json", "is not a readable submission file"),
        ("id,label\n" + f"{'9' * 100_000},0\n" * 2, "csv", "twice; remove one"),
    ],
)
def test_read_table_flood_is_one_short_line(sample, monkeypatch, text, suffix, message):
    monkeypatch.setattr(submission_table, "MAX_ROWS", 10)
    path = sample(text, suffix)
    with pytest.raises(UserError, match=str(path)) as caught:
        read_table(path)
    assert message in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("many", "suffix"),
    [
        (lambda rows: "id,label\n" + "".join(f"{row},0\n" for row in range(rows)), "csv"),
        (lambda rows: json.dumps({str(row): 0 for row in range(rows)}), "json"),
        (lambda rows: json.dumps([{"id": row, "label": 0} for row in range(rows)]), "json"),
    ],
)
def test_read_table_of_the_largest_size_is_read(sample, monkeypatch, many, suffix):
    monkeypatch.setattr(submission_table, "MAX_ROWS", 10)
    assert len(read_table(sample(many(10), suffix)).rows) == 10
    with pytest.raises(UserError, match="has more than 10 rows"):
        read_table(sample(many(11), suffix))


def test_read_table_of_the_most_columns_is_read(sample):
    """10,000 probabilities, the id and the numbers of the rows."""
    text = ",id," + ",".join(f"c{column}" for column in range(10_000)) + "\n0,img_1" + ",0" * 10_000 + "\n"
    assert len(read_table(sample(text)).columns) == 10_001
    with pytest.raises(UserError, match="has a line of 10,003 columns, more than 10,001"):
        read_table(sample(text.replace("img_1", "img_1,0")))


def test_read_table_repeated_id_is_found_in_time(sample):
    """Counting each id by itself would take an hour."""
    path = sample("id,label\n" + "".join(f"{row},0\n" for row in [*range(200_000), 199_999]))
    with pytest.raises(UserError, match="has the id 199999 twice"):
        read_table(path)
