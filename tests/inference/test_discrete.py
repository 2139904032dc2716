"""Draws of discrete sites, against probabilities by brute force over all values, and by forward and backward sums.

Every test of frequencies is a chi-square test at 1e-6, which is its false alarm rate over all seeds; cells with fewer
than 20 expected draws are thrown together.
"""

from __future__ import annotations

import itertools

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.ops.indexing import Vindex
from scipy.stats import chi2

from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import FitError, ModelError
from ppzoo.inference import discrete
from ppzoo.inference.density import density_of
from ppzoo.inference.discrete import completed, discrete_draws
from ppzoo.inference.draws import Mapped, evaluate, predict
from ppzoo.inference.program import Pair, sites_of
from ppzoo.isolation import isolated

N = 20_000
FALSE_ALARM = 1e-6
THETA = {"a": 0.7}


@pytest.fixture(autouse=True)
def world():
    with isolated(seed=0, dtype=torch.float64):
        yield


def pair_of(model, *data):
    return Pair(model, model, Arguments(data, {}, {}, {}, ()))


def repeated(theta, n=N):
    return {name: torch.as_tensor(value, dtype=torch.float64).expand(n) for name, value in theta.items()}


def assert_frequencies(cells, probabilities, *, false_alarm=FALSE_ALARM):
    """Drawn cells ``(n,)`` have the probabilities, which sum to one."""
    expected = probabilities * len(cells)
    observed = np.bincount(cells, minlength=len(probabilities))
    assert not observed[probabilities == 0].any()
    rare = expected < 20
    if rare.any():
        expected = np.append(expected[~rare], expected[rare].sum())
        observed = np.append(observed[~rare], observed[rare].sum())
    kept = expected > 0
    statistic = ((observed - expected)[kept] ** 2 / expected[kept]).sum()
    assert statistic < chi2.isf(false_alarm, kept.sum() - 1)


def drawn_from(pair, draws, seed):
    """As one chain."""
    found = discrete_draws(pair, density_of(pair), {name: value[None] for name, value in draws.items()}, seed)
    return Mapped({name: value[0] for name, value in found.values.items()}, found.vectorised)


def by_brute_force(model, data, theta):
    """Every joint value of the discrete sites, flattened, with its probability given the continuous ones."""
    given = poutine.condition(model, {name: torch.tensor(value) for name, value in theta.items()})
    sites = [site for site in sites_of(poutine.trace(given).get_trace(*data)) if site.kind == "discrete"]
    supports = [site.distribution.enumerate_support(expand=False).flatten(0, len(site.plates)) for site in sites]
    counts = [site.value.numel() // support[0].numel() for site, support in zip(sites, supports, strict=True)]
    every = [list(itertools.product(support, repeat=n)) for support, n in zip(supports, counts, strict=True)]
    values, log_probs = [], []
    for parts in itertools.product(*every):
        joint = {s.name: torch.stack(part).reshape(s.shape) for s, part in zip(sites, parts, strict=True)}
        values.append(torch.cat([value.double().flatten() for value in joint.values()]))
        log_probs.append(poutine.trace(poutine.condition(given, joint)).get_trace(*data).log_prob_sum())
    return torch.stack(values), torch.stack(log_probs).softmax(0).numpy()


A = torch.tensor([0.2, 0.5, 0.3])
B = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])
LEVELS = torch.tensor([-1.0, 0.4, 1.5])


def two_dependent(x):
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    z = pyro.sample("z", dist.Categorical(A))
    w = pyro.sample("w", dist.Categorical(B[z]))
    with pyro.plate("row", len(x)):
        pyro.sample("x", dist.Normal(a * Vindex(B)[w, z] + LEVELS[w], 1.0), obs=x)


def nested_plates(x):
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    g = pyro.sample("g", dist.Bernoulli(0.3))
    with pyro.plate("group", 2, dim=-2):
        c = pyro.sample("c", dist.Bernoulli(0.2 + 0.5 * g))
        with pyro.plate("row", 3, dim=-1):
            z = pyro.sample("z", dist.Bernoulli(0.3 + 0.4 * c))
            pyro.sample("x", dist.Normal(a * z + c, 1.0), obs=x.reshape(2, 3))


def one_hot_in_a_plate(x):
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    with pyro.plate("row", 3):
        z = pyro.sample("z", dist.OneHotCategorical(A))
        pyro.sample("x", dist.Normal(a * (z * LEVELS).sum(-1), 1.0), obs=x[:3])


def continuous_in_between(x):
    """A continuous latent site that knows a discrete one, and a plate that depends on one outside it."""
    z = pyro.sample("z", dist.Bernoulli(0.4))
    a = pyro.sample("a", dist.Normal(2 * z, 1.0))
    with pyro.plate("row", 4):
        w = pyro.sample("w", dist.Bernoulli(0.2 + 0.5 * z))
        pyro.sample("x", dist.Normal(a * w, 1.0), obs=x[:4])


def scaled_and_masked(x):
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    with pyro.plate("row", 4):
        z = pyro.sample("z", dist.Categorical(A))
        with poutine.mask(mask=torch.tensor([True, False, True, True])), poutine.scale(scale=2.0):
            pyro.sample("x", dist.Normal(a * LEVELS[z], 1.0), obs=x[:4])


def markov_with_two_steps_of_memory(x):
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    before, last = torch.tensor(0.0), torch.tensor(0.0)
    for t in pyro.markov(range(6), history=2):
        z = pyro.sample(f"z_{t}", dist.Bernoulli(0.2 + 0.4 * last + 0.3 * before))
        pyro.sample(f"x_{t}", dist.Normal(a * z, 1.0), obs=x[t])
        before, last = last, z


def series_in_a_plate(x):
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    with pyro.plate("series", 2):
        z = torch.tensor(0)
        for t in pyro.markov(range(3)):
            z = pyro.sample(f"z_{t}", dist.Categorical(B[z]))
            pyro.sample(f"x_{t}", dist.Normal(a * LEVELS[z], 1.0), obs=x[2 * t : 2 * t + 2])


def two_series_that_meet(x):
    """A factorial hidden Markov model, which no single chain of sites can be."""
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    z = w = torch.tensor(0.0)
    for t in pyro.markov(range(4)):
        z = pyro.sample(f"z_{t}", dist.Bernoulli(0.2 + 0.6 * z))
        w = pyro.sample(f"w_{t}", dist.Bernoulli(0.7 - 0.5 * w))
        pyro.sample(f"x_{t}", dist.Normal(a * (z + w), 1.0), obs=x[t])


def plate_as_a_loop(x):
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    g = pyro.sample("g", dist.Bernoulli(0.3))
    for i in pyro.plate("row", 3):
        z = pyro.sample(f"z_{i}", dist.Categorical(B[g.long()]))
        pyro.sample(f"x_{i}", dist.Normal(a * LEVELS[z], 1.0), obs=x[i])


def degenerate(x):
    """A site with one value, one that nothing depends on, one in a plate of one row, one of certain value."""
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    one = pyro.sample("one", dist.Categorical(torch.ones(1)))
    pyro.sample("idle", dist.Categorical(A))
    certain = pyro.sample("certain", dist.Categorical(torch.tensor([0.0, 1.0, 0.0])))
    with pyro.plate("row", 1):
        z = pyro.sample("z", dist.Bernoulli(0.3))
        pyro.sample("x", dist.Normal(a * z + one + certain, 1.0), obs=x[:1])


PROGRAMS = [
    two_dependent,
    nested_plates,
    one_hot_in_a_plate,
    continuous_in_between,
    scaled_and_masked,
    markov_with_two_steps_of_memory,
    series_in_a_plate,
    two_series_that_meet,
    plate_as_a_loop,
    degenerate,
]
X = torch.tensor([0.3, -1.2, 2.0, 0.9, -0.1, 1.4], dtype=torch.float64)


@pytest.mark.parametrize("model", PROGRAMS)
def test_the_joint_distribution_is_that_of_brute_force(model):
    values, probabilities = by_brute_force(model, (X,), THETA)
    found = drawn_from(pair_of(model, X), repeated(THETA), seed=1)
    assert found.vectorised
    drawn = torch.cat([value.double().reshape(N, -1) for value in found.values.values()], 1)
    code = torch.tensor([float(10**k) for k in range(values.shape[1])])
    order = (values @ code).argsort()
    cells = order[torch.searchsorted((values @ code)[order], drawn @ code)]
    assert torch.equal(values[cells], drawn)
    assert_frequencies(cells.numpy(), probabilities)


@pytest.mark.parametrize("model", PROGRAMS)
def test_values_have_shape_and_type_of_a_run(model):
    pair = pair_of(model, X)
    found = drawn_from(pair, repeated(THETA, 3), seed=0).values
    sites = {site.name: site.value for site in sites_of(pair.trace_model()) if site.kind == "discrete"}
    assert {n: (v.shape[1:], v.dtype) for n, v in found.items()} == {n: (v.shape, v.dtype) for n, v in sites.items()}


def mixture(x):
    with pyro.plate("component", 2):
        mu = pyro.sample("mu", dist.Normal(0.0, 3.0))
    share = pyro.sample("share", dist.Beta(1.0, 1.0))
    with pyro.plate("row", len(x)):
        z = pyro.sample("z", dist.Categorical(torch.stack([1 - share, share])))
        pyro.sample("x", dist.Normal(mu[z], 0.8), obs=x)


def responsibilities(draws):
    """Probability of the second component ``(S, N)``."""
    prior = torch.stack([1 - draws["share"], draws["share"]], 1)[:, None, :]
    density = dist.Normal(draws["mu"][:, None, :], 0.8).log_prob(X[:, None])
    return (prior.log() + density).softmax(-1)[..., 1]


def test_a_mixture_has_its_responsibilities_at_every_draw():
    """Every draw has other continuous values; per row the number of ones, standardised: 6 z-values squared."""
    mu = torch.randn(N, 2) + torch.tensor([-0.5, 1.0])
    draws = {"mu": mu, "share": torch.rand(N)}
    z = drawn_from(pair_of(mixture, X), draws, seed=0).values["z"]
    p = responsibilities(draws)
    assert z.shape == p.shape
    score = (z - p).sum(0) / (p * (1 - p)).sum(0).sqrt()
    assert float((score**2).sum()) < chi2.isf(FALSE_ALARM, len(X))
    slope = ((z - p) * p).sum(0) / (p**3 * (1 - p)).sum(0).sqrt()  # and where the probability is high
    assert float((slope**2).sum()) < chi2.isf(FALSE_ALARM, len(X))


def series(x, transitions):
    """A hidden Markov model that starts in state 0."""
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    z = torch.tensor(0)
    for t in pyro.markov(range(len(x))):
        z = pyro.sample(f"z_{t}", dist.Categorical(transitions[z]))
        pyro.sample(f"x_{t}", dist.Normal(a * LEVELS[z], 1.0), obs=x[t])


def smoothed_pairs(x, a):
    """Probability of each pair of states of neighbouring steps ``(T - 1, 3, 3)``, by forward and backward sums."""
    likelihood = dist.Normal(a * LEVELS, 1.0).log_prob(x[:, None]).exp().numpy()
    transitions = B.double().numpy()
    forward = [transitions[0] * likelihood[0]]
    for row in likelihood[1:]:
        step = (forward[-1] / forward[-1].sum()) @ transitions * row
        forward.append(step)
    backward = [np.ones(3)]
    for row in likelihood[:0:-1]:
        step = transitions @ (row * backward[-1])
        backward.append(step / step.sum())
    pairs = [
        f[:, None] * transitions * (row * b)[None, :]
        for f, row, b in zip(forward[:-1], likelihood[1:], backward[-2::-1], strict=True)
    ]
    return np.stack([pair / pair.sum() for pair in pairs])


@pytest.mark.parametrize(("steps", "n"), [(12, N), (400, 2000)])
def test_a_hidden_markov_model_is_smoothed(steps, n):
    """Marginals and neighbouring pairs of every step, each test at 1e-6 over the number of steps."""
    x = 2 * torch.sin(torch.arange(steps) ** 1.5)
    found = drawn_from(pair_of(series, x, B), repeated(THETA, n), seed=0)
    assert found.vectorised
    z = np.stack([found.values[f"z_{t}"].numpy() for t in range(steps)])
    pairs = smoothed_pairs(x, THETA["a"])
    for t, pair in enumerate(pairs):
        assert_frequencies(3 * z[t] + z[t + 1], pair.ravel(), false_alarm=FALSE_ALARM / steps)
        assert_frequencies(z[t], pair.sum(1), false_alarm=FALSE_ALARM / steps)


def test_a_state_that_cannot_be_reached_is_never_drawn():
    ring = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]])
    found = drawn_from(pair_of(series, X, ring), repeated(THETA, 5000), seed=0).values
    states = torch.stack([torch.zeros(5000, dtype=torch.int64), *(found[f"z_{t}"] for t in range(len(X)))])
    assert set(((states[1:] - states[:-1]) % 3).unique().tolist()) == {0, 1}


def test_numbers_depend_on_seed_and_draw_alone(monkeypatch):
    pair, draws = pair_of(mixture, X), {"mu": torch.randn(50, 2), "share": torch.rand(50)}
    z = drawn_from(pair, draws, seed=3).values["z"]
    assert torch.equal(z[:20], drawn_from(pair, {n: v[:20] for n, v in draws.items()}, seed=3).values["z"])
    assert not torch.equal(z, drawn_from(pair, draws, seed=4).values["z"])
    monkeypatch.setattr(discrete, "_ELEMENTS", 300)  # some seven draws at once
    assert torch.equal(z, drawn_from(pair, draws, seed=3).values["z"])


def test_numbers_of_a_chain_are_its_own():
    """Whatever runs beside it, and however far it comes."""
    pair, draws = pair_of(mixture, X), {"mu": torch.randn(4, 30, 2), "share": torch.rand(4, 30)}
    whole = discrete_draws(pair, density_of(pair), draws, seed=3).values["z"]
    assert whole.shape == (4, 30, 6)
    part = discrete_draws(
        pair, density_of(pair), {name: value[:2, :20] for name, value in draws.items()}, seed=3
    ).values["z"]
    assert torch.equal(part, whole[:2, :20])
    same = {name: value[:1].expand_as(value) for name, value in draws.items()}
    assert not torch.equal(*discrete_draws(pair, density_of(pair), same, seed=3).values["z"][:2])


def test_draws_are_completed_and_slow_ones_are_said(monkeypatch):
    pair, draws = pair_of(mixture, X), {"mu": torch.randn(2, 5, 2), "share": torch.rand(2, 5)}
    density = density_of(pair)
    found, notes = completed(pair, density, draws, 0)
    assert list(found) == ["mu", "share", "z"]
    assert notes == ()
    one_by_one = discrete_draws(pair, density, draws, 0).values
    monkeypatch.setattr(discrete, "discrete_draws", lambda *_: Mapped(one_by_one, vectorised=False))
    assert completed(pair, density, draws, 0)[1] == ("The discrete sites were drawn one draw at a time.",)


def test_a_program_that_cannot_be_mapped_gives_the_same_draws():
    def stubborn(x):
        a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(a * z if a.item() > 0 else z, 1.0), obs=x)

    def plain(x):
        a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(a * z, 1.0), obs=x)

    draws = {"a": torch.rand(30)}
    one_by_one, mapped = (drawn_from(pair_of(model, X), draws, seed=0) for model in (stubborn, plain))
    assert (one_by_one.vectorised, mapped.vectorised) == (False, True)
    assert torch.equal(one_by_one.values["z"], mapped.values["z"])


def test_tables_in_hand_are_bounded_however_many_draws_there_are(monkeypatch):
    """The numbers that a chunk holds are counted in advance."""
    sizes = []
    real = discrete.map_draws
    monkeypatch.setattr(discrete, "map_draws", lambda f, draws, n: sizes.append(n) or real(f, draws, n))
    monkeypatch.setattr(discrete, "_ELEMENTS", 1000)
    drawn_from(pair_of(mixture, X), {"mu": torch.randn(50, 2), "share": torch.rand(50)}, seed=0)
    per_draw = 2 + 2 * 6 + 6 + 6 + 2 * 6 + 2  # at least: prior and likelihood, their sum over z, noise
    assert sum(sizes) == 50
    assert max(sizes) <= 1000 // (per_draw - 4)


def test_draws_with_discrete_sites_are_evaluated_and_predict():
    """Given z, the likelihood is that of the component, and so are the predictions: 5 standard errors, 1e-6."""
    pair = pair_of(mixture, X)
    draws = {"mu": torch.tensor([-4.0, 4.0]).expand(500, 2), "share": torch.full((500,), 0.4)}
    draws |= drawn_from(pair, draws, seed=0).values
    found = evaluate(pair, draws, 500)
    assert found.vectorised
    component = torch.where(draws["z"] == 1, 4.0, -4.0)
    assert torch.allclose(found.values["likelihood/x"], dist.Normal(component, 0.8).log_prob(X))
    assert torch.allclose(found.values["prior/z"], torch.where(draws["z"] == 1, 0.4, 0.6).log())
    x = predict(pair, draws, 500, ["x"]).values["x"]
    assert abs(float((x - component).mean())) < 5 * 0.8 / 3000**0.5


def test_a_program_without_discrete_sites_has_none():
    def model(x):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("x", dist.Normal(a, 1.0), obs=x)

    assert drawn_from(pair_of(model, X), repeated(THETA, 3), seed=0).values == {}


def endless(x):
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    count = pyro.sample("count", dist.Poisson(a))
    with pyro.plate("row", len(x)):
        pyro.sample("x", dist.Normal(count, 1.0), obs=x)


def one_after_the_other(x):
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    z = pyro.sample("z", dist.Bernoulli(0.5), infer={"enumerate": "sequential"})
    pyro.sample("x", dist.Normal(a * z, 1.0), obs=x[0])


def crossed(x):
    """Rows and columns, which no summing out one by one can take apart."""
    a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
    rows, columns = pyro.plate("row", 2, dim=-2), pyro.plate("column", 3, dim=-1)
    with rows:
        z = pyro.sample("z", dist.Bernoulli(0.5))
    with columns:
        w = pyro.sample("w", dist.Bernoulli(0.5))
    with rows, columns:
        pyro.sample("x", dist.Normal(a * z * w, 1.0), obs=x.reshape(2, 3))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (endless, "model: has discrete latent sites that cannot be enumerated; got sites 'count'"),
        (one_after_the_other, "marked for something else than parallel enumeration; got sites 'z'"),
        (crossed, "in different plates that depend on each other.* got sites 'w', 'z'"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(model, message):
    with pytest.raises(ModelError, match=message):
        drawn_from(pair_of(model, X), repeated(THETA, 3), seed=0)


def test_the_error_of_an_endless_site_is_that_of_the_density():
    pair = pair_of(endless, X)
    with pytest.raises(ModelError) as from_density:
        density_of(pair)
    with pytest.raises(ModelError) as from_here:
        drawn_from(pair, repeated(THETA, 3), seed=0)
    assert str(from_here.value) == str(from_density.value)


def test_draws_must_hold_every_continuous_site():
    with pytest.raises(
        ModelError, match=r"draws: lack a continuous .* got sites 'mu'; expected draws of 'mu', 'share'"
    ):
        drawn_from(pair_of(mixture, X), {"mu": torch.randn(5, 2)}, seed=0)


def test_a_draw_under_which_the_data_are_impossible_is_an_error():
    draws = {"mu": torch.zeros(5, 2), "share": torch.tensor([0.1, 0.2, 0.3, float("nan"), 0.5])}
    with pytest.raises(FitError, match="probability is no number; got log probability nan at draw 3 of chain 0"):
        drawn_from(pair_of(mixture, X), draws, seed=0)
