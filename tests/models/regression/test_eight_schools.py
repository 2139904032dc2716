"""Eight schools: the log joint is the textbook's, and both forms are one model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pyro import poutine
from scipy import stats
from torch import Tensor

from ppzoo.errors import DataError, OptionError
from ppzoo.models.regression.eight_schools import EightSchools

Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], dtype=torch.float64)
SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], dtype=torch.float64)


def _latents(seed: int, device: str = "cpu") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mu, log_tau, *z = torch.randn(10, generator=generator, dtype=torch.float64).unbind()
    latents = {"mu": 4 * mu, "tau": log_tau.exp(), "z": torch.stack(z)}
    latents["theta"] = latents["mu"] + latents["tau"] * latents["z"]
    return {name: value.to(device) for name, value in latents.items()}


def _log_joint(centred: bool, latents: dict[str, Tensor], device: str = "cpu") -> float:
    free = {name: latents[name] for name in ("mu", "tau", "theta" if centred else "z")}
    program = poutine.condition(EightSchools(centred=centred).model, data=free)
    trace = poutine.trace(program).get_trace(Y.to(device), SIGMA.to(device))
    return float(trace.log_prob_sum())


@pytest.mark.parametrize("seed", range(5))
def test_log_joint_is_the_textbooks(seed: int, device: str) -> None:
    """Centred log joint against scipy, 1e-10 relative."""
    latents = _latents(seed, device)
    mu, tau, theta = (latents[name].cpu().numpy() for name in ("mu", "tau", "theta"))
    expected = (
        stats.norm(0, 5).logpdf(mu)
        + stats.halfcauchy(scale=5).logpdf(tau)
        + stats.norm(mu, tau).logpdf(theta).sum()
        + stats.norm(theta, SIGMA.numpy()).logpdf(Y.numpy()).sum()
    )
    assert _log_joint(True, latents, device) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_forms_differ_by_the_jacobian(seed: int) -> None:
    """p(mu, tau, z, y) = p(mu, tau, theta, y) tau^8."""
    latents = _latents(seed)
    jacobian = 8 * float(latents["tau"].log())
    assert _log_joint(False, latents) == pytest.approx(_log_joint(True, latents) + jacobian, rel=1e-10)


@pytest.mark.parametrize("centred", [False, True])
def test_any_number_of_schools_in_their_dtype(centred: bool, seeded: None) -> None:
    trace = poutine.trace(EightSchools(centred=centred).model).get_trace(Y[:3], SIGMA[:3])
    values = {name: torch.as_tensor(trace.nodes[name]["value"]) for name in ("mu", "tau", "theta", "y")}
    assert {value.dtype for value in values.values()} == {torch.float64}
    assert values["theta"].shape == (3,)
    assert [frame.name for frame in trace.nodes["y"]["cond_indep_stack"]] == ["school"]


def test_score_is_zero_on_average_over_reference_draws(shared_data: Path) -> None:
    """E[d log p / d mu, log tau, z] = 0 over 10,000 draws that Stan made; |t| < 5 for 10 numbers: 1 in 170,000."""
    folder = shared_data / "posteriordb" / "eight_schools-eight_schools_noncentered"
    with np.load(folder / "draws.npz", allow_pickle=False) as stored:
        names, draws = stored["names"].tolist(), stored["draws"].reshape(-1, len(stored["names"]))
    column = {name: torch.tensor(draws[:, [i]], dtype=torch.float64) for i, name in enumerate(names)}
    mu, log_tau = column["mu"].requires_grad_(), column["tau"].log().requires_grad_()
    theta = torch.cat([column[f"theta[{j}]"] for j in range(1, 9)], dim=1)
    z = ((theta - mu) / log_tau.exp()).detach().requires_grad_()
    program = poutine.condition(EightSchools().model, data={"mu": mu, "tau": log_tau.exp(), "z": z})
    log_p = poutine.trace(program).get_trace(Y, SIGMA).log_prob_sum() + log_tau.sum()
    score = torch.cat(torch.autograd.grad(log_p, (mu, log_tau, z)), dim=1).numpy()
    t = score.mean(0) / (score.std(0, ddof=1) / np.sqrt(len(score)))
    assert np.abs(t).max() < 5


@pytest.mark.parametrize(
    ("y", "sigma", "message"),
    [
        (Y[:1], SIGMA[:1], r"y: has too few rows; got 1 row; expected at least 2 rows"),
        (Y, SIGMA[:7], r"sigma: has the wrong length; got shape \(7,\); expected shape \(8,\), as y"),
        (Y, -SIGMA, r"sigma: must be positive; got -15 at index \(0,\) \(8 such\)"),
        (Y, SIGMA * 0, r"sigma: must be positive"),
        (Y[None], SIGMA, r"y: must have one dimension; got shape \(1, 8\)"),
    ],
)
def test_check_names_what_is_wrong(y: Tensor, sigma: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        EightSchools().check(y, sigma)


def test_check_accepts_the_data() -> None:
    EightSchools().check(Y, SIGMA)


def test_options_are_checked() -> None:
    with pytest.raises(OptionError, match="centred: not a flag; got 'yes'"):
        EightSchools(centred="yes")  # type: ignore[arg-type]  # the wrong type is the point
