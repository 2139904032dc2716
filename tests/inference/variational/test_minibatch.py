"""The minibatch loss has the full data's expectation; what cannot be weighed is refused."""

from __future__ import annotations

import threading
from itertools import combinations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch.utils.data import DataLoader, TensorDataset

import ppzoo
from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import DataError, ModelError, OptionError
from ppzoo.inference.native import available
from ppzoo.inference.program import Pair
from ppzoo.inference.variational import trainers
from ppzoo.inference.variational.course import Course
from ppzoo.inference.variational.losses import Objective, loss_of
from ppzoo.inference.variational.minibatch import Minibatches
from ppzoo.isolation import isolated
from ppzoo.processes import ALONE, Processes

X = torch.arange(12.0, dtype=torch.float64) / 10


def hierarchical(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        z = pyro.sample("z", dist.Normal(mu, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def amortised(x):
    pyro.sample("mu", dist.Delta(torch.tensor(0.3, dtype=x.dtype)))
    with pyro.plate("row", len(x)):
        pyro.sample("z", dist.Delta(0.8 * x))


def nested(x):
    """A plate inside the rows, one around them, a site that rows share, and columns of each row."""
    tau = pyro.sample("tau", dist.LogNormal(0.0, 1.0))
    with pyro.plate("group", 2, dim=-3):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(mu, tau))
            with pyro.plate("column", 3, dim=-1):
                pyro.sample("x", dist.Normal(z, 0.5), obs=(x[:, None] + torch.arange(3)).expand(2, -1, -1))


def nested_guide(x):
    pyro.sample("tau", dist.Delta(torch.tensor(0.7, dtype=x.dtype)))
    with pyro.plate("group", 2, dim=-3):
        pyro.sample("mu", dist.Delta(torch.tensor([0.2, -0.4], dtype=x.dtype)[:, None, None]))
        with pyro.plate("row", len(x), dim=-2):
            pyro.sample("z", dist.Delta((0.8 * x[:, None]).expand(2, -1, 1)))


def mixture(x):
    """A label of each row, to be summed out; weights and means that rows share."""
    p = pyro.sample("p", dist.Dirichlet(torch.ones(2, dtype=x.dtype)))
    mu = pyro.sample("mu", dist.Normal(torch.zeros(2, dtype=x.dtype), 2.0).to_event(1))
    with pyro.plate("row", len(x)):
        k = pyro.sample("k", dist.Categorical(p))
        pyro.sample("x", dist.Normal(mu[k], 0.5), obs=x)


def mixture_guide(x):
    pyro.sample("p", dist.Delta(torch.tensor([0.3, 0.7], dtype=x.dtype), event_dim=1))
    pyro.sample("mu", dist.Delta(torch.tensor([0.1, 0.9], dtype=x.dtype), event_dim=1))


def only_shared(x):
    """No latent site in the rows."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("x", dist.StudentT(3.0, mu, 1.0), obs=x)


def only_shared_guide(x):
    pyro.sample("mu", dist.Delta(torch.tensor(0.3, dtype=x.dtype)))


PROGRAMS = {
    "local": (hierarchical, amortised),
    "nested": (nested, nested_guide),
    "summed": (mixture, mixture_guide),
    "shared": (only_shared, only_shared_guide),
}
PLAIN = Objective("elbo", 1, None, 1.0, annealed=False)


def losses(pair, batches, data):
    """Of each of the data, by the loss that a fit has; the guide's draws are points."""
    loss, _ = loss_of(pair.rebind(batches.some), pair.guide, batches, PLAIN)
    return [float(loss(some).value) for some in data]


def bound(name, x=X):
    model, guide = PROGRAMS[name]
    return Pair(model, model, Arguments((x,), {}), guide)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_mean_over_an_epoch_is_the_full_loss(name, batch):
    """Each batch of an epoch once: the mean is exact, not only in expectation."""
    pair = bound(name)
    with isolated(seed=0, dtype=torch.float64):
        batches, whole = Minibatches(pair, batch, 0), Minibatches(pair, None, 0)
        assert batches.plates == {"row"}
        parts = losses(pair, batches, [batches.batch(t) for t in range(batches.per_epoch)])
        assert sum(parts) / len(parts) == pytest.approx(losses(pair, whole, [pair.data])[0], rel=1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_ragged_rest_leaves_the_mean_over_all_shuffles_as_it_is(name):
    """Five rows by two: a step sees each pair of rows as often as any other, and the fifth row waits."""
    pair = bound(name, X[:5])
    with isolated(seed=0, dtype=torch.float64):
        batches, whole = Minibatches(pair, 2, 0), Minibatches(pair, None, 0)
        assert batches.per_epoch == 2
        parts = losses(pair, batches, [pair.data.take(torch.tensor(two)) for two in combinations(range(5), 2)])
        assert sum(parts) / len(parts) == pytest.approx(losses(pair, whole, [pair.data])[0], rel=1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_short_last_batch_of_a_loader_is_weighed_by_its_own_rows(name):
    """Every batch of an epoch, by its share of the rows: exact; and over all shuffles the short one has the mean."""
    pair = bound(name, X[:5])
    data = [pair.data.take(torch.tensor(rows)) for rows in ([0, 1], [2, 3], [4])]
    with isolated(seed=0, dtype=torch.float64):
        batches, whole = Minibatches(pair, 2, 0), Minibatches(pair, None, 0)
        full = losses(pair, whole, [pair.data])[0]
        parts = losses(pair, batches, data)
        assert sum(len(d.args[0]) / 5 * part for d, part in zip(data, parts, strict=True)) == pytest.approx(full)
        alone = losses(pair, batches, [pair.data.take(torch.tensor([i])) for i in range(5)])
        assert sum(alone) / 5 == pytest.approx(full, rel=1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(("size", "batch"), [(2, 4), (2, 5), (3, 11), (2, None), (5, None)])
def test_the_mean_over_processes_is_the_loss_of_one(name, size, batch):
    """Each row is in one share, be the shares of one size or not, and weighs what it weighs in one process."""
    pair = bound(name)
    with isolated(seed=0, dtype=torch.float64):
        alone = Minibatches(pair, batch, 0)
        expected = losses(pair, alone, [alone.batch(t) for t in range(3)])
        shares = [Minibatches(pair, batch, 0, Processes(rank, size)) for rank in range(size)]
        rows = torch.cat([share.batch(1).args[0] for share in shares])
        assert torch.equal(rows, alone.batch(1).args[0])
        assert torch.equal(shares[0].whole_batch(1).args[0], rows)
        found = [losses(pair, share, [share.batch(t) for t in range(3)]) for share in shares]
    assert np.mean(found, 0).tolist() == pytest.approx(expected, rel=1e-12)


def test_rows_that_cannot_be_divided_stay_together():
    """A guide with a parameter for each row, or fewer rows than processes: each process then takes all."""
    with isolated(seed=0, dtype=torch.float64):
        model = PROGRAMS["local"][0]
        own = Pair(model, model, Arguments((X,), {}), AutoNormal(model))
        batches = Minibatches(own, None, 0, Processes(1, 2))
        assert batches.processes is ALONE
        assert "automatic guide cannot follow" in batches.undivided
        assert batches.batch(0) is own.data
        few = Minibatches(bound("shared", X[:2]), None, 0, Processes(1, 3))
        assert (few.processes, few.undivided[:14]) == (ALONE, "has fewer rows")
        with pytest.raises(OptionError, match="batch_size: has fewer rows than there are processes"):
            Minibatches(bound("shared"), 2, 0, Processes(1, 3))


def test_every_shuffle_is_as_likely():
    """Which rows come where, in 3,600 epochs: 5 sd of Binomial(3600, 1/12), 132 counts, false alarm rate 8e-5."""
    with isolated(seed=0, dtype=torch.float64):
        batches = Minibatches(bound("shared"), 11, 0)
        orders = torch.stack([batches.rows(t) for t in range(3600)])
    counts = (orders[:, :, None] == torch.arange(12)).sum(0)
    assert ((counts - 300).abs() < 5 * (3600 / 12 * 11 / 12) ** 0.5).all()


def fitted(data, **options):
    given = {"guide": "mvn", "steps": 60, "progress": False, "dtype": torch.float64}
    return ppzoo.fit(options.pop("model", only_shared), data, **given | options)


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(5).normal(0.3, 1.0, 400))
    return np.load(tmp_path / "x.npy", mmap_mode="r")


@pytest.mark.parametrize("replicas", [1, 3])
def test_rows_on_disk_give_the_fit_of_rows_in_memory(mapped, replicas, monkeypatch):
    """All rows fit into a pool; a batch of one row less than all is nearly the data: the same posterior mean."""
    disk = fitted(mapped, batch_size=50, steps=1500, lr=0.02, replicas=replicas)
    memory = fitted(np.array(mapped), steps=1500, lr=0.02)
    assert float(disk.draws(4000)["mu"].mean()) == pytest.approx(float(memory.draws(4000)["mu"].mean()), abs=0.03)
    again = fitted(mapped, batch_size=50, steps=1500, lr=0.02, replicas=replicas)
    assert np.array_equal(again.losses, disk.losses)
    assert any("run on 51 of 400 rows" in note for note in disk.notes)


def test_machine_code_and_graph_take_the_same_steps_with_rows_from_disk(mapped, monkeypatch):
    found = {}
    for pays in (True, False):
        monkeypatch.setattr(trainers, "_compiler_pays", lambda *_, pays=pays: pays)
        found[pays] = fitted(mapped, guide=only_shared_guide_trained, batch_size=50, steps=120, replicas=2)
    assert any("machine code" in note for note in found[True].notes) or available() is None
    assert any("traced graph" in note for note in found[False].notes)
    np.testing.assert_allclose(found[True].losses, found[False].losses, rtol=1e-9)


def only_shared_guide_trained(x):
    loc = pyro.param("loc", lambda: torch.tensor(0.0, dtype=x.dtype))
    pyro.sample("mu", dist.Delta(loc))


def loader_of(x, **options):
    return DataLoader(TensorDataset(torch.as_tensor(np.array(x))), **options)


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("size", [50, 70])
def test_a_loader_gives_the_batches_and_the_epochs(mapped, size, replicas):
    loader = loader_of(mapped, batch_size=size, shuffle=True)
    fit = fitted(loader, epochs=3, steps=None, replicas=replicas)
    assert len(fit.losses) == 3 * -(-400 // size)
    assert any("traced graph" in note for note in fit.notes)
    assert any("Batches of other" in note for note in fit.notes) == (size == 70)
    again = fitted(loader, epochs=3, steps=None, replicas=replicas)
    assert np.array_equal(again.losses, fit.losses)


def test_batches_of_a_loader_are_weighed_as_they_come():
    """With points for draws, each loss is known: that of the batch's own rows, weighed by N / B."""
    loader = loader_of(X.numpy(), batch_size=5)
    fit = fitted(loader, model=hierarchical, guide=amortised, steps=6)
    pair = bound("local")
    with isolated(seed=0, dtype=torch.float64):
        batches = Minibatches(pair, 5, 0)
        data = [pair.data.take(rows) for rows in torch.arange(12).split(5)]
        np.testing.assert_allclose(fit.losses, 2 * losses(pair, batches, data), rtol=1e-12)


def test_supports_are_watched_as_rows_come(tmp_path):
    def counts(x):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("x", dist.Poisson(rate), obs=x)

    x = np.ones(5000)
    x[3001] = -1.0
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(DataError, match=r"x: lies outside the support.*got -1 at index .* of batch \d+"):
        fitted(np.load(tmp_path / "x.npy", mmap_mode="r"), model=counts, batch_size=500, steps=50)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("ppzoo")] == []


def test_no_thread_stays_when_a_fit_is_interrupted(mapped, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Course, "add", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fitted(mapped, batch_size=50)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("ppzoo")] == []


def test_a_loader_that_ends_early(mapped):
    with pytest.raises(DataError, match=r"got 400 rows in 8 batches; expected 500 rows"):
        fitted(loader_of(mapped, batch_size=50), rows=500)
    with pytest.raises(DataError, match="got more than 300 rows"):
        fitted(loader_of(mapped, batch_size=50), rows=300)


def test_rows_of_every_argument_go_together():
    y = X * 2
    seen = []

    def model(x, y, scale):
        with pyro.plate("row", len(x)):
            seen.append((x, y))
            pyro.sample("y", dist.Normal(2 * x, scale), obs=y)

    def guide(x, y, scale):
        """No latent site."""

    pair = Pair(model, model, Arguments((X, y), {"scale": torch.tensor(1.0)}, {}, {}, ()), guide)
    with isolated(seed=0, dtype=torch.float64):
        data = Minibatches(pair, 5, 0).batch(0)
    assert len(data.args[0]) == 5
    assert torch.equal(data.args[1], 2 * data.args[0])
    assert data.kwargs["scale"] == 1.0


def test_larger_than_the_data():
    with pytest.raises(OptionError, match=r"batch_size: is larger than the data; got 13; expected at most 12 rows"):
        ppzoo.fit(hierarchical, X, guide=amortised, batch_size=13)


def test_no_plate_over_the_rows():
    def model(x):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(mu, 1.0).expand([len(x)]).to_event(1), obs=x)

    with pytest.raises(ModelError, match=r"no plate over the rows.*Add the plate"):
        ppzoo.fit(model, X, batch_size=4)


def test_an_automatic_guide_with_local_sites():
    with pytest.raises(ModelError, match=r'guide: an automatic guide cannot follow minibatches.*guide="amortised"'):
        ppzoo.fit(hierarchical, X, guide="normal", batch_size=4)
    assert ppzoo.fit(hierarchical, X, guide="amortised", batch_size=4, steps=3).draws(2)["z"].shape == (2, 12)


def test_a_guide_with_a_parameter_for_each_row():
    def guide(x):
        pyro.sample("mu", dist.Normal(0.0, 1.0))
        loc = pyro.param("loc", lambda: torch.zeros(len(x), dtype=x.dtype))
        with pyro.plate("row", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0))

    with pytest.raises(ModelError, match=r"guide: cannot follow minibatches.*amortised"):
        ppzoo.fit(hierarchical, X, guide=guide, batch_size=4)
    with pytest.raises(ModelError, match=r"guide: cannot follow minibatches"):
        ppzoo.fit(hierarchical, X, guide=guide, batch_size=1)
