"""Adopting a competition: tiny drawn files of each kind, ambiguous ones, mistakes in tables, and zip files."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from comp.data.adopt.unzip import unpack
from comp.data.scan import scan
from comp.errors import UserError

# ---- where the labels are ----


def test_conclude_class_folders_are_single_labels(competition):
    competition.images("train/Common wheat/a.png", "train/Sugar beet/b.png", "train/Maize/c.png", "test/d.png")
    competition.table("sample_submission.csv", "file,species", "d.png,Sugar beet")
    conclusion = competition.adopt()
    assert (
        conclusion.source.labels is None
        and conclusion.source.task == "single"
        and conclusion.source.metric == "accuracy"
    )
    assert [image.label for image in conclusion.dataset.train] == ["Common wheat", "Maize", "Sugar beet"]
    assert conclusion.size == 64


def test_conclude_names_beside_a_sample_of_numbers_are_not_numbered_silently(competition):
    competition.images("Cover/1.jpg", "JMiPOD/1.jpg", "UERD/1.jpg", "Test/2.jpg")
    competition.table("sample_submission.csv", "Id,Label", "2.jpg,0")
    with pytest.raises(UserError, match=r"the sample holds numbers, such as 0: .* --positive UERD .* or --task single"):
        competition.adopt()


def test_conclude_names_in_several_class_folders_are_groups(competition):
    competition.images(*(f"train/{label}/{name}.jpg" for label in "xyz" for name in range(4)), "test/9.jpg")
    competition.table("sample_submission.csv", "id,label", "9.jpg,x")
    conclusion = competition.adopt()
    assert conclusion.source.group == "{name}"
    assert {image.group for image in conclusion.dataset.train} == set("0123")
    assert competition.adopt(group="none").source.group is None


def test_conclude_file_names_below_the_root_and_ids_in_a_coco_file(competition):
    names = [f"train_val2019/Birds/{100 + index}/h{index}.jpg" for index in range(3)]
    competition.images(*names, "test2019/t.jpg")
    images = [{"id": index, "file_name": name} for index, name in enumerate(names)]
    annotations = [{"image_id": index, "category_id": 100 + index} for index in range(3)]
    competition.json("train2019.json", {"images": images, "annotations": annotations, "categories": [{"id": 100}]})
    competition.json(
        "val2019.json", {"images": images[:1], "annotations": annotations[:1], "categories": [{"id": 100}]}
    )
    competition.json("test2019.json", {"images": [{"id": 7, "file_name": "test2019/t.jpg"}], "annotations": []})
    competition.table("kaggle_sample_submission.csv", "id,predicted", "7,1 2 3 4 5")
    conclusion = competition.adopt()
    assert (conclusion.source.labels, conclusion.source.ids, conclusion.source.metric) == (
        "train2019.json",
        "test2019.json",
        "map@5",
    )
    assert len(conclusion.dataset.train) == 3


def test_conclude_folders_of_series_are_named_as_volumes(competition):
    competition.images(*(f"train/0000{case}/FLAIR/Image-{index}.png" for case in (1, 2) for index in (1, 2)))
    competition.images(*(f"test/0000{case}/FLAIR/Image-{index}.png" for case in (3, 4) for index in (1, 2)))
    competition.table("train_labels.csv", "BraTS21ID,MGMT_value", "00001,0", "00002,1")
    competition.table("sample_submission.csv", "BraTS21ID,MGMT_value", "00003,0.5", "00004,0.5")
    with pytest.raises(UserError, match=r"are folders with many images each, such as test/00003: .* volumes"):
        competition.adopt()


def test_conclude_class_folders_at_the_root_leave_the_test_folder_out(competition):
    competition.images("Cover/1.jpg", "JMiPOD/1.jpg", "UERD/1.jpg", "Test/2.jpg")
    competition.table("sample_submission.csv", "Id,Label", "2.jpg,0")
    conclusion = competition.adopt(positive=("JMiPOD", "UERD"))
    assert (conclusion.source.train, conclusion.source.test, conclusion.source.task) == ((".",), ("Test",), "binary")
    assert [image.label for image in conclusion.dataset.train] == ["0", "1", "1"]


def test_conclude_table_with_the_samples_column_gives_labels(competition):
    competition.labelled("id,has_cactus", ["1", "0", "1"], "0.5")
    source = competition.adopt().source
    assert (source.labels, source.image, source.label) == ("train.csv", "id", ("has_cactus",))
    assert (source.task, source.metric, source.positive, source.train) == ("binary", "auc", (), ())


def test_conclude_sample_with_a_column_per_class_finds_the_label_column(competition):
    competition.images("train/a.jpg", "train/b.jpg", "train/c.jpg", "test/d.jpg")
    competition.table("labels.csv", "margin,id,breed", "0.5,a,pug", "0.25,b,collie", "0.1,c,boxer")
    competition.table("sample_submission.csv", "id,boxer,collie,pug", "d,0.3,0.3,0.4")
    conclusion = competition.adopt()
    assert (conclusion.source.image, conclusion.source.label, conclusion.source.metric) == (
        "id",
        ("breed",),
        "log_loss",
    )
    assert conclusion.dataset.classes == ("boxer", "collie", "pug")


def test_conclude_label_named_like_the_samples_column_is_found(competition):
    competition.images("train_images/a.jpg", "train_images/b.jpg", "train_images/c.jpg", "test_images/d.jpg")
    rows = [f"{n},{name},x,{category}" for n, (name, category) in enumerate(zip("abc", (0, 7, 22), strict=True))]
    competition.table("train.csv", "number,id,rights,category_id", *rows)
    competition.table("sample_submission.csv", "Id,Category", "d,0")
    source = competition.adopt().source
    assert (source.image, source.label, source.task) == ("id", ("category_id",), "single")


def test_conclude_coco_with_nested_folders_and_ids_that_are_no_names(competition):
    competition.images("train_images/003/04/00304__001.jpg", "train_images/155/04/15504__001.jpg")
    competition.images("test_images/000/test-000000.jpg", "test_images/000/test-000001.jpg")
    names = ["003/04/00304__001.jpg", "155/04/15504__001.jpg"]
    competition.json(
        "train_metadata.json",
        {
            "images": [{"image_id": name[7:-4], "file_name": name, "license": 0} for name in names],
            "annotations": [
                {"image_id": name[7:-4], "category_id": number}
                for name, number in zip(names, (304, 15504), strict=True)
            ],
            "categories": [{"category_id": 304, "scientificName": "Planta"}],
        },
    )
    competition.json(
        "test_metadata.json", [{"image_id": str(n), "file_name": f"000/test-00000{n}.jpg"} for n in (0, 1)]
    )
    competition.table("sample_submission.csv", "Id,Predicted", "0,42", "1,42")
    conclusion = competition.adopt(task="single")
    assert (conclusion.source.labels, conclusion.source.ids) == ("train_metadata.json", "test_metadata.json")
    assert (conclusion.source.train, conclusion.source.test) == (("train_images",), ("test_images",))
    assert (conclusion.dataset.classes, conclusion.dataset.class_numbers) == (("304", "15504"), (304, 15504))


def test_conclude_coco_group_is_a_field_of_the_images(competition):
    names = [f"a{index}" for index in range(24)]
    competition.images(*(f"train/{name}.jpg" for name in names), "test/z.jpg")
    images = [
        {"id": name, "file_name": f"{name}.jpg", "location": index // 2, "seq_id": f"s{index // 2}"}
        for index, name in enumerate(names)
    ]
    annotations = [{"image_id": name, "category_id": index % 3} for index, name in enumerate(names)]
    competition.json("train.json", {"images": images, "annotations": annotations, "categories": [{"id": 0}]})
    competition.table("sample_submission.csv", "Id,Category", "z,1")
    conclusion = competition.adopt()
    assert conclusion.source.group == "location"
    assert conclusion.dataset.train[0].group == conclusion.dataset.train[1].group != conclusion.dataset.train[2].group


def test_conclude_file_names_hold_labels(competition):
    competition.images(*(f"train/{kind}.{index}.jpg" for kind in ("cat", "dog") for index in range(4)), "test/1.jpg")
    competition.table("sample_submission.csv", "id,label", "1,0.5")
    with pytest.raises(UserError, match=r"labels cat and dog .* add --positive cat or --positive dog"):
        competition.adopt()
    source = competition.adopt(positive=("dog",)).source
    assert (source.labels, source.positive, source.task) == ("{label}.*.jpg", ("dog",), "binary")


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["cat_1.jpg", "dog_2.jpg", "cat_3.jpg", "dog_4.jpg"], "{label}_*.jpg"),
        (["1_cat.jpg", "2_dog.jpg", "3_cat.jpg", "4_dog.jpg"], "*_{label}.jpg"),
    ],
)
def test_conclude_other_forms_of_names(competition, names, pattern):
    competition.images(*(f"train/{name}" for name in names), "test/9.jpg")
    conclusion = competition.adopt(positive=("dog",))
    assert conclusion.source.labels == pattern
    assert {image.label for image in conclusion.dataset.train} == {"0", "1"}


# ---- folders ----


def test_conclude_equal_names_in_train_and_test_are_told_apart_by_the_folders(competition):
    competition.images("train/1.jpg", "train/2.jpg", "train/3.jpg", "test/1.jpg", "test/2.jpg")
    competition.table("train_labels.csv", "name,invasive", "1,0", "2,1", "3,0")
    competition.table("sample_submission.csv", "name,invasive", "1,0.5", "2,0.5")
    dataset = competition.adopt().dataset
    assert (len(dataset.train), len(dataset.test)) == (3, 2)
    assert all("train" in image.path.parts for image in dataset.train)


def test_conclude_plain_images_are_taken_before_containers(competition):
    competition.images(
        "jpeg/train/a.jpg", "jpeg/train/b.jpg", "jpeg/test/c.jpg", "train/a.tif", "train/b.tif", "test/c.tif"
    )
    competition.table("train.csv", "image_name,target", "a,0", "b,1")
    competition.table("sample_submission.csv", "image_name,target", "c,0")
    source = competition.adopt().source
    assert (source.train, source.test) == (("jpeg/train",), ("jpeg/test",))


def test_conclude_two_copies_of_all_images_are_ambiguous(competition):
    competition.images("small/a.jpg", "small/b.jpg", "large/a.jpg", "large/b.jpg", "test/c.jpg")
    competition.table("train.csv", "id,target", "a,0", "b,1")
    competition.table("sample_submission.csv", "id,target", "c,0")
    with pytest.raises(UserError, match="add --train large or --train small"):
        competition.adopt()
    assert competition.adopt(train=("large",)).source.train == ("large",)


def test_conclude_one_folder_for_train_and_test(competition):
    competition.images("images/Train_0.jpg", "images/Train_1.jpg", "images/Test_0.jpg")
    competition.table("train.csv", "image_id,healthy,rust", "Train_0,1,0", "Train_1,0,1")
    competition.table("sample_submission.csv", "image_id,healthy,rust", "Test_0,0.5,0.5")
    conclusion = competition.adopt()
    assert (conclusion.source.task, conclusion.source.label) == ("single", ("healthy", "rust"))
    assert (len(conclusion.dataset.train), len(conclusion.dataset.test)) == (2, 1)


def test_conclude_no_images_names_what_there_is(competition):
    competition.table("train.csv", "id,x", "1,2")
    (competition.root / "train.bson").touch()
    with pytest.raises(UserError, match=r"has no images, but 1 .csv, 1 .bson: images inside a BSON file"):
        competition.adopt()


def test_conclude_arrays_two_folders_deep_are_images(competition):
    for name in ("train/0/a", "train/f/b", "test/1/c"):
        (competition.root / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(competition.root / f"{name}.npy", np.zeros((6, 30, 20), np.float16))
    competition.table("train_labels.csv", "id,target", "a,0", "b,1")
    competition.table("sample_submission.csv", "id,target", "c,0.5")
    conclusion = competition.adopt()
    assert (conclusion.source.labels, conclusion.source.task, conclusion.size) == ("train_labels.csv", "binary", 192)
    assert [image.id for image in (*conclusion.dataset.train, *conclusion.dataset.test)] == ["a.npy", "b.npy", "c.npy"]


@pytest.mark.parametrize("container", ["dcm", "npy", "tif"])
def test_conclude_plain_format_is_taken_before_the_same_images_in_another(competition, container):
    competition.images("jpeg/train/a.jpg", "jpeg/train/b.jpg", "jpeg/test/c.jpg")
    for name in ("train/a", "train/b", "test/c"):
        (competition.root / f"{name}.{container}").parent.mkdir(exist_ok=True)
        (competition.root / f"{name}.{container}").touch()
    competition.table("train.csv", "image_name,target", "a,0", "b,1")
    competition.table("sample_submission.csv", "image_name,target", "c,0")
    source = competition.adopt().source
    assert (source.train, source.test) == (("jpeg/train",), ("jpeg/test",))


@pytest.mark.parametrize("label", ["", "_C1"])
def test_conclude_dicom_series_are_named_as_volumes(competition, label):
    for name in ("train_images/1.2.3/1", "train_images/1.2.3/2", "test_images/1.2.4/1", "test_images/1.2.4/2"):
        (competition.root / name).parent.mkdir(parents=True, exist_ok=True)
        (competition.root / f"{name}.dcm").touch()
    competition.table("train.csv", "StudyInstanceUID,fractured", "1.2.3,0")
    competition.table("sample_submission.csv", "row_id,fractured", f"1.2.4{label},0.5")
    with pytest.raises(UserError, match=r"are folders with many images each, such as test_images/1\.2\.4: .* volumes"):
        competition.adopt()


def test_conclude_sample_under_another_name_is_recorded(competition):
    competition.labelled("id,label", ["x", "y", "z"], "x")
    (competition.root / "sample_submission.csv").rename(competition.root / "kaggle_sample_submission.csv")
    assert competition.adopt().source.sample == "kaggle_sample_submission.csv"
    competition.table("sampleSubmission.csv", "id,label", "b0,x")
    with pytest.raises(UserError, match=r"--sample sampleSubmission.csv or --sample kaggle_sample"):
        competition.adopt()


def test_conclude_ids_in_a_column_of_the_test_table(competition):
    competition.images("train/a.jpg", "train/b.jpg", "test/c.jpg", "test/d.jpg")
    competition.table("train.csv", "image_id,cancer", "a,0", "b,1")
    competition.table("test.csv", "site,image_id,prediction_id", "1,c,p_L", "1,d,p_L")
    competition.table("sample_submission.csv", "prediction_id,cancer", "p_L,0")
    assert competition.adopt().source.ids == "test.csv:prediction_id"


# ---- kinds of targets ----


def test_conclude_tags_recur_in_other_combinations(competition):
    competition.labelled("image,labels", ["scab", "rust", "rust scab", "healthy", "healthy"], "healthy")
    conclusion = competition.adopt()
    assert (conclusion.source.task, conclusion.source.separator, conclusion.source.metric) == (
        "multilabel",
        " ",
        "micro_f1",
    )
    assert conclusion.dataset.classes == ("healthy", "rust", "scab")


def test_conclude_numbers_with_spaces_are_tags(competition):
    competition.labelled("id,attribute_ids", ["147 616", "813", "616 1092"], "0 1 2")
    assert competition.adopt().source.task == "multilabel"


def test_conclude_names_with_spaces_are_classes(competition):
    competition.labelled("id,label", ["Cassava Green Mottle", "Cassava Bacterial Blight", "Healthy"], "Healthy")
    assert competition.adopt().source.task == "single"


def test_conclude_names_whose_words_all_recur_are_ambiguous(competition):
    competition.labelled("id,label", ["leaf curl", "leaf mold", "fruit curl", "fruit mold"], "leaf curl")
    with pytest.raises(UserError, match=r"may be tags or names .* --separator ' ' or --separator none"):
        competition.adopt()
    assert competition.adopt(separator="none").source.task == "single"
    assert competition.adopt(separator=" ").source.task == "multilabel"


def test_conclude_columns_of_zero_and_one_may_be_several(competition):
    competition.labelled("id,ETT - Normal,CVC", ["1,0", "1,1", "0,0"], "0,0")
    source = competition.adopt().source
    assert (source.task, source.label, source.metric) == ("multilabel", ("ETT - Normal", "CVC"), "auc")


def test_conclude_columns_of_votes_are_refused(competition):
    competition.labelled("id,seizure,other", ["3,0", "1,2", "0,5"], "0.5,0.5")
    with pytest.raises(UserError, match="seizure, other hold shares, votes or several numbers"):
        competition.adopt()


@pytest.mark.parametrize(
    ("options", "task"),
    [({"task": "single"}, "single"), ({"task": "ordinal"}, "ordinal"), ({"metric": "quadratic_kappa"}, "ordinal"),
     ({"metric": "rmse"}, "regression")],
)  # fmt: skip
def test_conclude_small_whole_numbers_are_ambiguous_until_settled(competition, options, task):
    competition.labelled("id_code,diagnosis", list("001234"), "0")
    with pytest.raises(UserError, match="--task single or --task ordinal or --task regression"):
        competition.adopt()
    assert competition.adopt(**options).source.task == task


def test_conclude_numbers_with_names_are_classes(competition):
    competition.labelled("image_id,label", list("0123"), "3")
    competition.json("label_num_to_disease_map.json", {str(number): f"disease {number}" for number in range(4)})
    assert competition.adopt().source.task == "single"


@pytest.mark.parametrize("labels", [[str(number) for number in range(1, 41)], ["0.5", "1.25", "3"]])
def test_conclude_many_or_broken_numbers_are_regression(competition, labels):
    competition.labelled("Id,Pawpularity", labels, "40.5")
    conclusion = competition.adopt()
    assert (conclusion.source.task, conclusion.source.metric, conclusion.loss) == ("regression", "rmse", "smooth_l1")


def test_conclude_sample_with_five_names_is_a_ranking(competition):
    competition.labelled("Image,Id", ["w_1", "w_2", "w_3", "w_4", "w_5", "new_whale"], "new_whale w_1 w_2 w_3 w_4")
    conclusion = competition.adopt()
    assert (conclusion.source.task, conclusion.source.metric, conclusion.source.answer) == ("single", "map@5", None)
    assert competition.adopt(metric="accuracy").source.answer == "best:5"


def test_conclude_metric_of_another_task_is_refused(competition):
    competition.labelled("id,label", ["x", "y", "z"], "x")
    with pytest.raises(UserError, match="--metric rmse is none of a single task"):
        competition.adopt(metric="rmse")


# ---- groups ----


@pytest.mark.parametrize("name", ["patient_id", "PatientID", "location", "site"])
def test_conclude_repeating_patient_or_place_is_the_group(competition, name):
    competition.labelled(
        f"id,{name},sex,target", [f"p{index // 2},{'mf'[index % 2]},{index % 3 % 2}" for index in range(24)], "p,m,0"
    )
    competition.table("sample_submission.csv", "id,target", "b0,0", "b1,0")
    assert competition.adopt().source.group == name
    assert competition.adopt(group="none").source.group is None


def test_conclude_column_that_follows_the_label_is_no_group(competition):
    labels = [f"{index % 12},{index % 12 // 2}" for index in range(36)]
    competition.labelled("image,hotel_id,chain_id", labels, "0,0")
    competition.table("sample_submission.csv", "image,hotel_id", "b0,0 1 2 3 4", "b1,0 1 2 3 4")
    competition.table("test.csv", "image,chain_id", "b0,1", "b1,1")
    assert competition.adopt().source.group is None


# ---- mistakes ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": ("tagret",)}, "train.csv has no column tagret; did you mean target"),
        ({"image": "idd", "labels": "train.csv"}, "train.csv has no column idd; did you mean id"),
        ({"group": "patient"}, "train.csv has no column patient"),
        ({"labels": "trian.csv"}, "no readable table trian.csv; did you mean train.csv"),
        ({"positive": ("2",)}, "no image has the label 2"),
        ({"train": ("trian",)}, "no folder trian; did you mean train"),
        ({"test": ("tests",)}, "no folder tests; did you mean test"),
    ],
)
def test_conclude_wrong_name_names_the_nearest(competition, options, message):
    competition.labelled("id,target", ["0", "1", "0"], "0")
    if "label" in options:
        options = {**options, "labels": "train.csv"}
    with pytest.raises(UserError, match=message):
        competition.adopt(**options)


def test_conclude_repeated_id_with_one_label_counts_once(competition):
    competition.labelled("id,target", ["0", "1", "0"], "0")
    table = competition.root / "train.csv"
    table.write_text(table.read_text() + "a0,0\n")
    assert len(competition.adopt().dataset.train) == 3
    table.write_text(table.read_text() + "a0,1\n")
    with pytest.raises(UserError, match="gives the image a0 two labels, 0 and 1"):
        competition.adopt()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["x", "", "y", "z"], "1 empty labels in label, such as that of a1"),
        (["x", "NaN", "y", "z"], "1 labels NaN in label, such as that of a1"),
        (["Cat", "cat", "dog", "cow"], r"'Cat' \(1 times\) and 'cat' \(1 times\) in label, which differ in case"),
        (["a  b", "a b", "dog", "cow"], "which differ in case or spaces alone"),
    ],
)
def test_conclude_unclean_labels_are_refused(competition, labels, message):
    competition.labelled("id,label", labels, "dog")
    with pytest.raises(UserError, match=message):
        competition.adopt()


def test_conclude_missing_images_are_counted_and_named(competition):
    competition.labelled("id,target", ["0", "1", "0"], "0")
    (competition.root / "train" / "a1.png").unlink()
    with pytest.raises(UserError, match=r"1 images of train.csv have no file, such as a1"):
        competition.adopt()
    competition.images("train/a1.png")
    (competition.root / "test" / "b1.png").unlink()
    with pytest.raises(UserError, match="needs 1 of 2 images that no file has, such as b1"):
        competition.adopt()


def test_conclude_sample_of_training_ids_is_refused(competition):
    competition.labelled("id,target", ["0", "1", "0"], "0")
    competition.table("sample_submission.csv", "id,target", "a0,0", "a1,0")
    with pytest.raises(UserError, match="2 ids of training images, such as a0, a1"):
        competition.adopt()


# ---- the command ----


def test_adopt_writes_a_config_that_scan_reads(competition, monkeypatch, run_cli):
    from comp import config

    competition.labelled("id,patient_id,target", [f"p{index // 2},{index % 3 % 2}" for index in range(24)], "p,0")
    competition.table("sample_submission.csv", "id,target", "b0,0", "b1,0")
    monkeypatch.chdir(competition.root.parent)
    before = sorted(competition.root.rglob("*"))
    status, out, err = run_cli("comp", "data", "adopt", "cells", "--metric", "auc")
    assert (status, err) == (0, "")
    assert "data.group" in out and "12 values of 1 to 2 images" in out and "holds the probability of 1" in out
    [settings] = config.load("configs/cells.yaml")
    assert settings.train.metric == "auc" and settings.data.size == 64
    assert len(scan(settings.source).train) == 24
    assert sorted(competition.root.rglob("*")) == before
    assert run_cli("comp", "data", "adopt", "cells")[1].count("already exists and is the same") == 1
    status, _, err = run_cli("comp", "data", "adopt", "cells", "--group", "none")
    assert status == 2 and "exists and differs; add --force" in err
    assert run_cli("comp", "data", "adopt", "cells", "--group", "none", "--force")[0] == 0
    assert "group" not in Path("configs/cells.yaml").read_text()


def test_adopt_open_question_prints_the_table_and_writes_nothing(competition, monkeypatch, run_cli):
    competition.labelled("id_code,diagnosis", list("001234"), "0")
    monkeypatch.chdir(competition.root.parent)
    status, out, err = run_cli("comp", "data", "adopt", "cells")
    assert status == 2 and "data.label     diagnosis" in out
    assert err.count("\n") == 1 and "--task ordinal" in err
    assert not Path("configs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "singel"], "unknown task singel; did you mean single?"),
        (["--metric", "acc"], "unknown metric acc"),
        (["--answer", "best"], "--answer best is none of"),
    ],
)
def test_adopt_unknown_value_is_refused_first(competition, monkeypatch, run_cli, arguments, message):
    monkeypatch.chdir(competition.root.parent)
    status, out, err = run_cli("comp", "data", "adopt", "cells", *arguments)
    assert (status, out) == (2, "") and message in err


# ---- zip files ----


def make_zip(path: Path, members: dict[str, bytes | zipfile.ZipInfo]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            if isinstance(content, zipfile.ZipInfo):
                archive.writestr(content, "target")
            else:
                archive.writestr(name, content)
    return path


def test_unpack_zip_with_zips_inside_becomes_folders(tmp_path):
    train = make_zip(tmp_path / "train.zip", {"train/a.jpg": b"a", "train/b.jpg": b"b"})
    test = make_zip(tmp_path / "test.zip", {"1.jpg": b"1", "2.jpg": b"2"})
    table = make_zip(tmp_path / "train.csv.zip", {"train.csv": b"id"})
    members = {path.name: path.read_bytes() for path in (train, test, table)}
    archive = make_zip(tmp_path / "all.zip", {**members, "sample_submission.csv": b"id,x"})
    assert "6 files" in unpack(archive, tmp_path / "input" / "cells")
    names = {path.relative_to(tmp_path / "input").as_posix() for path in (tmp_path / "input").rglob("*.*")}
    assert names == {f"cells/{name}" for name in ("train/a.jpg", "train/b.jpg", "test/1.jpg", "test/2.jpg", "train.csv",
                                                  "sample_submission.csv")}  # fmt: skip


def test_unpack_zip_of_one_folder_with_tables_is_that_folder(tmp_path):
    archive = make_zip(tmp_path / "all.zip", {"leaf/train.csv": b"id", "leaf/train/a.jpg": b"a"})
    unpack(archive, tmp_path / "cells")
    assert (tmp_path / "cells" / "train.csv").is_file()


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"../a.jpg": b"a"}, "leads outside"),
        ({"/a.jpg": b"a"}, "leads outside"),
        ({"x/../../a.jpg": b"a"}, "leads outside"),
        ({"C:\\a.jpg": b"a"}, "leads outside"),
        ({"ok.jpg": b"a", "a": link("a")}, "a link or a device"),
        ({"a.csv": bytes(2**28)}, "268,435,456 bytes in"),
        ({f"{number}.csv": bytes(2**24) for number in range(10)}, "would become"),
        ({"a": b"a", "a/b": b"b"}, "a file and a folder of one name"),
        ({}, "is empty"),
    ],
)
def test_unpack_hostile_zip_writes_nothing(tmp_path, members, message):
    archive = make_zip(tmp_path / "all.zip", members)
    with pytest.raises(UserError, match=message):
        unpack(archive, tmp_path / "input" / "cells")
    assert not list((tmp_path / "input").glob("**/*.*")) and not (tmp_path / "input" / "cells").exists()


def test_unpack_broken_zip_or_existing_folder_is_refused(tmp_path):
    archive = tmp_path / "all.zip"
    archive.write_bytes(b"not a zip")
    with pytest.raises(UserError, match="not a complete zip"):
        unpack(archive, tmp_path / "cells")
    (tmp_path / "cells").mkdir()
    with pytest.raises(UserError, match="already exists"):
        unpack(archive, tmp_path / "cells")
