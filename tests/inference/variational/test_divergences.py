"""Closed forms are those of torch, scaled and masked as the site is, and only where they are right."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch.distributions import kl_divergence

from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.variational.divergences import divergences
from ppzoo.inference.variational.runs import traces
from ppzoo.isolation import isolated

Y = torch.tensor([0.9, 1.1, 1.6], dtype=torch.float64)
KEPT = torch.tensor([True, False, True])


def two(first, second):
    """A program of two sites, the second in a plate, in the order given."""

    def program(*_):
        values = {}
        for name in (first, second):
            if name == "a":
                values["a"] = pyro.sample("a", dist.Normal(values.get("b", torch.zeros(3)).sum(), 1.0))
            else:
                with pyro.plate("row", 3):
                    values["b"] = pyro.sample("b", dist.Normal(values.get("a", torch.zeros(())), 2.0))

    return program


def found(model, guide):
    with isolated(seed=1, dtype=torch.float64):
        run = traces(model, guide, Arguments((Y,), {}))
        return divergences(run), run


def test_of_a_chain_each_given_what_was_drawn():
    def guide(y):
        a = pyro.sample("a", dist.Normal(0.5, 0.3))
        with pyro.plate("row", 3):
            pyro.sample("b", dist.Normal(a + y, 0.7))

    closed, run = found(two("a", "b"), guide)
    a = run.guide.nodes["a"]["value"]
    torch.testing.assert_close(closed["a"].value, kl_divergence(dist.Normal(0.5, 0.3), dist.Normal(0.0, 1.0)).double())
    torch.testing.assert_close(closed["b"].value, kl_divergence(dist.Normal(a + Y, 0.7), dist.Normal(a, 2.0)))
    assert closed["b"].sites == ("b",)


def test_what_the_model_drew_before_must_be_known_to_the_guide_before():
    assert list(found(two("a", "b"), two("b", "a"))[0]) == ["a"]
    assert list(found(two("b", "a"), two("a", "b"))[0]) == ["b"]
    assert list(found(two("a", "b"), two("a", "b"))[0]) == ["a", "b"]


def test_scales_and_masks_are_those_of_the_site():
    def program(loc):
        def inner(*_):
            with pyro.plate("row", 3), poutine.mask(mask=KEPT), poutine.scale(scale=2.5):
                pyro.sample("z", dist.Normal(torch.full((3, 2), loc), 1.0).to_event(1))

        return inner

    closed, _ = found(program(0.0), program(1.0))
    torch.testing.assert_close(closed["z"].value, torch.tensor([2.5, 0.0, 2.5], dtype=torch.float64))
    assert found(poutine.scale(program(0.0), scale=2.0), program(1.0))[0] == {}  # not weighed alike
    assert found(poutine.mask(program(0.0), mask=~KEPT), program(1.0))[0] == {}


def test_without_a_closed_form_the_draw_counts():
    def model(_):
        pyro.sample("a", dist.StudentT(5.0, 0.0, 1.0))
        pyro.sample("b", dist.Normal(0.0, 1.0))

    def guide(_):
        pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("b", dist.Delta(torch.tensor(0.3, dtype=torch.float64), log_density=1.0))

    assert found(model, guide)[0] == {}


@pytest.mark.parametrize(("kind", "names"), [(AutoNormal, ["mu", "z"]), (AutoMultivariateNormal, [])])
def test_an_automatic_guide_of_normals_has_them_for_sites_on_the_line(kind, names):
    def model(_):
        pyro.sample("mu", dist.Normal(1.0, 2.0))
        pyro.sample("tau", dist.HalfNormal(1.0))
        with pyro.plate("row", 3):
            pyro.sample("z", dist.Normal(torch.zeros(3, 2), 1.0).to_event(1))

    with isolated(seed=0, dtype=torch.float64):
        guide = kind(model)
        run = traces(model, guide, Arguments((Y,), {}))
        closed = divergences(run)
    assert list(closed) == names
    for name in names:
        nodes = run.guide.nodes
        expected = kl_divergence(nodes[f"{name}_unconstrained"]["fn"], run.model.nodes[name]["fn"])
        torch.testing.assert_close(closed[name].value, expected)
        assert closed[name].sites == (f"{name}_unconstrained", name)
