"""The game: both players learn, the verdict counts modes, and what is no game is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ppzoo
from ppzoo.errors import DataError, ModelError, OptionError


def gan():
    return ppzoo.create_model("gan", features=2, hidden=(16, 16))


def test_both_players_move_and_the_run_repeats():
    one, two = (ppzoo.fit(gan(), "ring_of_gaussians", method="adversarial", steps=30, seed=4) for _ in range(2))
    assert np.array_equal(one.losses, two.losses)
    for name, before in gan().state_dict().items():
        assert not torch.equal(before, one.pair.owner.state_dict()[name].to(before.dtype)), name
    assert one.sample(5).shape == (5, 2)


def test_an_untrained_generator_is_rejected_with_its_modes_counted():
    fit = ppzoo.fit(gan(), "ring_of_gaussians", method="adversarial", steps=5)
    diagnosis = fit.diagnose()
    assert diagnosis.verdict == "reject"
    assert diagnosis.numbers["modes"] == 8.0
    assert diagnosis.numbers["modes_covered"] < 4
    assert "modes" in str(diagnosis)


def test_a_game_learns_a_single_heap():
    """One round Gaussian: after 1,500 rounds the draws have its mean within one standard deviation.

    The start is two away; the game circles around its end, so a tighter bound would test luck.
    """
    x = np.random.default_rng(0).normal([1.0, -1.0], 0.5, size=(800, 2))
    model = ppzoo.create_model("gan", features=2)
    fit = ppzoo.fit(model, x, method="adversarial", steps=1500, batch_size=128, seed=0)
    assert np.abs(fit.sample(4000).numpy().mean(0) - [1.0, -1.0]).max() < 0.5


@pytest.mark.parametrize("method", ["svi", "nuts"])
def test_a_game_has_no_likelihood(method):
    with pytest.raises(ModelError, match=r"is a game between two networks.*adversarial"):
        ppzoo.fit(gan(), "ring_of_gaussians", method=method)


def test_a_program_is_no_game():
    with pytest.raises(ModelError, match="is not a game"):
        ppzoo.fit(ppzoo.create_model("eight_schools"), "eight_schools", method="adversarial")


def test_what_a_game_cannot_do():
    fit = ppzoo.fit(gan(), "ring_of_gaussians", method="adversarial", steps=2)
    with pytest.raises(ModelError, match="cannot log_prob"):
        fit.log_prob([[0.0, 0.0]])
    with pytest.raises(ModelError, match="no latent site to draw"):
        fit.draws(3)
    with pytest.raises(ModelError, match="cannot predict"):
        fit.predict()


def test_data_of_another_width():
    with pytest.raises(DataError, match=r"x: has 3 columns, but the model is made for 2"):
        ppzoo.fit(gan(), np.random.default_rng(0).normal(size=(50, 3)), method="adversarial", steps=2)


@pytest.mark.parametrize("options", [{"steps": 0}, {"lr": 0.0}, {"batch_size": 2.5}, {"critic_steps": 0}])
def test_options_outside_their_range(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        ppzoo.Adversarial(**options)
