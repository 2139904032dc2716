"""Every kind of program goes in; one seed decides everything; the door opens before anything is computed."""

from __future__ import annotations

import functools
import os

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
from pyro.nn import PyroModule, PyroParam, PyroSample, pyro_method
from torch import nn
from torch.distributions import constraints

import ppzoo
from ppzoo.errors import DataError, FitError, ModelError, OptionError, PPZooError, StorageError

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])
X = torch.tensor([[0.1, 1.0], [0.4, -1.0], [-0.3, 0.5], [1.2, 0.2]])


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def scaled(y, *, scale, offset=0.0):
    mu = pyro.sample("mu", dist.Normal(offset, scale))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


class Model:
    """A plain object with a program as method, and one that can be called."""

    def __init__(self, scale):
        self.scale = scale

    def program(self, y):
        scaled(y, scale=self.scale)

    def __call__(self, y):
        scaled(y, scale=self.scale)


class Module(PyroModule):
    """Parameters, priors, plain and Pyro submodules."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(2, 3)
        self.linear = PyroModule[nn.Linear](3, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 3]).to_event(2))
        self.scale = PyroParam(torch.tensor(2.0), constraint=constraints.positive)
        self.mean = PyroSample(lambda self: dist.Normal(0.0, self.scale))

    def forward(self, x, y=None):
        mean = self.linear(torch.tanh(self.hidden(x))).squeeze(-1) + self.mean
        with pyro.plate("row", len(x)):
            return pyro.sample("y", dist.Normal(mean, self.scale), obs=y)

    @pyro_method
    def other(self, x, y):
        return self.forward(x, y)


def several_kinds_of_site(x):
    weights = pyro.sample("weights", dist.Dirichlet(torch.ones(3)))
    corr = pyro.sample("corr", dist.LKJCholesky(2, 1.0))
    scale = pyro.sample("scale", dist.HalfNormal(1.0).expand([2]).to_event(1))
    pyro.deterministic("cov", corr @ corr.mT)
    pyro.factor("penalty", -0.1 * scale.sum())
    with pyro.plate("group", 3), poutine.mask(mask=torch.tensor([True, False, True])):
        pyro.sample("u", dist.Normal(weights, 1.0))
    with pyro.plate("column", 2):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            local = pyro.sample("local", dist.Normal(loc, 1.0))
            pyro.deterministic("twice", 2 * local)
    tril = torch.diag_embed(scale) @ corr
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.MultivariateNormal(local, scale_tril=tril), obs=x)


def without_data():
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    pyro.sample("a", dist.Normal(0.0, scale))


def improper(y):
    mu = pyro.sample("mu", dist.ImproperUniform(constraints.real, (), ()))
    pyro.sample("y", dist.Normal(mu, 1.0).expand([len(y)]).to_event(1), obs=y)


def starred(*data):
    conjugate(*data)


def registered(net, x, y):
    pyro.module("net", net)
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(net(x).squeeze(-1), scale), obs=y)


def closure():
    net = nn.Linear(2, 1)
    return lambda x, y: registered(net, x, y)


PROGRAMS = {
    "function": lambda: (conjugate, Y),
    "star": lambda: (starred, Y),
    "bound method": lambda: (Model(2.0).program, Y),
    "callable object": lambda: (Model(2.0), Y),
    "partial": lambda: (functools.partial(scaled, scale=2.0), Y),
    "settings beside the data": lambda: (scaled, {"y": Y, "scale": 2.0}),
    "PyroModule": lambda: (Module(), (X, Y)),
    "PyroModule, prior only": lambda: (Module(), X),
    "method of a PyroModule": lambda: (Module().other, (X, Y)),
    "closure with pyro.module": lambda: (closure(), (X, Y)),
    "partial over a network": lambda: (functools.partial(registered, nn.Linear(2, 1)), (X, Y)),
    "many sites": lambda: (several_kinds_of_site, X),
    "no data": lambda: (without_data, ()),
    "improper prior": lambda: (improper, Y),
    "zoo": lambda: (ppzoo.create_model("eight_schools"), "eight_schools"),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_every_kind_of_program_goes_in(kind, seeded):
    model, data = PROGRAMS[kind]()
    fit = ppzoo.fit(model, data, steps=20, seed=3)
    latent = fit.draws(5)
    assert len(fit.losses) == 20
    assert all(len(value) == 5 and bool(torch.isfinite(value).all()) for value in latent.values())
    tree = fit.to_arviz()
    assert tree["posterior"].sizes["chain"] == 1
    assert fit.diagnose().verdict in {"trust", "caution", "reject"}
    assert ppzoo.check(model, data).ok
    if kind != "no data" and kind != "PyroModule, prior only":
        assert [len(value) for value in fit.predict(draws=3).values()] == [3]
    again = ppzoo.fit(model, data, steps=20, seed=3)
    assert again.losses.tobytes() == fit.losses.tobytes()
    assert {n: v.numpy().tobytes() for n, v in again.draws(5).items()} == {
        n: v.numpy().tobytes() for n, v in latent.items()
    }


@pytest.mark.parametrize("kind", ["PyroModule", "many sites", "no data", "improper prior", "bound method", "zoo"])
def test_nuts_takes_them_too(kind, seeded):
    model, data = PROGRAMS[kind]()
    fit = ppzoo.fit(model, data, method="nuts", chains=1, warmup=20, draws=4, max_tree_depth=3)
    assert all(value.shape[0] == 4 for value in fit.draws().values())
    assert fit.to_arviz()["sample_stats"].sizes == {"chain": 1, "draw": 4}


def test_data_by_position_name_table_and_array_are_the_same_data():
    def model(x, y):
        b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(x @ b, 1.0), obs=y)

    table = pd.DataFrame({"a": X[:, 0].numpy(), "b": X[:, 1].numpy(), "y": Y.numpy()})
    forms = [(X, Y), {"x": X, "y": Y}, (X.numpy(), Y.numpy()), {"y": Y, "x": table[["a", "b"]]}, table]
    losses = {ppzoo.fit(model, data, steps=10).losses.tobytes() for data in forms}
    assert len(losses) == 1


def test_one_seed_decides_everything():
    def results(seed):
        fit = ppzoo.fit(conjugate, Y, steps=20, seed=seed)
        tree = fit.to_arviz()
        return (
            fit.losses.tobytes(),
            fit.draws(5)["mu"].numpy().tobytes(),
            fit.predict(draws=5)["y"].numpy().tobytes(),
            tree["posterior"]["mu"].values.tobytes(),
            tree["posterior_predictive"]["y"].values.tobytes(),
        )

    assert results(1) == results(1)
    assert all(a != b for a, b in zip(results(1), results(2), strict=True))
    assert results(2**64 - 1) != results(0)


def test_one_seed_decides_a_sampler_and_each_chain_has_its_own_stream():
    def draws(seed, chains):
        options = {"chains": chains, "warmup": 20, "draws": 5, "adapt": "per_chain"}
        return ppzoo.fit(conjugate, Y, method="nuts", seed=seed, **options).to_arviz()["posterior"]["mu"].values

    two, other = draws(1, 2), draws(2, 2)
    assert np.array_equal(two, draws(1, 2))
    assert np.allclose(two[:1], draws(1, 1), rtol=1e-9)  # whatever runs beside it, up to the order of sums
    assert not np.array_equal(two[0], two[1])
    assert not np.isin(two, other).any()  # consecutive seeds share no chain


def test_a_method_by_name_and_as_a_value_are_the_same():
    by_name = ppzoo.fit(conjugate, Y, method="svi", steps=10, lr=0.1)
    as_value = ppzoo.fit(conjugate, Y, method=ppzoo.SVI(steps=10, lr=0.1))
    assert by_name.losses.tobytes() == as_value.losses.tobytes()
    assert by_name.method == as_value.method


@pytest.mark.parametrize("guide", [AutoNormal, AutoDiagonalNormal, "mvn"], ids=str)
def test_guides_of_every_kind(guide):
    instance = guide(conjugate) if isinstance(guide, type) else guide
    fits = [ppzoo.fit(conjugate, Y, steps=10, guide=g) for g in (guide, instance)]
    assert all(np.isfinite(fit.losses).all() for fit in fits)


def test_the_type_follows_the_data_or_what_is_asked_for():
    assert ppzoo.fit(conjugate, Y, steps=3).dtype is torch.float32
    assert ppzoo.fit(conjugate, Y.double(), steps=3).dtype is torch.float64
    assert ppzoo.fit(conjugate, Y.numpy().astype(np.float64), steps=3).dtype is torch.float64
    asked = ppzoo.fit(conjugate, Y, steps=3, dtype=torch.float64)
    assert asked.dtype is torch.float64
    assert asked.draws(2)["mu"].dtype is torch.float64
    assert any("float64" in note for note in asked.notes)


def test_nuts_prefers_float64_and_casts_modules_with_the_data(seeded):
    class Regression(PyroModule):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 1)
            self.shift = PyroSample(lambda self: dist.Normal(self.linear.bias.new_zeros(()), 1.0))

        def forward(self, x, y):
            with pyro.plate("row", len(x)):
                pyro.sample("y", dist.Normal(self.linear(x).squeeze(-1) + self.shift, 1.0), obs=y)

    fit = ppzoo.fit(Regression(), (X, Y), method="nuts", chains=1, warmup=20, draws=4, max_tree_depth=2)
    assert fit.dtype is torch.float64
    assert fit.draws()["shift"].dtype is torch.float64
    assert any("float64" in note for note in fit.notes)


def test_nuts_runs_in_the_type_of_captured_tensors_and_says_so():
    design = X  # float32, in nobody's parameters

    def model(y):
        b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(design @ b, 1.0), obs=y)

    fit = ppzoo.fit(model, Y.double(), method="nuts", chains=1, warmup=20, draws=4)
    assert fit.dtype is torch.float32
    assert any("float32" in note and "cannot be cast" in note for note in fit.notes)
    with pytest.raises(ModelError, match="dtype"):
        ppzoo.fit(model, Y.double(), method="nuts", dtype=torch.float64)


def test_the_model_and_the_data_that_were_given_are_never_changed(seeded):
    model, y = Module(), Y.clone()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    fit = ppzoo.fit(model, (X, y), steps=20, lr=0.1)
    fit.predict(X[:2])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(y, Y)
    learnt = fit.parameters()
    assert set(learnt) == {"hidden.weight", "hidden.bias", "linear.bias", "scale"}
    assert all(not torch.equal(value, getattr(model.hidden, n[7:])) for n, value in learnt.items() if "hidden" in n)
    assert float(learnt["scale"]) > 0


def test_a_program_that_writes_into_its_data_reaches_only_a_copy():
    def model(y):
        y.mul_(1.0)
        y += 0.0
        conjugate(y)

    fixed = Y.numpy().copy()
    fixed.setflags(write=False)
    ppzoo.fit(model, fixed, steps=3)


# refusals


class Counting:
    """Counts how often it was run."""

    def __init__(self):
        self.runs = 0

    def __deepcopy__(self, memo):
        return self

    def __call__(self, y):
        self.runs += 1
        conjugate(y)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "nust"}, OptionError, "Did you mean 'nuts'"),
        ({"method": "svi", "step": 5}, OptionError, "Did you mean 'steps'"),
        ({"method": 5}, OptionError, "is not a method"),
        ({"method": ppzoo.SVI(), "steps": 5}, OptionError, "inside the method value"),
        ({"seed": -1}, OptionError, "seed"),
        ({"seed": 2**64}, OptionError, "seed"),
        ({"seed": "a"}, OptionError, "seed"),
        ({"device": "cudaa"}, OptionError, "Did you mean 'cuda'"),
        ({"dtype": torch.float16}, OptionError, "dtype: not a floating type"),
        ({"dtype": torch.int64}, OptionError, "dtype: not a floating type"),
        ({"method": "exact"}, ModelError, "no closed-form"),
        ({"method": "em"}, ModelError, "no E step"),
        ({"method": "adversarial"}, ModelError, "not a game"),
        ({"data": torch.tensor([1.0, float("nan")])}, DataError, "y"),
        ({"data": torch.zeros(0)}, DataError, "empty"),
        ({"data": None}, DataError, "no data"),
        ({"data": (Y, Y)}, DataError, "more arguments"),
        ({"data": {"z": Y}}, DataError, "no such argument"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(options, error, message):
    model = Counting()
    settings = {"data": Y, "steps": 3} | options
    if "method" in options and "steps" not in options:
        settings.pop("steps")
    with pytest.raises(error, match=message):
        ppzoo.fit(model, settings.pop("data"), **settings)
    assert model.runs == 0


@pytest.mark.parametrize(("guide", "message"), [("norml", "Did you mean 'normal'"), (5, "is not a guide")])
def test_what_is_no_guide_is_refused(guide, message):
    with pytest.raises(OptionError, match=message):
        ppzoo.fit(conjugate, Y, guide=guide, steps=3)


def test_dtype_by_name():
    assert ppzoo.fit(conjugate, Y, steps=3, dtype="float64").dtype is torch.float64


@pytest.mark.parametrize("model", [None, 5, "eight_schools", Module, torch.zeros(3)], ids=repr)
def test_what_is_no_program_is_refused(model):
    with pytest.raises(ModelError, match="is not a Pyro program"):
        ppzoo.fit(model, Y, steps=3)


def test_what_cannot_be_copied_is_refused():
    import threading

    model = Model(1.0)
    model.lock = threading.Lock()
    with pytest.raises(ModelError, match=r"cannot be copied.*lock"):
        ppzoo.fit(model, Y, steps=3)


def test_a_program_that_fails_is_quoted():
    def model(y):
        raise KeyError("temperature")

    with pytest.raises(ModelError, match="KeyError: 'temperature'"):
        ppzoo.fit(model, Y)


def test_the_run_folder_is_tried_before_the_model_is(tmp_path):
    model = Counting()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "mine", tmp_path / "file", tmp_path / ("x" * 300)):
        with pytest.raises(StorageError):
            ppzoo.fit(model, Y, run_dir=folder)
    assert model.runs == 0
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_tried_before_the_model_is(tmp_path):
    model = Counting()
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError):
            ppzoo.fit(model, Y, run_dir=tmp_path / "run")
    finally:
        tmp_path.chmod(0o700)
    assert model.runs == 0


def test_a_fit_with_a_run_folder_is_saved_there(tmp_path):
    fit = ppzoo.fit(conjugate, Y, steps=5, run_dir=tmp_path / "a" / "run")
    again = ppzoo.load(tmp_path / "a" / "run", model=conjugate)
    assert torch.equal(again.draws(3)["mu"], fit.draws(3)["mu"])


def test_a_failed_fit_leaves_no_folder(tmp_path):
    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        pyro.factor("never", mu - torch.inf)
        pyro.sample("y", dist.Normal(mu, 1.0).expand([len(y)]).to_event(1), obs=y)

    for options in ({"method": "nuts"}, {"method": "svi", "steps": 60}):
        with pytest.raises(FitError):
            ppzoo.fit(model, Y, run_dir=tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


def test_no_start_is_told_by_the_table_of_sites():
    def model(y):
        scale = pyro.sample("scale", dist.HalfNormal(1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Exponential(1 / scale, validate_args=False), obs=y)
            pyro.sample("z", dist.Uniform(0.0, scale), obs=y)

    with pytest.raises(FitError, match=r"(?s)100 tries.*site.*scale.*latent.*HalfNormal.*z.*observed.*Uniform.*-inf"):
        ppzoo.fit(model, torch.tensor([1e9, 2.0]), method="nuts")


def test_a_pyro_module_that_a_function_closes_over_is_refused_with_the_way_out(seeded):
    module = Module()
    with pytest.raises(ModelError, match="pass the module itself"):
        ppzoo.fit(lambda x, y: module(x, y=y), (X, Y), steps=3)


def test_every_refusal_is_ours():
    with pytest.raises(PPZooError):
        ppzoo.fit(conjugate, "no such file.csv")
