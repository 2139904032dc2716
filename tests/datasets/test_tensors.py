"""What reaches a model is a finite, fresh tensor on the right device; the rest is refused by name."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ppzoo.datasets.tensors import TOO_LARGE, check_device, check_dtype, is_tensor, to_tensors  # noqa: E402  # needs torch
from ppzoo.errors import DataError, OptionError  # noqa: E402

REFUSED = {
    "nan": ([1.0, math.nan, math.nan], (), r"x: contains NaN; got nan at row 1 \(2 of 3 rows affected\).*Drop these"),
    "nan in a table": (
        [[1.0, 2.0], [1.0, math.nan]],
        ("a", "b"),
        r"x: contains NaN; got nan at column 'b', row 1 \(1 of 2 rows affected\).*dropna",
    ),
    "nan without names": ([[1.0, math.nan]], (), r"got nan at index \(0, 1\) \(1 of 1 rows"),
    "nan in a stack": (np.full((2, 3, 4), math.nan), (), r"got nan at index \(0, 0, 0\) \(2 of 2 rows"),
    "inf": ([1.0, -math.inf], (), r"x: contains infinity; got -inf at row 1 \(1 of 2 rows affected\)"),
    "nan before inf": ([math.inf, math.nan], (), r"x: contains NaN"),
    "nan alone": (torch.tensor(math.nan), (), r"x: contains NaN; got nan"),
    "large": ([[1.0, 1e20]], ("a", "b"), r"x: is too large to compute with; got 1e\+20 at column 'b'.*Standardise"),
    "very large": ([1e300], (), r"is too large"),
    "at the limit": ([-1e18], (), r"is too large"),
    "no rows": (np.ones((0, 3)), (), r"x: is empty: it has no rows; got shape \(0, 3\)"),
    "no columns": (torch.ones(3, 0), (), r"x: is empty: it has no columns; got shape \(3, 0\)"),
    "empty list": ([], (), r"x: is empty: it has no rows"),
    "complex": (torch.ones(2, dtype=torch.complex64), (), r"x: is complex; got torch\.complex64"),
    "sparse": (torch.eye(2).to_sparse(), (), r"x: is a sparse tensor; .*x\.to_dense\(\)"),
    "large integer": (torch.tensor([0, -(2**53) - 1]), (), r"x: holds integers too large.*at index 1"),
    "lowest integer": (torch.tensor([-(2**63)]), (), r"x: holds integers too large"),
    "large, unsigned": (torch.tensor([2**63], dtype=torch.uint64), (), r"x: holds integers too large"),
    "text": (["a"], (), r"x: holds text; got 'a'"),
}


def _one(value, **options):
    values, notes = to_tensors({"x": value}, columns={}, **options)
    return values["x"], notes


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_by_name(case: str):
    value, columns, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        to_tensors({"x": value}, columns={"x": columns})


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.ones(2), torch.float32),
        (torch.ones(2, dtype=torch.float64), torch.float64),
        (torch.ones(2, dtype=torch.uint8), torch.int64),
        (torch.ones(2, dtype=torch.int32), torch.int64),
        (torch.ones(2, dtype=torch.uint64), torch.int64),
        (np.ones(2), torch.float64),
        (np.ones(2, dtype=np.float32), torch.float32),
        ([1, 1], torch.int64),
        ([1.0, 1.0], torch.float64),
    ],
)
def test_types_are_kept_and_integers_widened(value, kind: torch.dtype):
    tensor, notes = _one(value)
    assert tensor.dtype == kind
    assert tensor.tolist() == [1, 1]
    assert notes == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, "float32", "float64"])
def test_a_type_asked_for_is_given_to_floating_data_only(dtype):
    wanted = torch.float32 if "32" in str(dtype) else torch.float64
    values, _ = to_tensors({"a": [1.5], "b": [1], "c": [True], "d": torch.ones(1)}, columns={}, dtype=dtype)
    assert {name: tensor.dtype for name, tensor in values.items()} == {
        "a": wanted,
        "b": torch.int64,
        "c": wanted,
        "d": wanted,
    }


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_and_said(kind: torch.dtype):
    tensor, notes = _one(torch.ones(2, dtype=kind))
    assert tensor.dtype == torch.float32
    assert notes == (f"x: {str(kind)[6:]} was widened to float32",)
    assert _one(np.ones(2, dtype=np.float16))[1] == ("x: float16 was widened to float32",)


@pytest.mark.parametrize("value", [[True, False], torch.tensor([True, False])])
def test_truth_becomes_one_and_zero_in_the_type_of_the_rest(value):
    tensor, notes = _one(value)
    assert tensor.dtype == torch.get_default_dtype()
    assert tensor.tolist() == [1, 0]
    assert notes == ("x: True/False became 1/0",)
    values, _ = to_tensors({"x": value, "y": np.ones(2)}, columns={})
    assert values["x"].dtype == torch.float64


def test_a_gradient_is_cut_and_said():
    value = torch.ones(2, requires_grad=True)
    tensor, notes = _one(value * 2)
    assert not tensor.requires_grad
    assert tensor.grad_fn is None
    assert "x: was detached" in notes[0]
    assert value.requires_grad


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.arange(6.0).reshape(3, 2).T,
        torch.arange(3.0).expand(2, 3),
        torch.arange(12.0).reshape(2, 6)[:, ::2],
        np.arange(6.0).reshape(2, 3)[::-1, ::-1],
        np.broadcast_to(np.arange(3.0), (2, 3)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6.0, dtype=">f8").reshape(2, 3),
    ],
)
def test_any_memory_layout_works_and_is_never_written_to(value):
    before = np.asarray(value).copy()
    tensor, _ = _one(value)
    assert tensor.is_contiguous()
    np.testing.assert_array_equal(tensor.numpy(), before)
    tensor.fill_(-1)
    np.testing.assert_array_equal(np.asarray(value), before)


def test_a_large_but_usable_number_passes():
    assert float(_one([TOO_LARGE * 0.99])[0]) == TOO_LARGE * 0.99
    assert _one(torch.tensor(2.0))[0].shape == ()


@pytest.mark.parametrize("value", [1, 2.5, True, "a", None, torch.Size([2, 3]), (1, 2), {"a": 1}, torch.nn.Identity()])
def test_settings_pass_unchanged(value):
    assert _one(value)[0] is value


@pytest.mark.parametrize("dtype", ["float", "float16", torch.float16, torch.int64, np.float64, float, 32])
def test_a_type_that_cannot_be_computed_in_is_refused(dtype):
    with pytest.raises(OptionError, match=r"dtype: not a floating type to compute in; got .*'float32' or 'float64'"):
        check_dtype(dtype)


def test_devices_by_name_or_value():
    assert check_device("cpu") == check_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "device: not a device; got 'gpu'"),
        ("cud", r"device: not a device; got 'cud'.*Did you mean 'cuda'\?"),
        ("", "device: not a device"),
        ("cpu:-3", "device: not a device"),
        ("meta", "device: not a device"),
        (0, "device: not a device; got '0'"),
        (None, "device: not a device"),
    ],
)
def test_what_is_no_device_is_refused(device, message: str):
    with pytest.raises(OptionError, match=message):
        check_device(device)


def test_an_absent_device_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:0", torch.device("cuda", 1)):
        with pytest.raises(OptionError, match=r"device: is not on this machine; got 'cuda.*Use device='cpu'"):
            to_tensors({"x": [math.nan]}, columns={}, device=device)  # said before the data are looked at
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert check_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(OptionError, match="device: is not on this machine; got 'cuda:1'"):
        check_device("cuda:1")


def test_mps_cannot_compute_in_float64(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert check_device("mps").type == "mps"
    for options in ({"dtype": torch.float64}, {}):
        with pytest.raises(OptionError, match=r"device: cannot compute in float64; .*dtype=torch\.float32"):
            to_tensors({"x": np.ones(2)}, columns={}, device="mps", **options)


def test_data_move_to_the_device(device: str):
    values, _ = to_tensors({"a": torch.ones(2, device=device), "b": np.ones(2), "c": 1}, columns={}, device=device)
    assert values["a"].device.type == values["b"].device.type == device
    back, _ = to_tensors({"a": values["a"]}, columns={}, device="cpu")
    assert back["a"].device.type == "cpu"
    assert is_tensor(back["a"])
    assert not is_tensor(np.ones(2))
