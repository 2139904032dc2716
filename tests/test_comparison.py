"""Fakes made of numpy: a known gap gives a known verdict; the table, the pictures and the errors are right."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from ppzoo.comparison import compare
from ppzoo.diagnostics.approximation import diagnose_approximation
from ppzoo.diagnostics.arviz import build_datatree
from ppzoo.diagnostics.convergence import diagnose_chains
from ppzoo.errors import DataError, ModelError, NotFittedError, OptionError, StorageError

Y = np.arange(3.0)


@dataclass
class FakeFit:
    """A fit as :class:`ppzoo.comparison.Fitted` describes it."""

    kind: str
    posterior: dict
    y: np.ndarray = field(default_factory=lambda: Y)
    name: str = ""
    seconds: float = 2.0
    losses: np.ndarray | None = None
    labels: tuple = ("A", "B", "C")
    parameters: dict = field(default_factory=dict)
    discrete: dict = field(default_factory=dict)

    def __post_init__(self):
        self.method = SimpleNamespace(name=self.name or {"mcmc": "nuts", "draws": "svi", "point": "em"}[self.kind])
        self.tree = build_datatree(
            {"posterior": self.posterior, "observed_data": {"y": self.y}},
            dims={"theta": ["school"]},
            coords={"school": self.labels},
            attrs={},
            discrete=self.discrete,
        )

    @property
    def posterior_tree(self):
        return self.tree

    def trained(self):
        return self.parameters

    def diagnose(self):
        if self.kind == "mcmc":
            return diagnose_chains(self.tree)
        return diagnose_approximation(0.1 * np.random.default_rng(0).normal(size=200), self.losses)


def posterior(seed, chains, draws, *, shift=0.0, scale=1.0, mu="mu"):
    rng = np.random.default_rng(seed)
    theta = shift + scale * rng.normal(size=(chains, draws, 3))
    return {mu: 4 + 3 * rng.normal(size=(chains, draws)), "theta": theta}


def nuts(seed=0, **options):
    return FakeFit("mcmc", posterior(seed, 4, 500), **options)


def svi(seed=1, *, shift=0.0, scale=1.0, **options):
    losses = 30 + np.random.default_rng(seed).normal(size=300)
    return FakeFit("draws", posterior(seed, 1, 1000, shift=shift, scale=scale), losses=losses, **options)


def test_discrete_sites_are_not_compared():
    """A Bernoulli's values are floats; here they differ, one is constant, and the verdict is that of the others."""
    fits = {"nuts": nuts(), "hmc": nuts(seed=5)}
    for k, (name, fit) in enumerate(fits.items()):
        fits[name] = FakeFit("mcmc", {**fit.posterior, "z": np.full((4, 500), float(k))}, discrete={"z": "number"})
    comparison = compare(fits)
    assert comparison.verdict == "trust"
    assert "z" not in str(comparison.table)
    assert comparison.not_shared == ()


def test_equal_posteriors_are_trusted():
    comparison = compare({"svi": svi(), "nuts": nuts()})
    assert comparison.verdict == "trust"
    assert comparison.reference == "nuts"
    assert comparison.sentence.startswith("svi agrees with nuts: worst of 4 parameters is ")


@pytest.mark.parametrize(("shift", "scale"), [(0.5, 1.0), (0.0, 0.6)])
def test_a_known_gap_is_rejected(shift, scale):
    comparison = compare({"svi": svi(shift=shift, scale=scale), "nuts": nuts()})
    assert comparison.verdict == "reject"
    assert comparison.sentence.startswith(
        "Do not use svi's intervals: against nuts, the worst of 4 parameters is theta["
    )


def test_there_is_no_verdict_on_two_models():
    """A gap is nobody's fault where the program has parameters without a prior, and each fit its own."""
    one, other = {"W": np.array([2.0, 1.0]), "s": np.array(3.0)}, {"W": np.array([1.0, 2.0]), "s": np.array(3.0)}
    apart = compare({"svi": svi(shift=2.0, parameters=one), "nuts": nuts(parameters=other)})
    assert apart.verdict == "caution"
    assert apart.sentence == "No verdict: svi and nuts each have their own W, so these are posteriors of two models."
    same = compare({"svi": svi(shift=2.0, parameters=one), "nuts": nuts(parameters=one)})
    assert same.verdict == "reject"
    assert same.sentence.startswith("Do not use svi's intervals")


def test_there_is_no_verdict_without_convergence():
    bad = posterior(0, 4, 500)
    bad["mu"][0] += 5
    comparison = compare({"svi": svi(), "nuts": FakeFit("mcmc", bad)})
    assert comparison.verdict == "reject"
    assert comparison.sentence.startswith("No verdict: the reference nuts did not converge (R-hat ")


def test_the_exact_fit_is_the_reference():
    exact = FakeFit("draws", posterior(5, 1, 1000), name="exact")
    assert compare({"nuts": nuts(), "truth": exact}).reference == "truth"


def test_the_table():
    comparison = compare({"svi": svi(shift=0.5), "nuts": nuts()})
    table = comparison.table
    assert list(dict.fromkeys(table.index.get_level_values("parameter"))) == ["mu", "theta[A]", "theta[B]", "theta[C]"]
    assert len(table) == 8
    row, reference = table.loc[("theta[B]", "svi")], table.loc[("theta[B]", "nuts")]
    x, z = (fit["theta"][..., 1] for fit in (comparison.fits["svi"].posterior, comparison.fits["nuts"].posterior))
    assert row["mean"] == pytest.approx(x.mean(), rel=1e-12)
    assert row["gap_sd"] == pytest.approx((x.mean() - z.mean()) / z.std(ddof=1), rel=1e-12)
    assert row["sd_ratio"] == pytest.approx(x.std(ddof=1) / z.std(ddof=1), rel=1e-12)
    assert row["q95"] == pytest.approx(np.quantile(x, 0.95), rel=1e-12)
    assert row[["r_hat", "ess_bulk", "ess_tail", "ess_per_second"]].isna().all()
    assert reference[["gap_mcse", "gap_sd", "sd_ratio", "wasserstein"]].isna().all()
    assert reference["ess_per_second"] == pytest.approx(reference["ess_bulk"] / 2.0)
    assert comparison.methods.loc["nuts", "r_hat"] == pytest.approx(table["r_hat"].max())
    assert np.isnan(comparison.methods.loc["svi", "r_hat"])
    assert comparison.methods.loc["svi", "seconds"] == 2.0


def test_sites_of_another_shape_or_name_are_listed_not_compared():
    other = posterior(1, 1, 500)
    other["extra"] = other.pop("mu")
    comparison = compare({"svi": FakeFit("draws", other), "nuts": nuts()})
    assert comparison.not_shared == ("extra", "mu")
    assert "Not of one shape in every fit, so not compared: extra, mu." in str(comparison)
    shorter = {"mu": other["extra"], "theta": other["theta"][..., :2]}
    assert compare({"svi": FakeFit("draws", shorter), "nuts": nuts()}).not_shared == ("theta",)


def test_labels_are_those_of_the_first_fit():
    comparison = compare({"svi": svi(), "nuts": nuts(labels=("x", "y", "z"))})
    assert "theta[A]" in comparison.draws["nuts"]


def test_constants_of_the_model_are_shown_and_not_judged():
    left, right = posterior(0, 4, 500), posterior(1, 1, 1000)
    left["corner"], right["corner"] = np.ones((4, 500)), np.ones((1, 1000))
    comparison = compare({"svi": FakeFit("draws", right), "nuts": FakeFit("mcmc", left)})
    assert comparison.verdict == "trust"
    assert "worst of 4 parameters" in comparison.sentence
    assert ("corner", "svi") in comparison.table.index


def test_many_parameters_are_cut_with_the_worst_first():
    rng = np.random.default_rng(0)
    chains, guide = rng.normal(size=(4, 250, 60)), rng.normal(size=(1, 500, 60))
    guide[..., 57] += 3
    comparison = compare({"svi": FakeFit("draws", {"z": guide}), "nuts": FakeFit("mcmc", {"z": chains})})
    assert str(comparison).splitlines()[1].startswith("z[57]")
    assert "40 of 60 parameters are shown, those with the worst gaps first." in str(comparison)
    assert len(comparison.table) == 120
    assert len(comparison.as_dict()["parameters"]) == 120


AWKWARD = ["<script>alert(1)<script>", "[bold]x", "$\\frac{", "a/b"]


@pytest.fixture(scope="module")
def awkward():
    fits = {
        "nuts [/b] <i>": FakeFit("mcmc", {name: posterior(i, 4, 500)["mu"] for i, name in enumerate(AWKWARD)}),
        "svi $_{": FakeFit("draws", {name: posterior(9 + i, 1, 500)["mu"] for i, name in enumerate(AWKWARD)}),
    }
    return compare(fits)


def test_names_are_shown_as_they_are(awkward):
    assert "<script>" not in awkward._repr_html_()
    assert "<i>" not in awkward._repr_html_()
    for width in (80, 160):
        out = io.StringIO()
        Console(file=out, width=width).print(awkward)
        assert "[bold]x" in out.getvalue()
        assert "nuts [/b] <i>" in out.getvalue()
        assert all(len(line) <= width for line in out.getvalue().splitlines())
    assert "[bold]x" in str(awkward)


def test_the_folder_has_a_strict_summary_and_the_pictures(awkward, tmp_path):
    folder = awkward.save(tmp_path / "run")
    assert {path.name for path in folder.iterdir()} == {
        "summary.json", "forest.png", "marginals.png", "trace.png", "manifest.json",
    }  # fmt: skip

    def refuse(word):
        raise ValueError(word)

    summary = json.loads((folder / "summary.json").read_text(), parse_constant=refuse)
    assert summary["verdict"] == awkward.verdict
    assert {row["fit"] for row in summary["parameters"]} == set(awkward.fits)


def test_losses_make_one_more_picture(tmp_path):
    compare({"svi": svi(), "nuts": nuts()}, run_dir=tmp_path / "run")
    assert (tmp_path / "run" / "elbo.png").is_file()


def test_a_folder_that_cannot_be_written_is_said_first(tmp_path):
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(StorageError):
        compare({"svi": svi(), "nuts": nuts()}, run_dir=tmp_path / "run")


@pytest.mark.parametrize(
    ("fits", "error", "message"),
    [
        (lambda: [nuts(), svi()], OptionError, "fits: not fits by name; got list"),
        (lambda: {1: nuts(), 2: svi()}, OptionError, "not fits by name"),
        (dict, OptionError, "too few to compare; got 0"),
        (lambda: {"nuts": nuts()}, OptionError, "too few to compare; got 1"),
        (lambda: {"nuts": nuts(), "svi": object()}, NotFittedError, r"fits\['svi'\]: not a fit; got object"),
        (lambda: {"nuts": nuts(), "svi": svi(y=Y + 1)}, DataError, "the fits saw different data"),
        (lambda: {"nuts": nuts(), "svi": svi(y=Y[:2])}, DataError, r"got y \(2,\); expected the values of .*y \(3,\)"),
        (lambda: {"nuts": nuts(), "em": FakeFit("point", {})}, ModelError, r"fits\['em'\]: has no posterior"),
        (
            lambda: {"nuts": nuts(), "map": FakeFit("point", posterior(0, 1, 1))},
            ModelError,
            "one point.*laplace",
        ),
        (lambda: {"em": FakeFit("point", {}), "ml": FakeFit("point", {})}, ModelError, "has no posterior to compare"),
        (
            lambda: {"a": FakeFit("draws", {"a": np.zeros((1, 9))}), "b": FakeFit("draws", {"b": np.zeros((1, 9))})},
            ModelError,
            "share no continuous latent site; got a: a; b: b",
        ),
    ],
)
def test_what_cannot_be_compared(fits, error, message):
    with pytest.raises(error, match=message):
        compare(fits())


def test_data_in_float32_are_the_same_data():
    y = np.array([1234.5678, 0.1, -3.3])
    assert compare({"svi": svi(y=y.astype(np.float32)), "nuts": nuts(y=y)}).verdict == "trust"
