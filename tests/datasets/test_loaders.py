"""The built-in data sets are the ones everybody knows: shapes, means and counts from the literature."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from ppzoo.datasets import list_datasets, load_dataset
from ppzoo.datasets.loaders import DRAWN, FIXED
from ppzoo.datasets.record import Dataset
from ppzoo.errors import DataError, OptionError

NAMES = sorted({**FIXED, **DRAWN})
SHAPES = {
    "breast_cancer": {"x": (569, 30), "y": (569,)},
    "diabetes": {"x": (442, 10), "y": (442,)},
    "digits": {"x": (1797, 64), "y": (1797,)},
    "eight_schools": {"y": (8,), "sigma": (8,)},
    "galaxies": {"x": (82, 1)},
    "iris": {"x": (150, 4), "y": (150,)},
    "kidiq": {"x": (434, 2), "y": (434,)},
    "old_faithful": {"x": (272, 2)},
    "ring_of_gaussians": {"x": (4000, 2), "y": (4000,)},
    "swiss_roll": {"x": (1500, 3), "y": (1500,)},
    "two_moons": {"x": (2000, 2), "y": (2000,)},
    "wine": {"x": (178, 13), "y": (178,)},
}
MEANS = {  # of each column of x, from the sources
    "old_faithful": (3.4878, 70.8971),
    "galaxies": (20.8282,),
    "kidiq": (0.7857, 100.0),
    "iris": (5.8433, 3.0573, 3.7580, 1.1993),
}


def test_the_table_is_complete():
    assert sorted(SHAPES) == NAMES == list(list_datasets())
    assert all(len(line) < 100 for line in list_datasets().values())


@pytest.mark.parametrize("name", NAMES)
def test_every_loader_returns_the_same_kind_of_record(name: str):
    record = load_dataset(name)
    assert record.name == name
    assert record.shape == SHAPES[name]
    assert record.description == list_datasets()[name]
    assert record.source
    assert record.licence
    assert not any(array.flags.writeable for array in record.data.values())
    assert all(np.isfinite(array).all() for array in record.data.values())
    rows = np.concatenate([record.splits["train"], record.splits["test"]])
    assert sorted(rows) == list(range(len(next(iter(record.data.values())))))
    if "x" in record.data:
        assert record.data["x"].dtype == np.float64
        assert len(set(record.columns["x"])) == record.shape["x"][1]
        assert not set(record.columns["x"]) & set(record.data), "a column's name would hide an array"


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_and_nothing_else(name: str, seeded: int):
    first = load_dataset(name, seed=5)
    random.random()
    again = load_dataset(name, seed=5)
    other = load_dataset(name, seed=6)
    assert all((first.data[key] == again.data[key]).all() for key in first.data)
    assert (first.splits["train"] == again.splits["train"]).all()
    assert (first.splits["train"] != other.splits["train"]).any()
    same = all((first.data[key] == other.data[key]).all() for key in first.data)
    assert same == (name in FIXED)


@pytest.mark.parametrize("name", MEANS)
def test_means_are_the_known_ones(name: str):
    np.testing.assert_allclose(load_dataset(name).data["x"].mean(0), MEANS[name], atol=5e-5)


def test_eight_schools_are_rubins():
    record = load_dataset("eight_schools")
    assert record.data["y"].tolist() == [28, 8, -3, 7, -1, 1, 18, 12]
    assert record.data["sigma"].tolist() == [15, 10, 16, 11, 9, 11, 10, 18]
    assert record.coords == {"school": tuple("ABCDEFGH")}


def test_kidiq_is_posteriordbs(shared_data: Path):
    stored = json.loads((shared_data / "posteriordb" / "kidiq-kidscore_momiq" / "data.json").read_text())
    record = load_dataset("kidiq")
    np.testing.assert_array_equal(record.data["y"], stored["kid_score"])
    np.testing.assert_array_equal(record.data["x"], np.stack([stored["mom_hs"], stored["mom_iq"]], 1))


def test_digits_are_pixels_and_labels():
    record = load_dataset("digits")
    assert (record.data["x"].min(), record.data["x"].max()) == (0, 1)
    assert np.bincount(record.data["y"]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_labels_are_counted_as_published():
    assert np.bincount(load_dataset("breast_cancer").data["y"]).tolist() == [212, 357]
    assert np.bincount(load_dataset("wine").data["y"]).tolist() == [59, 71, 48]
    assert np.bincount(load_dataset("iris").data["y"]).tolist() == [50, 50, 50]


def test_diabetes_columns_have_unit_sum_of_squares():
    x = load_dataset("diabetes").data["x"]
    np.testing.assert_allclose((x**2).sum(0), 1, atol=1e-10)
    assert load_dataset("diabetes").data["y"].sum() == 67243


def test_ring_of_gaussians_has_eight_modes_at_radius_two():
    record = load_dataset("ring_of_gaussians", seed=1)
    x, y = record.data["x"], record.data["y"]
    for mode in range(8):
        centre = 2 * np.array([np.cos(2 * np.pi * mode / 8), np.sin(2 * np.pi * mode / 8)])
        rows = x[y == mode]
        assert len(rows) == 500
        # 16 means of 500 draws with sd 0.02: beyond 5 standard errors once in 10^5 seeds
        assert np.abs(rows.mean(0) - centre).max() < 5 * 0.02 / 500**0.5
        np.testing.assert_allclose(rows.std(0), 0.02, rtol=0.2)


def test_two_moons_are_half_circles():
    record = load_dataset("two_moons")
    x, y = record.data["x"], record.data["y"]
    radius = np.linalg.norm(x - np.where(y[:, None] == 0, [0.0, 0.0], [1.0, 0.5]), axis=1)
    assert np.abs(radius - 1).max() < 6 * 0.05
    assert (x[y == 0, 1] > -0.3).all()
    assert (x[y == 1, 1] < 0.8).all()


def test_swiss_roll_lies_on_its_sheet():
    record = load_dataset("swiss_roll")
    x, t = record.data["x"], record.data["y"]
    np.testing.assert_allclose(np.hypot(x[:, 0], x[:, 2]), t, atol=0.6)
    assert x[:, 1].min() > -1
    assert x[:, 1].max() < 22


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digitz", r"dataset: not a built-in.*got 'digitz'.*Did you mean 'digits'\?"),
        ("", "dataset: not a built-in"),
        (None, r"dataset: these are no data; got None \(NoneType\)"),
        (3.0, r"dataset: these are no data; got 3.0 \(float\)"),
        (np.float64(3), "dataset: these are no data"),
        (np.array(3.0), "dataset: these are no data"),
        ({"x": 1}, r"these are no data.*\(dict\)"),
    ],
)
def test_what_is_no_data_set_is_refused(source: object, message: str):
    with pytest.raises(DataError, match=message):
        load_dataset(source)


@pytest.mark.parametrize("seed", [-1, 2**64, "a", 1.5, None])
def test_a_bad_seed_is_refused_before_loading(seed: object):
    with pytest.raises(OptionError, match="seed: must be a whole number in range"):
        load_dataset("digits", seed=seed)


def test_a_record_is_returned_as_it_is():
    record = Dataset("mine", {"x": np.ones((2, 1))})
    assert load_dataset(record) is record


def test_arrays_become_x():
    assert load_dataset(np.ones((5, 2))).shape == {"x": (5, 2)}
    assert load_dataset([1.0, 2.0]).shape == {"x": (2,)}
    torch = pytest.importorskip("torch")
    tensor = torch.ones(3, 2, requires_grad=True)
    record = load_dataset(tensor)
    assert record.data["x"].dtype == np.float32
    assert tensor.requires_grad
    assert load_dataset(torch.ones(3, dtype=torch.bfloat16)).data["x"].dtype == np.float32
    with pytest.raises(DataError, match="x: is a sparse tensor"):
        load_dataset(torch.eye(2).to_sparse())
