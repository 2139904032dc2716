"""Machine code and single operations take the same steps; a replica's depend on its own number alone."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppzoo
from ppzoo.datasets.arguments import Arguments
from ppzoo.inference.native import Unsupported, available
from ppzoo.inference.program import Pair
from ppzoo.inference.variational import trainers
from ppzoo.inference.variational.descent import cosine_decay
from ppzoo.inference.variational.minibatch import Minibatches
from ppzoo.inference.variational.objectives import elbo
from ppzoo.inference.variational.optimisers import OPTIMISERS
from ppzoo.inference.variational.runs import traces
from ppzoo.inference.variational.step import Step
from ppzoo.inference.variational.trainers import Native, Plan, Stepwise, trainer_of
from ppzoo.isolation import isolated

pytestmark = pytest.mark.skipif(available() is None, reason="no C compiler")

Y = torch.tensor([0.9, 1.1, 1.6, 0.4, -0.3, 2.2], dtype=torch.float64)
X = torch.linspace(-1, 1, 6, dtype=torch.float64)


def regression(x, y):
    slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(slope * x, scale), obs=y)


def planned(  # what a test may want to be otherwise
    *,
    model=regression,
    noisy=True,
    optimiser="adam",
    clip=math.inf,
    batch=None,
    replicas=1,
    seed=5,
    steps=100,
    dtype=torch.float64,
    weight=None,
    units=(),
):
    starts = [[0.5, 0.2, -1.0, -1.0]] * replicas
    own = [torch.tensor(value, dtype=dtype, requires_grad=True) for value in starts[0]]

    def guide(x, y):
        for name, loc, log_width in (("slope", own[0], own[2]), ("scale", own[1], own[3])):
            fn = dist.Normal(loc, log_width.exp()) if noisy else dist.Delta(loc)
            if name == "scale":
                fn = (
                    dist.TransformedDistribution(fn, [dist.transforms.ExpTransform()])
                    if noisy
                    else dist.Delta(loc.exp())
                )
            pyro.sample(name, fn)

    data = Arguments((X.to(dtype), Y.to(dtype)), {})
    batches = Minibatches(Pair(model, model, data, guide), batch, seed)
    weighed = batches.weighed(model), batches.weighed(guide)
    step = Step(
        lambda d, w=None: elbo([traces(*weighed, d)], weight=w),
        own,
        [],
        batches.example,
        fixed=batches.fixed,
        weighed=weight is not None,
    )
    parameters = [torch.tensor(column, dtype=dtype) for column in zip(*starts, strict=True)]
    decay = cosine_decay(steps)
    return Plan(
        step,
        batches,
        parameters,
        [],
        OPTIMISERS[optimiser],
        lambda t: 0.05 * decay(t),
        clip,
        seed,
        steps,
        weight,
        [torch.tensor(unit, dtype=dtype) for unit in units],
    )


def trained(kind, steps=100, **options):
    with isolated(seed=0, dtype=options.get("dtype", torch.float64)):
        plan = planned(steps=steps, **options)
        trainer = Native(plan, plan.step.graph) if kind is Native else Stepwise(plan, "")
        losses = torch.cat([trainer.advance(n) for n in (steps // 2, steps - steps // 2)], 1)
    return losses, torch.stack([p.detach() for p in plan.parameters])


SETTINGS = {
    "plain": {},
    "clip": {"clip": 0.7},
    "batch": {"batch": 4},
    "replicas": {"replicas": 3, "batch": 2},
    "units": {"units": [3.0, 0.5, 1.0, 0.1], "clip": 0.7, "replicas": 2},
    "weight": {"weight": lambda t: min(1.0, t / 60), "batch": 4},
}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_machine_code_takes_torchs_steps(optimiser, options):
    """Without draws: rates, moments, clipping and rows are the same, so all numbers are."""
    native = trained(Native, noisy=False, optimiser=optimiser, **options)
    plain = trained(Stepwise, noisy=False, optimiser=optimiser, **options)
    for mine, theirs in zip(native, plain, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    assert native[0].shape == (options.get("replicas", 1), 100)
    if "weight" in options:
        constant = trained(Native, noisy=False, optimiser=optimiser, **options | {"weight": None})
        assert not torch.allclose(native[1], constant[1], rtol=1e-3)
    if "units" in options:
        ones = trained(Native, noisy=False, optimiser=optimiser, **options | {"units": [1.0] * 4})
        none = trained(Native, noisy=False, optimiser=optimiser, **options | {"units": []})
        torch.testing.assert_close(ones, none, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(native[1], none[1], rtol=1e-3)


@pytest.mark.parametrize("kind", [Native, Stepwise])
@pytest.mark.parametrize("batch", [None, 3])
def test_a_replica_does_not_see_the_others(kind, batch):
    one, place = trained(kind, batch=batch)
    three, places = trained(kind, batch=batch, replicas=3)
    five, more = trained(kind, batch=batch, replicas=5)
    assert torch.equal(one[0], three[0])
    assert torch.equal(place[:, 0], places[:, 0])
    assert torch.equal(three, five[:3])
    assert torch.equal(places, more[:, :3])
    assert len({tuple(row.tolist()) for row in five}) == 5  # each has draws of its own
    assert not torch.equal(trained(kind, batch=batch, seed=6)[0], one)


def test_both_find_the_same_posterior():
    """2,000 steps of falling rate end at the optimum but for the noise of the last, an sd of some 0.015 over four."""
    places = [trained(kind, steps=2000, replicas=4)[1] for kind in (Native, Stepwise)]
    torch.testing.assert_close(*(place.mean(1) for place in places), rtol=0, atol=0.1)


def test_float32_stays_near_float64():
    _, wide = trained(Native, noisy=False)
    _, narrow = trained(Native, noisy=False, dtype=torch.float32)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), wide, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [Native, Stepwise])
def test_a_bad_step_is_skipped_and_told(kind):
    """The row with the largest response has no loss: each epoch of six steps has one that changes nothing."""

    def model(x, y):
        regression(x, y)
        pyro.factor("bad", torch.where(y.max() > 2, math.nan, 0.0))

    losses, places = trained(kind, model=model, noisy=False, batch=1, optimiser="sgd", steps=96)
    assert torch.isnan(losses[0]).reshape(-1, 6).sum(1).tolist() == [1] * 16
    assert bool(torch.isfinite(places).all())
    clean, others = trained(kind, noisy=False, batch=1, optimiser="sgd", steps=96)
    assert not torch.isnan(clean).any()
    assert not torch.equal(places, others)


def test_the_whole_way_from_a_fit():
    settings = {"method": "svi", "seed": 1, "progress": False, "guide": "normal", "lr": 0.05}
    short = ppzoo.fit(regression, (X, Y), steps=100, **settings)
    long = ppzoo.fit(regression, (X, Y), steps=20_000, **settings)
    many = ppzoo.fit(regression, (X, Y), steps=20_000, replicas=4, **settings)
    assert short.notes[0] == "Steps: traced graph."  # not worth a compiler
    assert long.notes[0] == many.notes[0] == "Steps: machine code."
    assert many.notes[2].startswith("The best of 4 replicas, whose last losses are ")
    assert float(long.draws(4000)["slope"].mean()) == pytest.approx(float(many.draws(4000)["slope"].mean()), abs=0.05)


def test_without_a_compiler_operations_are_replayed(monkeypatch):
    def refused(*_, **__):
        raise Unsupported("there is no C compiler")

    monkeypatch.setattr(trainers, "compile_loop", refused)
    with isolated(seed=0, dtype=torch.float64):
        trainer, why = trainer_of(planned(steps=20_000))
    assert (trainer.road, why) == ("traced graph", "there is no C compiler")


def test_large_products_are_left_to_torch():
    vae = ppzoo.create_model("vae", features=64, latents=2, hidden=(200,))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rows = torch.rand(256, 64)
    fit = ppzoo.fit(vae, rows, method="svi", steps=3, batch_size=128, progress=False)
    assert fit.notes == ("Steps: traced graph.",)


@pytest.mark.slow
def test_a_compiled_graph_takes_the_same_steps(monkeypatch):
    """By torch's compiler, made to pay: the same draws, so the same losses."""
    monkeypatch.setattr(trainers, "_pays", lambda *_: False)
    losses = {}
    for limit in (math.inf, 0.0):
        monkeypatch.setattr(trainers, "_TORCH_COMPILER", limit)
        with isolated(seed=0, dtype=torch.float64):
            trainer, why = trainer_of(planned(batch=4))
            losses[trainer.road] = trainer.advance(100)
            assert why == ""
    torch.testing.assert_close(losses["compiled graph"], losses["traced graph"], rtol=1e-9, atol=1e-9)
