"""MAP, Laplace and Pathfinder as methods of a fit: what each is asked, and what it says of its answer.

All three follow paths uphill on the program's log density over unconstrained values, many as one batch. Finite discrete
sites are summed out; Laplace and Pathfinder draw them afterwards, exactly, given each draw of the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ppzoo.checks import check_choice, check_flag, check_integer
from ppzoo.diagnostics.approximation import FEWEST_WEIGHTS, diagnose_approximation
from ppzoo.diagnostics.diagnosis import Finding
from ppzoo.errors import FitError, ModelError
from ppzoo.inference.approximate.laplace import LARGEST, normal_at
from ppzoo.inference.approximate.map_estimate import MapEstimate, at_the_edge, map_estimate
from ppzoo.inference.approximate.pathfinder import pathfinder
from ppzoo.inference.approximate.values import Values
from ppzoo.inference.density import Density, density_of
from ppzoo.inference.discrete import completed
from ppzoo.inference.flat import FlatDensity, flatten
from ppzoo.inference.mcmc.options import held_parameters
from ppzoo.inference.mcmc.starts import starting_points
from ppzoo.inference.mcmc.streams import chain_keys, normals, uniforms
from ppzoo.inference.outcome import Outcome, Run
from ppzoo.inference.program import Pair, check_program_like
from ppzoo.rng import stream_seed

__all__ = ["MAP", "Laplace", "PathOptions", "Pathfinder"]

_MOST_PATHS = 2**12
_MOST_DRAWS = 2**24
_PATH_DRAWS = 1000  # of each path at least, to choose from
_CHOICE = 8  # draws made for each that is kept
_ENDINGS = {"exhausted": "had taken all its gradients", "stalled": "found no step that leads higher"}
_POINT = Finding(
    "caution",
    "the answer is a point: a mode, without uncertainty",
    "one value of each site",
    'Read no interval off it; use method="laplace", or MCMC, for one.',
)


@dataclass(frozen=True, kw_only=True)
class PathOptions:
    """The options that all methods by paths uphill share.

    Attributes:
        paths: Number of paths, each from its own starting point; at most 4,096.
        init: Where they start: ``"uniform"`` in (-2, 2) of each unconstrained coordinate, or draws of the ``"prior"``.

    Raises:
        OptionError: If one is outside its range.
    """

    name: ClassVar[str]
    prefers_float64: ClassVar[bool] = True
    needs_guide: ClassVar[bool] = False
    resumable: ClassVar[bool] = False
    streams: ClassVar[bool] = False

    paths: int = 8
    init: str = "uniform"

    def __post_init__(self) -> None:
        check_integer("paths", self.paths, maximum=_MOST_PATHS)
        check_choice("init", self.init, ("uniform", "prior"))

    def check_model(self, model: object) -> None:
        """Any program with a continuous latent site; a game has no posterior."""
        check_program_like(model, self.name)

    def begin(self, pair: Pair, run: Run, density: Density) -> tuple[FlatDensity, Tensor]:
        """The density over flat vectors, and where the paths start, ``(P, D)``.

        Raises:
            FitError: If 100 tries of some path found no finite density; the message holds the table of sites.
            ModelError: If the program has no continuous latent site, discrete ones that cannot be summed out, or its
                structure changes.
        """
        flat = flatten(density, torch.zeros((), dtype=run.dtype, device=run.device))
        keys = chain_keys(run.seed, self.paths, self.name).to(run.device)
        return flat, starting_points(self.init, flat, pair, keys, run.seed, min(self.paths, flat.at_once))


@dataclass(frozen=True, kw_only=True)
class MAP(PathOptions):
    r"""Options of a fit by maximum a posteriori: those of :class:`PathOptions`, and one.

    .. math:: \hat x = \arg\max_x \; p(\mathrm{data}, x)

    over the values as the program has them, in their supports: of Gamma(3, 2), the value 1. With ``jacobian=True`` it
    is the mode of the density over unconstrained values instead, where Laplace's normal stands: of Gamma(3, 2), the
    value 1.5. Both are as in Stan's ``optimize``.

    Attributes:
        jacobian: Whether the Jacobians of the way to the supports count.
    """

    name: ClassVar[str] = "map"

    jacobian: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("jacobian", self.jacobian)

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Climb from each start; the highest end is kept, and the parameters of the pair stay as they are."""
        pair.first_run()
        density = density_of(pair, jacobian=self.jacobian)
        flat, starts = self.begin(pair, run, density)
        found = map_estimate(flat, starts)
        notes = [flat.note, f"Mode of the density {'over unconstrained values' if self.jacobian else 'as declared'}."]
        if density.enumerates:
            notes.append("The discrete sites were summed out: the mode has no values of theirs.")
        return Outcome(
            draws=_one_chain(flat.constrain(found.position[None])),
            kind="point",
            numbers=_numbers(found),
            notes=tuple(notes),
            findings=(*held_parameters(pair), *_ends(found, flat), _POINT),
        )


@dataclass(frozen=True, kw_only=True)
class Laplace(PathOptions):
    """Options of a fit by Laplace's approximation: those of :class:`PathOptions`, and one.

    The normal stands at the highest mode of the density over unconstrained values, with the curvature that it has
    there: one D by D matrix, so at most 4,096 coordinates. Draws without a finite density are left out.

    Attributes:
        draws: Draws of the normal, whose importance weights give k-hat; 25 to 16,777,216.
    """

    name: ClassVar[str] = "laplace"

    draws: int = 4000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("draws", self.draws, minimum=FEWEST_WEIGHTS, maximum=_MOST_DRAWS, why="for k-hat needs a tail")

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Climb, look at the curvature and draw; the parameters of the pair stay as they are."""
        pair.first_run()
        density = density_of(pair)
        _check_size(density)
        flat, starts = self.begin(pair, run, density)
        found = map_estimate(flat, starts)
        _check_inside(found, flat)
        normal = normal_at(density, found.position)
        (key,) = chain_keys(run.seed, 1, self.name, "draws").to(run.device)
        n = self.draws * density.size
        z = normals(uniforms(key, key.new_zeros(()), n + n % 2))[:n].reshape(self.draws, density.size)
        q, log_q = normal.draw(z.to(flat.like))
        lp = Values(flat)(q)
        inside = torch.isfinite(lp)
        share = float(inside.double().mean())
        _check_share(share, self.draws)
        q, lp, log_q = q[inside], lp[inside], log_q[inside] - math.log(share)
        draws, slow = completed(pair, density, _one_chain(flat.constrain(q)), run.seed)
        return Outcome(
            draws=draws,
            kind="draws",
            statistics={"lp": lp[None], "log_q": log_q[None]},
            numbers={**_numbers(found), "log_evidence": found.log_density + normal.log_volume + math.log(share)},
            notes=(flat.note, *slow),
            findings=(*held_parameters(pair), *_ends(found, flat), *_outside(share)),
        )


@dataclass(frozen=True, kw_only=True)
class Pathfinder(PathOptions):
    """Options of a fit by Pathfinder: those of :class:`PathOptions`, and one.

    Zhang, Carpenter, Gelman and Vehtari, *Pathfinder: Parallel quasi-Newton variational inference*, 2022,
    https://jmlr.org/papers/v23/21-0889.html. Each path gives normals along its way, their best one draws, and of all
    paths' draws some are chosen by Pareto-smoothed importance weights, none twice.

    Attributes:
        draws: Draws that are kept, of eight times as many or more; at most 16,777,216.
    """

    name: ClassVar[str] = "pathfinder"

    draws: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("draws", self.draws, maximum=_MOST_DRAWS)

    def run(self, pair: Pair, run: Run) -> Outcome:
        """Follow the paths, weigh their draws and choose; the parameters of the pair stay as they are."""
        pair.first_run()
        density = density_of(pair)
        flat, starts = self.begin(pair, run, density)
        each = max(_PATH_DRAWS, -(-_CHOICE * self.draws // self.paths))
        seed = stream_seed(run.seed, self.name, "draws")
        found = pathfinder(flat, starts, seed=seed, draws=self.draws, draws_per_path=each)
        draws, slow = completed(pair, density, _one_chain(flat.constrain(found.draws)), run.seed)
        judged = diagnose_approximation(found.log_weights.double().numpy(force=True))
        lost = int((found.elbo == -torch.inf).sum())
        notes = [flat.note, *slow]
        if lost:
            notes.append(f"{lost} of {self.paths} paths found no normal, and gave no draws.")
        if len(found.draws) < self.draws:
            notes.append(f"Only {len(found.draws)} draws had a finite density.")
        return Outcome(
            draws=draws,
            kind="draws",
            statistics={"lp": found.log_p[None], "path": found.path[None]},
            numbers={
                "paths": float(self.paths),
                "gradients": float(found.gradients),
                "evaluations": float(found.evaluations),
                "k_hat": judged.numbers["k_hat"],
                "k_hat_threshold": judged.numbers["k_hat_threshold"],
            },
            notes=tuple(notes),
            findings=(*held_parameters(pair), *judged.findings),
        )


def _one_chain(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value[None] for name, value in values.items()}


def _numbers(found: MapEstimate) -> dict[str, float]:
    return {
        "log_density": found.log_density,
        "gradient_norm": found.gradient_norm,
        "converged": float(found.converged),
        "paths": float(len(found.agree)),
        "paths_agree": float(found.agree.sum()),
        "gradients": float(found.gradients),
    }


def _ends(found: MapEstimate, flat: FlatDensity) -> Iterator[Finding]:
    """What the ends of the paths say: no mode, a mode at infinity, several modes."""
    paths, agree = len(found.agree), int(found.agree.sum())
    if not found.converged:
        ending = _ENDINGS[found.ascent.endings[found.path]]
        evidence = f"the best of {paths} {ending}, at a gradient of norm {found.gradient_norm:.2g}"
        remedy = "Look for a scale that can reach zero, where a density may have no bound: keep it away by its prior."
        yield Finding("reject", "no path reached a mode", evidence, remedy)
    elif edge := at_the_edge(flat, found.position):
        evidence = f"going on along {', '.join(map(repr, edge[:5]))}, the density falls no more"
        remedy = "The mode lies at the edge of a support, or at none: choose a prior that keeps away from it, or MCMC."
        yield Finding("caution", "the paths went towards infinity in unconstrained space", evidence, remedy)
    elsewhere = sum(end == "converged" for end in found.ascent.endings) - agree
    if found.converged and elsewhere > 0:
        evidence = f"{agree} of {paths} paths ended at the highest"
        remedy = "A lower mode may hold more mass: compare with MCMC, whose chains start apart."
        yield Finding("caution", "there are several modes", evidence, remedy)


def _outside(share: float) -> Iterator[Finding]:
    if share < 1:
        evidence = f"{1 - share:.1%} of its draws, which were left out"
        yield Finding("caution", "the normal reaches where the density is not finite", evidence, "Run MCMC.")


def _check_share(share: float, draws: int) -> None:
    if share * draws < FEWEST_WEIGHTS:
        raise FitError(
            "hardly any draw of the normal has a finite density",
            argument="model",
            got=f"{share:.2%} of {draws:,}",
            expected=f"{FEWEST_WEIGHTS} draws at least",
            remedy='Use method="nuts", which stays where the density is finite.',
        )


def _check_inside(found: MapEstimate, flat: FlatDensity) -> None:
    if edge := at_the_edge(flat, found.position):
        raise FitError(
            "has no mode to stand at",
            argument="model",
            got=f"a density that falls no more along {', '.join(map(repr, edge[:5]))}, far out",
            expected="a mode inside of every support",
            remedy='Choose priors that keep away from the ends of supports; or use method="nuts".',
        )


def _check_size(density: Density) -> None:
    if density.size > LARGEST:
        raise ModelError(
            "has too many unknown numbers for a matrix of second derivatives",
            argument="model",
            got=f"{density.size:,}",
            expected=f"at most {LARGEST:,}",
            remedy='Use method="pathfinder", or method="svi" with guide="lowrank" or "normal".',
        )
