"""Draws of a guide with their importance weights: what the verdict, corrected estimates and leave-one-out rest on.

Shapes: ``S`` draws, ``N`` rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppzoo.diagnostics import loo
from ppzoo.diagnostics.approximation import is_borderline, is_usable, k_hat_threshold, pareto_k
from ppzoo.diagnostics.arviz import scalars
from ppzoo.diagnostics.reweighting import weighted_estimates
from ppzoo.errors import FitError, ModelError
from ppzoo.inference.draws import common_plate, log_weights
from ppzoo.inference.program import sites_of
from ppzoo.tree import weighed_tree
from ppzoo.weighing_streamed import streamed_weights

if TYPE_CHECKING:
    import pandas as pd
    from arviz_stats.utils import ELPDData

    from ppzoo.result import Fit

__all__ = ["Weighed", "can_correct", "corrected_estimates", "leave_one_out", "weigh", "weighed_scalars"]

_DRAWS, _MOST = 4000, 64_000  # draws behind k-hat, which is noisy; and where it is near a threshold
_TIMES = 4  # as many draws in the next attempt: the error of k-hat falls by 0.7
_NUMBERS = 20_000_000  # at once, in all draws: of latent and observed sites in another attempt, of what is shown
_FEWEST = 200  # draws, however many numbers each has
_ROW_DRAWS = 200_000  # in all, where every row has weights of its own


@dataclass(frozen=True, eq=False)
class Weighed:
    """Independent draws of a guide, and how much more probable each is under the posterior.

    Attributes:
        log_weights: ``log p(x, z) - log q(z)`` in nats, ``(S,)``; ``(S, N)`` where rows are independent of each other.
        draws: Of each latent site, ``(S, ...)``.
    """

    log_weights: NDArray[np.float64]
    draws: dict[str, Tensor]

    @property
    def is_point(self) -> bool:
        """Whether all draws are one: the guide is no distribution."""
        return all(bool((value == value[:1]).all()) for value in self.draws.values())

    def first(self, n: int) -> Weighed:
        """The first of them, ``n`` at most."""
        return Weighed(self.log_weights[:n], {name: value[:n] for name, value in self.draws.items()})


def weigh(fit: Fit) -> Weighed | None:
    """Draws and weights of a fit's guide, 4,000 of them and up to 64,000 where k-hat is near a threshold.

    ``None`` where a fit has no guide, or no weights, as with a discrete site that cannot be summed out.
    """
    if fit.kind != "draws":
        return None
    with fit.world("sites"):
        sites, plate = list(sites_of(fit.pair.trace_model())), common_plate(fit.pair)
    sizes = {name: size for site in sites for name, _, size in site.plates}
    first = _DRAWS if plate is None else min(_DRAWS, max(_FEWEST, _ROW_DRAWS // sizes[plate]))
    found = _weighed(fit, first, 0)
    numbers = sum(site.value.numel() for site in sites)
    attempt = 0
    while (
        found is not None
        and fit.pair.data.source is None
        and _hesitates(found)
        and (more := _TIMES * len(found.log_weights)) <= _MOST
    ):
        if more * numbers > _NUMBERS:
            break
        attempt += 1
        added = _weighed(fit, more - len(found.log_weights), attempt)
        found = found if added is None else _joined(found, added)
    return found


def can_correct(fit: Fit) -> bool:
    """Whether estimates of a fit can be corrected by weights."""
    found = fit.weighed
    if found is None or found.is_point or found.log_weights.ndim != 1:
        return False
    return is_usable(pareto_k(found.log_weights), len(found.log_weights))


def corrected_estimates(fit: Fit) -> pd.DataFrame:
    """What the weights make of the guide's draws, one row for each scalar; see :meth:`ppzoo.Fit.summary`.

    Raises:
        ModelError: The fit has no weights of whole draws.
        FitError: Its weights are useless: k-hat is above the threshold.
    """
    return weighted_estimates(*weighed_scalars(fit, _usable(fit, "correct estimates")))


def weighed_scalars(
    fit: Fit, found: Weighed, *, continuous: bool = False
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Weights of draws, ``(S,)``, and each scalar of latent and deterministic sites, ``(S,)``.

    Not all of the draws, where these would take too much room.

    Args:
        fit: The fit.
        found: Its weighed draws.
        continuous: Leave out what is not.
    """
    few = found.first(_affordable(fit, {"latent", "discrete", "deterministic"}))
    drawn = scalars(weighed_tree(fit, few.draws), continuous=continuous)
    return few.log_weights, {name: draws[0] for name, draws in drawn.items()}


def leave_one_out(fit: Fit, var_name: str | None) -> ELPDData:
    """PSIS-LOO of a fit; see :meth:`ppzoo.Fit.loo`.

    Raises:
        ModelError: The fit has no posterior, no pointwise likelihood, or no weights of whole draws.
        OptionError: ``var_name`` is not the name of an observed site.
    """
    if fit.kind == "mcmc":
        return loo.leave_one_out(fit.to_arviz(), var_name=var_name)
    found = _whole(fit, "leave observations out")
    few = found.first(_affordable(fit, {"observed"}))
    tree = weighed_tree(fit, few.draws, pointwise=True)
    return loo.leave_one_out(tree, var_name=var_name, log_weights=few.log_weights)


def _affordable(fit: Fit, kinds: set[str]) -> int:
    """How many draws of the sites of these kinds there is room for."""
    with fit.world("sites"):
        numbers = sum(site.value.numel() for site in sites_of(fit.pair.trace_model()) if site.kind in kinds)
    return max(_FEWEST, _NUMBERS // max(1, numbers))


def _usable(fit: Fit, verb: str) -> Weighed:
    """The draws and weights of a fit, where estimates may be made with them."""
    found = _whole(fit, verb)
    draws, k = len(found.log_weights), pareto_k(found.log_weights)
    if not is_usable(k, draws):
        raise FitError(
            f"is too far from the posterior for importance weights to {verb}",
            argument="fit",
            got=f"k-hat {k:.2f} of {draws:,} draws",
            expected=f"at most {k_hat_threshold(draws):.2f}",
            remedy="Use a richer guide, take more steps, or run MCMC.",
        )
    return found


def _whole(fit: Fit, verb: str) -> Weighed:
    """The draws and weights of a fit, where there is one weight for all that is drawn at once."""
    remedy = "This needs a guide with a density: svi with a guide other than 'delta', or an exact fit."
    found = fit.weighed
    if found is None or found.is_point or found.log_weights.ndim != 1:
        if found is None:
            got = f"a fit by {fit.method.name} without weights"
        else:
            got = "a guide that is a point" if found.is_point else "weights of each row by itself"
        raise ModelError(
            f"has no importance weights to {verb} with",
            argument="fit",
            got=got,
            expected="one weight for each draw of all latent sites",
            remedy=remedy,
        )
    return found


def _weighed(fit: Fit, n: int, attempt: int) -> Weighed | None:
    source = fit.pair.data.source
    with fit.world(f"weights {attempt}" if attempt else "weights"):
        found = log_weights(fit.pair, n) if source is None else streamed_weights(fit, source, n)
    return None if found is None else Weighed(found[0].double().numpy(force=True), found[1])


def _hesitates(found: Weighed) -> bool:
    return found.log_weights.ndim == 1 and not found.is_point and is_borderline(found.log_weights)


def _joined(one: Weighed, other: Weighed) -> Weighed:
    draws = {name: torch.cat([value, other.draws[name]]) for name, value in one.draws.items()}
    return Weighed(np.concatenate([one.log_weights, other.log_weights]), draws)
