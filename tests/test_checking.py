"""``check``: the table of sites, whether inference could start, and markup that stays text."""

from __future__ import annotations

import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.errors import DataError, ModelError, OptionError

Y = torch.tensor([0.9, 1.1, 1.6])


def model(y):
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    pyro.deterministic("log_scale", scale.log())
    with pyro.plate("row", len(y)):
        kind = pyro.sample("kind", dist.Bernoulli(0.5))
        pyro.sample("y", dist.Normal(kind, scale), obs=y)


def test_the_table_has_every_site_with_what_it_is():
    table = ppzoo.check(model, Y)
    assert table.ok
    assert table.name == "model"
    assert [(s.name, s.kind, s.distribution, s.support) for s in table.sites] == [
        ("scale", "latent", "HalfNormal", "GreaterThanEq(lower_bound=0.0)"),
        ("log_scale", "deterministic", "Delta", ""),
        ("kind", "discrete", "Bernoulli", "Boolean"),
        ("y", "observed", "Normal", "Real"),
    ]
    assert [(s.shape, s.plates) for s in table.sites] == [((), ()), ((), ()), ((3,), ("row",)), ((3,), ("row",))]
    assert [s.gradient_finite for s in table.sites] == [True, None, None, None]
    assert all(math.isfinite(site.log_prob) for site in table.sites)
    text = repr(table)
    assert text.startswith("model: ready\n")
    assert "HalfNormal" in text
    assert "finite" in text


def test_the_log_probabilities_are_those_of_the_values():
    table = {site.name: site for site in ppzoo.check(model, Y.double()).sites}
    scale = float(table["scale"].value)
    assert table["scale"].log_prob == pytest.approx(math.log(2) - math.log(2 * math.pi) / 2 - scale**2 / 2, rel=1e-3)
    assert table["kind"].log_prob == pytest.approx(3 * math.log(0.5), rel=1e-6)


def infinite_factor(y):
    pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.factor("never", torch.tensor(-math.inf))
    pyro.sample("y", dist.Normal(0.0, 1.0).expand([len(y)]).to_event(1), obs=y)


def infinite_site(y):
    top = pyro.sample("top", dist.Beta(1.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Uniform(-top, top), obs=y + 10)


def kinked(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    away = (mu - mu).abs().sqrt()  # its derivative at zero is infinite
    pyro.sample("y", dist.Normal(mu + away, 1.0).expand([len(y)]).to_event(1), obs=y)


@pytest.mark.parametrize("bad", [infinite_factor, infinite_site, kinked], ids=lambda m: m.__name__)
def test_what_cannot_start_is_not_ok(bad):
    table = ppzoo.check(bad, Y)
    assert not table.ok
    assert "NOT READY" in repr(table)
    assert "-inf" in repr(table) or "NOT FINITE" in repr(table)
    assert table.as_dict()["ok"] is False


def test_a_program_that_observes_nothing_is_told():
    def forgetful(y):
        pyro.sample("mu", dist.Normal(0.0, 1.0))

    assert "observes nothing" in repr(ppzoo.check(forgetful, Y))
    assert "observes nothing" not in repr(ppzoo.check(model, Y))
    assert "observes nothing" not in repr(ppzoo.check(infinite_factor, Y))
    assert ppzoo.check(lambda: forgetful(Y)).notes == ()


def test_as_dict_is_json():
    found = json.loads(json.dumps(ppzoo.check(model, Y).as_dict()))
    assert found["model"] == "model"
    assert found["ok"] is True
    assert found["sites"][0]["name"] == "scale"
    assert found["sites"][2]["plates"] == ["row"]


def test_names_with_markup_stay_text():
    def hostile(y):
        pyro.sample("<script>alert(1)</script>", dist.Normal(0.0, 1.0))

    table = ppzoo.check(hostile, Y)
    assert "<script>" in repr(table)
    assert "<script>" not in table._repr_html_()
    assert "&lt;script&gt;" in table._repr_html_()


def test_the_type_is_that_of_the_data_or_what_is_asked_for():
    seen = []

    def looked_at(y):
        seen.append(y.dtype)
        pyro.sample("mu", dist.Normal(y.mean(), 1.0))

    ppzoo.check(looked_at, Y)
    assert set(seen) == {torch.float32}
    seen.clear()
    table = ppzoo.check(looked_at, Y, dtype=torch.float64)
    assert set(seen) == {torch.float64}
    assert any("float64" in note for note in table.notes)


def test_the_same_table_twice():
    assert repr(ppzoo.check(model, Y)) == repr(ppzoo.check(model, Y))


def test_what_cannot_be_checked_says_why():
    with pytest.raises(ModelError, match=r'game.*method="adversarial"'):
        ppzoo.check(ppzoo.create_model("gan", features=2), "ring_of_gaussians")
    with pytest.raises(DataError, match="y"):
        ppzoo.check(model, torch.tensor([1.0, math.nan]))
    with pytest.raises(DataError, match="support"):
        ppzoo.check(lambda y: pyro.sample("y", dist.Poisson(1.0).expand([3]).to_event(1), obs=y), -Y.round())
    with pytest.raises(ModelError, match="not a Pyro program"):
        ppzoo.check(5, Y)
    with pytest.raises(OptionError, match="dtype"):
        ppzoo.check(model, Y, dtype=torch.float16)
