r"""Draws of the discrete sites that a sampler summed out, given its draws of the continuous ones.

With :math:`\theta` the continuous latent values of one draw and :math:`y` the data, the discrete sites :math:`z` are
drawn from :math:`p(z \mid \theta, y)`, jointly and exactly, by :mod:`ppzoo.inference.elimination`. In a hidden Markov
model this is forward filtering and backward sampling. As the sampler's draws of :math:`\theta` are from
:math:`p(\theta \mid y)`, the two together are from the joint posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from pyro import poutine
from torch import Tensor

from ppzoo.errors import FitError, ModelError
from ppzoo.inference.density import Density
from ppzoo.inference.draws import Mapped, Values, map_draws
from ppzoo.inference.mcmc.streams import chain_keys, uniforms
from ppzoo.inference.program import Pair, nodes_of, trace_of

__all__ = ["completed", "discrete_draws"]

_ELEMENTS = 10_000_000  # of all tables of the draws in hand: 80 MB in float64, and some two times that in passing


def completed(pair: Pair, density: Density, draws: Values, seed: int) -> tuple[Values, tuple[str, ...]]:
    """A sampler's draws with those of the discrete sites, and a note where these took long.

    Args, errors: As of :func:`discrete_draws`.
    """
    found = discrete_draws(pair, density, draws, seed)
    notes = () if found.vectorised else ("The discrete sites were drawn one draw at a time.",)
    return {**draws, **found.values}, notes


@torch.no_grad()
def discrete_draws(pair: Pair, density: Density, draws: Values, seed: int) -> Mapped:
    """For each draw of the continuous sites an exact joint draw of all finite discrete sites, given it and the data.

    Scales and masks count as they do in the density that was sampled. The numbers of a draw depend on the seed, on its
    chain's and its own number, and on its values alone.

    Args:
        pair: A program on its data.
        density: Its density, which says how they are summed out.
        draws: Values of every continuous latent site, ``(C, S, ...)``.
        seed: Of the uniform numbers.

    Returns:
        Values of each discrete site ``(C, S, ...)``, none if the program has none; and whether the program was mapped
        over the draws or run for one after the other.

    Raises:
        ModelError: If a continuous site has no draws.
        FitError: If the data are impossible, or their probability is no number, given one of the draws.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from ppzoo.datasets.arguments import Arguments
        >>> from ppzoo.inference.density import density_of
        >>> def model(x):
        ...     apart = pyro.sample("apart", dist.LogNormal(0.0, 1.0))
        ...     with pyro.plate("row", len(x)):
        ...         z = pyro.sample("z", dist.Bernoulli(0.5))
        ...         pyro.sample("x", dist.Normal(apart * z, 0.1), obs=x)
        >>> pair = Pair(model, model, Arguments((torch.tensor([0.0, 2.1]),), {}, {}, {}, ()))
        >>> discrete_draws(pair, density_of(pair), {"apart": torch.tensor([[1.9, 2.0, 2.2]])}, seed=0).values
        {'z': tensor([[[0., 1.], [0., 1.], [0., 1.]]])}
    """
    if not draws.keys() >= density.shapes.keys():
        raise ModelError(
            "lack a continuous latent site of the program",
            argument="draws",
            got=f"sites {', '.join(map(repr, draws)) or '(none)'}",
            expected=f"draws of {', '.join(map(repr, density.shapes))}",
        )
    if density.enumeration is None:
        return Mapped({}, vectorised=True)
    given = {name: draws[name].flatten(0, 1) for name in density.shapes}
    chains, length = next(draws[name].shape[:2] for name in density.shapes)
    elimination = density.enumeration.elimination
    tables = _tables(pair, density.plates, elimination.tables)
    keys = chain_keys(seed, chains, "discrete").to(next(iter(given.values())).device)
    found, mapped = list[Values](), True
    for rows in torch.arange(chains * length, device=keys.device).split(max(1, _ELEMENTS // elimination.elements)):
        filled = map_draws(tables, {name: value[rows] for name, value in given.items()}, len(rows))
        noise = torch.func.vmap(lambda key, number: uniforms(key, number, elimination.noise))
        index, evidence = elimination.draw(filled.values, noise(keys[rows // length], rows % length))
        _check(evidence, rows, length)
        found.append(density.enumeration.values(index))
        mapped = mapped and filled.vectorised
    together = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    return Mapped({name: value.unflatten(0, (chains, length)) for name, value in together.items()}, mapped)


def _tables(pair: Pair, plates: int, wanted: Collection[str]) -> Callable[[Values], Values]:
    """From continuous values to the log probability of each statement at every value of the sites that it knows."""

    def tables(values: Values) -> Values:
        conditioned = Pair(pair.owner, poutine.condition(pair.model, values), pair.data)
        program = poutine.enum(conditioned.enumerated(), first_available_dim=-1 - plates)
        trace = trace_of(program, pair.data)
        trace.compute_log_prob()
        nodes = nodes_of(trace)
        return {name: nodes[name]["log_prob"] for name in wanted}

    return tables


def _check(evidence: Tensor, rows: Tensor, length: int) -> None:
    if bool(torch.isfinite(evidence).all()):
        return
    first = int((~torch.isfinite(evidence)).nonzero()[0])
    chain, draw = divmod(int(rows[first]), length)
    raise FitError(
        "the discrete sites cannot be drawn: the data are impossible, or their probability is no number",
        argument="draws",
        got=f"log probability {evidence[first].item():g} at draw {draw} of chain {chain}",
        expected="draws with a finite log density",
        remedy="Look at that draw: a scale that reached zero, or data outside the support for its values.",
    )
