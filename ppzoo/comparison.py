"""The same posterior by several methods, side by side, with one sentence on whether they agree.

Every method is held against a reference: the exact fit where there is one, else the Markov chains that are most to be
trusted. A difference counts only where Monte Carlo error cannot explain it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ppzoo.diagnostics.agreement import Source, choose_reference, differing, gap_table, judge
from ppzoo.diagnostics.arviz import Kind, is_continuous, scalars, summarise
from ppzoo.diagnostics.convergence import is_constant
from ppzoo.diagnostics.diagnosis import Diagnosis, Verdict, json_number
from ppzoo.errors import DataError, ModelError, NotFittedError, OptionError
from ppzoo.report import side_by_side
from ppzoo.storage.folder import check_writable, write_folder

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["Comparison", "Fitted", "compare"]

_NUMBERS = ("k_hat", "r_hat", "ess_bulk", "ess_tail", "divergences")
_BARE = "without continuous latent sites"
_HELD_OUT = "Leave it out, or compare held-out densities: fit.log_prob(x_test).mean()."
_SPREAD = 'Leave it out, or fit by method="laplace", whose draws are around the mode.'
_GAPS = ["gap_mcse", "gap_sd", "sd_ratio", "sd_gap_mcse", "wasserstein"]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


@runtime_checkable
class Fitted(Protocol):
    """What a comparison needs of a fit."""

    @property
    def method(self) -> _Named:
        """The method value; its ``name`` tells an exact fit."""

    @property
    def kind(self) -> Kind:
        """``"mcmc"``, ``"draws"`` or ``"point"``."""

    @property
    def seconds(self) -> float:
        """Wall time of the fit."""

    @property
    def losses(self) -> NDArray[np.float64] | None:
        """Loss of each step, in nats."""

    @property
    def posterior_tree(self) -> xr.DataTree:
        """Posterior and observed data."""

    def trained(self) -> Mapping[str, NDArray[np.float64]]:
        """Parameters of the program that have no prior, by name."""

    def diagnose(self) -> Diagnosis:
        """Whether to believe the fit by itself."""


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """The same parameters by several methods.

    Attributes:
        table: One row for each parameter and method (a MultiIndex): ``mean, sd, q5, q25, q50, q75, q95, mcse_mean,
            mcse_sd``; against the reference ``gap_mcse`` (difference of the means in combined MCSE), ``gap_sd`` (in sd
            of the reference), ``sd_ratio``, ``wasserstein`` (first Wasserstein distance in sd of the reference);
            for Markov chains ``r_hat, ess_bulk, ess_tail, ess_per_second``. NaN where a number has no meaning.
        methods: One row for each fit: ``method, verdict, k_hat, r_hat, ess_bulk, ess_tail, ess_per_second,
            divergences, seconds``.
        reference: Name of the fit that the others are held against.
        verdict: ``"trust"``, ``"caution"`` or ``"reject"``: see :func:`compare`.
        sentence: The verdict in words.
        not_shared: Sites that some fits lack, or have in another shape; they are not compared.
        fits: The fits, by name.
        draws: Fit to parameter to draws ``(chain, draw)``, of the parameters that are compared.
    """

    table: pd.DataFrame
    methods: pd.DataFrame
    reference: str
    verdict: Verdict
    sentence: str
    not_shared: tuple[str, ...]
    fits: Mapping[str, Fitted]
    draws: Mapping[str, Mapping[str, NDArray[np.float64]]]

    def __str__(self) -> str:
        return side_by_side.as_text(self)

    __repr__ = __str__

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        return side_by_side.as_rich(self, options.max_width)

    def _repr_html_(self) -> str:
        return side_by_side.as_html(self)

    def as_dict(self) -> dict[str, Any]:
        """The comparison as strict JSON values: NaN becomes ``None``, infinities ``"inf"`` and ``"-inf"``."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "reference": self.reference,
            "methods": {str(name): _json_row(row) for name, row in self.methods.to_dict("index").items()},
            "parameters": [_json_row(row) for row in self.table.reset_index().to_dict("records")],
            "not_shared": list(self.not_shared),
            "diagnoses": {name: fit.diagnose().as_dict() for name, fit in self.fits.items()},
        }

    def files(self) -> dict[str, bytes]:
        """``summary.json``, ``forest.png``, ``marginals.png`` and, where they apply, ``elbo.png``, ``trace.png``."""
        from ppzoo.report import plots
        from ppzoo.storage.text import dump_json

        shown = side_by_side.shown_first(self.table)
        names = [self.reference, *(name for name in self.fits if name != self.reference)]
        draws = {name: {parameter: self.draws[name][parameter] for parameter in shown} for name in names}
        files = {
            "summary.json": dump_json(self.as_dict()),
            "forest.png": plots.forest(draws),
            "marginals.png": plots.marginals(draws),
        }
        losses = {name: fit.losses for name, fit in self.fits.items() if fit.losses is not None and len(fit.losses)}
        if losses:
            files["elbo.png"] = plots.elbo_curve(losses)
        chains = [name for name in names if self.fits[name].kind == "mcmc"]
        if chains:
            files["trace.png"] = plots.trace_and_rank(draws[chains[0]])
        return files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write :meth:`files` into a folder, whole or not at all.

        Returns:
            The absolute path of the folder.

        Raises:
            StorageError: The folder cannot be written, or holds something else.
        """
        return write_folder(path, self.files(), {"kind": "comparison"})


def compare(fits: Mapping[str, Fitted], *, run_dir: str | os.PathLike[str] | None = None) -> Comparison:
    """Hold several fits of the same data against the best of them.

    The reference is the exact fit if there is one, else the Markov chains with the best verdict and then the greatest
    least ESS. For each parameter that the fits share, with means m, standard deviations s and Monte Carlo errors e:

        gap of the mean = |m - m_ref| / s_ref,  counted if |m - m_ref| > 4 √(e² + e_ref²),
        gap of the sd   = |s / s_ref - 1|,      counted likewise with the errors of the sd.

    Verdict: ``"reject"`` if a gap is above 0.30, ``"caution"`` above 0.15, else ``"trust"``. A fit that its own
    diagnosis rejects, or a reference that is not beyond doubt, is at best ``"caution"``; Markov chains that do not
    converge are ``"reject"``, and if they are the reference there is no verdict on the others. Nor is there one where
    the program has parameters without a prior that differ between two fits: their posteriors are of two models.

    Args:
        fits: Name to fit, two or more.
        run_dir: Folder to write the summary and the pictures to, as :meth:`Comparison.save`.

    Raises:
        OptionError: There are fewer than two fits.
        NotFittedError: One of them is not a fit.
        DataError: They are not fits of the same data.
        ModelError: A fit has no posterior, or they share no continuous latent parameter.
        StorageError: ``run_dir`` cannot be written.
    """
    _check_fits(fits)
    if run_dir is not None:
        check_writable(run_dir)
    trees = {name: fit.posterior_tree for name, fit in fits.items()}
    _check_same_data(trees)
    shared, not_shared = _sites(trees, fits)
    posteriors = _posteriors(trees, shared)
    draws = {name: scalars(posterior) for name, posterior in posteriors.items()}
    diagnoses = {name: fit.diagnose() for name, fit in fits.items()}
    sources = {name: _source(fit) for name, fit in fits.items()}
    reference = choose_reference(diagnoses, sources)
    blocks = _blocks(posteriors, draws, fits, reference)
    moving = [name for name in draws[reference] if not all(is_constant(found[name]) for found in draws.values())]
    judged = {name: block.loc[moving] for name, block in blocks.items()}
    apart = {name: differing(fit.trained(), fits[reference].trained()) for name, fit in fits.items()}
    verdict, sentence = judge(judged, diagnoses, sources, reference=reference, apart=apart)
    comparison = Comparison(
        table=_interleaved(blocks, reference),
        methods=_methods(fits, diagnoses),
        reference=reference,
        verdict=verdict,
        sentence=sentence,
        not_shared=not_shared,
        fits=dict(fits),
        draws=draws,
    )
    if run_dir is not None:
        comparison.save(run_dir)
    return comparison


def _check_fits(fits: object) -> None:
    remedy = 'Pass the results of ppzoo.fit by name: compare({"svi": svi, "nuts": nuts}).'
    if not isinstance(fits, Mapping) or not all(isinstance(name, str) and name for name in fits):
        got = type(fits).__name__ if not isinstance(fits, Mapping) else f"the names {list(fits)}"
        raise OptionError("not fits by name", argument="fits", got=got, expected="a dict, name to fit", remedy=remedy)
    for name, fit in fits.items():
        if not isinstance(fit, Fitted):
            raise NotFittedError(
                "not a fit", argument=f"fits[{name!r}]", got=type(fit).__name__, expected="a Fit", remedy=remedy
            )
    if len(fits) < 2:
        raise OptionError("too few to compare", argument="fits", got=len(fits), expected="2 or more", remedy=remedy)


def _check_same_data(trees: Mapping[str, xr.DataTree]) -> None:
    """Equal up to the rounding of float32, as methods may run in different types."""
    first, *others = trees
    for other in others:
        left, right = (trees[name].children.get("observed_data") for name in (first, other))
        found = [
            {str(k): v.values for k, v in tree.data_vars.items()} if tree is not None else {} for tree in (left, right)
        ]
        if found[0].keys() == found[1].keys() and all(_close(found[0][name], found[1][name]) for name in found[0]):
            continue
        shapes = [", ".join(f"{name} {values.shape}" for name, values in sites.items()) or "nothing" for sites in found]
        raise DataError(
            "the fits saw different data",
            argument=f"fits[{other!r}]",
            got=f"{shapes[1]}",
            expected=f"the values of fits[{first!r}]: {shapes[0]}",
            remedy="Fit every method to the same data.",
        )


def _close(left: NDArray[Any], right: NDArray[Any]) -> bool:
    if left.shape != right.shape:
        return False
    scale = float(np.nanmax(np.abs(left), initial=0.0))
    return bool(np.allclose(left, right, rtol=1e-5, atol=1e-6 * scale, equal_nan=True))


def _sites(trees: Mapping[str, xr.DataTree], fits: Mapping[str, Fitted]) -> tuple[list[str], tuple[str, ...]]:
    """Continuous latent sites that every fit has in one shape, and the others."""
    shapes = {name: _shapes(tree) for name, tree in trees.items()}
    for name, found in shapes.items():
        if not found or fits[name].kind == "point":
            raise ModelError(
                "has no posterior to compare",
                argument=f"fits[{name!r}]",
                got=f"a fit by {fits[name].method.name} {'that is one point' if found else _BARE}",
                remedy=_SPREAD if found else _HELD_OUT,
            )
    first, *others = shapes.values()
    shared = [name for name, shape in first.items() if all(found.get(name) == shape for found in others)]
    if not shared:
        raise ModelError(
            "the fits share no continuous latent site",
            argument="fits",
            got="; ".join(f"{name}: {', '.join(list(found)[:5])}" for name, found in shapes.items()),
            expected="latent sites of the same names and shapes",
            remedy="Fit the same model by each method.",
        )
    return shared, tuple(sorted({name for found in shapes.values() for name in found} - set(shared)))


def _shapes(tree: xr.DataTree) -> dict[str, tuple[int, ...]]:
    posterior = tree["posterior"].data_vars
    return {str(name): values.shape[2:] for name, values in posterior.items() if is_continuous(values)}


def _source(fit: Fitted) -> Source:
    if fit.method.name == "exact":
        return "exact"
    return "mcmc" if fit.kind == "mcmc" else "draws"


def _posteriors(trees: Mapping[str, xr.DataTree], sites: list[str]) -> dict[str, xr.DataTree]:
    """The sites of every fit under the labels of the first, as one may have been given arrays, another a DataFrame."""
    groups = {name: tree["posterior"].to_dataset()[sites] for name, tree in trees.items()}
    template = next(iter(groups.values())).drop_vars(["chain", "draw"])
    return {
        name: xr.DataTree.from_dict(
            {"posterior": xr.Dataset({s: (template[s].dims, group[s].values) for s in sites}, coords=template.coords)}
        )
        for name, group in groups.items()
    }


def _blocks(
    posteriors: Mapping[str, xr.DataTree],
    draws: Mapping[str, Mapping[str, NDArray[np.float64]]],
    fits: Mapping[str, Fitted],
    reference: str,
) -> dict[str, pd.DataFrame]:
    """One table for each fit, parameters as rows."""
    summaries = {name: summarise(posterior, kind=fits[name].kind) for name, posterior in posteriors.items()}
    blocks = {}
    for name, fit in fits.items():
        block = gap_table(draws[name], summaries[name], draws[reference], summaries[reference])
        for column in ("r_hat", "ess_bulk", "ess_tail"):
            block[column] = summaries[name][column] if fit.kind == "mcmc" else np.nan
        block["ess_per_second"] = block["ess_bulk"] / fit.seconds if fit.seconds > 0 else np.nan
        blocks[name] = block
    return blocks


def _methods(fits: Mapping[str, Fitted], diagnoses: Mapping[str, Diagnosis]) -> pd.DataFrame:
    rows = {}
    for name, fit in fits.items():
        numbers = {key: diagnoses[name].numbers.get(key, math.nan) for key in _NUMBERS}
        speed = numbers["ess_bulk"] / fit.seconds if fit.seconds > 0 else math.nan
        rows[name] = {"method": fit.method.name, "verdict": diagnoses[name].verdict, **numbers}
        rows[name] |= {"ess_per_second": speed, "seconds": fit.seconds}
    return pd.DataFrame.from_dict(rows, orient="index")


def _interleaved(blocks: Mapping[str, pd.DataFrame], reference: str) -> pd.DataFrame:
    """One row for each parameter and fit; the reference has no gap to itself."""
    table = pd.concat(blocks, names=["fit", "parameter"]).swaplevel()
    table.loc[table.index.get_level_values("fit") == reference, _GAPS] = np.nan
    return table.reindex([(parameter, fit) for parameter in blocks[reference].index for fit in blocks])


def _json_row(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    return {str(key): value if isinstance(value, str) else json_number(value) for key, value in row.items()}
