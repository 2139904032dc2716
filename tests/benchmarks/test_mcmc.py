"""The benchmark of samplers: its gate sees what it says, its table is made from records, its models match."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "mcmc"
RESULTS = ROOT / "benchmarks" / "results"
RECORDS = sorted((RESULTS / "mcmc").glob("*.json"))
LANGUAGES = ("pyro", "numpyro", "pymc")


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture
def draws():
    """Exact draws of N(1, 2) and of two N(0, 1): 64 chains of 400."""
    rng = np.random.default_rng(20_261_121)
    return {"mu": rng.normal(1, 2, (64, 400)), "z": rng.normal(size=(64, 400, 2))}


@pytest.fixture
def reference():
    names = ["z[0]", "z[1]", "mu"]  # in an order of its own
    return {"names": names, "mean": [0, 0, 1], "mean_error": [0, 0, 0], "sd": [1, 1, 2], "sd_error": [0, 0, 0]}


def test_exact_draws_pass_the_gate(draws, reference):
    """Six comparisons at 4 standard errors: false alarm rate 6 × 2Φ(−4) ≈ 4e-4; the seed is fixed."""
    from mcmc.gate import flat, judge

    assert flat(draws)[0] == ["mu", "z[0]", "z[1]"]
    figures = judge(draws, 0.0, reference)
    assert figures.failures == []
    assert figures.ess > 15_000


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda x: x + 0.12, "mean 0.0"),  # 0.06 of its sd
        (lambda x: 1 + (x - 1) * 1.08, "log sd"),
        (lambda x: 1 + (x - 1) * 1.04, "sd 4.|sd 5.|sd 6.|sd 7.|sd 8.|sd 9."),  # within the ceiling, not by chance
        (lambda x: x + 3 * (np.arange(64) == 5)[:, None], "mu: "),
        (lambda x: np.where(np.arange(400) == 7, np.nan, x), "not finite"),
    ],
    ids=["shifted", "wide", "slightly wide", "one chain apart", "not a number"],
)
def test_the_gate_closes(draws, reference, spoil, complaint):
    import re

    from mcmc.gate import judge

    failures = judge(draws | {"mu": spoil(draws["mu"])}, 0.0, reference).failures
    assert any(re.search(complaint, failure) for failure in failures), failures


def test_divergences_close_the_gate(draws, reference):
    from mcmc.gate import judge

    assert judge(draws, 0.01, reference).failures == ["divergent draws beyond the declared share: 1.00%"]


def test_too_few_effective_draws_close_the_gate(draws, reference):
    from mcmc.gate import judge

    few = {site: value[:4, :50] for site, value in draws.items()}
    assert any("bulk ESS" in failure for failure in judge(few, 0.0, reference).failures)


def test_moments_are_those_of_a_normal(draws):
    """z-tests of three means and three sds; false alarm rate 6 × 2Φ(−5) ≈ 4e-6."""
    from mcmc.gate import moments

    found = moments(draws)
    z = [
        (np.array(found[key]) - exact) / found[f"{key}_error"]
        for key, exact in (("mean", [1, 0, 0]), ("sd", [2, 1, 1]))
    ]
    assert np.abs(z).max() < 5


def test_a_site_sampled_step_by_step_is_stacked_in_order():
    from mcmc.run import gathered

    steps = {f"x_{t}": np.full((2, 3), float(t)) for t in range(11)} | {"phi": np.zeros((2, 3))}
    found = gathered(steps, ("phi", "x"))
    assert found["x"].shape == (2, 3, 11)
    assert found["x"][0, 0].tolist() == list(range(11))


def test_every_language_has_every_posterior_with_the_same_data():
    from mcmc.posteriors import POSTERIORS

    signatures = []
    for language in LANGUAGES:
        tree = ast.parse((FOLDER / f"{language}_models.py").read_text(encoding="utf-8"))
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        signatures.append({f.name: [a.arg for a in f.args.args] for f in functions})
    assert signatures[0] == signatures[1] == signatures[2]
    assert list(signatures[0]) == list(POSTERIORS)
    assert list(POSTERIORS["eight_schools"].data()) == signatures[0]["eight_schools"]


def test_the_table_is_as_generated():
    """Not so? Run ``python benchmarks/mcmc.py --table``."""
    from mcmc.tables import page

    assert (RESULTS / "mcmc.md").read_text(encoding="utf-8") == page()


def test_the_picture_stands_beside_the_table():
    """Its bytes are those of one version of Matplotlib, so they are not compared."""
    from mcmc.picture import picture

    committed = (RESULTS / "mcmc.png").read_bytes()
    made = picture()
    assert committed[16:24] == made[16:24], "another size: run `python benchmarks/mcmc.py --table`"
    assert len(committed) < 150_000
    assert picture("cuda").startswith(b"\x89PNG")  # no records: an empty one


def test_the_memory_table_is_as_generated():
    """Not so? Run ``python benchmarks/memory.py --table``."""
    import memory

    assert (RESULTS / "memory.md").read_text(encoding="utf-8") == memory.table()


def test_the_table_of_long_loops_is_as_generated():
    """Not so? Run ``python benchmarks/long_loops.py --table``."""
    import long_loops

    assert (RESULTS / "long_loops.md").read_text(encoding="utf-8") == long_loops.table()


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_says_where_it_comes_from(path):
    from harness.records import read
    from mcmc.records import reference_path

    record = read(path)
    assert path.stem == f"{record['model']}-{record['chains']}-{record['sampler']}"
    assert reference_path(record["model"]).is_file()
    assert len(record["commit"]) == 40
    assert {"hardware", "versions", "settings", "runs", "loaded_machine"} <= set(record)
    assert record["left_out"] or len(record["runs"]) == record["settings"]["repeats"]
    assert record["gate_passed"] == (bool(record["runs"]) and not any(run["failures"] for run in record["runs"]))


MODELS = ("eight_schools", "german_credit", "radon", "gaussian_process", "state_space", "mixture")


@pytest.mark.parametrize("model", MODELS)
def test_ppzoo_samples_the_density_that_the_program_has(shared_data, model):
    """Log densities of constrained values, at prior draws: the graph less its Jacobians, and Pyro's own trace.

    ``python benchmarks/mcmc.py --check`` holds the rivals' programs against it likewise, where they are installed.
    """
    from mcmc.densities import gaps

    assert np.abs(gaps(model, "ppzoo")).max() < 1e-9


def test_the_programs_of_the_test_are_all(shared_data):
    from mcmc.posteriors import POSTERIORS

    assert tuple(POSTERIORS) == MODELS


@pytest.mark.parametrize("name", ["ppzoo", "ppzoo-hmc", "ppzoo-mams", "ppzoo-chees"])
def test_each_of_ours_is_run_and_counted(name):
    from mcmc.posteriors import POSTERIORS
    from mcmc.run import Settings
    from mcmc.samplers import SAMPLERS
    from mcmc.with_ppzoo import sample

    settings = Settings(chains=8, warmup=40, draws=5, seed=0, method=SAMPLERS[name].method)
    drawn = sample("eight_schools", POSTERIORS["eight_schools"], settings)
    assert {site: value.shape for site, value in drawn.draws.items()} == {
        "mu": (8, 5),
        "tau": (8, 5),
        "z": (8, 5, 8),
    }
    assert 0 < drawn.sampling < drawn.seconds
    assert len(drawn.needed) == 8
    assert drawn.total > sum(drawn.needed) >= 8 * 5
    assert drawn.gradients >= sum(drawn.needed)


def test_slow_chains_are_asked_for_more_draws():
    from mcmc.posteriors import POSTERIORS

    assert POSTERIORS["mixture"].draws_of_each(64, None) == 313
    assert POSTERIORS["mixture"].draws_of_each(1024, None) == 200
    assert POSTERIORS["radon"].draws_of_each(1024, None) == 400
    assert POSTERIORS["radon"].draws_of_each(4, 8000) == 2000


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    import torch
    from mcmc.samplers import check_device

    from ppzoo.errors import OptionError

    check_device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OptionError, match="--device: is not on this machine; got cuda"):
        check_device("cuda")


def test_a_sampler_that_is_not_installed_says_what_it_lacks(monkeypatch):
    from mcmc import samplers

    monkeypatch.setattr(samplers, "find_spec", lambda package: None)
    assert samplers.why_not("ppzoo") is None
    assert samplers.why_not("nutpie") == "not run: nutpie and pymc not installed"


def test_every_sampler_has_its_file_and_its_line_in_the_picture():
    from mcmc.picture import STYLES
    from mcmc.samplers import SAMPLERS

    assert list(STYLES) == list(SAMPLERS)
    assert [s.module for s in SAMPLERS.values() if not (FOLDER / f"{s.module}.py").is_file()] == []
