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
    from mcmc.records import table

    assert (RESULTS / "mcmc.md").read_text(encoding="utf-8") == table()


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_says_where_it_comes_from(path):
    from mcmc.records import read, reference_path

    record = read(path)
    assert path.stem == f"{record['model']}-{record['chains']}-{record['sampler']}"
    assert reference_path(record["model"]).is_file()
    assert len(record["commit"]) == 40
    assert {"hardware", "versions", "settings", "runs", "loaded_machine"} <= set(record)
    assert record["left_out"] or len(record["runs"]) == record["settings"]["repeats"]
    assert record["gate_passed"] == (bool(record["runs"]) and not any(run["failures"] for run in record["runs"]))
