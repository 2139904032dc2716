"""Bad input, row by row of one table, over every model of the zoo, through the API and through the command line.

A row is refused with a typed error that names argument, what came, what was expected and what to do, before anything
runs and before any file is written; or it is taken, with a note that says what was found or changed. Either way the
caller's data stay as they are. A model that is added to the zoo is held against every row at once: it passes, or its
exception is written down here with a reason.
"""

from __future__ import annotations

import functools
import importlib
import io
import json
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

import ppzoo  # noqa: E402  # the table needs torch
from ppzoo.cli import app  # noqa: E402
from ppzoo.cli_card import model_options  # noqa: E402
from ppzoo.cli_file import UserFiles  # noqa: E402
from ppzoo.errors import DataError, ModelError, NotFittedError, OptionError, PPZooError  # noqa: E402
from ppzoo.inference.methods import METHODS  # noqa: E402
from ppzoo.zoo import list_models, model_card  # noqa: E402

ROWS = range(1, 47)
PROGRAMS = Path(__file__).with_name("programs.py")

# what the models are ------------------------------------------------------------------------------------------------


def with_option(*names: str) -> tuple[str, ...]:
    return tuple(m for m in list_models() if {o.name for o in model_options(model_card(m))} & set(names))


def fitted_by(method: str) -> tuple[str, ...]:
    return tuple(m for m in list_models() if method in model_card(m).methods)


def without(*names: str) -> tuple[str, ...]:
    return tuple(m for m in list_models() if m not in names)


ALL = without()
TABLES = without("eight_schools")  # their data are a table x, with or without a response y
REGRESSIONS = ("eight_schools", "linear_regression")  # they take two arrays
SIZES = ("components", "latents", "layers")  # the option that says how large a model is
BY_CHAINS = fitted_by("nuts")


@dataclass(frozen=True)
class Good:
    """Data that a model can be fitted to: rows of those that it is shown on."""

    name: str
    arrays: Mapping[str, np.ndarray]
    columns: tuple[str, ...]

    @property
    def main(self) -> str:
        return next(iter(self.arrays))

    @property
    def last(self) -> str:
        return list(self.arrays)[-1]

    def changed(self, change: Callable[[np.ndarray], Any]) -> dict[str, Any]:
        """All arrays, the first one changed."""
        return {**self.arrays, self.main: change(self.arrays[self.main])}

    def rows(self, change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
        """All arrays, their rows changed."""
        return {name: change(array) for name, array in self.arrays.items()}

    def frame(self) -> pd.DataFrame:
        columns = dict(zip(self.columns, self.arrays["x"].T, strict=True)) if "x" in self.arrays else {}
        return pd.DataFrame(columns | {name: array for name, array in self.arrays.items() if name != "x"})


@functools.cache
def good(name: str) -> Good:
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, (20, 4))
    counts[0] = 1
    plain = {
        "poisson": {"x": counts},
        "bernoulli": {"x": (counts > 2).astype(float)},
        "categorical": {"y": counts[:, 0] % 3},
        "twice": {"x": rng.standard_normal((20, 4))},
    }
    if name in plain:
        arrays, columns = plain[name], tuple("abcd")
    else:
        record = ppzoo.load_dataset(model_card(name).data)
        names = [n for n in record.data if n != "y" or name in REGRESSIONS]
        arrays = {n: record.data[n][:: max(1, len(record.data[n]) // 100)].copy() for n in names}
        columns = record.columns.get("x") or tuple(f"c{i}" for i in range(arrays[names[0]].shape[-1]))
    for array in arrays.values():
        array.flags.writeable = False
    return Good(name, arrays, columns)


def make(name: str, settings: Mapping[str, Any]) -> Any:
    if name not in list_models():
        return UserFiles(0).find(f"{PROGRAMS}:{name}", argument="model")
    features = {"features": good(name).arrays["x"].shape[1]} if name in with_option("features") else {}
    return ppzoo.create_model(name, **{**features, **settings})


def quick(name: str) -> dict[str, Any]:
    """The shortest fit: by SVI, or the game's own method."""
    method = "adversarial" if name in fitted_by("adversarial") else "svi"
    return {"method": method, "steps": 2}


# the table ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OnDisk:
    """Data that are a file to begin with."""

    suffix: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to get something wrong.

    ``argument, got, expected, remedy`` are patterns for the parts of the message; ``{main}`` in them is the first
    array's name. ``file`` is how the command line gets the data: a suffix, or the reason why no file can hold them.
    """

    row: int
    what: str
    models: Collection[str] = ALL
    data: Callable[[Good], Any] = lambda good: dict(good.arrays)
    file: str = ".npz"
    settings: Callable[[Good], dict[str, Any]] = lambda good: {}  # of the model
    options: Mapping[str, Any] = field(default_factory=dict)  # of the method, and the seed
    mark: Any = ()


@dataclass(frozen=True, kw_only=True)
class Bad(Case):
    argument: str = "{main}"
    got: str = ""
    expected: str = ""
    remedy: str = ""
    error: type[PPZooError] = DataError


@dataclass(frozen=True, kw_only=True)
class Fine(Case):
    """Taken; ``note`` is a pattern for what the fit says about it, and ``same`` holds it against the plain data."""

    note: str = ""
    same: bool = False


IN_MEMORY = "only memory can hold it"
PICKLE = "numpy would have to pickle it"


def poke(value: float) -> Callable[[Good], dict[str, Any]]:
    """``value`` in the fourth row of the first array."""

    def change(array: np.ndarray) -> np.ndarray:
        twin = array.astype(float)
        twin[(3,) + (0,) * (array.ndim - 1)] = value
        return twin

    return lambda good: good.changed(change)


def poke_frame(value: Any) -> Callable[[Good], pd.DataFrame]:
    """``value`` in the fourth row of the first column."""

    def change(good: Good) -> pd.DataFrame:
        frame = good.frame().astype({good.frame().columns[0]: object if isinstance(value, str) else float})
        frame.iloc[3, 0] = value
        return frame

    return change


def first_column(change: Callable[[pd.Series], Any]) -> Callable[[Good], pd.DataFrame]:
    return lambda good: good.frame().assign(**{good.frame().columns[0]: change(good.frame().iloc[:, 0])})


def add_column(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Good], dict[str, Any]]:
    """One more column, made of the others; a model counts it by ``one_wider``."""
    return lambda good: good.changed(lambda x: np.column_stack([x, change(x)]))


def one_wider(good: Good) -> dict[str, Any]:
    return {"features": good.arrays["x"].shape[1] + 1} if good.name in with_option("features") else {}


def bytes_of(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def mapped(array: np.ndarray) -> np.ndarray:
    """As numbers in a file that may only be read."""
    with tempfile.TemporaryFile() as file:
        file.write(array.tobytes())
        file.flush()
        return np.memmap(file, dtype=array.dtype, mode="r", shape=array.shape)


def every_other(array: np.ndarray) -> np.ndarray:
    """The same numbers with gaps between them in memory."""
    return np.repeat(array, 2, axis=-1)[..., ::2]


def tall(x: np.ndarray) -> np.ndarray:
    return x.reshape((1,) * (3 - x.ndim) + x.shape)


def absent(good: Good) -> str:
    return "absent.csv"


def fewer_rows_than_columns(good: Good) -> dict[str, Any]:
    return good.rows(lambda array: array[: good.arrays["x"].shape[1] - 1])


DENSE = r"toarray|to_dense|load_npz"
DATES = pd.date_range("2020-01-01", periods=2000)
FEWER = r"fewer rows|one row"

CASES: list[Case] = [
    Bad(row=1, what="NaN in a table", data=poke_frame(np.nan), file=".csv", argument=r"x|{main}",
        got=r"nan at (column '[^']+', )?row 3 \(1 of \d+ rows", expected="finite", remedy="Drop"),
    Bad(row=1, what="NaN in an array", data=poke(np.nan), got=r"nan at (row 3|index \(3, 0\)) \(1 of",
        expected="finite", remedy="Drop"),
    Bad(row=2, what="infinity in a table", data=poke_frame(np.inf), file=".csv", argument=r"x|{main}",
        got=r"inf at (column '[^']+', )?row 3 \(1 of \d+ rows", expected="finite", remedy="Replace"),
    Bad(row=2, what="-infinity in an array", data=poke(-np.inf), got="-inf at", expected="finite", remedy="Replace"),
    Bad(row=3, what="no rows", data=lambda g: g.rows(lambda a: a[:0]), got=r"shape \(0", expected="at least one row",
        remedy="filter"),
    Bad(row=4, what="no columns", models=TABLES, data=lambda g: g.changed(lambda x: x[:, :0]), got=r"shape \(\d+, 0\)",
        expected="at least one row and one column", remedy="filter"),
    Bad(row=5, what="one dimension", models=TABLES, data=lambda g: g.changed(lambda x: x[:, 0]), got=r"shape \(\d+,\)",
        expected=r"shape \(rows, ", remedy=r"reshape\(-1, 1\)"),
    Bad(row=6, what="three dimensions", data=lambda g: g.changed(tall), got=r"shape \(\d+, \d+, \d+\)",
        expected=r"shape \(rows,", remedy="Flatten|one number per observation"),
    Bad(row=7, what="a column for a vector", models=REGRESSIONS, argument="y|sigma", got=r"shape \(\d+, 1\)",
        data=lambda g: {**g.arrays, g.last: g.arrays[g.last][:, None]}, expected=r"shape \(\d+,\), as [xy]",
        remedy=r"reshape\(-1\)"),
    Bad(row=8, what="complex", data=lambda g: g.changed(lambda a: a + 1j), got="complex128", expected="real",
        remedy="real and imaginary"),
    Bad(row=8, what="a complex tensor", data=lambda g: g.changed(lambda a: torch.tensor(a) + 1j), file=IN_MEMORY,
        got="complex128", expected="real", remedy="real and imaginary"),
    Bad(row=9, what="a word in a table", data=poke_frame("tall"), file=".csv", argument="column '.+'",
        got="'tall' at row 3", expected="real numbers", remedy="get_dummies"),
    Bad(row=9, what="words", data=lambda g: g.changed(lambda a: np.full(a.shape, "a")), got="'a' at index",
        expected="real numbers", remedy="get_dummies"),
    Bad(row=10, what="numbers as text in a table", data=lambda g: g.frame().astype(str), file=".parquet",
        argument="column '.+'", got=r"'-?\d.*' at row 0", expected="real numbers", remedy="Convert it first"),
    Bad(row=10, what="numbers as text", data=lambda g: g.changed(lambda a: a.astype(str)), got=r"'-?\d.*' at index",
        expected="real numbers", remedy="Convert it first"),
    Bad(row=10, what="numbers as objects", data=lambda g: g.changed(lambda a: a.astype(object)), file=PICKLE,
        got="objects", expected="real numbers", remedy="astype"),
    Bad(row=11, what="a category", data=first_column(lambda c: pd.Categorical(["a", "b"] * 999)[: len(c)]),
        file=".parquet", argument="column '.+'", got="levels 'a', 'b'", expected="real numbers", remedy="get_dummies"),
    Bad(row=11, what="dates", data=first_column(lambda c: DATES[: len(c)]), file=".parquet", argument="column '.+'",
        got="datetime64", expected="real numbers", remedy="days since"),
    Fine(row=11, what="True and False", data=first_column(lambda c: np.arange(len(c)) % 2 == 0), file=".csv",
         note="True/False became 1/0"),
    Bad(row=12, what="pd.NA", file=".parquet", argument="column '.+'", got="1 of .* row 3", expected="real numbers",
        data=first_column(lambda c: pd.array([1, 2, 3, pd.NA, *range(len(c) - 4)], dtype="Int64")), remedy="dropna"),
    Bad(row=12, what="None among numbers", file=PICKLE, got="None at index", expected="real numbers", remedy="Drop",
        data=lambda g: g.changed(lambda a: np.where(np.arange(a.size).reshape(a.shape) == 0, None, a))),
    Bad(row=13, what="ragged lists", data=lambda g: g.changed(lambda a: [[1.0, 2.0], [3.0]]), file=PICKLE,
        got="rows of 2, 1 entries", expected="rows of equal length", remedy="Pad"),
    Bad(row=13, what="ragged lines", data=lambda g: OnDisk(".csv", b"a,b\n1,2\n3\n"), argument="data.csv",
        got="1 field$", expected="2 fields", remedy="comma"),
    Bad(row=13, what="ragged lists in a file", argument="data.npy", got="pickled", expected="numbers",
        data=lambda g: OnDisk(".npy", bytes_of(lambda b: np.save(b, np.array([[1], [2, 3]], object)))),
        remedy="could run code"),
    Bad(row=14, what="a sparse matrix", data=lambda g: g.changed(sparse.csr_matrix), file=IN_MEMORY, got="csr_matrix",
        expected="real numbers", remedy=DENSE),
    Bad(row=14, what="a sparse tensor", data=lambda g: g.changed(lambda a: torch.tensor(a).to_sparse()), file=IN_MEMORY,
        got="sparse_coo", expected="real numbers", remedy=DENSE),
    Bad(row=14, what="a sparse matrix in a file", argument="data.npz", got="indptr", expected="numbers", remedy=DENSE,
        data=lambda g: OnDisk(".npz", bytes_of(lambda b: sparse.save_npz(b, sparse.csr_matrix(np.eye(4)))))),
    Bad(row=15, what="None", data=lambda g: None, file=IN_MEMORY, argument="data", got="None", expected="an array",
        remedy="tuple or dict"),
    Bad(row=15, what="a number", data=lambda g: 3.0, file=IN_MEMORY, argument="data", got="3.0", expected="an array",
        remedy="tuple or dict"),
    Bad(row=15, what="None for an array", data=lambda g: g.changed(lambda a: None), file=IN_MEMORY, got="NoneType",
        expected="an array", remedy="Pass an array"),
    Bad(row=15, what="a number for an array", data=lambda g: g.changed(lambda a: np.array(1.0)), got=r"shape \(\)",
        expected=r"shape \(rows", remedy="Pass"),
    Fine(row=16, what="a tensor with a gradient", file=IN_MEMORY, note="{main}: was detached", same=True,
         data=lambda g: g.changed(lambda a: torch.tensor(a, requires_grad=True))),
    Fine(row=16, what="a tensor on CUDA", file=IN_MEMORY, same=True,
         data=lambda g: g.changed(lambda a: torch.tensor(a, device="cuda")),
         mark=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
    Fine(row=17, what="read-only", data=lambda g: dict(g.arrays), file=IN_MEMORY, same=True),
    Fine(row=17, what="not contiguous", data=lambda g: g.changed(every_other), file=IN_MEMORY, same=True),
    Fine(row=17, what="a tensor, not contiguous", file=IN_MEMORY, same=True,
         data=lambda g: g.changed(lambda a: torch.tensor(a).repeat_interleave(2, -1)[..., ::2])),
    Fine(row=17, what="mapped from a file", data=lambda g: g.changed(mapped), file=IN_MEMORY, same=True),
    Fine(row=17, what="column after column", data=lambda g: g.rows(np.asfortranarray), same=True),
    Fine(row=18, what="float16", data=lambda g: g.changed(lambda a: a.astype(np.float16)),
         note="{main}: float16 was widened to float32"),
    Fine(row=18, what="bfloat16", data=lambda g: g.changed(lambda a: torch.tensor(a).bfloat16()), file=IN_MEMORY,
         note="{main}: bfloat16 was widened to float32"),
    Bad(row=18, what="integers beyond 2**53", data=lambda g: g.changed(lambda a: np.full(a.shape, 2**53 + 1)),
        got=f"{2**53 + 1} at index", expected=f"integers within {2**53}", remedy="Identifiers are not data"),
    Bad(row=19, what="1e20", data=poke_frame(1e20), file=".csv", argument=r"x|{main}", got=r"1e\+20 at .*row 3",
        expected=r"below 1e\+18", remedy="Standardise"),
    Bad(row=19, what="1e300", data=poke(1e300), got=r"1e\+300 at", expected=r"below 1e\+18", remedy="Standardise"),
    Bad(row=20, what="a constant column", models=("gmm", "bayesian_gmm", "realnvp"), got=r"column \d", remedy="Drop",
        data=add_column(lambda x: 0 * x[:, 0] + 0.5), settings=one_wider, expected="columns that vary"),
    Fine(row=20, what="a constant column", models=without("eight_schools", "gmm", "bayesian_gmm", "realnvp"),
         data=add_column(lambda x: 0 * x[:, 0] + 0.5), settings=one_wider,
         note=r"x: (column \d+ is|\d+ columns are) constant"),
    Bad(row=21, what="equal rows", models=TABLES, data=lambda g: g.rows(lambda a: np.repeat(a[:1], len(a), axis=0)),
        argument="x|x and y", got=r"\d+ equal rows", expected="rows that differ", remedy="Check"),
    Bad(row=22, what="constant data", models=("ppca", "bayesian_ppca"), data=lambda g: g.changed(np.ones_like),
        got=r"\d+ equal rows", expected="rows that differ", remedy="Check"),
    Fine(row=23, what="a column twice", models=TABLES, data=add_column(lambda x: x[:, x.std(0).argmax()]),
         settings=one_wider, note=r"x: column \d+ .*(copy|combination)"),
    Fine(row=23, what="a column that others make up", models=TABLES, data=add_column(lambda x: 1 - x.mean(1) / 2),
         settings=one_wider, note=r"x: column \d+ .*(copy|combination)"),
    Bad(row=24, what="one row", models=without("linear_regression"), data=lambda g: g.rows(lambda a: a[:1]),
        got="^1 row$", expected=r"at least \d+ rows, ", remedy="Add data|smaller model"),
    Fine(row=24, what="one row", models=("linear_regression",), data=lambda g: g.rows(lambda a: a[:1]), note=FEWER),
    Bad(row=24, what="fewer rows than columns", models=("ppca",), data=fewer_rows_than_columns, got="3 rows",
        expected=r"at least 4 rows, for latents=2", remedy="Add data"),
    Fine(row=24, what="fewer rows than columns", models=("bayesian_ppca", "linear_regression", "vae"),
         data=fewer_rows_than_columns, note=FEWER),
    Bad(row=25, what="more components than rows", models=with_option("components"), got="5 rows",
        settings=lambda g: {"components": 6}, data=lambda g: g.rows(lambda a: a[:5]), remedy="smaller model",
        expected="at least 6 rows, for components=6"),
    Bad(row=33, what="a negative standard error", models=("eight_schools",), argument="sigma", got="-1 at index",
        data=lambda g: {**g.arrays, "sigma": np.where(g.arrays["sigma"] > 15, -1.0, 1.0)}, expected="> 0",
        remedy="signs and units"),
]  # fmt: skip

# sizes and scales of models
for value in (0, 2.5, "3"):
    CASES += [
        Bad(row=26, what=f"{option}={value!r}", models=with_option(option), argument=option,
            settings=lambda g, o=option, v=value: {o: v}, got=f"^{re.escape(repr(value))}$",
            expected="an int >= 1", error=OptionError)
        for option in SIZES
    ]  # fmt: skip
CASES += [
    Bad(row=33, what=f"{option}={value}", models=with_option(option), argument=option, got=f"^{value}$",
        settings=lambda g, o=option, v=value: {o: v}, expected="a finite number, 0 < x", error=OptionError)
    for option in ("prior_scale", "prior_rate", "beta") for value in (0, -1.5)
]  # fmt: skip

# counts, pixels and labels
CASES += [
    Bad(row=27, what="a negative count", models=("poisson",), data=poke(-1.0), argument="x", got=r"-1.* at index \(3,",
        expected="Poisson data", remedy="whole numbers >= 0"),
    Bad(row=28, what="half a count", models=("poisson",), data=poke(2.5), argument="x", got=r"2.5.* at index \(3,",
        expected="Poisson data", remedy="whole numbers >= 0"),
    Fine(row=29, what="an empty document", models=("poisson",), note=r"x: 1 of 20 rows .* zeros only, .* row 3",
         data=lambda g: g.changed(lambda x: np.where(np.arange(len(x))[:, None] == 3, 0, x))),
    Fine(row=29, what="nothing but zeros", models=("poisson",), note=r"x: 20 of 20 rows .* zeros only",
         data=lambda g: g.changed(np.zeros_like)),
    Bad(row=30, what="a pixel above 1", models=("vae",), data=poke(1.5), got="1.5 at index", expected="0 <= x <= 1",
        remedy="Rescale"),
    Bad(row=30, what="a pixel below 0", models=("vae",), data=poke(-0.5), got="-0.5 at index", expected="0 <= x <= 1",
        remedy="Gaussian"),
    Bad(row=30, what="a grey pixel", models=("bernoulli",), data=poke(0.5), got=r"0.5.* at index \(3,",
        expected="Bernoulli data", remedy="ContinuousBernoulli"),
    Bad(row=31, what="8-bit pixels", models=("vae",), data=lambda g: g.changed(lambda x: (255 * x).astype(np.uint8)),
        got="at index", expected="0 <= x <= 1", remedy="Divide by 255"),
    Bad(row=32, what="no labels", models=REGRESSIONS, data=lambda g: {g.main: g.arrays[g.main]}, argument="y|sigma",
        got="^[xy]$", expected="arguments", remedy="dict"),
    Bad(row=32, what="fewer labels than rows", models=REGRESSIONS, argument="y|sigma", got=r"shape \(\d+,\)",
        data=lambda g: {**g.arrays, g.last: g.arrays[g.last][:-1]}, expected=r"shape \(\d+,\), as [xy]",
        remedy="one entry"),
    Bad(row=32, what="half a class", models=("categorical",), data=poke(0.5), argument="y", got=r"0.5 at index \(3,\)",
        expected="Categorical data", remedy="whole numbers from 0"),
    Bad(row=32, what="a class too many", models=("categorical",), data=poke(3), argument="y", got=r"3 at index \(3,\)",
        expected="Categorical data", remedy="whole numbers from 0"),
    Bad(row=44, what="two sites of one name", models=("twice",), argument="model", got="named 'a'",
        expected="a Pyro program that runs", remedy="its own name", error=ModelError),
]  # fmt: skip

# options of methods, and the seed
NUMBER, WHOLE = "a finite number, 0 < x", "an int >= "
CASES += [
    Bad(row=row, what=f"{option}={value!r}", models=models, argument=option, got=f"^{re.escape(repr(value))}$",
        expected=expected, error=OptionError, options={option: value}, data=absent if row < 36 else Case.data)
    for row, option, values, expected, models in (
        (34, "lr", (0, -0.1, float("nan")), NUMBER, ALL),
        (35, "lr", (float("inf"),), NUMBER, ALL),
        (36, "chains", (0, -1), f"{WHOLE}1", BY_CHAINS),
        (37, "draws", (0,), f"{WHOLE}4", BY_CHAINS),
        (38, "draws", (2.5, "many"), f"{WHOLE}4", BY_CHAINS),
        (39, "warmup", (0,), f"{WHOLE}20", BY_CHAINS),
        (40, "warmup", (-5,), f"{WHOLE}20", BY_CHAINS),
        (41, "target_accept", (0, 1, 1.5), f"{NUMBER} < 1", BY_CHAINS),
        (42, "seed", ("a", -1, 2**64, 1.5), f"{WHOLE}0 and <= {2**64 - 1}", ALL),
        (43, "draws", (3,), f"{WHOLE}4", BY_CHAINS),
    )
    for value in values
]  # fmt: skip


# a fit, and what is asked of it -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Asked(Bad):
    """Asked of a fit, or of what is none; ``command`` is the same on the command line, empty where there is none."""

    ask: Callable[[str], Any] = lambda name: None
    command: str = ""


@functools.cache
def fitted(name: str) -> ppzoo.Fit:
    return ppzoo.fit(make(name, {}), good(name).frame(), **quick(name))


def that_can(verb: str) -> tuple[str, ...]:
    return tuple(m for m in without("eight_schools") if hasattr(type(make(m, {})), verb))


def wider(name: str) -> np.ndarray:
    x = good(name).arrays["x"]
    return np.column_stack([x, x[:, 0]])


def renamed(name: str) -> pd.DataFrame:
    return pd.DataFrame(good(name).arrays["x"], columns=["other", *good(name).columns[1:]])


def method_of(verb: str, data: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda name: getattr(fitted(name), verb)(data(name))


CASES += [
    case
    for verb, models in (
        ("predict", without("eight_schools", "gan")),
        ("log_prob", that_can("log_prob")),
        ("encode", that_can("encode")),
    )
    for case in (
        Asked(row=45, what=f"{verb} of another width", models=models, ask=method_of(verb, wider),
              argument="x", got=r"shape \(\d+, \d+\)", expected=r"shape \(rows, \d+\)", remedy="Pass the same columns"),
        Asked(row=45, what=f"{verb} of renamed columns", models=models, ask=method_of(verb, renamed),
              argument="x", got="unseen at fit: 'other'; missing: '", expected="^columns '", remedy="by name"),
    )
]  # fmt: skip
CASES += [
    Asked(row=46, what=f"{verb} before fit",
          ask=lambda name: ppzoo.compare({name: make(name, {}), "b": make(name, {})}),
          command=f"{verb} {{name}}", argument=r"fits\['{name}'\]|folder", got="{name}|[A-Z]", remedy="fit",
          expected="[Ff]it", error=NotFittedError)
    for verb in ("sample", "diagnose")
]  # fmt: skip

VECTORS, ONE_ARRAY, UNLABELLED = "its data are vectors", "it takes one array", "it has no labels"
STANDS_IN = "a plain program stands in for what the zoo does not have yet"
NOT_FOR: dict[int, dict[str, Collection[str]]] = {
    4: {VECTORS: ["eight_schools"]},
    5: {VECTORS: ["eight_schools"]},
    7: {ONE_ARRAY: without(*REGRESSIONS)},
    20: {VECTORS: ["eight_schools"]},
    21: {"equal estimates with errors of their own are an answer, not a mistake": ["eight_schools"]},
    22: {"it is no PCA: rows 20 and 21 refuse or note constant data": without("ppca", "bayesian_ppca")},
    23: {VECTORS: ["eight_schools"]},
    25: {"it is no mixture; row 24 says how many rows it needs": without(*with_option("components"))},
    26: {"it has no size to choose": REGRESSIONS},
    27: {STANDS_IN: ALL},
    28: {STANDS_IN: ALL},
    29: {STANDS_IN: ALL},
    30: {"it takes any real numbers": without("vae")},
    31: {"it takes any real numbers": without("vae")},
    32: {UNLABELLED: without(*REGRESSIONS)},
    33: {"no scale is given to it": without("eight_schools", *with_option("prior_scale", "prior_rate", "beta"))},
    44: {"its sites are written once; a plain program stands in": ALL},
    45: {VECTORS: ["eight_schools"], "it draws new rows and asks nothing of them": ["gan"]},
} | {row: {"it has no chains": without(*BY_CHAINS)} for row in (36, 37, 38, 39, 40, 41, 43)}


# the tests ----------------------------------------------------------------------------------------------------------


def params(kind: type[Case], *, in_file: bool = False) -> list[Any]:
    return [
        pytest.param(case, name, id=f"{case.row}-{case.what}-{name}", marks=case.mark)
        for case in CASES
        if type(case) is kind and not (in_file and " " in case.file)
        for name in case.models
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder for data files; the working folder is another, and must stay empty."""
    (tmp_path / "here").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "data"
    assert list(Path().iterdir()) == []


@pytest.fixture
def nothing_runs(monkeypatch) -> None:
    def run(*_: Any) -> None:
        raise AssertionError("the method ran")

    for path in METHODS.values():
        module, _, kind = path.partition(":")
        monkeypatch.setattr(getattr(importlib.import_module(module), kind), "run", run)


def run_options(case: Case, name: str) -> dict[str, Any]:
    """Method, its options and the seed."""
    by_chains = {"chains", "draws", "warmup", "target_accept"} & set(case.options)
    return {**({"method": "nuts"} if by_chains else quick(name)), **case.options}


def as_file(data: Any, suffix: str, folder: Path) -> str:
    if isinstance(data, str):
        return data
    path = folder / f"data{data.suffix if isinstance(data, OnDisk) else suffix}"
    if isinstance(data, OnDisk):
        path.write_bytes(data.content)
    elif suffix == ".npz":
        np.savez(path, **data)
    else:
        (data.to_csv if suffix == ".csv" else data.to_parquet)(path, index=False)
    path.chmod(0o444)
    return str(path)


def fingerprint(data: Any) -> str:
    """Everything in the data that could be changed."""
    if isinstance(data, dict):
        return "".join(f"{name} {fingerprint(value)}" for name, value in data.items())
    if isinstance(data, pd.DataFrame):
        return f"{data.to_dict('list')} {data.dtypes}"
    if isinstance(data, torch.Tensor):
        return f"{data.dtype} {data.layout} {data.requires_grad} {data.detach().to_dense().tolist()}"
    if sparse.issparse(data):
        return f"{type(data)} {data.toarray().tolist()}"
    return f"{data.dtype} {data.tolist()}" if isinstance(data, np.ndarray) else repr(data)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments, "--json"])


def command(verb: str, case: Case, name: str, data: str) -> list[str]:
    model = name if name in list_models() else f"{PROGRAMS}:{name}"
    settings = [f"{option}={json.dumps(value)}" for option, value in case.settings(good(name)).items()]
    options = run_options(case, name) if verb == "fit" else {}
    flags = [part for option, value in options.items() for part in (f"--{option.replace('_', '-')}", str(value))]
    return [verb, model, "--data", data, *flags, *(part for text in settings for part in ("--set", text))]


def assert_says(case: Bad | Asked, name: str, said: Mapping[str, str]) -> None:
    """The parts of a message are there and are the right ones."""
    for part in ("argument", "got", "expected", "remedy"):
        pattern = getattr(case, part).replace("{main}", good(name).main).replace("{name}", name)
        assert re.search(f"^({pattern})$" if part == "argument" else pattern, said[part]), (part, pattern, said)
    assert said["error"] == case.error.__name__
    assert said["problem"]
    assert said["got"]
    assert said["expected"] or said["remedy"]


def assert_refused(case: Bad | Asked, name: str, result: Any) -> None:
    """Exit code 2, and the same words twice: a line for people, a document for programs."""
    assert result.exit_code == 2, result.stderr
    document = json.loads(result.stdout)
    assert document["status"] == "error"
    assert_says(case, name, document)
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"ppzoo: {case.error.__name__}: {document['argument']}: {document['problem']}; got ")
    assert all(document[part] in line for part in ("got", "expected", "remedy"))


@pytest.mark.parametrize(("case", "name"), params(Bad))
def test_the_api_refuses(case: Bad, name: str, folder: Path, nothing_runs: None):
    data = case.data(good(name))
    before = fingerprint(data)
    given = as_file(data, "", folder) if isinstance(data, OnDisk) else data
    with pytest.raises(case.error) as caught:
        ppzoo.fit(make(name, case.settings(good(name))), given, run_dir="run", **run_options(case, name))
    assert_says(case, name, caught.value.as_dict())
    assert fingerprint(data) == before


@pytest.mark.parametrize(("case", "name"), params(Bad, in_file=True))
def test_the_command_line_refuses(case: Bad, name: str, folder: Path, nothing_runs: None):
    data = as_file(case.data(good(name)), case.file, folder)
    assert_refused(case, name, run(*command("fit", case, name, data), "--out", "run"))


@pytest.mark.parametrize(("case", "name"), params(Fine))
def test_the_api_takes_and_notes(case: Fine, name: str, folder: Path):
    data = case.data(good(name))
    before = fingerprint(data)
    fit = ppzoo.fit(make(name, case.settings(good(name))), data, **run_options(case, name))
    assert re.search(case.note.replace("{main}", good(name).main), " ".join(fit.notes))
    assert fingerprint(data) == before
    if case.same:
        plain = ppzoo.fit(make(name, {}), good(name).arrays, **run_options(case, name))
        assert np.array_equal(fit.losses, plain.losses)


@pytest.mark.parametrize(("case", "name"), params(Fine, in_file=True))
def test_the_command_line_takes_and_notes(case: Fine, name: str, folder: Path):
    data = as_file(case.data(good(name)), case.file, folder)
    before = Path(data).read_bytes()
    game = name in fitted_by("adversarial")
    allow = ["--quiet", "--allow-unconverged"] if game else []
    result = run(*command("fit" if game else "check", case, name, data), *allow)  # a game has no sites to check
    assert result.exit_code == 0, result.stderr
    assert re.search(case.note.replace("{main}", good(name).main), " ".join(json.loads(result.stdout)["notes"]))
    assert Path(data).read_bytes() == before


@pytest.mark.parametrize(("case", "name"), params(Asked))
def test_a_question_that_a_fit_cannot_answer(case: Asked, name: str, folder: Path):
    with pytest.raises(case.error) as caught:
        case.ask(name)
    assert_says(case, name, caught.value.as_dict())
    if case.command:
        assert_refused(case, name, run(*case.command.format(name=name).split()))


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_held_against_every_model_or_says_why_not(row: int):
    cases = [case for case in CASES if case.row == row]
    held = {name for case in cases for name in case.models}
    excused = [name for names in NOT_FOR.get(row, {}).values() for name in names]
    assert held
    assert sorted([*(held & set(list_models())), *excused]) == list_models()
    assert all(case.file in {".npz", ".csv", ".parquet"} or " " in case.file for case in cases)
