"""The one door: each kind of data reaches the arguments that its rule says, or is refused by name."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

torch = pytest.importorskip("torch")

from pyro.nn import PyroModule  # noqa: E402  # needs torch

from ppzoo.datasets import load_dataset  # noqa: E402
from ppzoo.datasets.arguments import Arguments, arguments_for, real_numbers  # noqa: E402
from ppzoo.datasets.record import Dataset  # noqa: E402
from ppzoo.errors import DataError, OptionError  # noqa: E402


def one(x): ...


def two(x, y): ...


def maybe(x, y=None): ...


def schools(y, sigma): ...


def nothing(): ...


def stars(*data, **settings): ...


def keyword(x, *, y): ...


class Module(PyroModule):
    def forward(self, x, y=None): ...

    def model(self, x): ...


FRAME = pd.DataFrame({"height": [1.5, 1.8, 1.7], "age": [30, 40, 50], "y": [1, 0, 1]})
TABLE = np.arange(6.0).reshape(3, 2)


def _shapes(arguments: Arguments) -> tuple[list, dict]:
    return [tuple(a.shape) for a in arguments.args], {name: tuple(a.shape) for name, a in arguments.kwargs.items()}


@pytest.mark.parametrize(
    ("function", "data", "expected"),
    [
        (one, TABLE, ([(3, 2)], {})),
        (one, torch.ones(3, 2), ([(3, 2)], {})),
        (one, [[1.0], [2.0]], ([(2, 1)], {})),
        (one, range(1, 4), ([(3,)], {})),
        (one, FRAME, ([(3, 3)], {})),
        (one, FRAME["y"], ([(3,)], {})),
        (one, (TABLE,), ([(3, 2)], {})),
        (two, (TABLE, [1, 2, 3]), ([(3, 2), (3,)], {})),
        (nothing, (), ([], {})),
        (maybe, TABLE, ([(3, 2)], {})),
        (two, {"y": [1, 2, 3], "x": TABLE}, ([], {"y": (3,), "x": (3, 2)})),
        (keyword, {"y": [1], "x": [1]}, ([], {"y": (1,), "x": (1,)})),
        (nothing, {}, ([], {})),
        (stars, TABLE, ([(3, 2)], {})),
        (stars, (TABLE, TABLE[0]), ([(3, 2), (2,)], {})),
        (stars, {"z": TABLE}, ([], {"z": (3, 2)})),
        (Module(), TABLE, ([(3, 2)], {})),
        (Module().model, TABLE, ([(3, 2)], {})),
        (functools.partial(two, y=3), TABLE, ([(3, 2)], {})),
        (functools.partial(two, 3), TABLE[0], ([(2,)], {})),
    ],
)
def test_each_kind_of_data_reaches_its_arguments(function, data, expected):
    assert _shapes(arguments_for(function, data)) == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (one, ([(434, 2)], {})),
        (two, ([(434, 2), (434,)], {})),
        (maybe, ([(434, 2), (434,)], {})),
        (keyword, ([(434, 2)], {"y": (434,)})),
        (lambda x, scale=1, y=None: None, ([(434, 2)], {"y": (434,)})),
        (lambda y: None, ([(434,)], {})),
        (lambda table: None, ([(434, 2)], {})),
        (lambda table=None: None, ([(434, 2)], {})),
        (lambda y=None: None, ([(434,)], {})),
        (lambda table, y=None: None, ([(434, 2), (434,)], {})),
        (stars, ([(434, 2)], {})),
        (Module(), ([(434, 2), (434,)], {})),
    ],
)
def test_a_record_goes_by_name(function, expected):
    assert _shapes(arguments_for(function, "kidiq")) == expected
    assert _shapes(arguments_for(function, load_dataset("kidiq"))) == expected


def test_integers_as_real_numbers():
    given = arguments_for(lambda x, group, scale, *, y: None, {"x": [1.5], "group": [1], "scale": 3, "y": [2]})
    real = real_numbers(given)
    assert [getattr(v, "dtype", v) for v in real.kwargs.values()] == [torch.float64, torch.float64, 3, torch.float64]
    assert real.notes == ("integers were taken as real numbers",)
    assert real_numbers(real).notes == real.notes
    by_position = real_numbers(arguments_for(lambda *x: None, ([1, 2], [1.0, 2.0], [3])))
    assert {value.dtype for value in by_position.args} == {torch.float64}
    assert len(by_position.args) == 3


def test_integers_follow_the_type_of_earlier_arguments():
    before = {"x": torch.zeros(1, dtype=torch.float32), "group": torch.zeros(1, dtype=torch.int64), "n": 3}
    given = arguments_for(lambda x, group, n, new: None, ([1, 2], [1, 2], 3, [4, 5]))
    assert [getattr(v, "dtype", v) for v in real_numbers(given, before).args] == [
        torch.float32, torch.int64, 3, torch.int64,
    ]  # fmt: skip


def test_names_of_columns_and_labels_travel_with_the_data():
    arguments = arguments_for(lambda table: None, "kidiq")
    assert arguments.columns == {"table": ("mom_hs", "mom_iq")}
    arguments = arguments_for(schools, "eight_schools")
    assert arguments.coords == {"school": tuple("ABCDEFGH")}
    assert arguments_for(two, (FRAME[["age"]], FRAME["y"])).columns == {"x": ("age",)}
    assert arguments_for(two, {"x": FRAME[["age"]], "y": FRAME["y"]}).columns == {"x": ("age",)}


def test_columns_named_by_the_function_go_one_each():
    arguments = arguments_for(lambda height, age: None, FRAME)
    assert [a.tolist() for a in arguments.args] == [[1.5, 1.8, 1.7], [30, 40, 50]]
    assert [a.dtype for a in arguments.args] == [torch.float64, torch.int64]
    assert arguments.notes == ("height, age: columns of the table, taken by name",)
    assert arguments_for(lambda age: None, FRAME).args[0].tolist() == [30, 40, 50]


def test_x_takes_the_columns_that_no_other_argument_names():
    for function in (two, maybe):
        arguments = arguments_for(function, FRAME)
        assert arguments.args[0].tolist() == FRAME[["height", "age"]].to_numpy().tolist()
        assert arguments.args[1].tolist() == [1, 0, 1]
        assert arguments.columns == {"x": ("height", "age")}
        assert arguments.notes == ("x: all columns but y, which went by name",)


def test_a_table_with_columns_x_and_y_gives_two_vectors():
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]})
    assert _shapes(arguments_for(two, frame)) == ([(2,), (2,)], {})
    assert _shapes(arguments_for(one, frame)) == ([(2, 2)], {})


def test_a_file_a_record_and_a_frame_are_the_same_data(tmp_path: Path):
    path = tmp_path / "people.csv"
    FRAME.to_csv(path, index=False)
    for function in (one, two, lambda age, y: None):
        from_frame = arguments_for(function, FRAME)
        for source in (path, str(path), load_dataset(path), load_dataset(FRAME)):
            other = arguments_for(function, source)
            assert all(a.equal(b) and a.dtype == b.dtype for a, b in zip(from_frame.args, other.args, strict=True))
            assert (from_frame.columns, from_frame.notes) == (other.columns, other.notes)


def test_true_and_false_in_a_table_become_numbers_with_a_note():
    frame = pd.DataFrame({"a": [1.5, 2.5], "b": [True, False]})
    arguments = arguments_for(one, frame)
    assert arguments.args[0].tolist() == [[1.5, 1.0], [2.5, 0.0]]
    assert arguments.notes == ("x: True/False became 1/0 in 'b'",)
    assert arguments_for(two, (frame, [1, 2])).notes == arguments.notes
    assert arguments_for(lambda a, b: None, frame).notes[1:] == ("b: True/False became 1/0",)


def test_settings_pass_beside_data():
    module = torch.nn.Identity()
    arguments = arguments_for(stars, (TABLE, 3, "name", None, module, torch.Size([2])))
    assert arguments.args[1:] == (3, "name", None, module, torch.Size([2]))
    arguments = arguments_for(two, {"x": TABLE, "y": True})
    assert arguments.kwargs["y"] is True


REFUSED = {  # function, data, message
    "none": (one, None, r"data: these are no data; got None \(NoneType\).*a model without data takes \(\)"),
    "scalar": (one, 3.0, r"data: these are no data; got 3\.0 \(float\)"),
    "truth": (one, True, r"data: these are no data"),
    "numpy scalar": (one, np.float64(3), r"data: these are no data"),
    "no dimension": (one, torch.tensor(3.0), r"data: these are no data"),
    "an object": (one, object(), r"data: these are no data; .*\(object\)"),
    "a set": (one, {1.0, 2.0}, r"data: these are no data; .*\(set\)"),
    "unknown name": (one, "digitz", r"dataset: .*Did you mean 'digits'"),
    "missing file": (one, "none.csv", r"none\.csv: no such file"),
    "too many": (
        one,
        (TABLE, TABLE),
        r"data: more arguments than the model takes; got 2 of them; expected arguments x",
    ),
    "too few": (two, TABLE, r"y: the model needs what the data do not give; got x; expected arguments x, y.*tuple"),
    "keyword missing": (keyword, (TABLE,), r"y: the model needs.*a dict by name"),
    "nothing given": (two, (), r"x, y: the model needs what the data do not give; got no argument"),
    "data for none": (nothing, TABLE, r"data: more arguments.*the model takes no data"),
    "record for none": (nothing, "kidiq", r"the model takes no data"),
    "unknown key": (two, {"x": TABLE, "yy": TABLE}, r"yy: the model takes no such argument\. Did you mean 'y'"),
    "missing key": (two, {"x": TABLE}, r"y: the model needs what the data do not give; got x"),
    "key not a name": (two, {0: TABLE}, r"data: keys must be argument names; got 0"),
    "record lacks one": (two, "eight_schools", r"x: the model needs.*eight_schools has y, sigma"),
    "record unclear": (lambda table: None, "eight_schools", r"not clear which array.*eight_schools with y, sigma"),
    "table lacks one": (two, FRAME[["age"]], r"y: the model needs what the data do not give; got x; .*table has x"),
    "record inside": (two, (load_dataset("kidiq"), TABLE), r"x: is a whole record; .*dataset\.data\['x'\]"),
    "nan by column": (one, FRAME.assign(age=[1.0, np.nan, 2.0]), r"x: contains NaN; got nan at column 'age', row 1"),
    "nan by name": (schools, {"y": [1.0, np.nan], "sigma": [1.0, 1.0]}, r"y: contains NaN; got nan at row 1"),
    "nan in a named column": (
        lambda height, age: None,
        FRAME.assign(height=[np.nan, 1.0, 1.0]),
        r"height: contains NaN; got nan at row 0",
    ),
    "inf": (one, [[np.inf]], r"x: contains infinity"),
    "no rows": (one, np.ones((0, 2)), r"x: is empty: it has no rows"),
    "no columns": (one, np.ones((2, 0)), r"x: is empty: it has no columns"),
    "empty frame": (lambda table: None, FRAME[:0], r"table: has no rows; got shape \(0, 3\)"),
    "complex": (one, np.array([1j]), r"x: is complex"),
    "text": (one, ["a", "b"], r"x: holds text; got 'a' at index 0"),
    "numbers in text": (one, np.array(["1", "2"], dtype=object), r"x: holds text; got '1'"),
    "category column": (one, FRAME.assign(c=pd.Categorical(list("aba"))), r"column 'c': is a category.*get_dummies"),
    "category series": (two, (TABLE, pd.Series([1, 2, 1], dtype="category")), r"column 'y': is a category"),
    "dates": (one, pd.DataFrame({"t": pd.to_datetime(["2020-01-01"])}), r"column 't': holds dates or times"),
    "missing": (one, pd.DataFrame({"n": pd.array([1, pd.NA])}), r"column 'n': has missing entries; got 1 of 2 rows"),
    "ragged": (one, [[1], [1, 2]], r"x: is ragged; got rows of 1, 2 entries"),
    "sparse": (one, sparse.eye(3), r"x: is a sparse matrix; .*toarray"),
    "large": (one, [[1e300]], r"x: is too large to compute with; .*Standardise"),
    "integers": (one, [2**60], r"x: holds integers too large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_by_name(case: str):
    function, data, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as caught:
        arguments_for(function, data)
    assert caught.value.argument


def test_bad_options_are_refused_before_the_data():
    with pytest.raises(OptionError, match="device: not a device"):
        arguments_for(one, [np.nan], device="gpu")
    with pytest.raises(OptionError, match="dtype: not a floating type"):
        arguments_for(one, [np.nan], dtype="float16")


def test_positional_only_names_are_no_keywords():
    def model(x, /): ...

    assert _shapes(arguments_for(model, TABLE)) == ([(3, 2)], {})
    assert _shapes(arguments_for(model, load_dataset("kidiq"))) == ([(434, 2)], {})
    with pytest.raises(DataError, match="x: the model takes no such argument"):
        arguments_for(model, {"x": TABLE})


def test_nothing_that_the_model_does_reaches_the_callers_data():
    table, tensor, record = TABLE.copy(), torch.ones(3, 2), Dataset("a", {"x": TABLE})
    for data, view in ((table, table), (tensor, tensor.numpy()), (record, record.data["x"]), (FRAME, FRAME["height"])):
        before = np.asarray(view).copy()
        arguments_for(one, data).args[0].fill_(-1)
        np.testing.assert_array_equal(view, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_type_and_device_reach_every_tensor(dtype: torch.dtype, device: str):
    arguments = arguments_for(two, "kidiq", dtype=dtype, device=device)
    assert {(a.dtype, a.device.type) for a in arguments.args} == {(dtype, device)}


def test_rows_are_taken_together_and_places_filled():
    data = arguments_for(
        lambda x, n, *, y: None, {"x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "n": 3, "y": [7.0, 8.0, 9.0]}
    )
    x, y = data.kwargs["x"], data.kwargs["y"]
    assert (data.rows, data.total) == (3, 3)
    some = data.take(torch.tensor([2, 0]))
    assert torch.equal(some.at("x"), x[[2, 0]])
    assert torch.equal(some.at("y"), y[[2, 0]])
    assert some.at("n") == 3
    other = Arguments((x, 4), {"y": y}).filled({0: y, "y": x})
    assert torch.equal(other.at(0), y)
    assert other.at(1) == 4
    assert torch.equal(other.at("y"), x)
    assert Arguments((4, torch.tensor(1.0)), {}).rows == 0
