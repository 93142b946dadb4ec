"""The split has every image once, keeps duplicates together and is stratified and reproducible; a stale one raises."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comp.data.folds import (
    count_split_groups,
    describe_split_groups,
    make_folds,
    parse_fold_range,
    parse_folds,
    read_folds,
    trained_only_classes,
    write_folds,
)
from comp.data.scan import Dataset, Image
from comp.errors import UserError
from comp.records.task import TaskSpec
from comp.tasks import make_task, single_label


def dataset(**sizes: int) -> Dataset:
    train = tuple(
        Image(f"{label}{number}.png", Path(f"train/{label}/{label}{number}.png"), label)
        for label, size in sizes.items()
        for number in range(size)
    )
    return Dataset(Path("input/letters"), single_label(sizes), tuple(range(len(sizes))), train, (), "name")


def ungrouped(letters: Dataset) -> dict[str, str]:
    return {image.id: image.id for image in letters.train}


def in_pairs(letters: Dataset) -> dict[str, str]:
    """Group every image with a neighbour of its class."""
    return {image.id: letters.train[index - index % 2].id for index, image in enumerate(letters.train)}


LETTERS = dataset(a=40, b=26, c=16)


@pytest.mark.parametrize("groups", [ungrouped, in_pairs])
@pytest.mark.parametrize("k", [2, 5])
def test_make_folds_every_image_is_in_exactly_one_fold(groups, k):
    table = make_folds(LETTERS, groups(LETTERS), k, seed=0)
    assert sorted(table["image"]) == sorted(image.id for image in LETTERS.train)
    assert set(table["fold"]) == set(range(k))
    assert dict(zip(table["image"], table["label"], strict=True)) == {i.id: i.label for i in LETTERS.train}


@pytest.mark.parametrize("seed", range(5))
def test_make_folds_keeps_a_group_in_one_fold(seed):
    table = make_folds(LETTERS, in_pairs(LETTERS), 5, seed)
    assert (table.groupby("group")["fold"].nunique() == 1).all() and table["group"].nunique() == 41


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [3, 5])
def test_make_folds_without_groups_spreads_classes_evenly(k, seed):
    table = make_folds(LETTERS, ungrouped(LETTERS), k, seed)
    counts = table.groupby(["label", "fold"]).size().unstack(fill_value=0).to_numpy()
    assert (np.ptp(counts, axis=1) <= 1).all()


def test_make_folds_class_of_two_different_images_is_validated():
    """Two groups of copies are enough for two folds: the one is validated by a model that saw the other."""
    letters = dataset(a=4, b=8)
    table = make_folds(letters, in_pairs(letters), 2, seed=0)
    assert sorted(table.loc[table["label"] == "a", "fold"]) == [0, 0, 1, 1]


def test_make_folds_depends_on_ids_and_seed_alone():
    table = make_folds(LETTERS, in_pairs(LETTERS), 5, seed=1)
    shuffled = replace(
        LETTERS,
        train=tuple(np.random.default_rng(0).permutation(np.array(LETTERS.train, object))),
        task=single_label(LETTERS.classes[::-1]),
        root=Path("elsewhere"),
    )
    assert make_folds(shuffled, in_pairs(LETTERS), 5, seed=1).equals(table)
    assert not make_folds(LETTERS, in_pairs(LETTERS), 5, seed=2).equals(table)


@pytest.mark.parametrize("size", [1, 4])
def test_make_folds_class_smaller_than_k_is_trained_and_never_validated(size):
    small = dataset(a=9, b=size, c=9)
    table = make_folds(small, ungrouped(small), 5, seed=0)
    assert set(table.loc[table["label"] == "b", "fold"]) == {-1} and trained_only_classes(table) == ["b"]
    assert set(table.loc[table["label"] != "b", "fold"]) == {0, 1, 2, 3, 4}
    without = dataset(a=9, c=9)
    expected = make_folds(without, ungrouped(without), 5, seed=0)
    assert table[table["label"] != "b"].reset_index(drop=True).equals(expected)


def test_make_folds_class_of_k_images_is_validated_in_every_fold():
    table = make_folds(small := dataset(a=9, b=5), ungrouped(small), 5, seed=0)
    assert sorted(table.loc[table["label"] == "b", "fold"]) == [0, 1, 2, 3, 4] and trained_only_classes(table) == []


def test_make_folds_class_of_copies_of_one_image_is_never_validated():
    copies = dataset(a=9, b=7)
    groups = {**ungrouped(copies), **{f"b{number}.png": "b0.png" for number in range(7)}}
    assert trained_only_classes(make_folds(copies, groups, 5, seed=0)) == ["b"]


def test_make_folds_copy_of_a_small_class_under_another_label_is_never_validated():
    mixed = dataset(a=9, b=1)
    table = make_folds(mixed, {**ungrouped(mixed), "a3.png": "b0.png", "b0.png": "b0.png"}, 5, seed=0)
    assert table.loc[table["fold"] == -1, "image"].tolist() == ["a3.png", "b0.png"] and count_split_groups(table) == 0


@pytest.mark.parametrize(
    ("sizes", "k", "message"),
    [
        ({"a": 4, "b": 1}, 5, "too few for 5 folds; add images or lower folds.k$"),
        ({"a": 1, "b": 1}, 2, "too few for 2 folds; add images$"),
        ({"a": 9, "b": 0}, 2, "class b has no images; add some, or remove its folder$"),
    ],
)
def test_make_folds_too_few_images_raises_with_possible_advice(sizes, k, message):
    small = dataset(**sizes)
    with pytest.raises(UserError, match=message):
        make_folds(small, ungrouped(small), k, seed=0)


@pytest.mark.parametrize("k", [2, 5])
def test_make_folds_all_images_the_same_picture_raises(k):
    with pytest.raises(UserError, match=r"has 1 groups of images that share a fold"):
        make_folds(LETTERS, {image.id: "a0.png" for image in LETTERS.train}, k, seed=0)


# ---- reading ----


@pytest.fixture
def split(tmp_path) -> Path:
    path = tmp_path / "folds" / "letters.csv"
    write_folds(path, make_folds(LETTERS, in_pairs(LETTERS), 5, seed=0), LETTERS, 5, 0)
    return path


def test_read_folds_returns_what_was_written(split):
    assert read_folds(split, LETTERS).equals(make_folds(LETTERS, in_pairs(LETTERS), 5, seed=0))


def test_write_folds_json_has_its_keys_in_order(split):
    content = json.loads(split.with_suffix(".json").read_text())
    assert list(content) == ["dataset", "k", "seed", "images", "image_id", "image_list_sha256", "groups_sha256"]


def test_read_folds_labels_like_numbers_or_missing_values_stay_text(tmp_path):
    unusual = dataset(**{"NA": 6, "007": 6, "null": 6, "a,b": 6})
    write_folds(tmp_path / "odd.csv", make_folds(unusual, ungrouped(unusual), 3, 0), unusual, 3, 0)
    assert set(read_folds(tmp_path / "odd.csv", unusual)["label"]) == {"NA", "007", "null", "a,b"}


def test_read_folds_accepts_rows_in_any_order(split):
    table = pd.read_csv(split).sample(frac=1, random_state=0)
    table.to_csv(split, index=False)
    assert len(read_folds(split, LETTERS)) == len(LETTERS.train)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dataset(a=41, b=26, c=16), "lacks 1 images, such as a40.png"),
        (dataset(a=40, b=26, c=14), "lists 2 images that do not exist, such as c14.png"),
        (dataset(a=40, b=26, c=16, d=8), "lacks 8 images, such as d0.png"),
        (
            replace(LETTERS, train=(replace(LETTERS.train[0], label="b"), *LETTERS.train[1:])),
            "1 images changed their label, such as a0.png",
        ),
    ],
)
def test_read_folds_split_of_other_images_raises(split, changed, message):
    with pytest.raises(UserError, match=rf"letters\.csv does not match .*{message}.* python -m comp folds --force"):
        read_folds(split, changed)


CHANGES = {
    "a row removed": lambda text: text.replace(text.splitlines(True)[1], "", 1),
    "a row doubled": lambda text: text + text.splitlines(True)[1],
    "a label changed": lambda text: text.replace(",a,", ",b,", 1),
    "a fold emptied": lambda text: text[:-2] + "\n",
    "a fold that is text": lambda text: text[:-2] + "x\n",
    "a fold that is a fraction": lambda text: text[:-1] + ".5\n",
    "a fold beyond the limit": lambda text: text[:-2] + "1001\n",
    "a fold beyond 64 bits": lambda text: text[:-2] + "9" * 20 + "\n",
    "a fold below -1": lambda text: text[:-2] + "-2\n",
    "a column renamed": lambda text: text.replace("group", "cluster", 1),
    "a cell too many": lambda text: "\n".join([text.splitlines()[0], *(f"{line},0" for line in text.splitlines()[1:])]),
    "nothing left": lambda text: "",
}


@pytest.mark.parametrize("change", CHANGES)
def test_read_folds_changed_csv_raises(split, change):
    split.write_text(CHANGES[change](split.read_text()))
    with pytest.raises(UserError, match=r"letters\.csv"):
        read_folds(split, LETTERS)


def edit(split: Path, image: str, **cells: object) -> None:
    """Change cells of an image's row."""
    table = pd.read_csv(split)
    for column, value in cells.items():
        table.loc[table["image"] == image, column] = value
    table.to_csv(split, index=False)


@pytest.mark.parametrize("fold", ["another", "-1"])
def test_read_folds_copy_moved_to_another_fold_raises_unless_allowed(split, fold):
    table = pd.read_csv(split).set_index("image")
    moved = -1 if fold == "-1" else (table.loc["a0.png", "fold"] + 1) % 5
    edit(split, "a0.png", fold=moved)
    expected = ", ".join(map(str, sorted({moved, table.loc["a1.png", "fold"]})))
    with pytest.raises(UserError, match=rf"1 group\(s\) of copies span folds, such as a0.png in {expected}: "):
        read_folds(split, LETTERS)
    allowed = read_folds(split, LETTERS, allow_split_groups=True)
    assert count_split_groups(allowed) == 1
    assert describe_split_groups(1) == "1 group of copies spans folds, the score may be too high"


def test_read_folds_whole_group_moved_is_accepted(split):
    for image in ("a0.png", "a1.png"):
        edit(split, image, fold=-1)
    assert count_split_groups(read_folds(split, LETTERS)) == 0


@pytest.mark.parametrize("allow", [False, True])
def test_read_folds_edited_group_raises(split, allow):
    edit(split, "a0.png", fold=-1, group="alone")
    with pytest.raises(UserError, match="the column group is not as it was written"):
        read_folds(split, LETTERS, allow_split_groups=allow)


def test_read_folds_split_of_an_earlier_version_has_no_hash_of_its_groups(split):
    path = split.with_suffix(".json")
    content = json.loads(path.read_text())
    del content["groups_sha256"]
    path.write_text(json.dumps(content))
    assert len(read_folds(split, LETTERS)) == len(LETTERS.train)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"image_list_sha256": "0"}'])
def test_read_folds_missing_or_wrong_json_raises(split, content):
    path = split.with_suffix(".json")
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match=r"letters\.(csv|json)"):
        read_folds(split, LETTERS)


def test_read_folds_json_of_another_split_raises(split):
    path = split.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "image_list_sha256": "0"}))
    with pytest.raises(UserError, match=r"letters\.json was written for another split"):
        read_folds(split, LETTERS)


def test_read_folds_missing_file_raises_with_advice(tmp_path):
    with pytest.raises(UserError, match="make it with `python -m comp folds`"):
        read_folds(tmp_path / "none.csv", LETTERS)


# ---- parsing --fold ----


@pytest.mark.parametrize(
    ("text", "folds"),
    [
        ("2", [2]),
        ("0,3", [0, 3]),
        ("0..4", [0, 1, 2, 3, 4]),
        ("3..3", [3]),
        ("4, 0..1", [4, 0, 1]),
        ("1,1,0..1", [1, 0]),
    ],
)
def test_parse_fold_range_reads_numbers_lists_and_ranges(text, folds):
    assert parse_fold_range(text) == folds


@pytest.mark.parametrize(
    "text", ["", "a", "1,", ",1", "-1", "1-3", "3..1", "..3", "1..", "1...3", "0..1..2", "1.5", "0, full", "all"]
)
def test_parse_fold_range_other_text_raises(text):
    with pytest.raises(UserError, match="cannot read the folds"):
        parse_fold_range(text)


@pytest.mark.parametrize(("text", "folds"), [(None, [0, 1, 2]), ("full", ["full"]), ("2", [2]), ("1..2", [1, 2])])
def test_parse_folds_returns_folds_of_the_split(text, folds):
    table = pd.DataFrame({"fold": [2, 0, -1, 1, 0]})
    assert parse_folds(text, table) == folds


@pytest.mark.parametrize("text", [None, "0", "0..4"])
def test_parse_folds_split_without_validated_images_raises(text):
    table = pd.DataFrame({"fold": [-1, -1]})
    with pytest.raises(UserError, match="the split validates no image: each has fold -1; use --fold full"):
        parse_folds(text, table)
    assert parse_folds("full", table) == ["full"]


@pytest.mark.parametrize(("text", "missing"), [("3", "3"), ("0..4", "3, 4")])
def test_parse_folds_missing_fold_raises(text, missing):
    with pytest.raises(UserError, match=f"there is no fold {missing}; the split has folds 0..2"):
        parse_folds(text, pd.DataFrame({"fold": [0, 1, 2, -1]}))


def test_read_folds_accepts_images_that_are_never_validated(tmp_path):
    path = tmp_path / "letters.csv"
    table = make_folds(LETTERS, ungrouped(LETTERS), 5, seed=0)
    table.loc[table["fold"] == 4, "fold"] = -1
    write_folds(path, table, LETTERS, 5, 0)
    assert read_folds(path, LETTERS)["fold"].tolist() == table["fold"].tolist()
    assert parse_folds(None, table) == [0, 1, 2, 3]


def test_describe_split_groups_of_none_is_no_remark():
    assert describe_split_groups(0) == ""
    assert describe_split_groups(1) == "1 group of copies spans folds, the score may be too high"
    assert describe_split_groups(2) == "2 groups of copies span folds, the score may be too high"


def test_trained_only_classes_are_those_of_no_fold():
    table = pd.DataFrame({"label": ["a", "a", "b", "b", "c"], "fold": [0, -1, 1, 0, -1]})
    assert trained_only_classes(table) == ["c"]


def test_parse_fold_range_has_its_limit():
    assert parse_fold_range("999..1000") == [999, 1000]
    with pytest.raises(UserError, match="at most 1000"):
        parse_fold_range("1001")


def test_make_folds_group_of_all_images_is_named():
    data = dataset(a=6, b=6)
    with pytest.raises(
        UserError, match=r"1 groups of images that share a fold .* few for 2 folds; the largest, .*12 of 12"
    ):
        make_folds(data, dict.fromkeys((image.id for image in data.train), "a0.png"), 2, 0)


def test_read_folds_split_from_before_data_group_is_refused(tmp_path):
    plain = dataset(a=6, b=6)
    path = tmp_path / "x.csv"
    write_folds(path, make_folds(plain, {image.id: image.id for image in plain.train}, 2, 0), plain, 2, 0)
    grouped = replace(plain, train=tuple(replace(image, group="p1") for image in plain.train))
    with pytest.raises(UserError, match=r"the group p1 \(data.group\) are in several folds; .* --force"):
        read_folds(path, grouped)
    assert len(read_folds(path, grouped, allow_split_groups=True)) == 12


def test_read_folds_row_of_images_in_several_folds_is_refused_even_where_groups_are_not(tmp_path):
    """A row of the submission has one score, so its images cannot be in two folds."""
    plain, path = dataset(a=6, b=6), tmp_path / "x.csv"
    row_of = {"a0.png": "r1", "a1.png": "r1", "a2.png": "r1"}  # three images, of which two folds have some
    rows = replace(plain, train=tuple(replace(image, row=row_of.get(image.id)) for image in plain.train))
    write_folds(path, make_folds(rows, ungrouped(rows), 2, 0), rows, 2, 0)
    for allow in (False, True):
        with pytest.raises(UserError, match=r"the images of the row r1 are in several folds, and it has one score"):
            read_folds(path, rows, allow_split_groups=allow)


def test_read_folds_folds_at_the_limits_are_read(split):
    table = pd.read_csv(split)
    table["fold"] = table["fold"].map({0: -1, 1: 1000, 2: 2, 3: 3, 4: 4})
    table.to_csv(split, index=False)
    assert set(read_folds(split, LETTERS)["fold"]) == {-1, 1000, 2, 3, 4}


def test_read_folds_official_split_is_imported_again(split):
    record = json.loads(split.with_suffix(".json").read_text())
    split.with_suffix(".json").write_text(json.dumps({**record, "official": True}))
    with pytest.raises(UserError, match="import its file again: python -m comp data import"):
        read_folds(split, dataset(a=40, b=26, c=14))


def test_make_folds_numbers_are_all_validated():
    """Numbers have no small class, though their ten strata are small: 20 images in five folds have two each."""
    task = make_task(TaskSpec("regression", ("y",)))
    labels = [f"{number / 7:.3f}" for number in range(20)]
    train = tuple(Image(f"{n:02}.png", Path("x"), label) for n, label in enumerate(labels))
    table = make_folds(replace(LETTERS, task=task, train=train), {image.id: image.id for image in train}, 5, seed=0)
    assert sorted(table["fold"]) == sorted([*range(5)] * 4) and table["label"].tolist() == labels
