"""``calibrate``: does a method find the truth of this program, where the truth is known because it was simulated?"""

from __future__ import annotations

import html
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pyro import poutine
from torch import Tensor, nn

from ppzoo.checks import check_integer, check_seed
from ppzoo.datasets.arguments import Arguments
from ppzoo.diagnostics.arviz import build_datatree, scalars
from ppzoo.diagnostics.calibration import ranks_among
from ppzoo.diagnostics.coverage import LEVELS, coverage_band, coverage_table, diagnose_coverage
from ppzoo.diagnostics.diagnosis import Diagnosis, Finding, Verdict, json_number
from ppzoo.errors import DataError, FitError, ModelError, OptionError
from ppzoo.fitting import fit, prepare, source_of
from ppzoo.inference.draws import evaluate, simulate
from ppzoo.inference.methods import method_value
from ppzoo.inference.outcome import Method
from ppzoo.inference.program import Pair, Site, check_program_like, nodes_of, sites_of, trace_of
from ppzoo.isolation import isolated
from ppzoo.progress import Progress
from ppzoo.result import Fit
from ppzoo.rng import stream_seed

__all__ = ["Calibration", "calibrate"]

DRAWS = 199  # of each posterior: the 50, 80 and 95 % intervals then end between ranks
LIKELIHOOD = "log likelihood"
_FEWEST = 20  # replicates, below which no interval can be told from another
_TOLERANCE = 1e-4  # of a log probability, relative

Values = dict[str, Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Calibration:
    """How truths that were drawn from the prior rank among the draws of their posteriors.

    Attributes:
        table: One row for each scalar of latent and deterministic sites, and for the log likelihood: ``bias``,
            ``p_bias``, ``p_ranks``, ``cover50, cover80, cover95``; see
            :func:`ppzoo.diagnostics.coverage.coverage_table`.
        ranks: Scalar to the rank of each truth among 199 draws, ``(R,)``.
        replicates: ``R``, those that were fitted.
        diagnosis: What speaks against the method on this program.
        name: Of the model.
        method: Of the fits.
    """

    table: pd.DataFrame
    ranks: Mapping[str, NDArray[np.int64]]
    replicates: int
    diagnosis: Diagnosis
    name: str
    method: str

    @property
    def verdict(self) -> Verdict:
        """``"reject"`` where a quantity is biased or its intervals do not hold the truth as often as they claim."""
        return self.diagnosis.verdict

    def __str__(self) -> str:
        head = f"{self.name} by {self.method}: {self.replicates} truths from the prior, each among {DRAWS} draws"
        bands = "  ".join(
            "{:.0%}: {:.0%} to {:.0%}".format(level, *coverage_band(self.replicates, level)) for level in LEVELS
        )
        table = self.table.to_string(float_format=lambda value: f"{value:.3g}")
        return f"{head}\n{table}\ncoverage of a right interval, 99 times in 100:  {bands}\n{self.diagnosis}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        rows = {str(name): {str(k): json_number(v) for k, v in row.items()} for name, row in self.table.iterrows()}
        return {"model": self.name, "method": self.method, "replicates": self.replicates, "quantities": rows} | {
            "diagnosis": self.diagnosis.as_dict()
        }


def calibrate(
    model: Any,
    data: Any = (),
    *,
    method: str | Method = "svi",
    replicates: int = 100,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Calibration:
    """Fit a program to data that it simulated itself, many times, and see whether the draws hold the truth.

    Parameters are drawn from the prior, observations given them, and the method is run on these: a right posterior
    ranks the truth uniformly among its draws, covers it with its intervals as often as they say, and leans to no side.
    Only the values of the data that are observed are replaced; what the program is given beside them (predictors,
    standard errors) stays. This judges method, options and program together, before any real data are looked at; it
    says nothing of data that the program could not have made.

    Talts, Betancourt, Simpson, Vehtari and Gelman, *Validating Bayesian Inference Algorithms with Simulation-Based
    Calibration*, 2018, https://arxiv.org/abs/1804.06788; Yao, Vehtari, Simpson and Gelman, *Yes, but Did It Work?*,
    2018, https://arxiv.org/abs/1802.02538.

    Args:
        model: As for :func:`ppzoo.fit`. Every parameter has a prior that can be drawn from.
        data: As for :func:`ppzoo.fit`; they give the shapes, and the predictors.
        method: As for :func:`ppzoo.fit`; one that gives draws. A sampler's are thinned to 199 at random: let it make
            many more.
        replicates: How many truths, 20 at least; each takes a fit. 100 tell a coverage of 80 % from 67 %.
        seed: Decides everything random.
        device: As for :func:`ppzoo.fit`.
        dtype: As for :func:`ppzoo.fit`.
        progress: As for :func:`ppzoo.fit`.
        **options: Options of the method.

    Raises:
        OptionError: If an option is unknown or outside its range.
        DataError: If the data cannot be used.
        ModelError: If the program cannot be simulated: a parameter without a prior, a factor, an observed value that is
            not an argument; or if the method gives no draws.
        FitError: If most of the fits fail.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, ppzoo
        >>> def model(y):
        ...     mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("row", len(y)):
        ...         pyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> found = ppzoo.calibrate(model, torch.zeros(4), method="svi", steps=500, replicates=20)
        >>> list(found.table.index), found.verdict
        (['mu', 'log likelihood'], 'trust')
    """
    value = method_value(method, options)
    check_seed(seed)
    check_integer("replicates", replicates, minimum=_FEWEST, why="for the shares to mean anything")
    check_program_like(model, "calibrate")
    value.check_model(model)
    prefer = torch.float64 if value.prefers_float64 else None
    pair, own_dtype, _ = prepare(model, data, device=device, prefer=prefer, fixed=dtype)
    with isolated(seed=stream_seed(seed, "calibrate"), dtype=own_dtype, device=device, store=pair.store):
        sites = _simulated_sites(pair)
        places = _arguments_of(pair, sites)
        truth = simulate(pair, replicates)
        _check_generates(pair, sites, places, {name: x[0] for name, x in truth.items()})
    settings: dict[str, Any] = {"method": value, "device": device, "dtype": dtype, "progress": False}
    ranked, failures = [], []
    with Progress(replicates, "calibrate", progress) as bar:
        for r in range(replicates):
            one = {name: x[r] for name, x in truth.items()}
            given = _replaced(pair, places, one)
            try:
                made = fit(model, _as_data(pair, given), seed=stream_seed(seed, r), **settings)
            except (FitError, DataError) as error:
                failures.append(f"{type(error).__name__}: {error}")
            else:
                ranked.append(_among(made, one))
            bar.step({"failed": len(failures)} if failures else None)
    if len(ranked) < max(_FEWEST, replicates / 2):
        raise FitError(
            "fails on data that the program simulates",
            argument="method",
            got=f"{len(failures)} of {replicates} fits without an answer, the first with {failures[0]}",
            remedy="Priors that allow absurd data are the usual reason: draw from them and look.",
        )
    ranks = _ranks(pair, sites, ranked, seed)
    table = coverage_table(ranks, DRAWS)
    diagnosis = diagnose_coverage(table, len(ranked))
    if failures:
        what = "some fits to simulated data failed, and are left out"
        diagnosis = Diagnosis(
            (*diagnosis.findings, Finding("caution", what, f"{len(failures)} of {replicates}; {failures[0]}")),
            diagnosis.numbers,
        )
    return Calibration(table, ranks, len(ranked), diagnosis, str(source_of(model)["name"]), value.name)


def _simulated_sites(pair: Pair) -> dict[str, Site]:
    """The sites of a program that can draw all of its parameters and observations."""
    if trained := list(pair.trained()):
        raise _unsuited("has parameters without a prior", ", ".join(map(repr, trained[:5])), "Give each a prior.")
    trace = pair.trace_model()
    sites = {site.name: site for site in sites_of(trace)}
    for name, node in nodes_of(trace).items():
        if node["type"] == "sample" and node["is_observed"] and name not in sites:
            raise _unsuited("has a factor, which cannot be drawn from", repr(name), "Write it as pyro.sample.")
    kinds = {site.kind for site in sites.values()}
    if not {"latent", "observed"} <= kinds:
        lacks = "latent" if "latent" not in kinds else "observed"
        raise _unsuited(f"has no {lacks} site", ", ".join(sites) or "no site", "Calibrate a program that has both.")
    return sites


def _arguments_of(pair: Pair, sites: Mapping[str, Site]) -> dict[str, str]:
    """Observed site to the argument whose values it observes, in whatever shape."""
    tensors = {name: value for name, value in pair.data.named().items() if isinstance(value, Tensor)}
    places: dict[str, str] = {}
    for site in (site for site in sites.values() if site.kind == "observed"):
        same = [name for name, value in tensors.items() if _equal(value, site.value) and name not in places.values()]
        if not same:
            raise _unsuited(
                "observes something else than an argument as it is",
                repr(site.name),
                "Pass what is observed as an argument of its own, transformed before.",
            )
        places[site.name] = site.name if site.name in same else same[0]
    return places


def _check_generates(pair: Pair, sites: Mapping[str, Site], places: Mapping[str, str], one: Values) -> None:
    """What is observed has the same distribution whatever is observed, given the latent sites."""
    latent = {name: x for name, x in one.items() if sites[name].kind in ("latent", "discrete")}
    program = poutine.condition(pair.model, latent)
    before = nodes_of(trace_of(program, pair.data))
    after = nodes_of(trace_of(program, _replaced(pair, places, one)))
    for name in places:
        value = after[name]["value"]
        ours, theirs = (nodes[name]["fn"].log_prob(value).sum() for nodes in (before, after))
        if not torch.allclose(ours, theirs, _TOLERANCE, _TOLERANCE, equal_nan=True):
            raise _unsuited(
                "draws an observation from others that are observed, so it cannot be simulated at once",
                repr(name),
                "Write the series as a loop of sample statements, each with its own obs.",
            )


def _unsuited(problem: str, got: str, remedy: str) -> ModelError:
    return ModelError(problem, argument="model", got=got, expected="a program that can be simulated", remedy=remedy)


def _equal(argument: Tensor, observed: Tensor) -> bool:
    if argument.numel() != observed.numel():
        return False
    return bool((argument.reshape(-1).to(observed.dtype) == observed.reshape(-1)).all())


def _replaced(pair: Pair, places: Mapping[str, str], one: Values) -> Arguments:
    """The arguments with simulated values where they are observed."""
    named = pair.data.named()
    for name, argument in places.items():
        named[argument] = one[name].reshape(named[argument].shape).to(named[argument].dtype)
    args = tuple(named[f"arg{i}"] for i in range(len(pair.data.args)))
    return Arguments(args, {name: named[name] for name in pair.data.kwargs}, coords=pair.data.coords)


def _as_data(pair: Pair, given: Arguments) -> Any:
    """Arguments in the form that ``fit`` takes them."""
    if not given.kwargs:
        return given.args
    program = pair.model.forward if isinstance(pair.model, nn.Module) else pair.model
    return dict(inspect.signature(program).bind(*given.args, **given.kwargs).arguments)


def _among(made: Fit, one: Values) -> Values:
    """The truth and behind it the draws, ``(1 + L, ...)``, of each site and of the log likelihood."""
    if made.kind == "point":
        raise ModelError(
            "gives no draws of a posterior",
            argument="method",
            got=repr(made.method.name),
            remedy='Use "svi" or "nuts".',
        )
    drawn = made.outcome.draws
    if drawn is not None and (total := next(iter(drawn.values())).shape[:2].numel()) < DRAWS:
        raise OptionError(
            "are too few to rank a truth among", argument="draws", got=f"{total} in all", expected=f"{DRAWS} or more"
        )
    latent = made.flat_draws(DRAWS, "draws")
    both = {name: torch.cat([one[name].to(x)[None], x]) for name, x in latent.items()}
    with made.world("calibrate"):
        found = evaluate(made.pair, both, 1 + DRAWS, ("value", "likelihood")).values
    likelihoods = [x.flatten(1).sum(1) for name, x in found.items() if name.startswith("likelihood/")]
    values = both | {name.removeprefix("value/"): x for name, x in found.items() if name.startswith("value/")}
    return values | ({LIKELIHOOD: sum(likelihoods, torch.zeros(()))} if likelihoods else {})


def _ranks(pair: Pair, sites: Mapping[str, Site], ranked: list[Values], seed: int) -> dict[str, NDArray[np.int64]]:
    """The rank of each truth, by scalar."""
    shown = [n for n in ranked[0] if n not in sites or not (sites[n].auxiliary or sites[n].kind == "discrete")]
    stacked = {name: torch.stack([values[name] for values in ranked]).numpy(force=True) for name in shown}
    dims = {name: sites[name].dims for name in shown if name in sites}
    tree = build_datatree({"posterior": stacked}, dims=dims, coords=pair.data.coords, attrs={})
    return {
        name: ranks_among(x[:, 0], x[:, 1:], seed=stream_seed(seed, "ties", name))
        for name, x in scalars(tree, continuous=True).items()
    }
