"""The last checks at the door, of the program on its data.

For every method: it runs, and every observation lies in its site's support. For samplers: its latent sites and its
log density are the same whenever it runs, for they hang on the data and the latent values alone.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor
from torch.distributions import TransformedDistribution
from torch.distributions.constraints import Constraint, independent, real

from ppzoo.errors import DataError, ModelError
from ppzoo.inference.density import Density
from ppzoo.inference.program import Pair, Site, first_words, nodes_of, sites_of
from ppzoo.inference.start import near_zero
from ppzoo.isolation import random_state

__all__ = [
    "MatrixError",
    "check_program",
    "check_steady",
    "check_support",
    "failed_at_values",
    "family_of",
    "has_fixed_support",
    "is_checked",
    "levels_of",
    "support_of",
]

MatrixError: type[RuntimeError] = torch.linalg.LinAlgError  # type: ignore[attr-defined]  # it is there, undeclared
_COMES_AND_GOES = "is there in one run of the program and missing in another"
_ROUNDS = 20  # of a program that draws at random beside its sites
_REMEDY_SITES = (
    "Write the choice as a discrete site or a mask (poutine.mask); take sizes and numbers of sites from the data."
)
_REMEDY_VALUES = "Draw by pyro.sample only; keep random numbers, counters and changes of the data out of the program."
_REMEDIES = {
    "Bernoulli": "Bernoulli data are 0 or 1; use ContinuousBernoulli, Beta or Normal for other values.",
    "Poisson": "Counts are whole numbers >= 0.",
    "Categorical": "Categories are whole numbers from 0 up to the number of categories less one.",
}


def check_program(pair: Pair) -> tuple[Site, ...]:
    """Run the program once and hold every observation against the support of its site.

    Returns:
        The program's sites, in order.

    Raises:
        ModelError: If the program fails on the data.
        DataError: If an observation lies outside the support.
    """
    _check_runs(pair.model)
    sites = tuple(sites_of(pair.trace_model()))
    for site in sites:
        _check_name(site.name)
    elsewhere = {site.name: site for site in sites_of(pair.trace_model(near_zero))}
    for site in sites:
        if site.kind == "observed" and is_checked(site, elsewhere.get(site.name)):
            check_support(site)
    with pyro.validation_enabled(is_validate=False):  # values outside a support that moves are no error
        for site in sites_of(pair.trace_model()):
            _check_density(site)
    return sites


def _check_runs(program: Any) -> None:
    """Calling it runs its body, which a generator or coroutine leaves for later."""
    kinds = {"generator": inspect.isgeneratorfunction, "coroutine": inspect.iscoroutinefunction}
    kind = next((kind for kind, is_one in kinds.items() if is_one(program)), "")
    if kind:
        raise ModelError(
            "does not run when it is called",
            argument="model",
            got=f"a {kind} function",
            expected="a function whose call runs its statements",
            remedy="Leave out yield." if kind == "generator" else "Define it by def, not async def.",
        )


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise ModelError(
            "is not the name of a site",
            argument="model",
            got=repr(name),
            expected="text",
            remedy=f'Write pyro.sample("{name}", ...).',
        )


def check_steady(density: Density, points: Sequence[dict[str, Tensor]], *, tolerance: float) -> None:
    """Run the program at each point, and again: latent sites and log density are the same, or nobody can sample it.

    A program that leaves the global random generators as they are runs once more than there are points; one that draws
    beside its sites runs some more times, in case it rarely matters.

    Args:
        density: Of the program.
        points: Unconstrained values by site, at least one point.
        tolerance: Relative and absolute, of the log density.

    Raises:
        ModelError: If a latent site comes and goes or changes its shape, the log density changes or is complex, or the
            program fails at a point.
    """
    declared = sorted(site.name for site in density.sites if site.kind in ("latent", "discrete"))
    with random_state(0):
        before = _generators()
        first = _Look(density, points[0])
        for name in declared:
            if first.whole and name not in first.sites:
                raise _moves(name, _COMES_AND_GOES)
        for point in points[1:]:
            first.compare_sites(_Look(density, point))
        for _ in range(_ROUNDS):
            again = _Look(density, points[0])
            first.compare_sites(again)
            first.compare_values(again, tolerance)
            if _generators() == before:
                break


def failed_at_values(error: Exception) -> ModelError:
    """The error of a program that ran, and fails elsewhere."""
    return ModelError(
        "failed at values that its latent sites can take",
        argument="model",
        got=f"{type(error).__name__}: {first_words(error)}",
        expected="a log density wherever the supports of its sites allow, -inf where that is impossible",
        remedy="Say pyro.factor(name, -math.inf) there, or choose priors whose support leaves these values out.",
    )


class _Look:
    """One run of a program at given unconstrained values: its latent sites, and its log density.

    A matrix that cannot be decomposed there is no fault of the program: it has not run to the end, and no more.
    """

    def __init__(self, density: Density, u: dict[str, Tensor]) -> None:
        self.value = torch.tensor(torch.nan)
        self.whole, self.failure = False, None
        with poutine.trace() as messenger:
            try:
                self.value, self.whole = density.log_density(u).detach(), True
            except MatrixError:
                pass
            except Exception as error:  # noqa: BLE001  # the user's code may raise anything
                self.failure = error
        self.nodes = {name: node for name, node in nodes_of(messenger.trace).items() if node["type"] == "sample"}
        self.sites = {
            name: tuple(node["fn"].shape())
            for name, node in self.nodes.items()
            if not node["is_observed"] and not isinstance(node["fn"], _Subsample)
        }

    def compare_sites(self, other: _Look) -> None:
        """The other run has the same latent sites, and neither has failed."""
        for name in {**self.sites, **other.sites}:
            mine, theirs = self.sites.get(name), other.sites.get(name)
            if (mine is None or theirs is None) and self.whole and other.whole:
                raise _moves(name, _COMES_AND_GOES)
            if mine is not None and theirs is not None and mine != theirs:
                raise _moves(name, f"has shape {mine} in one run and {theirs} in another")
        for look in (self, other):
            if look.failure is not None:
                raise failed_at_values(look.failure) from look.failure
            if look.value.is_complex():
                raise ModelError(
                    "has a complex log density",
                    argument="model",
                    got=f"{look.value.item():.4g}",
                    expected="a real number",
                    remedy="Take the real part, or the squared modulus, inside of the program.",
                )

    def terms(self) -> dict[str, float]:
        """What each site adds to the log density."""
        return {name: float(node["fn"].log_prob(node["value"]).sum()) for name, node in self.nodes.items()}

    def compare_values(self, other: _Look, tolerance: float) -> None:
        """The log density is the same at the same values."""
        if torch.isclose(self.value, other.value, tolerance, tolerance, equal_nan=True):
            return
        mine, theirs = self.terms(), other.terms()
        changed = (name for name, term in mine.items() if term != theirs.get(name))
        raise ModelError(
            "has another log density each time it is computed at the same values",
            argument=next(changed, "model"),
            got=f"{self.value.item():.8g}, then {other.value.item():.8g} nats in all",
            expected="a function of the data and the latent values alone",
            remedy=_REMEDY_VALUES,
        )


def _moves(name: str, got: str) -> ModelError:
    return ModelError(
        "changes from run to run, and a sampler needs a fixed space",
        argument=name,
        got=f"a site that {got}",
        expected="the same latent sites of the same shapes, whatever is drawn",
        remedy=_REMEDY_SITES,
    )


def _generators() -> tuple[Any, ...]:
    """The state of every global random generator."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    legacy: Any = np.random.get_state()  # noqa: NPY002  # the global one is what a program draws from
    torches = [state.numpy().tobytes() for state in (torch.get_rng_state(), *cuda)]
    return (random.getstate(), legacy[1].tobytes(), legacy[2], *torches)


def _check_density(site: Site) -> None:
    """A log probability can be computed at all; whether it is finite depends on where inference starts."""
    try:
        site.distribution.log_prob(site.value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            "has a density that cannot be computed",
            argument=site.name,
            got=f"{site.value.dtype} values; {first_words(error)}",
            expected=f"values of a type and shape that {family_of(site.distribution)} takes",
            remedy="Integer labels need obs=y.float() for a Bernoulli; check types and shapes of the arguments.",
        ) from error


def has_fixed_support(site: Site, elsewhere: Site | None) -> bool:
    """Whether the support is the same for other latent values; one that moves (Uniform(0, theta)) is no error."""
    return elsewhere is not None and _bounds(site.distribution.support) == _bounds(elsewhere.distribution.support)


def _bounds(support: Any) -> list[Any]:
    """The numbers a constraint is made of."""
    found: list[Any] = [type(support)]
    for value in vars(support).values():
        if isinstance(value, Constraint):
            found += _bounds(value)
        elif isinstance(value, Tensor):
            found.append(value.tolist())
        elif isinstance(value, int | float):
            found.append(value)
    return found


def is_checked(site: Site, elsewhere: Site | None) -> bool:
    """Whether its observations are held against its support: it validates, and its support stays where it is."""
    return _validates(site.distribution) and has_fixed_support(site, elsewhere)


def check_support(site: Site) -> None:
    """Raise :class:`DataError` where the value of a site lies outside its support."""
    support = _of_an_entry(site.distribution.support)  # so that the message can name the entry
    inside: Tensor = support.check(site.value)
    if bool(inside.all()):
        return
    bad = (~inside).nonzero()
    where = tuple(int(i) for i in bad[0]) if inside.dim() else ()
    value = site.value[where] if where else site.value
    kind = family_of(site.distribution)
    raise DataError(
        "lies outside the support of its site",
        argument=site.name,
        got=f"{_show(value)} at index {where} ({len(bad) if inside.dim() else 1} such)",
        expected=f"{kind} data: {support_of(site)}",
        remedy=_REMEDIES.get(kind, "Check the data, or choose a likelihood for such values."),
    )


def _validates(fn: Any) -> bool:
    """A program that switches validation off at a site, at any level of its distribution, means it."""
    return all(level.__dict__.get("_validate_args") is not False for level in levels_of(fn))


def family_of(fn: Any) -> str:
    """The distribution as the user wrote it, without expansion, masks and ``to_event``."""
    levels = list(levels_of(fn))
    named = next((level for level in levels if isinstance(level, TransformedDistribution)), levels[-1])
    return type(named).__name__


def levels_of(fn: Any) -> Iterator[Any]:
    """A distribution, and what it is made of: without masks, without ``to_event``, without expansion."""
    yield fn
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
        yield fn


def is_real(support: Any) -> bool:
    """Whether a support has no ends in any direction."""
    return isinstance(_of_an_entry(support), type(real))


def _of_an_entry(support: Any) -> Any:
    """A support without ``to_event``."""
    while isinstance(support, independent):
        support = support.base_constraint
    return support


def support_of(site: Site) -> str:
    """The support of one entry, in words."""
    support = site.distribution.support
    return str(getattr(support, "base_constraint", support)).removesuffix("()")


def _show(value: Tensor) -> str:
    return f"{value.item():g}" if value.numel() == 1 else str(torch.round(value, decimals=3).tolist()[:5])
