"""Configs: YAML 1.2, parents, overrides, names of runs, and errors that name the nearest key."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from comp.cli import DEFAULT_CONFIG
from comp.config import load, merge, parse_overrides, read_tree
from comp.errors import UserError
from comp.schema import Config
from comp.yaml12 import parse_scalar, read_yaml

REPO_ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(path.relative_to(REPO_ROOT).as_posix() for path in (REPO_ROOT / "configs").rglob("*.yaml"))


@pytest.fixture
def written(tmp_path: Path, monkeypatch):
    """Write configs below an empty current directory: `written("a/b.yaml", text)` is configs/a/b.yaml."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str = "") -> Path:
        path = Path("configs") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


# ---- YAML 1.2 ----


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("y", "y"),
        ("True", "True"),
        ("NULL", "NULL"),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-2.", -2.0),
        ("010", 10),
        ("-7", -7),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("0,1,2", "0,1,2"),
        ("[0, on]", [0, "on"]),
    ],
)
def test_parse_scalar_follows_yaml_1_2(text, value):
    read = parse_scalar(text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train: {epochs: 3}\nloss: {}\ntrain: {batch: 8}\n", "the key train appears twice"),
        ("train: {epochs: 3, epochs: 4}\n", "the key epochs appears twice"),
        ("train: {epochs: 3\n", "not readable YAML in line"),
        ("? [a, b]\n: 1\n", "not readable YAML in line 1"),
        ("!!python/object/apply:os.getcwd []\n", "not readable YAML"),
        ("- a\n- b\n", "must hold keys and values"),
        ("just words\n", "must hold keys and values"),
    ],
)
def test_read_yaml_malformed_file_error_names_it(written, text, complaint):
    path = written("odd.yaml", text)
    with pytest.raises(UserError, match=f"^{path}.*{complaint}"):
        load(path)


BOMB = "a0: &a0 [x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 100))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "it has more than 10,000 values"),
        (CHAIN, "it is nested deeper than 20 levels"),
        (f"a: &a [{'[' * 10 + ']' * 10}, 1]\nb: {'[' * 10}*a{']' * 10}", "it is nested deeper than 20 levels"),
        ("train: &t {epochs: *t}", r"\*t refers to itself"),
        ("train: &t [1, [*t]]", r"\*t refers to itself"),
        ("train: " + "[" * 5000, "it is nested deeper than 20 levels"),
        ("train: " + "{a: " * 5000, "it is nested deeper than 20 levels"),
        ("train:\n" + "- 1\n" * 10_000, "it has more than 10,000 values"),
        ("a: " + "1" * 5000, "no finite number of 64 bits"),
        ("a: 9223372036854775808", "no finite number of 64 bits"),
        ("a: 1e999", "1e999, which is no finite number"),
        ("1: 2", "a key is not text"),
        ("a: {~: 2}", "a key is not text"),
        ("a: {true: 2}", "a key is not text"),
        ("{[1]: 2}", "unhashable key"),
        ("a: !!set {b}", "the tag 'tag:yaml.org,2002:set'"),
        ("a: !!binary aa==", "the tag 'tag:yaml.org,2002:binary'"),
        ("a: !!timestamp 2001-01-01", "the tag 'tag:yaml.org,2002:timestamp'"),
        ("a: !!python/object/apply:os.getpid []", "the tag 'tag:yaml.org,2002:python"),
        ("a: !!bool maybe", "neither true nor false"),
        ("a: !!int [1]", "it is not a number"),
        ("a: b\0", "cannot be read"),
        ('a: "b\\0"', "a character that no file name can have"),
        ('a: ["\\ud800"]', "a character that no file name can have"),
        ('"\\0": 1', "a character that no file name can have"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: " + "x" * 300_000, "more than the 262,144 that are read"),
    ],
)
def test_read_yaml_hostile_file_is_one_user_error(tmp_path, text, reason):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=f"{path}.*{reason}") as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text", ["[" * 5000, "&a [*a]", BOMB.replace("\n", ", "), "x" * 300_000, "1" * 5000, "1e400", r'"a\0b"']
)
def test_parse_scalar_hostile_value_is_one_user_error(text):
    with pytest.raises(UserError, match="cannot read the value") as caught:
        parse_scalar(text)
    assert len(str(caught.value)) < 400


def test_read_yaml_aliases_within_the_limits_are_expanded(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {lr: 1, b: &b [1]}\nc: [*a, *b, *b]\n")
    assert read_yaml(tmp_path / "a.yaml")["c"] == [{"lr": 1, "b": [1]}, [1], [1]]
    (tmp_path / "a.yaml").write_text("a: " + "[" * 18 + "]" * 18)
    assert read_yaml(tmp_path / "a.yaml")


def test_read_yaml_many_aliases_count_what_they_stand_for(tmp_path):
    hundred = f"a: &a [{', '.join(['1'] * 100)}]\nb:\n"
    (tmp_path / "a.yaml").write_text(hundred + "- *a\n" * 95)
    assert len(read_yaml(tmp_path / "a.yaml")["b"]) == 95
    (tmp_path / "a.yaml").write_text(hundred + "- *a\n" * 105)
    with pytest.raises(UserError, match="more than 10,000 values"):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize("path", ["", ".", "/", "..", "a\0b.yaml", "x" * 300, "pipe.yaml", "loop.yaml", "child.yaml"])
def test_load_path_that_is_no_file_is_one_user_error(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.yaml")
    Path("loop.yaml").symlink_to("loop.yaml")
    Path("child.yaml").write_text("extends: pipe.yaml")
    with pytest.raises(UserError) as caught:
        load(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_read_yaml_missing_file_names_the_nearest(written):
    written("recipes/ema.yaml")
    with pytest.raises(UserError, match=r"no config configs/recipe/ema.yaml; did you mean configs/recipes/ema.yaml\?"):
        load("configs/recipe/ema.yaml")


# ---- one parent ----


def test_read_tree_parents_merge_maps_and_replace_lists(written):
    written("root.yaml", "train: {epochs: 9, batch: 7}\nmodel: {kwargs: {widths: [1, 2, 3], se: true}}\n")
    written("sub/middle.yaml", "extends: ../root.yaml\ntrain: {batch: 8}\nmodel: {kwargs: {widths: [4]}}\n")
    (leaf,) = load(written("sub/leaf.yaml", "extends: middle.yaml\noptim: {lr: 1e-2}\n"))
    assert (leaf.train.epochs, leaf.train.batch, leaf.optim.lr) == (9, 8, 0.01)
    assert leaf.model.kwargs == {"widths": [4], "se": True}


def test_read_tree_circular_extends_is_an_error(written):
    written("a.yaml", "extends: b.yaml\n")
    written("b.yaml", "extends: a.yaml\n")
    with pytest.raises(UserError, match=r"a\.yaml extends itself"):
        load("configs/a.yaml")


@pytest.mark.parametrize(
    ("child", "kwargs"),
    [
        ("model: {name: resnet18}", {}),
        ("model: {name: resnet18, kwargs: {stem_width: 8}}", {"stem_width": 8}),
        ("model: {name: pinto_cnn}", {"se": False}),
        ("model: {dropout: 0.1}", {"se": False}),
        ("train: {epochs: 2}", {"se": False}),
    ],
)
def test_merge_new_model_drops_old_kwargs(written, child, kwargs):
    written("parent.yaml", "model: {name: pinto_cnn, kwargs: {se: false}}\n")
    (config,) = load(written("child.yaml", f"extends: parent.yaml\n{child}\n"))
    assert config.model.kwargs == kwargs


def test_merge_does_not_modify_its_arguments():
    below, above = {"a": {"x": 1}, "b": [1]}, {"a": {"y": 2}, "b": [2]}
    assert merge(below, above) == {"a": {"x": 1, "y": 2}, "b": [2]}
    assert (below, above) == ({"a": {"x": 1}, "b": [1]}, {"a": {"y": 2}, "b": [2]})


# ---- overrides ----

OVERRIDES = ["model.name=resnet18", "model.kwargs.stem_width=8", "optim.lr=3e-4"]


def test_load_override_order_does_not_matter(written):
    path = written("base.yaml", "model: {name: pinto_cnn, kwargs: {se: false}}\n")
    forward, backward = load(path, OVERRIDES), load(path, OVERRIDES[::-1])
    assert forward == backward
    assert forward[0].name == "base+model.kwargs.stem_width=8+model.name=resnet18+optim.lr=0.0003"


def test_load_last_override_of_a_key_wins():
    assert parse_overrides(["optim.lr=1", "optim.lr=2"]) == {"optim": {"lr": 2}}


@pytest.mark.parametrize("text", ["epochs", "=3", "train epochs=3", "train..epochs=3", "--epochs=3", "optim.lr=["])
def test_parse_overrides_malformed_is_an_error(text):
    with pytest.raises(UserError, match="cannot read"):
        parse_overrides([text])


@pytest.mark.parametrize(
    ("override", "wrong", "hint"),
    [
        ("optim.lrr=1", "optim.lrr", "did you mean optim.lr?"),
        ("lr=1", "lr", "available: optim.lr"),
        ("train.lr=1", "train.lr", "did you mean optim.lr?"),
        ("epochs=3", "epochs", "did you mean train.epochs?"),
        ("trian.epochs=3", "trian", "did you mean train?"),
        ("seed=3", "seed", "available: folds.seed, train.seed"),
        ("train.batch_size=3", "train.batch_size", "did you mean train.batch?"),
        ("model.kwarg.se=false", "model.kwarg", "did you mean model.kwargs?"),
        ("loss.smoothing=0.1", "loss.smoothing", "did you mean loss.label_smoothing?"),
    ],
)
def test_load_unknown_key_error_names_the_nearest(written, override, wrong, hint):
    path = written("base.yaml")
    with pytest.raises(UserError, match=re.escape(f"{path}: unknown key {wrong}; {hint}")):
        load(path, [override])


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.epochs=0", "train.epochs", "0"),
        ("train.epochs=2.5", "train.epochs", "2.5"),
        ("train.epochs=ten", "train.epochs", "'ten'"),
        ("data.workers=257", "data.workers", "257"),
        ("data.root=..", "data.root", "'..'"),
        ("data.root=/", "data.root", "'/'"),
        ('folds.file="a\\nb"', "folds.file", r"'a\nb'"),
        ('submit.ledger=""', "submit.ledger", "''"),
        ("folds.seed=4294967296", "folds.seed", "4294967296"),
        ("train.epochs.x=3", "train.epochs", "{'x': 3}"),
        ("optim.lr=-1", "optim.lr", "-1"),
        ("optim.lr=true", "optim.lr", "True"),
        ("optim.lr=.inf", "optim.lr", "'.inf'"),
        ("model.pretrained=on", "model.pretrained", "'on'"),
        ("model.pretrained=1", "model.pretrained", "1"),
        ("model.kwargs=5", "model.kwargs", "5"),
        ("model=resnet18", "model", "'resnet18'"),
        ("loss.name=hinge", "loss.name", "'hinge'"),
        ("data.workers=some", "data.workers", "'some'"),
        ("train.ema=1", "train.ema", "1"),
        ("train.seed=", "train.seed", "None"),
        ("train.seed=[]", "train.seed", "[]"),
        ("train.seed=[0, x]", "train.seed", "'x'"),
    ],
)
def test_load_wrong_value_error_names_key_and_value(written, override, key, value):
    path = written("base.yaml")
    with pytest.raises(UserError, match=rf"{path}: {re.escape(key)} must .*, and is {re.escape(value)}$"):
        load(path, [override])


# ---- names ----


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("main.yaml", "main"),
        ("recipes/ema.yaml", "recipes/ema"),
        ("papers/a/b.yaml", "papers/a/b"),
        ("my-kit/configs/main.yaml", "main"),
    ],
)
def test_load_run_name_is_the_path_below_configs(written, path, name):
    assert load(written(path))[0].name == name
    assert load(Path(written(path)).resolve())[0].name == name


def test_load_config_outside_configs_is_named_by_stem(tmp_path):
    (tmp_path / "mine.yaml").write_text("train: {epochs: 2}\n")
    assert load(tmp_path / "mine.yaml")[0].name == "mine"


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs=7",
        "model.name=resnet18",
        "log.wandb=off",
        "data.workers=3",
        "train.save_every=5",
        "infer.tta=d4",
        "train.ema=null",
        "optim.lr=0.001",
    ],
)
def test_load_override_outside_identity_keeps_the_name(written, override):
    path = written("base.yaml", "model: {name: resnet18}\ntrain: {epochs: 7}\n")
    assert load(path, [override])[0].name == "base"


@pytest.mark.parametrize("seeds", ["0,1,2", "[0, 1, 2]", "0, 1, 2"])
def test_load_several_seeds_give_one_config_each(written, seeds):
    siblings = load(written("base.yaml"), [f"train.seed={seeds}", "optim.lr=1"])
    assert [config.train.seed for config in siblings] == [0, 1, 2]
    assert [config.name for config in siblings] == [f"base+optim.lr=1.0+train.seed={seed}" for seed in range(3)]
    assert load(written("seeds.yaml", "train: {seed: [4, 5]}\n"), name="mine")[1].name == "mine+train.seed=5"


def test_load_name_argument_replaces_the_derived_name(written):
    assert load(written("base.yaml"), ["train.epochs=3"], name="my/run-1")[0].name == "my/run-1"


@pytest.mark.parametrize("name", ["", "../out", "a/../../b", "/tmp/x", "a b", "a//b", "./a", "a/", "~", "a:b"])
def test_load_unsafe_name_argument_is_an_error(written, name):
    path = written("base.yaml")
    for ask in (lambda: load(path, name=name), lambda: load(path, [f"name='{name}'"])):
        with pytest.raises(UserError, match="as a name"):
            ask()


def test_load_long_name_ends_in_a_hash(written):
    path = written("base.yaml")
    many = [f"model.kwargs.some_rather_long_key_{number}=1" for number in range(6)]
    long, other = (load(path, [*many, f"train.epochs={epochs}"])[0].name for epochs in (3, 4))
    assert len(long) == len(other) == 80 and long != other
    assert re.fullmatch(r"base\+model\.kwargs\..*-[0-9a-f]{8}", long)
    short = load(path, many[:1])[0].name
    assert len(short) < 80 and short.endswith("=1")


def test_load_unsafe_characters_are_replaced_in_the_name(written):
    name = load(written("base.yaml"), ["data.root=input/other cells", "model.kwargs.widths=[1, 2]"])[0].name
    assert name == "base+data.root=input-other-cells+model.kwargs.widths=-1,-2-"


# ---- the config of a run ----


@pytest.mark.parametrize("name", [None, "08", "1e5", "null", "off", "true", "0x10", "a=b,c", "großes/Modell"])
def test_config_written_by_a_run_loads_unchanged(written, name):
    (config,) = load(
        written("base.yaml"), [*OVERRIDES, "train.init='010'", "log.wandb=off", "model.kwargs.act='1e-3'"], name
    )
    folder = Path("runs") / config.name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert load(folder / "config.yaml") == [config]


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("log.wandb=offline", True),
        ("log.project=mine", True),
        ("data.workers=7", True),
        ("train.save_every=1", True),
        ("infer.tta=d4", True),
        ("optim.lr=0.5", False),
        ("data.size=64", False),
        ("folds.file=a.csv", False),
        ("model.kwargs.se=false", False),
        ("train.keep=best", False),
        ("train.seed=1", False),
    ],
)
def test_identity_holds_every_key_that_changes_weights(written, override, same):
    path = written("base.yaml")
    assert (load(path)[0].identity() == load(path, [override])[0].identity()) is same


def test_config_is_immutable():
    with pytest.raises(ValueError, match="frozen"):
        Config(name="x").train.epochs = 3


# ---- the configs of the repository ----


def test_configs_exist():
    assert DEFAULT_CONFIG in CONFIGS and len(CONFIGS) > 10


@pytest.mark.parametrize("path", CONFIGS)
def test_configs_in_the_repository_load(path, monkeypatch):
    monkeypatch.chdir(REPO_ROOT)
    if path.startswith("configs/studies/") and "extends" not in read_yaml(Path(path)):
        from comp.study.study_file import read_study

        assert read_study(Path(path)).space
    else:
        assert all(config.name.startswith(path.removeprefix("configs/").removesuffix(".yaml")) for config in load(path))
        assert "name" not in read_tree(Path(path)), "the name of a config is its path"


@pytest.mark.parametrize("path", CONFIGS)
def test_configs_in_the_repository_have_a_header(path):
    lines = (REPO_ROOT / path).read_text(encoding="utf-8").splitlines()
    header = lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]
    commands = [line.removeprefix("# ") for line in header if re.match(r"# (python|make) ", line)]
    named = "python train.py" if path == DEFAULT_CONFIG else path
    assert len(header) > len(commands) >= 1
    assert any(named in command or command.startswith("make ") for command in commands)
