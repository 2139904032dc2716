"""What a function takes, for every kind of callable that a model can be."""

from __future__ import annotations

import functools

import pytest

from ppzoo.datasets.signature import signature_of
from ppzoo.errors import DataError


def _plain(x, /, y, z=None, *, scale, size=1): ...


def _wrapped(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)

    return inner


class _Callable:
    def __call__(self, x, y=None): ...

    def model(self, x, y): ...


def test_names_in_order_and_what_is_required():
    signature = signature_of(_plain)
    assert signature.positional == ("x", "y", "z")
    assert signature.keyword == ("y", "z", "scale", "size")
    assert signature.names == ("x", "y", "z", "scale", "size")
    assert signature.required == ("x", "y", "scale")


@pytest.mark.parametrize(
    ("function", "required"),
    [
        (_Callable(), ("x",)),
        (_Callable().model, ("x", "y")),
        (_wrapped(_Callable().model), ("x", "y")),
        (functools.partial(_plain, 1, scale=2), ("y",)),
        (functools.partial(_Callable().model, y=3), ("x",)),
        (lambda *data, **settings: None, ()),
        (lambda: None, ()),
    ],
)
def test_every_kind_of_callable(function, required: tuple[str, ...]):
    assert signature_of(function).required == required


def test_a_module_takes_what_its_forward_takes():
    torch = pytest.importorskip("torch")

    class Module(torch.nn.Module):
        def forward(self, x, y=None): ...

    assert signature_of(Module()).names == ("x", "y")


def test_a_function_written_in_c_takes_anything():
    assert signature_of(max).star


def test_stars_take_what_is_left():
    signature = signature_of(lambda x, *more, **settings: None)
    assert signature.by_position((1, 2, 3)) == {"x": 1, "more[0]": 2, "more[1]": 3}
    signature.check_keywords(["anything"])


def test_what_does_not_fit_is_named():
    signature = signature_of(_Callable().model)
    with pytest.raises(DataError, match=r"data: more arguments than the model takes; got 3 of them; .*x, y"):
        signature.by_position((1, 2, 3))
    with pytest.raises(DataError, match=r"yy: the model takes no such argument\. Did you mean 'y'\?"):
        signature.check_keywords(["x", "yy"])
    with pytest.raises(DataError, match=r"data: keys must be argument names; got 1"):
        signature.check_keywords([1])
    with pytest.raises(DataError, match=r"x, y: the model needs what the data do not give; got no argument.*Do so"):
        signature.check_complete({}, remedy="Do so.")
    with pytest.raises(DataError, match="the model takes no data"):
        signature_of(lambda: None).by_position((1,))
