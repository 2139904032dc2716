"""Nothing global changes, whatever a run does, and nothing global leaks in: runs give what they give alone."""

from __future__ import annotations

import random
import threading

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroSample
from torch import nn
from torch.distributions import constraints

import ppzoo
from ppzoo.isolation import Store, isolated, one_thread, random_state

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])
X = torch.tensor([[0.1, 1.0], [0.4, -1.0], [-0.3, 0.5], [1.2, 0.2]])


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def located(at):
    """A model whose ``pyro.param`` has the name that every such model gives it."""

    def model(y):
        loc = pyro.param("loc", torch.tensor(at))
        scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
        pyro.sample("z", dist.Normal(loc, scale))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, scale), obs=y)

    return model


def networked(net):
    """A model that closes over a network, registered with Pyro as its tutorials do."""

    def model(x, y):
        pyro.module("net", net)
        scale = pyro.sample("scale", dist.HalfNormal(1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(net(x).squeeze(-1), scale), obs=y)

    return model


@pytest.fixture
def network(seeded):
    return nn.Linear(2, 1)


def everywhere():
    """A draw of each global generator."""
    return random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002  # the legacy one is meant


def bits(values):
    return {name: value.detach().numpy().tobytes() for name, value in values.items()}


def everything(fit, *new):
    return (fit.losses.tobytes(), bits(fit.draws(7)), bits(fit.parameters()), bits(fit.predict(*new, draws=5)))


# the scope itself


def test_a_run_has_a_world_of_its_own():
    random.seed(1)  # restored below
    outside = random.getstate()
    with isolated(seed=3, dtype=torch.float64, validate=True):
        assert torch.get_default_dtype() is torch.float64
        assert torch.initial_seed() == 3
        assert not pyro.get_param_store()
        assert pyro.settings.get("module_local_params")
        assert pyro.settings.get("validate_distributions_torch")
        first = everywhere()
    with isolated(seed=3, dtype=torch.float64):
        assert everywhere() == first
    assert random.getstate() == outside


@pytest.fixture(autouse=True)
def python_generator():
    """For the test above, which seeds it."""
    state = random.getstate()
    yield
    random.setstate(state)


def test_one_thread_is_all_there_is_inside():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError), one_thread():
            _ = 1 / 0
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_inside_leaves_nothing_behind(error, isolation):
    def disturb():
        pyro.param("left", torch.ones(2))
        torch.set_default_dtype(torch.float64)
        pyro.enable_validation(True)
        poutine.trace().__enter__()
        pyro.plate("left", 3).__enter__()
        poutine.enum(first_available_dim=-2).__enter__()
        raise error

    with pytest.raises(error), isolated(seed=0):
        disturb()
    assert isolation() == []
    assert "setdefault" not in vars(pyro.get_param_store())


def test_a_store_is_seen_again_and_by_nobody_else():
    store = Store()
    with isolated(seed=0, store=store):
        pyro.param("a", torch.tensor(2.0), constraint=constraints.positive)
        with isolated(seed=0):
            assert "a" not in pyro.get_param_store()
        assert "a" in pyro.get_param_store()
    with isolated(seed=0, store=store):
        assert pyro.param("a").item() == pytest.approx(2.0)
    assert store.constrained()["a"].item() == pytest.approx(2.0)
    assert "a" not in pyro.get_param_store()


def test_the_starting_tensor_of_a_parameter_is_copied():
    start = torch.zeros(2)
    with isolated(seed=0):
        value = pyro.param("w", start)
        lazy = pyro.param("v", lambda: start)
        with torch.no_grad():
            value.unconstrained().add_(1.0)
            lazy.unconstrained().add_(1.0)
    assert torch.equal(start, torch.zeros(2))
    assert not start.requires_grad


def test_a_borrowed_parameter_is_exchanged_with_its_gradient(network):
    network.weight.grad = torch.full_like(network.weight, 7.0)
    before, store = network.weight.detach().clone(), Store()
    with isolated(seed=0, dtype=torch.float64, store=store):
        pyro.module("net", network)
        store.borrow()
        assert network.weight.dtype is torch.float64
        assert network.weight.grad is None
        (network.weight * 2).sum().backward()
        with torch.no_grad():
            network.weight.add_(1.0)
    for _ in range(2):
        assert torch.equal(network.weight, before)
        assert torch.equal(network.weight.grad, torch.full_like(before, 7.0))
        with isolated(seed=0, dtype=torch.float64, store=store):
            assert torch.equal(network.weight, before.double() + 1)
    assert torch.equal(store.unconstrained()["net$$$weight"], before.double() + 1)


def test_random_state_seeds_and_restores(isolation):
    with random_state(5):
        first = everywhere()
    with random_state(5):
        assert everywhere() == first
    assert isolation() == []


# public calls


class Interrupted:
    """A model that stops being one after some runs."""

    def __init__(self, error, runs):
        self.error, self.left = error, runs

    def __deepcopy__(self, memo):
        return self  # so that the count is shared

    def __call__(self, y):
        self.left -= 1
        conjugate(y)
        pyro.param("mine", torch.ones(2))
        if self.left < 0:
            raise self.error


@pytest.mark.parametrize("method", ["svi", "nuts"])
@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("runs", [0, 5])
def test_a_model_that_raises_changes_nothing(method, error, runs, isolation):
    with pytest.raises((type(error), ppzoo.PPZooError)):
        ppzoo.fit(Interrupted(error, runs), Y, method=method)
    assert isolation() == []


@pytest.mark.parametrize("verb", ["draws", "predict", "to_arviz", "summary", "diagnose", "save"])
def test_reading_a_fit_whose_model_now_raises_changes_nothing(verb, isolation, tmp_path):
    model = Interrupted(KeyboardInterrupt(), 10**6)
    fit = ppzoo.fit(model, Y, steps=3)
    model.left = 0
    with pytest.raises(KeyboardInterrupt):
        getattr(fit, verb)(*[tmp_path / "run"] * (verb == "save"))
    assert isolation() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "method", "options"),
    [
        ("ppca", "exact", {}),
        ("gmm", "em", {"restarts": 1, "steps": 5}),
        ("realnvp", "svi", {"steps": 3}),
        ("gan", "adversarial", {"steps": 3}),
    ],
)
def test_every_public_call_changes_nothing(name, method, options, isolation, tmp_path):
    data = ppzoo.load_dataset(ppzoo.model_card(name).data)
    model = ppzoo.create_model(name, features=data.shape["x"][1])
    assert isolation() == []
    fit = ppzoo.fit(model, data, method=method, **options)
    assert isolation() == []
    calls = {
        "check": lambda: ppzoo.check(model, data),
        "draws": lambda: fit.draws(3),
        "predict": lambda: fit.predict(draws=3),
        "sample": lambda: fit.sample(3),
        "log_prob": lambda: fit.log_prob(data.data["x"][:5]),
        "encode": lambda: fit.encode(data.data["x"][:5]),
        "to_arviz": fit.to_arviz,
        "summary": fit.summary,
        "diagnose": fit.diagnose,
        "show": lambda: (str(fit), fit._repr_html_()),
        "load": lambda: ppzoo.load(fit.save(tmp_path / "run")),
        "wrong": lambda: ppzoo.fit(model, data, method="nuts", chains=0),
    }
    for verb, call in calls.items():
        try:
            call()
        except ppzoo.PPZooError:
            assert verb in {"check", "draws", "predict", "sample", "log_prob", "encode", "wrong"}  # what it cannot do
        assert isolation() == [], verb


def test_comparing_changes_nothing(isolation):
    data = ppzoo.load_dataset("eight_schools")
    model = ppzoo.create_model("eight_schools")
    fits = {
        "svi": ppzoo.fit(model, data, steps=20),
        "nuts": ppzoo.fit(model, data, method="nuts", chains=2, warmup=20, draws=20),
    }
    str(ppzoo.compare(fits))
    assert isolation() == []


def test_the_users_own_parameters_are_neither_seen_nor_touched():
    store = pyro.get_param_store()
    mine = {"loc": 100.0, "AutoNormal.locs.z": 100.0}
    try:
        for name, value in mine.items():
            pyro.param(name, torch.tensor(value))
        polluted = everything(ppzoo.fit(located(0.5), Y, steps=20))
        assert {name: value.item() for name, value in store.items()} == mine
    finally:
        for name in mine:
            del store[name]
    assert polluted == everything(ppzoo.fit(located(0.5), Y, steps=20))


@pytest.mark.filterwarnings("ignore:bias was not registered")  # Pyro says that it is frozen
def test_a_closed_over_network_stays_as_it_was_and_its_fit_predicts_with_what_was_learnt(network):
    network.weight.grad = torch.ones_like(network.weight)
    network.bias.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = networked(network)
    fit = ppzoo.fit(model, (X.double(), 50 + Y.double()), steps=100, lr=0.5, guide="delta")
    learnt = fit.parameters()["net$$$weight"]
    assert fit.dtype is torch.float32  # for the network is not ours to cast, and the fit says so
    assert any("float32" in note for note in fit.notes)
    assert not torch.allclose(learnt.float(), before["weight"], atol=1.0)
    far = fit.predict(X + 100.0, Y, draws=20)["y"].mean(0)
    expected = (X.double() + 100) @ learnt.double().T + before["bias"].double()
    assert torch.allclose(far.double(), expected.squeeze(-1), rtol=0.05)
    assert bits(network.state_dict()) == bits(before)
    assert network.weight.dtype is torch.float32
    assert network.weight.requires_grad
    assert not network.bias.requires_grad
    assert torch.equal(network.weight.grad, torch.ones_like(network.weight))
    assert network.bias.grad is None


def test_a_closed_over_network_without_pyro_module_gets_no_gradient(network):
    def model(x, y):
        scale = pyro.sample("scale", dist.HalfNormal(1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(network(x).squeeze(-1), scale), obs=y)

    ppzoo.fit(model, (X, Y), steps=3)
    assert network.weight.grad is None


def test_a_starting_tensor_is_not_trained_so_a_second_fit_starts_where_the_first_did():
    start = torch.tensor(0.0)

    def model(y):
        loc = pyro.param("loc", start)
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    first, second = (ppzoo.fit(model, Y, steps=30, lr=0.1) for _ in range(2))
    assert start.item() == 0.0
    assert not start.requires_grad
    assert first.losses.tobytes() == second.losses.tobytes()
    assert float(first.parameters()["loc"]) != 0.0


def test_fits_of_models_with_the_same_names_give_what_they_give_alone():
    a, b = located(0.0), located(2.0)
    alone = [everything(ppzoo.fit(model, Y, steps=20)) for model in (a, b)]
    fits = [ppzoo.fit(model, Y, steps=20) for model in (a, b)]
    parts = [[], []]
    for read in (
        lambda fit: fit.losses.tobytes(),
        lambda fit: bits(fit.draws(7)),
        lambda fit: bits(fit.parameters()),
        lambda fit: bits(fit.predict(draws=5)),
    ):
        for part, fit in zip(parts, fits, strict=True):  # A, B, A, B, ...
            part.append(read(fit))
    assert [tuple(part) for part in parts] == alone


def test_two_fits_may_share_one_network(network):
    fits = [ppzoo.fit(networked(network), (X, Y + shift), steps=20, lr=0.1) for shift in (0.0, 10.0)]
    weights = [bits(fit.parameters()) for fit in fits]
    assert weights[0] != weights[1]
    for fit, weight in zip(fits, weights, strict=True):
        fit.predict(draws=2)
        assert bits(fit.parameters()) == weight


def test_threads_give_what_a_single_one_gives(network):
    jobs = {
        "a": lambda: everything(ppzoo.fit(located(0.0), Y, steps=20)),
        "b": lambda: everything(ppzoo.fit(located(2.0), Y.double(), steps=20, seed=1)),
        "net": lambda: everything(ppzoo.fit(networked(network), (X, Y), steps=20)),
        "nuts": lambda: bits(ppzoo.fit(conjugate, Y, method="nuts", chains=1, warmup=20, draws=10).draws()),
        "made": lambda: bits(ppzoo.create_model("ppca", features=4, seed=3).state_dict()),
        "em": lambda: bits(
            ppzoo.fit(
                ppzoo.create_model("gmm", features=2), "old_faithful", method="em", restarts=1, steps=3
            ).parameters()
        ),
    }
    serial = {name: job() for name, job in jobs.items()}
    found = {}

    def work(name):
        found[name] = jobs[name]()

    threads = [threading.Thread(target=work, args=(name,)) for name in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == serial


def test_a_fit_inside_the_users_handlers_sees_none_of_them():
    alone = everything(ppzoo.fit(conjugate, Y, steps=10))
    with pyro.plate("row", 3), poutine.scale(scale=5.0), poutine.trace() as outer, poutine.mask(mask=False):
        inside = everything(ppzoo.fit(conjugate, Y, steps=10))
    assert inside == alone
    assert list(outer.trace.nodes) == []


def test_a_fit_inside_a_fit():
    alone = everything(ppzoo.fit(conjugate, Y, steps=10))
    inner = []

    def model(y):
        if not inner:
            inner.append(everything(ppzoo.fit(conjugate, Y, steps=10)))
        conjugate(y)

    assert everything(ppzoo.fit(model, Y, steps=10))[0] == alone[0]
    assert inner == [alone]


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad])
def test_the_callers_gradient_mode_does_not_matter(context):
    alone = everything(ppzoo.fit(conjugate, Y, steps=10))
    with context():
        assert everything(ppzoo.fit(conjugate, Y, steps=10)) == alone


def test_the_callers_default_type_does_not_matter():
    alone = everything(ppzoo.fit(conjugate, Y, steps=10))
    made = bits(ppzoo.create_model("ppca", features=3).state_dict())
    torch.set_default_dtype(torch.float64)
    try:
        fit = ppzoo.fit(conjugate, Y, steps=10)
        assert fit.dtype is torch.float32
        assert everything(fit) == alone
        assert bits(ppzoo.create_model("ppca", features=3).state_dict()) == made
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_callers_validation_and_settings_do_not_matter():
    alone = everything(ppzoo.fit(located(0.0), Y, steps=10))
    before = pyro.settings.get()
    try:
        for settings in ({"module_local_params": True}, {"validate_distributions_torch": False}):
            pyro.settings.set(**settings)
            assert everything(ppzoo.fit(located(0.0), Y, steps=10)) == alone
            assert {name: pyro.settings.get(name) for name in settings} == settings
    finally:
        pyro.settings.set(**before)


def test_a_module_and_an_autoguide_that_were_given_stay_as_they_were(seeded):
    class Regression(PyroModule):
        def __init__(self):
            super().__init__()
            self.linear = PyroModule[nn.Linear](2, 1)
            self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))

        def forward(self, x, y):
            mean = self.linear(x).squeeze(-1)
            with pyro.plate("row", len(x)):
                pyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    model = Regression()
    guide = AutoNormal(model)
    before = bits(model.state_dict())
    fit = ppzoo.fit(model, (X, 3 + Y), steps=50, lr=0.1, guide=guide)
    assert bits(model.state_dict()) == before
    assert list(guide.parameters()) == []
    assert fit.parameters()["linear.bias"].item() != model.linear.bias.item()
    assert everything(fit) == everything(ppzoo.fit(model, (X, 3 + Y), steps=50, lr=0.1, guide=guide))
