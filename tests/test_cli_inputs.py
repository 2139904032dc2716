from __future__ import annotations

import math

import numpy as np
import pytest

from ppzoo.cli_file import UserFiles
from ppzoo.cli_inputs import (
    check_comparable,
    check_has_data,
    check_is_fit,
    floating_type,
    make_methods,
    make_model,
    named_card,
    parse_pairs,
    parse_value,
    read_data,
    short_name,
)
from ppzoo.datasets.record import Dataset
from ppzoo.errors import DataError, ModelError, NotFittedError, OptionError
from ppzoo.zoo import list_models


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4), ("-1", -1), ("2.5", 2.5), (".5", 0.5), ("1e-3", 0.001), ("true", True), ("False", False),
        ("null", None), ("full", "full"), ('"4"', "4"), ("[64, 64]", [64, 64]), ("", ""), ("[" * 99_999, "[" * 99_999),
    ],
)  # fmt: skip
def test_a_value_is_what_it_looks_like(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_nan_is_a_number_for_the_checks_to_refuse():
    assert math.isnan(parse_value("nan"))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["features"], "--set: is not a setting; got 'features'; expected NAME=VALUE"),
        (["=4"], "is not a setting"),
        (["a b=4"], "is not a setting"),
        (["k=1", "k=2"], "names one setting twice; got 'k'"),
    ],
)
def test_a_setting_that_is_none(pairs, message):
    with pytest.raises(OptionError, match=message):
        parse_pairs("--set", pairs)


def test_the_data_of_a_zoo_model_are_its_own_unless_others_are_named():
    assert read_data("eight_schools", None, None).name == "eight_schools"
    assert read_data("eight_schools", "kidiq", None).name == "kidiq"
    assert read_data("mine.py:model", None, None) == ()
    with pytest.raises(ModelError, match="is not in the zoo"):
        read_data("eight_schols", None, None)
    with pytest.raises(OptionError, match="--target: needs a table"):
        read_data("mine.py:model", None, "height")


def test_a_target_leaves_the_table(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("height,count,[/x]\n1.5,3,0.1\n1.8,4,0.2\n1.7,5,0.4\n")
    found = read_data("mine.py:model", str(file), "count")
    assert found.columns["x"] == ("height", "[/x]")
    assert found.data["x"].tolist() == [[1.5, 0.1], [1.8, 0.2], [1.7, 0.4]]
    assert found.data["y"].tolist() == [3, 4, 5]
    assert found.data["y"].dtype == np.int64
    with pytest.raises(DataError, match=r"--target: is not a column.*Did you mean 'count'"):
        read_data("mine.py:model", str(file), "counts")


def test_a_class_of_a_file_gets_its_features_from_the_data(tmp_path):
    pytest.importorskip("torch")
    file = tmp_path / "mine.py"
    file.write_text("class A:\n    def __init__(self, *, features, k=2):\n        self.made = features, k\nmodel = len")
    data = Dataset("d", {"x": np.zeros((5, 3))})

    def make(name: str, data: Dataset | tuple[()], options: dict[str, object]) -> object:
        return make_model(f"{file}:{name}", data, options, seed=0, files=UserFiles(0))

    assert make("A", data, {}).made == (3, 2)
    assert make("A", data, {"features": 4, "k": 5}).made == (4, 5)
    with pytest.raises(OptionError, match=r"--set: cannot make a A; got missing a required.* 'features'"):
        make("A", (), {})
    with pytest.raises(OptionError, match="got an unexpected keyword argument 'j'"):
        make("A", data, {"j": 1})
    with pytest.raises(OptionError, match="only a class or a zoo model has options"):
        make("model", data, {"j": 1})


def test_an_option_goes_to_each_method_that_has_it():
    pytest.importorskip("torch")
    made = make_methods(["svi", "nuts", "em"], {"steps": 70, "chains": 3})
    assert (made["svi"].steps, made["em"].steps, made["nuts"].chains) == (70, 70, 3)
    with pytest.raises(OptionError, match=r"chain: is not an option of method 'svi' or 'nuts'.*Did you mean 'chains'"):
        make_methods(["svi", "nuts"], {"chain": 3})
    with pytest.raises(OptionError, match="chains: is not an option of method 'svi'"):
        make_methods(["svi"], {"chains": 3})
    with pytest.raises(OptionError, match=r"unknown method; got 'nust'.*Did you mean 'nuts'"):
        make_methods(["nust"], {})
    with pytest.raises(OptionError, match="names a method twice"):
        make_methods(["svi", "svi"], {})


@pytest.mark.parametrize("name", ["eight_schools", "linear_regression", "bayesian_gmm", "mine.py:model"])
def test_a_model_with_a_prior_on_everything_is_one_to_compare(name):
    check_comparable(name)


@pytest.mark.parametrize(
    ("name", "methods", "fit"),
    [
        ("vae", "svi", "ppzoo fit vae"),
        ("gan", "adversarial", "ppzoo fit gan --method adversarial"),
        ("gmm", "em or svi", "ppzoo fit gmm --method em"),
        ("ppca", "exact or svi", "ppzoo fit ppca --method exact"),
    ],
)
def test_a_model_without_a_posterior_to_share_is_not(name, methods, fit):
    with pytest.raises(ModelError) as raised:
        check_comparable(name)
    assert f"got '{name}', fitted by {methods}; expected one of 'bayesian_gmm', 'bayesian_ppca'" in str(raised.value)
    assert str(raised.value).endswith(fit)


def test_every_zoo_model_is_one_to_compare_or_says_why_not():
    """Those with a prior on everything are those whose name says so, and the two regressions."""
    refused = []
    for name in list_models():
        try:
            check_comparable(name)
        except ModelError:
            refused.append(name)
    assert refused == ["gan", "gmm", "ppca", "realnvp", "vae"]


def test_a_name_that_is_not_in_the_zoo_is_said_first():
    with pytest.raises(ModelError, match="is not in the zoo; got 'eight_schols'"):
        check_comparable("eight_schols")


def test_defaults_and_names():
    assert short_name("some/mine.py:model") == "mine-model"
    assert floating_type(None) is None
    with pytest.raises(OptionError, match="dtype: not one of the known names; got 'float16'"):
        floating_type("float16")


@pytest.mark.parametrize("shape", [(5,), (5, 0), (0, 2), (2, 2, 2), ()])
def test_columns_are_counted_in_a_table_only(shape):
    pytest.importorskip("torch")
    data = Dataset("t", {"x": np.zeros(shape)})
    with pytest.raises(DataError, match=r"^x: (must have two dimensions|is empty)"):
        make_model("gmm", data, {}, seed=0, files=UserFiles(0))


@pytest.mark.parametrize(
    ("name", "fit"),
    [
        ("vae", "ppzoo fit vae --out runs/vae"),
        ("mine.py:model", "ppzoo fit mine.py:model --out runs/mine-model"),
        ("mine.py", "ppzoo fit mine.py:model --out runs/mine-model"),
    ],
)
def test_a_model_is_no_fit(name, fit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFittedError, match=rf"is a model and not a fit; got '{name}'.*{fit}$"):
        check_is_fit(name)
    check_is_fit("runs/a")
    (tmp_path / name).mkdir()
    (tmp_path / name / "manifest.json").write_text("{}")
    check_is_fit(name)


def test_a_folder_without_a_fit_says_what_is_in_it(tmp_path):
    with pytest.raises(NotFittedError, match=r"is a folder without a fit; got .*Check the path"):
        check_is_fit(str(tmp_path))
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    with pytest.raises(NotFittedError, match=r"There are fits in it: a, b\."):
        check_is_fit(str(tmp_path))


def test_a_name_that_is_not_in_the_zoo_is_guessed_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("")
    assert named_card("vae").data == "digits"
    for name, remedy in {
        "vea": "Did you mean 'vae'?",
        "digits": "It is a data set: give a model, and --data digits.",
        "mine": "Did you mean mine.py:model?",
        "mine:guide": "Did you mean mine.py:guide?",
    }.items():
        with pytest.raises(ModelError, match=r"expected a name of ppzoo list, or path/to/file\.py:object") as raised:
            named_card(name)
        assert raised.value.remedy.startswith(remedy)


def test_a_response_that_no_column_is_named_as():
    pytest.importorskip("torch")
    table = Dataset("t", {"x": np.zeros((3, 2))}, columns={"x": ("height", "my weight")})

    def regression(x, y): ...

    with pytest.raises(DataError, match=r"--target: .*'height', 'my weight'.*--target 'my weight': the others"):
        check_has_data(regression, table)
    check_has_data(regression, Dataset("t", {"x": np.zeros((3, 2)), "y": np.zeros(3)}, columns=table.columns))
    check_has_data(regression, Dataset("t", {"x": np.zeros((3, 2))}, columns={"x": ("y", "height")}))
    check_has_data(regression, Dataset("t", {"x": np.zeros((3, 1))}, columns={"x": ("height",)}))  # the door says it
    check_has_data(lambda x, y, sigma: None, table)
    check_has_data(lambda table, y=None: None, table)
    check_has_data(lambda: None, ())
    with pytest.raises(DataError, match=r"--data: the model needs data; got nothing; expected the arguments x, y"):
        check_has_data(regression, ())
