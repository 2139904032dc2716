"""Observations outside the support of their site, and programs that are another one each time they run."""

from __future__ import annotations

import math
import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import DataError, ModelError
from ppzoo.inference.density import density_of
from ppzoo.inference.door import check_steady, failed_at_values
from ppzoo.inference.program import Pair
from ppzoo.isolation import isolated


def observed(make):
    def model(y):
        scale = pyro.sample("scale", dist.Gamma(2.0, 2.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", make(scale), obs=y)

    return model


@pytest.mark.parametrize(
    ("make", "y", "message"),
    [
        (lambda s: dist.Bernoulli(0.5), [0.0, 1.0, 3.0], r"y: lies outside the support.*got 3 at index \(2,\)"),
        (dist.Poisson, [1.0, -2.0, -3.0], r"got -2 at index \(1,\) \(2 such\).*whole numbers >= 0"),
        (dist.Poisson, [1.0, 2.5], r"got 2.5"),
        (lambda s: dist.LogNormal(0.0, s), [1.0, -1.0], r"expected LogNormal data"),
        (lambda s: dist.Gamma(2.0, s), [1.0, -1.0], r"expected Gamma data"),
        (lambda s: dist.Categorical(torch.ones(3)), [0, 1, 3], r"from 0 up to the number of categories"),
        (lambda s: dist.Beta(2.0, 2.0), [0.5, 1.5], r"expected Beta data"),
    ],
)
def test_outside_the_support(make, y, message):
    with pytest.raises(DataError, match=message):
        ppzoo.check(observed(make), torch.tensor(y))


def test_a_support_that_moves_with_a_latent_site_is_no_error():
    assert ppzoo.check(observed(lambda s: dist.Uniform(0.0, s)), torch.tensor([100.0])).ok is False


def test_a_program_that_switches_validation_off_at_a_site_means_it():
    assert ppzoo.check(observed(lambda s: dist.Bernoulli(0.5, validate_args=False)), torch.tensor([0.3])).ok
    expanded = observed(lambda s: dist.LogNormal(0.0, s, validate_args=False).expand([2]))
    ppzoo.check(expanded, torch.tensor([1.0, -1.0]))  # not refused at the door


def test_integer_labels_for_a_bernoulli_say_what_to_write():
    def model(y):
        at = pyro.sample("at", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Bernoulli(logits=at), obs=y)

    with pytest.raises(
        ModelError, match=r"y: has a density that cannot be computed; got torch.int64 values.*obs=y\.float\(\)"
    ):
        ppzoo.fit(model, torch.tensor([0, 1, 1]), steps=3)


def test_a_function_whose_call_does_not_run_it():
    def generator(y):
        yield pyro.sample("mu", dist.Normal(0.0, 1.0))

    async def coroutine(y):
        pyro.sample("mu", dist.Normal(0.0, 1.0))

    for program, remedy in ((generator, "Leave out yield"), (coroutine, "not async def")):
        with pytest.raises(ModelError, match=f"model: does not run.*got a {program.__name__} function.*{remedy}"):
            ppzoo.check(program, torch.ones(2))


def test_a_site_without_text_for_a_name():
    with pytest.raises(ModelError, match=r"is not the name of a site; got 3; expected text"):
        ppzoo.check(lambda y: pyro.sample(3, dist.Normal(0.0, 1.0)), torch.ones(2))


def steady(body):
    """Check a program of one site ``mu`` that goes on with ``body(mu)``."""

    def program():
        body(pyro.sample("mu", dist.Normal(0.0, 1.0)))

    with isolated(seed=0, dtype=torch.float64):
        density = density_of(Pair(program, program, Arguments((), {}, {}, {}, ())))
        points = [{name: torch.full(shape, 0.3 * i - 0.4) for name, shape in density.shapes.items()} for i in range(4)]
        check_steady(density, points, tolerance=1e-8)


def sometimes(draw, share):
    """A site that is there in a share of the runs."""

    def body(mu):
        if draw() < share:
            pyro.sample("extra", dist.Normal(mu, 1.0))

    return body


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: torch.rand(())])  # as users do
def test_a_site_that_comes_and_goes(draw):
    """Missed with probability 0.7**20 = 8e-4 over all seeds; this one is fixed."""
    with pytest.raises(ModelError, match=r"extra: changes from run to run.*missing in another.*a discrete site"):
        steady(sometimes(draw, 0.3))


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_site_that_hangs_on_the_value_of_another(sign):
    with pytest.raises(ModelError, match="extra: changes from run to run"):
        steady(lambda mu: sign * mu > 0 and pyro.sample("extra", dist.Normal(mu, 1.0)))


def test_a_site_of_random_size():
    def body(mu):
        pyro.sample("z", dist.Normal(mu, 1.0).expand([1 + int(torch.randint(3, ()))]).to_event(1))

    with pytest.raises(ModelError, match=r"z: changes .* has shape \(\d,\) in one run and \(\d,\) in another"):
        steady(body)


def test_a_density_that_moves_names_its_site():
    def body(mu):
        pyro.sample("still", dist.Normal(mu, 1.0), obs=torch.tensor(1.0))
        pyro.sample("noisy", dist.Normal(mu + torch.randn(()), 1.0), obs=torch.tensor(1.0))

    with pytest.raises(
        ModelError, match=r"noisy: has another log density each time.*got -\d.*, then -\d.*pyro\.sample only"
    ):
        steady(body)


def test_a_counter_moves_the_density():
    calls = []

    def body(mu):
        calls.append(1)
        pyro.factor("drift", torch.tensor(float(len(calls))))

    with pytest.raises(ModelError, match="drift: has another log density"):
        steady(body)


def test_a_program_that_fails_at_some_values():
    def body(mu):
        if mu > 0.3:
            raise ZeroDivisionError("no way")

    with pytest.raises(ModelError, match=r"model: failed at values .*ZeroDivisionError: no way.*pyro\.factor"):
        steady(body)
    assert failed_at_values(ValueError("x\n  y")).got == "ValueError: x y"


def test_a_complex_density():
    with pytest.raises(ModelError, match="model: has a complex log density"):
        steady(lambda mu: pyro.factor("f", torch.complex(mu, mu)))


def test_what_is_steady_all_the_same():
    steady(lambda mu: torch.randn(3))  # draws, and uses them for nothing
    steady(lambda mu: pyro.factor("wall", torch.tensor(-math.inf if mu > 0 else 0.0)))
    steady(lambda mu: torch.linalg.cholesky(torch.eye(2) * mu))  # no factor where mu < 0
    steady(lambda mu: pyro.sample("up" if mu > 0 else "down", dist.Normal(mu, 1.0), obs=torch.tensor(1.0)))
    steady(lambda mu: pyro.sample("k", dist.Categorical(torch.ones(3)), infer={"enumerate": "parallel"}))


def test_the_check_leaves_the_random_state():
    def body(mu):
        torch.randn(3)

    before = torch.get_rng_state()
    steady(body)
    assert torch.equal(before, torch.get_rng_state())
