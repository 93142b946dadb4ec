"""Text tables are aligned, at most `width` wide, and without empty columns."""

from __future__ import annotations

from comp.text import format_interval, format_metric, format_share, format_table, shorten


def test_format_table_aligns_names_left_and_numbers_right():
    assert format_table(["name", "score"], [["a", "0.9"], ["longer", "10.25"]]).splitlines() == [
        "name    score",
        "a         0.9",
        "longer  10.25",
    ]


def test_format_table_column_without_text_is_left_out():
    assert format_table(["name", "remark", "score"], [["a", "", "1"], ["b", "", "2"]]).splitlines() == [
        "name  score",
        "a         1",
        "b         2",
    ]
    assert format_table(["name", "score"], []) == ""


def test_format_table_lines_have_no_trailing_spaces():
    lines = format_table(["name", "remark"], [["a", ""], ["b", "late"]], left=(0, 1)).splitlines()
    assert lines == ["name  remark", "a", "b     late"]


def test_format_table_too_wide_shortens_the_longest_name():
    rows = [["a" * 50 + "z", "b" * 30, "0.5"], ["short", "c", "0.25"]]
    lines = format_table(["first", "second", "score"], rows, left=(0, 1), width=60).splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert "…" in lines[1] and "z" in lines[1] and lines[1].endswith("0.5") and lines[2].endswith("0.25")


def test_format_table_more_rows_than_max_rows_are_counted():
    lines = format_table(["n"], [[str(number)] for number in range(5)], max_rows=3).splitlines()
    assert lines == ["n", "0", "1", "2", "and 2 more"]


def test_shorten_keeps_beginning_and_end():
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghij", 6) == "abc…ij" and len(shorten("abcdefghij", 7)) == 7


def test_format_interval_zero_has_no_minus():
    assert format_interval((0.95, 0.96)) == "[0.9500, 0.9600]"
    assert format_interval((-0.00001, 0.004), signed=True) == "[+0.0000, +0.0040]"
    assert format_interval((0.95, 0.96), digits=3) == "[0.950, 0.960]"


def test_format_share_leaves_out_a_zero_digit_and_does_not_break_the_line():
    assert format_share(0.9787) == "97.9\N{NO-BREAK SPACE}%" and format_share(0.02) == "2\N{NO-BREAK SPACE}%"


def test_format_metric_names_abbreviations_in_capitals_and_keeps_a_file():
    assert format_metric("macro_f1") == "macro F1" and format_metric("log_loss") == "log loss"
    assert format_metric("my_metrics.py:f1_of_rare") == "my_metrics.py:f1_of_rare"
