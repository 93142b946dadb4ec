"""Datasets that are not a folder per class: tables, COCO files, patterns of names, folders elsewhere, groups, ids."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as PillowImage

from comp.data.labels import label_of_name, read_ids
from comp.data.scan import scan
from comp.errors import UserError
from comp.records.source import DataSource


@pytest.fixture
def root(tmp_path):
    for name in ("train/a1.jpg", "train/a2.jpg", "train/sub/a3.jpg", "test/t1.jpg", "test/t2.jpg"):
        path = tmp_path / "x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return tmp_path / "x"


def source(root, **keys) -> DataSource:
    return DataSource(str(root), **keys)


def labels_of(dataset) -> dict[str, str]:
    return {image.id: image.label for image in dataset.train}


@pytest.mark.parametrize("names", [("a1", "a2", "a3"), ("a1.jpg", "a2.jpg", "sub/a3.jpg"), ("a1", "a2.jpg", "sub/a3")])
def test_scan_csv_names_images_with_or_without_suffix_and_folder(root, names):
    (root / "labels.csv").write_text(
        "id,kind\n" + "".join(f"{name},{label}\n" for name, label in zip(names, "xyx", strict=True))
    )
    dataset = scan(source(root, labels="labels.csv"))
    assert labels_of(dataset) == {"a1.jpg": "x", "a2.jpg": "y", "a3.jpg": "x"}
    assert dataset.classes == ("x", "y") and dataset.targets.tolist() == [0, 1, 0]
    assert [image.id for image in dataset.test] == ["t1.jpg", "t2.jpg"]


def test_scan_csv_numbers_are_the_class_numbers_in_their_order(root):
    (root / "train.csv").write_text("image,label\na1,104\na2,3\na3,15504\n")
    dataset = scan(source(root, labels="train.csv"))
    assert dataset.classes == ("3", "104", "15504") and dataset.class_numbers == (3, 104, 15504)


def test_scan_csv_columns_and_groups_by_name(root):
    (root / "train.csv").write_text("patient,file,age,target\np1,a1,3,0\np1,a2,4,1\np2,a3,5,0\n")
    keys = {"image": "file", "label": ("target",), "group": "patient", "task": "binary"}
    dataset = scan(source(root, labels="train.csv", **keys))
    assert labels_of(dataset) == {"a1.jpg": "0", "a2.jpg": "1", "a3.jpg": "0"}
    assert [image.group for image in dataset.train] == ["p1", "p1", "p2"]


def test_scan_one_column_per_class_is_a_class_or_tags(root):
    (root / "train.csv").write_text("image,red spot,blue\na1,1,0\na2,0,1\na3,1,0\n")
    columns = {"labels": "train.csv", "label": ("red spot", "blue")}
    assert labels_of(scan(source(root, **columns)))["a1.jpg"] == "red spot"
    (root / "train.csv").write_text("image,red spot,blue\na1,1,1\na2,0,1\na3,0,0\n")
    dataset = scan(source(root, **columns, task="multilabel"))
    assert dataset.classes == ("blue", "red spot") and dataset.targets.tolist() == [[1, 1], [1, 0], [0, 0]]
    with pytest.raises(UserError, match=r"2 rows have no 1 or several.*task=multilabel"):
        scan(source(root, **columns))


def test_scan_tags_with_a_separator(root):
    (root / "train.csv").write_text("image,tags\na1,rust scab\na2,healthy\na3,rust\n")
    dataset = scan(source(root, labels="train.csv", separator=" ", task="multilabel"))
    assert dataset.classes == ("healthy", "rust", "scab") and dataset.targets.sum(1).tolist() == [2, 1, 1]


def test_scan_coco_file(root):
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(("a1.jpg", "a2.jpg", "sub/a3.jpg"))],
        "annotations": [{"image_id": number, "category_id": 7 + number % 2} for number in range(3)],
        "categories": [{"id": 7, "name": "x"}, {"id": 8, "name": "y"}],
    }
    (root / "train.json").write_text(json.dumps(content))
    dataset = scan(source(root, labels="train.json"))
    assert dataset.classes == ("7", "8") and labels_of(dataset) == {"a1.jpg": "7", "a2.jpg": "8", "a3.jpg": "7"}
    for image, site in zip(content["images"], ("sea", "sea", "lake"), strict=True):
        image["site"] = site
    content["annotations"][1]["category_id"] = 7  # of one site, as the first: one row of the submission
    (root / "train.json").write_text(json.dumps(content))
    dataset = scan(source(root, labels="train.json", group="site", row=("site",)))
    assert [(image.group, image.row) for image in dataset.train] == [("sea", "sea")] * 2 + [("lake", "lake")]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("ids.csv", "row,image\n1,t1.jpg\n2,t2.jpg\n1,t3.jpg\n"),
        ("ids.csv", "row,file,side\n1,t1.jpg,L\n2,t2.jpg,R\n1,t3.jpg,L\n"),
        ("ids.json", [{"id": id, "file_name": name} for id, name in ((1, "t1.jpg"), (2, "t2.jpg"), (1, "t3.jpg"))]),
        ("ids.json", {"images": [{"image_id": i % 2 + 1, "file_name": f"t{i + 1}.jpg"} for i in range(3)]}),
    ],
)
def test_read_ids_gives_the_images_of_each_id(root, file, content):
    (root / file).write_text(content if isinstance(content, str) else json.dumps(content))
    assert read_ids(source(root, ids=file, image="file")) == {"1": ["t1.jpg", "t3.jpg"], "2": ["t2.jpg"]}


def test_scan_pattern_of_names_and_one_folder_for_train_and_test(root):
    dataset = scan(source(root, labels="{label}1.jpg", train=(".",), test=(".",)))
    assert labels_of(dataset) == {"a1.jpg": "a", "t1.jpg": "t"}
    assert [image.id for image in dataset.test] == ["t2.jpg", "a2.jpg", "a3.jpg"]  # not the labelled ones


@pytest.mark.parametrize(
    ("pattern", "name", "label"),
    [
        ("{label}.*.jpg", "cat.0.jpg", "cat"),
        ("{label}.*.jpg", "cat.jpg", None),
        ("*_{label}.png", "a_b_c.png", "c"),
        ("{label}_*.png", "a_b_c.png", "a"),
        ("img({label}).png", "img(x).png", "x"),
    ],
)
def test_label_of_name(pattern, name, label):
    assert label_of_name(pattern, name) == label


def test_scan_class_folders_at_the_root_and_positive_labels(root):
    for folder in ("Cover", "JMiPOD", "UERD"):
        (root / folder).mkdir()
        (root / "train/a1.jpg").rename(root / folder / "1.jpg") if folder == "Cover" else None
        if folder != "Cover":
            (root / folder / "1.jpg").write_bytes((root / "Cover/1.jpg").read_bytes())
    (root / "train/a2.jpg").unlink(), (root / "train/sub/a3.jpg").unlink()
    (root / "train/sub").rmdir(), (root / "train").rmdir()
    dataset = scan(source(root, train=(".",), task="binary", positive=("JMiPOD", "UERD")))
    assert dataset.classes == ("0", "1") and dataset.id_kind == "path"
    assert labels_of(dataset) == {"Cover/1.jpg": "0", "JMiPOD/1.jpg": "1", "UERD/1.jpg": "1"}


@pytest.mark.parametrize(
    ("csv", "keys", "message"),
    [
        ("image,label\na1,x\na9,y\n", {}, "1 images of .*train.csv are not below .*such as a9; .*data.allow_missing=t"),
        ("image,label\na1,x\na2,y\n", {}, "1 images below .*train have no label in train.csv, such as train/sub/a3"),
        ("image,label\na1,x\na2,y\na3,x\n", {"row": ("breast",)}, "no column breast"),
        ("image,label\na1,x\na2,y\na3, x\n", {}, "labels 'x' .1 times. and '\N{OPEN BOX}x' .1 times."),
        ("image,label\na1,x  z\na2,y\na3,x z\n", {}, "'x\N{OPEN BOX}\N{OPEN BOX}z' .* differ in case or spaces alone"),
        ("image,label\na1,x\na2,y\n,x\n", {}, "such as ''"),
        ("image,label\na1,x\na1,y\n", {}, "gives the image a1 two labels, x and y"),
        ("image,label\na1,x\na2, \n", {}, "1 empty labels in label, such as that of a2"),
        ("image,label\na1,x\n", {"label": ("lable",)}, "no column lable; did you mean label"),
        ("image,label\na1,x\n", {"group": "patient"}, "no column patient"),
        ("image,label\na1,x\na2,y\n", {"train": ("images",)}, "has no folder images"),
        ("image\na1\n", {}, "one column"),
        ("image,a,b\na1,1,2\n", {"label": ("a", "b")}, "must hold 0 and 1"),
        ("image,a,b\na1,1,yes\n", {"label": ("a", "b")}, "must hold 0 and 1"),
        ("image,label\na1,x\na2,y\na3,y\n", {"task": "binary", "positive": ("z",)}, "no image has the label z"),
    ],
)
def test_scan_labels_that_cannot_be_joined_are_one_error(root, csv, keys, message):
    (root / "train.csv").write_text(csv)
    with pytest.raises(UserError, match=message):
        scan(source(root, labels="train.csv", **keys))


def test_scan_image_listed_twice_with_one_label_counts_once(root):
    (root / "train.csv").write_text("image,label\na1,x\na1,x\na2,y\na3,y\n")
    assert len(scan(source(root, labels="train.csv")).train) == 3


def test_scan_what_is_missing_is_left_out_and_counted_where_that_is_allowed(root):
    (root / "train.csv").write_text("image,label\na1,x\na2,y\n" + "".join(f"b{n},x\n" for n in range(7)))
    dataset = scan(source(root, labels="train.csv", allow_missing=True))
    assert labels_of(dataset) == {"a1.jpg": "x", "a2.jpg": "y"}
    labels, images = dataset.left_out
    assert labels.startswith("7 images of ") and labels.endswith(
        "such as b0, b1, b2, b3, b4, ...: left out (data.allow_missing)"
    )
    assert images.startswith("1 images below ") and "such as train/sub/a3.jpg: left out" in images


def test_scan_unlabelled_images_below_the_test_folder_are_not_missing(root):
    (root / "train.csv").write_text("image,label\na1,x\na2,y\n")
    dataset = scan(source(root, labels="train.csv", train=(".",), test=("test", "train/sub")))
    assert [image.id for image in dataset.test] == ["t1.jpg", "t2.jpg", "a3.jpg"] and not dataset.left_out


def test_scan_rows_are_the_joined_columns_and_part_of_the_hash(root):
    (root / "train.csv").write_text("image,patient,side,label\na1,1,L,x\na2,1,L,x\na3,1,R,y\n")
    keys = {"labels": "train.csv", "label": ("label",)}
    plain, by_row = scan(source(root, **keys)), scan(source(root, **keys, row=("patient", "side")))
    assert [image.row_id for image in by_row.train] == ["1_L", "1_L", "1_R"]
    assert [image.row_id for image in plain.train] == ["a1.jpg", "a2.jpg", "a3.jpg"]
    assert plain.image_list_sha256 != by_row.image_list_sha256
    (root / "train.csv").write_text("image,patient,side,label\na1,1,L,x\na2,1,L,y\na3,1,R,y\n")
    with pytest.raises(UserError, match=r"1 rows have images with different labels, such as 1_L \(x and y\)"):
        scan(source(root, **keys, row=("patient", "side")))


def test_scan_name_of_two_files_is_an_error(root):
    (root / "train/sub/a1.jpg").write_bytes((root / "train/a1.jpg").read_bytes())
    (root / "train.csv").write_text("image,label\nx/a1,x\na2,y\n")
    with pytest.raises(UserError, match="not below"):
        scan(source(root, labels="train.csv"))
    (root / "train.csv").write_text("image,label\na1.jpg,x\na2,y\n")
    with pytest.raises(UserError, match="may be"):
        scan(source(root, labels="train.csv"))


def test_scan_column_without_a_table_is_an_error(root):
    for keys in ({"label": ("x",)}, {"image": "x"}, {"row": ("x",)}, {"label": ("x",), "labels": "{label}1.jpg"}):
        with pytest.raises(UserError, match=r"names a column, and data.labels names no table"):
            scan(source(root, **keys))


@pytest.mark.parametrize(
    ("text", "keys", "images"),
    [
        ("file,side,row\nt1.jpg,L,1\nt2.jpg,R,2\n", {"ids": "ids.csv:row", "image": "file"}, ["t1.jpg"]),
        ("row,side,file\n1,L,t1.jpg\n", {"ids": "ids.csv", "image": "of the training table"}, ["t1.jpg"]),  # the last
        ("file,row\nt1.jpg,1\n", {"ids": "ids.csv:row", "image": "other"}, ["t1.jpg"]),
        ("row\n1\n", {"ids": "ids.csv"}, ["1"]),  # an id that is the name of its image
    ],
)
def test_read_ids_of_a_table_by_the_columns_that_are_named(root, text, keys, images):
    (root / "ids.csv").write_text(text)
    assert read_ids(source(root, **keys))["1"] == images


@pytest.mark.parametrize("content", [[{"id": 1}], [{"file_name": "t1.jpg"}], [3], {"images": [{"id": 1}]}])
def test_read_ids_of_a_broken_json_is_one_error(root, content):
    (root / "ids.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"ids\.json must list images with an id and a file_name \(.*\); fix data\.ids"):
        read_ids(source(root, ids="ids.json"))


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"images": []},
        {"images": [{"id": 1, "file_name": "a1.jpg"}], "annotations": [{"image_id": 2, "category_id": 1}]},
        {"images": [{"id": 1, "file_name": "a1.jpg"}], "annotations": [{"image_id": 1}]},
        {"images": [{"id": 1}], "annotations": [{"image_id": 1, "category_id": 1}]},
    ],
)
def test_scan_broken_coco_file_is_one_error(root, content):
    (root / "train.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"train\.json is not a COCO file: images with id and file_name, annotations"):
        scan(source(root, labels="train.json"))


def test_scan_labels_that_stand_for_a_missing_value_are_counted(root):
    (root / "train.csv").write_text("image,label\na1,x\na2, NULL\na3,null\n")
    with pytest.raises(UserError, match=r"has 2 labels  ?NULL in label, such as that of a2; fill them in"):
        scan(source(root, labels="train.csv"))
    (root / "train.csv").write_text("image,label\na1,NA\na2,None\na3,NA\n")
    assert scan(source(root, labels="train.csv")).classes == ("NA", "None")  # they may be names
