"""The options that samplers share: what is refused at the door, and what is said of parameters that are not sampled."""

from __future__ import annotations

import pytest
import torch

import ppzoo
from ppzoo.errors import ModelError, OptionError
from ppzoo.inference.mcmc.options import held_parameters
from ppzoo.inference.mcmc.pyro_nuts import PyroNUTS
from ppzoo.inference.mcmc.samplers import HMC, MAMS, NUTS, ChEES


@pytest.fixture(params=[NUTS, HMC, MAMS, ChEES, PyroNUTS])
def sampler(request):
    return request.param


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chains": 0}, "chains: must be a whole number in range; got 0"),
        ({"chains": -1}, "chains"),
        ({"chains": 2**20 + 1}, "got 1048577; expected an int >= 1 and <= 1048576"),
        ({"draws": 0}, "draws"),
        ({"draws": 10**30}, "expected an int >= 4 and <= 2147483647"),
        ({"draws": 2.5}, r"got 2\.5"),
        ({"draws": 3}, "expected an int >= 4"),
        ({"warmup": 0}, "warmup"),
        ({"warmup": -5}, "warmup"),
        ({"warmup": 2**31}, "and <= 2147483647"),
        ({"target_accept": 1.5}, "target_accept"),
        ({"target_accept": 0}, "target_accept"),
    ],
)
def test_options_outside_their_range(sampler, options, message):
    with pytest.raises(OptionError, match=message):
        sampler(**options)


@pytest.mark.parametrize("sampler", [NUTS, PyroNUTS])
@pytest.mark.parametrize("depth", [0, 21, 2.5])
def test_depth_of_a_tree_outside_its_range(sampler, depth):
    with pytest.raises(OptionError, match="max_tree_depth"):
        sampler(max_tree_depth=depth)


@pytest.mark.parametrize("sampler", [NUTS, HMC, MAMS, ChEES])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thin": 0}, "thin: must be a whole number in range; got 0"),
        ({"init": "priors"}, r"init: .*'priors'.*prior"),
        ({"thin": 2**31}, "thin"),
        ({"init": 3}, "init: is no place to start from; got a int; expected one of uniform, prior"),
        ({"init": ppzoo.Fit}, "init: is no place to start from; got the class Fit; expected .*Fit it by SVI first"),
        ({"max_chains_per_batch": 0}, "max_chains_per_batch: must be a whole number in range; got 0"),
    ],
)
def test_options_of_a_batch_outside_their_range(sampler, options, message):
    with pytest.raises(OptionError, match=message):
        sampler(**options)


@pytest.mark.parametrize("length", [0, -1.0, float("nan")])
def test_length_of_a_trajectory_outside_its_range(length):
    with pytest.raises(OptionError, match="trajectory_length"):
        HMC(trajectory_length=length)


def test_few_chains_cannot_learn_from_each_other():
    with pytest.raises(
        OptionError, match=r"chains: .*got 7; expected an int >= 8, for they learn from how they differ"
    ):
        ChEES(chains=7)


def test_a_sampler_is_a_value(sampler):
    assert sampler(chains=20) == sampler(chains=20) != sampler(chains=30)
    assert repr(sampler(chains=20)).startswith(
        f"{sampler.__name__}(chains=20, warmup=500, draws=500, target_accept={sampler.target_accept}"
    )


def test_two_samplers_with_the_same_options_differ():
    assert PyroNUTS() != NUTS()


def test_a_game_has_no_posterior(sampler):
    class Game:
        def critic_loss(self, x):
            return x.sum()

    with pytest.raises(ModelError, match=f"method: is a game between two networks.*'{sampler.name}'"):
        sampler().check_model(Game())


def test_parameters_that_are_not_sampled_are_named():
    x = torch.tensor([[0.0, 1.0], [1.0, 2.5], [2.0, 2.0], [3.0, 4.0]])
    trained = ppzoo.fit(ppzoo.create_model("ppca", features=2, latents=1), x, method="exact").pair
    (finding,) = held_parameters(trained)
    assert finding.level == "caution"
    assert finding.evidence == "W, mu, sigma stay at the values they came with"


def test_a_program_without_parameters_is_not_cautioned():
    arguments = {"x": torch.tensor([[0.0], [1.0], [2.0]]), "y": torch.tensor([0.1, 0.9, 2.2])}
    fit = ppzoo.fit(ppzoo.create_model("linear_regression"), arguments, method="exact")
    assert list(held_parameters(fit.pair)) == []
