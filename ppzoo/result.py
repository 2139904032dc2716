"""What ``fit`` returns: the fitted pair, and everything that can be read off it.

A :class:`Fit` can do what its model can do; asking for more is a :class:`~ppzoo.errors.ModelError` that says so.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppzoo.checks import check_flag, check_integer
from ppzoo.diagnostics.arviz import Kind, format_summary, summarise
from ppzoo.diagnostics.diagnosis import Diagnosis
from ppzoo.errors import ModelError, OptionError
from ppzoo.inference.density import density_of
from ppzoo.inference.draws import draw_guide, evaluate
from ppzoo.inference.outcome import Method, Outcome
from ppzoo.inference.program import Pair, sites_of
from ppzoo.isolation import isolated
from ppzoo.predicting import check_can, predict_from, rows_for
from ppzoo.rng import stream_seed
from ppzoo.tree import Posterior, build_tree, parameter_tree, posterior_of, shown
from ppzoo.weighing import Weighed, can_correct, corrected_estimates, leave_one_out, weigh

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import pandas as pd
    import xarray as xr
    from arviz_stats.utils import ELPDData

    from ppzoo.inference.enumeration import Enumeration

__all__ = ["Fit"]

_DRAWS = 1000  # of a guide, where nobody says how many
_ROWS = 40  # of the summary that are printed


@dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """A fitted model: posterior, predictions, diagnosis.

    Attributes:
        pair: The fitted copy of program and guide, bound to its data.
        method: The method value with its options.
        outcome: What the method learnt beside the parameters.
        seed: The root seed.
        dtype: Floating type of the run.
        device: Device of the run.
        seconds: Wall time of the fit.
        notes: The roads that were taken and the casts that were made.
        source: How to make the model again: zoo name and options, or the function's name.

    Example:
        >>> import ppzoo
        >>> data = ppzoo.load_dataset("diabetes")
        >>> fit = ppzoo.fit(ppzoo.create_model("linear_regression"), data, method="exact", seed=0)
        >>> fit.diagnose().verdict
        'trust'
    """

    pair: Pair
    method: Method
    outcome: Outcome
    seed: int
    dtype: torch.dtype
    device: torch.device
    seconds: float
    notes: tuple[str, ...]
    source: Mapping[str, Any]

    @property
    def losses(self) -> NDArray[np.float64] | None:
        """Loss after each step, in nats (SVI: the negative ELBO or other bound, EM: the negative log likelihood)."""
        return self.outcome.losses

    @property
    def kind(self) -> Kind:
        """``"mcmc"`` (Markov chains), ``"draws"`` (independent ones) or ``"point"`` (one value, or parameters only)."""
        if self.outcome.draws is not None:
            return self.outcome.kind
        return "draws" if self._latent() else "point"

    @functools.cached_property
    def observed(self) -> tuple[str, ...]:
        """Names of the observed sites."""
        with self.world("sites"):
            return tuple(site.name for site in sites_of(self.pair.trace_model()) if site.kind == "observed")

    def parameters(self) -> dict[str, Tensor]:
        """The model's fitted parameters by name, in their own supports; a guide's are left out."""
        found = {name: value for name, value in self.pair.store.constrained().items() if "AutoGuide" not in name}
        module = self.pair.modules().get("model")
        for prefix, part in module.named_modules() if module is not None else ():
            constrained = getattr(part, "_pyro_params", {})
            for name, value in part.named_parameters(recurse=False):
                plain = name.removesuffix("_unconstrained")
                where = f"{prefix}.{plain}" if prefix else plain
                found[where] = (getattr(part, plain) if plain in constrained else value).detach()
        return found

    def trained(self) -> dict[str, NDArray[np.float64]]:
        """What the program's density hangs on beside its latent sites, unconstrained; empty where all has a prior."""
        with self.world("sites"):
            found = self.pair.trained()
        return {name.removesuffix("_unconstrained"): value.double().numpy(force=True) for name, value in found.items()}

    def draws(self, n: int | None = None) -> dict[str, Tensor]:
        """Posterior draws of every latent and deterministic site, each ``(n, ...)``.

        Finite discrete sites are summed out while a sampler runs, and drawn afterwards, jointly and exactly, given
        each of its draws. Where data were streamed, the sites of a row are those of the rows that stood for all.

        Args:
            n: How many; all that were made, or 1,000 of a guide's, when ``None``. Of a mode, all are the same.

        Raises:
            OptionError: If fewer than ``n`` were made.
            ModelError: If the fit has no latent site.
        """
        if n is not None:
            check_integer("n", n)
        if not self._latent():
            raise ModelError(
                "has no latent site to draw",
                argument="fit",
                got=f"a {self.method.name} fit of parameters only",
                remedy="Read fit.parameters(), or draw observations with fit.sample(n).",
            )
        latent = self.flat_draws(n, "draws")
        with self.world("draws"):
            sites = {site.name: site for site in sites_of(self.pair.trace_model())}
            if not any(site.kind == "deterministic" for site in sites.values()):
                return shown(latent, sites)
            values = evaluate(self.pair, latent, len(next(iter(latent.values()))), ("value",)).values
        return shown(latent, sites) | {name.removeprefix("value/"): value for name, value in values.items()}

    def predict(self, *data: Any, draws: int | None = None, **named: Any) -> dict[str, Tensor]:
        """Posterior predictive draws of every observed site, each ``(draws, ...)``.

        Without data: for the rows of the fit. New data are new rows; what is observed there may be left out, for it is
        what is predicted. Latent sites keep their posterior draws, except those of a row (inside every plate of an
        observed site): these come from the guide run on the new data, if it is a function and nothing was left out,
        else from the model given the others.

        For the rows of the fit, what is drawn is a second observation of each, as a posterior predictive check needs:
        continuous sites of a row keep their posterior draws, and discrete ones that a sampler summed out (the component
        of a mixture) are drawn anew given the others, unless something that keeps its draws depends on them. So the
        draws have the likelihood of ``to_arviz()``. Discrete sites outside the rows (the one model of two, the states
        of a single series) keep theirs. For a row's own component take ``fit.draws()``.

        Args:
            *data: Arguments as for ``fit``; none for those of the fit.
            draws: Number of posterior draws to predict from; 200, or all of a shorter sampler's, when ``None``.
            **named: Arguments by name.

        Raises:
            DataError: If the data do not fit the model, or their columns are not those of the fit.
            ModelError: If the model has no observed site.
        """
        if draws is not None:
            check_integer("draws", draws)
        check_can(self, "model", "predict", "observed sites")
        return predict_from(self, data, named, draws)

    def log_prob(self, x: Any) -> Tensor:
        """Exact log density of each row of ``x``, in nats, ``(N,)``, where the model has one."""
        (rows,) = rows_for(self, "log_prob", x)
        with self.world("log_prob"), torch.no_grad():
            return self.pair.owner.log_prob(rows)  # type: ignore[no-any-return]  # the contract says Tensor

    def importance_weighted_bound(self, x: Any, samples: int = 64) -> Tensor:
        """Lower bound on the log density of each row of ``x``, in nats, ``(N,)``, where the model has one.

        Args:
            x: Rows, as the model takes them.
            samples: Draws of the guide per row; one gives a draw of the ELBO, more a tighter bound (Burda, Grosse and
                Salakhutdinov, *Importance Weighted Autoencoders*, 2016, https://arxiv.org/abs/1509.00519).
        """
        check_integer("samples", samples)
        (rows,) = rows_for(self, "importance_weighted_bound", x)
        with self.world("bound"), torch.no_grad():
            return self.pair.owner.importance_weighted_bound(rows, samples)  # type: ignore[no-any-return]  # the contract says Tensor

    def encode(self, x: Any) -> Tensor:
        """Posterior mean of the latent code of each row of ``x``, ``(N, K)``, where the model has one."""
        (rows,) = rows_for(self, "encode", x)
        with self.world("encode"), torch.no_grad():
            return self.pair.owner.encode(rows)  # type: ignore[no-any-return]  # the contract says Tensor

    def sample(self, n: int) -> Tensor:
        """``n`` new observations from the fitted model, ``(n, ...)``, where it can draw them."""
        check_integer("n", n)
        rows_for(self, "sample")
        with self.world("sample"), torch.no_grad():
            return self.pair.owner.sample(n)  # type: ignore[no-any-return]  # the contract says Tensor

    def to_arviz(self) -> xr.DataTree:
        """Posterior, likelihoods, predictions and statistics as a DataTree, dimensions named by the model's plates."""
        return self._tree

    def summary(self, *, corrected: bool = False) -> pd.DataFrame:
        """One row per scalar: estimates with their Monte Carlo error; R-hat and ESS for Markov chains only.

        Labels of three or more categories have no mean: ``mode`` is the most frequent one, ``p_mode`` its probability.

        Args:
            corrected: Put beside the estimates of a guide what Pareto-smoothed importance weights make of its draws:
                ``psis_mean, psis_sd, psis_eti89_lb, psis_eti89_ub, psis_mcse_mean, psis_mcse_sd``, and ``psis_ess``,
                the number of posterior draws that the weights are worth.

        Raises:
            ModelError: If the draws have no weights to be corrected by: Markov chains, points, guides of rows.
            FitError: If the weights are useless, k-hat being above its threshold.
        """
        check_flag("corrected", corrected)
        frame = summarise(self.posterior_tree if self._latent() else parameter_tree(self), kind=self.kind)
        return frame.join(corrected_estimates(self)) if corrected else frame

    def loo(self, var_name: str | None = None) -> ELPDData:
        """How well left-out observations would be predicted: PSIS-LOO, in nats, with its own k-hat for each of them.

        The draws of a guide are weighed by ``p(x, z) / q(z)`` as well (Magnusson et al. 2019,
        https://proceedings.mlr.press/v97/magnusson19a.html).

        Args:
            var_name: The observed site, where there are several.

        Raises:
            ModelError: If there is no pointwise likelihood, or a guide's draws have no weights.
            OptionError: If ``var_name`` is no observed site, or is missing where there are several.
        """
        return leave_one_out(self, var_name)

    def diagnose(self) -> Diagnosis:
        """Whether to believe the answer: a verdict with its evidence and what to do."""
        return self._diagnosis

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the fit to a folder, whole or not at all; :func:`ppzoo.load` reads it."""
        from ppzoo.saving import save_fit

        return save_fit(self, path)

    def __repr__(self) -> str:
        return f"<Fit of {self.source['name']} by {self.method.name}, {self.seconds:.1f} s, seed {self.seed}>"

    def __str__(self) -> str:
        summary = self.summary()
        return f"{self!r}\n{format_summary(summary.iloc[:_ROWS])}\n{_more(summary)}{self.diagnose()}"

    def _repr_html_(self) -> str:
        summary = self.summary(corrected=can_correct(self))
        table = summary.iloc[:_ROWS].to_html(escape=True, na_rep="-")
        more = f"<p>{more}</p>" if (more := _more(summary)) else ""
        return f"<p>{html.escape(repr(self))}</p>{table}{more}{self.diagnose()._repr_html_()}"

    @functools.cached_property
    def enumeration(self) -> Enumeration | None:
        """How the discrete sites that were drawn had been summed out; ``None`` where none were drawn."""
        if self.outcome.draws is None or self.kind == "point":
            return None
        with self.world("sites"):
            discrete = any(site.kind == "discrete" for site in sites_of(self.pair.trace_model()))
            return density_of(self.pair).enumeration if discrete else None

    @functools.cached_property
    def posterior(self) -> Posterior:
        """What :meth:`to_arviz` and :attr:`posterior_tree` show of the draws."""
        return posterior_of(self)

    @functools.cached_property
    def posterior_tree(self) -> xr.DataTree:
        """:meth:`to_arviz` without likelihoods and predictions, which take time and room where rows are many."""
        return build_tree(self, pointwise=False)

    @functools.cached_property
    def weighed(self) -> Weighed | None:
        """Draws of the guide with their importance weights; ``None`` where there are none."""
        return weigh(self)

    @functools.cached_property
    def _tree(self) -> xr.DataTree:
        return build_tree(self)

    @functools.cached_property
    def _diagnosis(self) -> Diagnosis:
        from ppzoo.judging import judge

        return judge(self)

    def chains(self, n: int) -> dict[str, Tensor]:
        """Latent draws as ``(C, S, ...)``; one chain if they are independent, empty for parameters only."""
        if self.outcome.draws is not None:
            return self.outcome.draws
        if not self._latent():
            return {}
        return {name: value[None] for name, value in draw_guide(self.pair, n).values.items()}

    def flat_draws(self, n: int | None, stream: str) -> dict[str, Tensor]:
        """Draws of every latent site, auxiliary ones included, chains put together: ``(n, ...)``."""
        if self.outcome.draws is None:
            with self.world(stream):
                return {name: value[0] for name, value in self.chains(n or _DRAWS).items()}
        flat = {name: value.flatten(0, 1) for name, value in self.outcome.draws.items()}
        if n is None:
            return flat
        if self.kind == "point":
            return {name: value.repeat_interleave(n, 0) for name, value in flat.items()}
        if n > (total := len(next(iter(flat.values())))):
            raise OptionError("more draws than were made", argument="n", got=n, expected=f"at most {total}")
        with self.world(stream):
            chosen = torch.randperm(total, device="cpu")[:n]
        return {name: value[chosen.to(value.device)] for name, value in flat.items()}

    def _latent(self) -> bool:
        return self.outcome.draws is not None or self._guide_draws

    @functools.cached_property
    def _guide_draws(self) -> bool:
        with self.world("sites"):
            return self.pair.guide is not None and bool(draw_guide(self.pair, 1).values)

    @contextmanager
    def world(self, stream: str) -> Iterator[None]:
        """The isolated world of one call, its random stream named after the call."""
        seed = stream_seed(self.seed, "fit", stream)
        with isolated(seed=seed, dtype=self.dtype, device=self.device, store=self.pair.store):
            yield

    def data_tensors(self) -> dict[str, Tensor]:
        """The tensors among the arguments of the fit, by name or position."""
        return {name: value for name, value in self.pair.data.named().items() if isinstance(value, Tensor)}


def _more(summary: pd.DataFrame) -> str:
    """What is said of the rows that are not printed."""
    return f"({len(summary) - _ROWS} more in fit.summary())\n" if len(summary) > _ROWS else ""
