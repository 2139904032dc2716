"""Pairs, sites and copies."""

from __future__ import annotations

import threading

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam
from torch import nn

from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import ModelError
from ppzoo.inference.program import Pair, copy_model, entry_point, has_method, sites_of
from ppzoo.isolation import isolated

pytestmark = pytest.mark.usefixtures("seeded")  # networks draw their first weights


class Holder(PyroModule):
    def __init__(self):
        super().__init__()
        self.scale = PyroParam(torch.tensor(2.0), constraint=dist.constraints.positive)
        self.layer = nn.Linear(1, 1)

    def model(self, x):
        with pyro.plate("row", len(x)):
            pyro.sample("x", dist.Normal(self.layer(x[:, None])[:, 0], self.scale), obs=x)


def test_sites_know_their_plates_and_dims():
    def model(x):
        with pyro.plate("group", 2, dim=-2), pyro.plate("row", 3, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            pyro.deterministic("double", 2 * z[..., 0])
            pyro.sample("n", dist.Bernoulli(0.5))
        pyro.factor("nothing", torch.tensor(0.0))
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    with isolated(seed=0):
        pair = Pair(model, model, Arguments((torch.tensor(1.0),), {}, {}, {}, ()))
        sites = {site.name: site for site in sites_of(pair.trace_model())}
    assert {name: site.kind for name, site in sites.items()} == {
        "z": "latent", "double": "deterministic", "n": "discrete", "x": "observed",
    }  # fmt: skip
    assert sites["z"].dims == ["group", "row", "z_dim_2"]
    assert sites["double"].dims == ["group", "row"]
    assert sites["x"].dims == []


def test_trained_parameters_are_those_the_density_hangs_on():
    """Not those of the guide alone, be they in the store, in the same module, or frozen."""

    class Both(Holder):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(1, 2)
            self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

        def model(self, x):
            shift = pyro.param("shift", torch.tensor(1.0, dtype=torch.float64))
            pyro.sample("z", dist.Normal(shift, self.frozen[0]))
            super().model(x)

        def guide(self, x):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.0)), self.encoder(x[:1])[1].exp()))

    owner, x = Both(), torch.ones(3)
    pair = Pair(owner, owner.model, Arguments((x,), {}, {}, {}, ()), owner.guide)
    with isolated(seed=0, store=pair.store):
        pair.first_run()
        assert sorted(pair.trained()) == ["layer.bias", "layer.weight", "scale_unconstrained", "shift"]
        assert float(pair.trained()["shift"]) == 1.0


def test_copies_have_their_own_parameters():
    holder = Holder()
    for twin in (copy_model(holder), copy_model(holder.model).__self__):
        assert twin.layer.weight is not holder.layer.weight
        assert torch.equal(twin.layer.weight, holder.layer.weight)


def test_a_copied_guide_leaves_the_original_its_model():
    def model():
        pyro.sample("z", dist.Normal(0.0, 1.0))

    guide = AutoNormal(model)
    before = guide.model
    assert copy_model(guide).model is before
    assert guide.model is before


def test_what_cannot_be_copied_says_so():
    holder = Holder()
    holder.lock = threading.Lock()
    with pytest.raises(ModelError, match=r"cannot be copied.*Keep locks"):
        copy_model(holder)


def test_entry_points():
    holder = Holder()
    assert entry_point(holder) == holder.model
    assert entry_point(copy_model) is copy_model
    with pytest.raises(ModelError, match=r"got the class Holder.*Pass an instance"):
        entry_point(Holder)
    with pytest.raises(ModelError, match=r"got a int"):
        entry_point(3)


def test_a_submodule_named_like_a_method_is_no_method():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(1, 1)

        def forward(self, x):
            return self.model(x)

    assert not has_method(Wrapper(), "model")
    wrapper = Wrapper()
    assert entry_point(wrapper) is wrapper


def test_state_goes_round():
    def guide(x):
        pyro.param("shift", torch.tensor(1.5), constraint=dist.constraints.positive)

    def pair():
        holder = Holder()
        return Pair(holder, holder.model, Arguments((torch.zeros(3),), {}, {}, {}, ()), guide)

    one, other = pair(), pair()
    for each in (one, other):
        with isolated(seed=0, store=each.store):
            each.first_run()
    with torch.no_grad():
        one.store.params["shift"].fill_(0.25)
    state = one.state()
    assert set(state) == {"model.scale_unconstrained", "model.layer.weight", "model.layer.bias", "param.shift"}
    other.load_state(state)
    assert all(torch.equal(value, state[name]) for name, value in other.state().items())
    with pytest.raises(KeyError, match="on one side only"):
        other.load_state({"param.other": torch.zeros(())})


def test_borrowed_parameters_are_handed_back():
    net = nn.Linear(1, 1)
    before = net.weight.detach().clone()

    def model(x):
        pyro.module("net", net)
        pyro.sample("x", dist.Normal(net(x), 1.0).to_event(2), obs=x)

    pair = Pair(model, model, Arguments((torch.zeros(3, 1, dtype=torch.float64).float(),), {}, {}, {}, ()))
    with isolated(seed=0, store=pair.store):
        pair.first_run()
        with torch.no_grad():
            net.weight.fill_(7.0)
    assert torch.equal(net.weight, before)
    assert float(pair.state()["param.net$$$weight"]) == 7.0
    with isolated(seed=0, store=pair.store):
        assert net.weight.item() == 7.0
    assert torch.equal(net.weight, before)


def test_errors_of_the_program_are_typed_and_chained():
    def model(x):
        pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("a", dist.Normal(0.0, 1.0))

    with isolated(seed=0), pytest.raises(ModelError, match=r"Give each sample statement its own name") as raised:
        Pair(model, model, Arguments((torch.zeros(1),), {}, {}, {}, ())).trace_model()
    assert isinstance(raised.value.__cause__, RuntimeError)
