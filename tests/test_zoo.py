"""The table of the zoo: listing, cards, making, and messages that name the nearest right name."""

from __future__ import annotations

import pytest
import torch

import ppzoo
from ppzoo.errors import ModelError, OptionError
from ppzoo.isolation import isolated
from ppzoo.zoo import Card, create_model, list_models, model_card


def test_patterns():
    assert list_models() == sorted(list_models())
    assert list_models("*ppca") == ["bayesian_ppca", "ppca"]
    assert list_models("bayesian_*") == ["bayesian_gmm", "bayesian_ppca"]
    assert list_models("nothing*") == []


def test_one_resident_for_each_contract():
    assert {"eight_schools", "ppca", "gmm", "vae", "linear_regression", "realnvp", "gan"} <= set(list_models())
    methods = {method for name in list_models() for method in model_card(name).methods}
    assert methods == {"svi", "nuts", "exact", "em", "adversarial"}


def test_a_card_shows_itself_and_cannot_be_changed():
    card = model_card("ppca")
    assert isinstance(card, Card)
    assert str(card).startswith("ppca: ")
    assert "https://doi.org" in str(card)
    with pytest.raises(AttributeError):
        card.data = "digits"  # type: ignore[misc]  # frozen


@pytest.mark.parametrize("make", [model_card, create_model])
def test_an_unknown_model(make):
    with pytest.raises(
        ModelError, match=r"is not in the zoo; got 'pcpa'\. Did you mean 'ppca'\? Known: 'bayesian_gmm'"
    ):
        make("pcpa")
    for bad in (None, 3, ("ppca",)):
        with pytest.raises(ModelError, match="is not in the zoo"):
            make(bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"features: is needed to make 'ppca'; got nothing.*features=4"),
        ({"features": 4, "latent": 2}, r"latent: is not an option of 'ppca'; got 2\. Did you mean 'latents'"),
        ({"features": 4, "self": 2}, "is not an option"),
        ({"features": 4, "latents": 4}, "latents: must be a whole number"),
        ({"features": "4"}, "features: must be a whole number"),
        ({"features": 4, "seed": -1}, "seed"),
        ({"features": 4, "seed": "a"}, "seed"),
    ],
)
def test_options(options, message):
    with pytest.raises(OptionError, match=message):
        create_model("ppca", **options)


def test_the_seed_decides_the_start_and_nothing_else_does():
    first = create_model("ppca", features=4, seed=7)
    torch.rand(3, generator=torch.Generator().manual_seed(1))
    with isolated(seed=9, dtype=torch.float64):
        inside = create_model("ppca", features=4, seed=7)
    assert torch.equal(first.W, inside.W)
    assert first.W.dtype is torch.float32
    assert not torch.equal(first.W, create_model("ppca", features=4, seed=8).W)
    assert not torch.equal(create_model("gmm", features=4, seed=7).loc[0], first.W[:, 0])  # a stream of its own


def test_a_model_knows_how_it_was_made():
    model = create_model("vae", features=3, latents=2, hidden=(4,))
    fit = ppzoo.fit(model, torch.eye(3), steps=1)
    assert fit.source == {"name": "vae", "zoo": True, "options": {"features": 3, "latents": 2, "hidden": (4,)}}
