r"""The references of the sampler benchmark, held against integrals that need no sampler.

Where all but a few coordinates are normal given the others, these are integrated out by linear algebra and the rest on
a grid: with :math:`\beta \sim N(0, Q_0^{-1})` and :math:`y \sim N(X \beta, \operatorname{diag} s^2)`,

.. math:: Q = Q_0 + X^\top S^{-2} X, \quad b = X^\top S^{-2} y, \quad \beta \mid y \sim N(Q^{-1} b, Q^{-1}), \quad
   \log p(y) = \tfrac12 \left(\log |Q_0| - \log |Q| - \log |S^2| + b^\top Q^{-1} b - y^\top S^{-2} y\right) + c

(Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, appendix A, https://gaussianprocess.org/gpml).
Letters: ``G`` points of the grid, ``K`` coefficients, ``N`` data.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FAR = 5.0  # Monte Carlo standard errors


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def conditioned(Q0, X, s, y):
    """Means ``(G, K)`` and variances ``(G, K)`` of the coefficients, and log evidence ``(G,)`` up to a constant."""
    W = X / s[..., None] ** 2
    Q = Q0 + np.swapaxes(W, -1, -2) @ X
    b = np.einsum("...nk,n->...k", W, y)
    covariance = np.linalg.inv(Q)
    mean = np.einsum("gkl,gl->gk", covariance, np.broadcast_to(b, covariance.shape[:2]))
    evidence = np.linalg.slogdet(Q0)[1] - np.linalg.slogdet(Q)[1] - np.log(s**2).sum(-1)
    evidence = evidence + (mean * b).sum(-1) - (y**2 / s**2).sum(-1)
    return mean, np.diagonal(covariance, axis1=1, axis2=2), evidence / 2


def mixed(weight, mean, variance):
    """Mean and sd ``(P,)`` of a mixture over the grid, given ``(G, P)``; log weights ``(G,)``."""
    w = np.exp(weight - weight.max())
    w /= w.sum()
    total = w @ mean
    return total, np.sqrt(w @ (variance + (mean - total) ** 2))


def grid(*axes):
    """Every combination, each axis as a vector ``(G,)``."""
    return [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]


def log_normal(log_value, location, scale):
    """The density of a log-normal in the logarithm of its value, so that a grid of logarithms needs no Jacobian."""
    return -(((log_value - location) / scale) ** 2) / 2


def eight_schools(y, sigma):
    """Given tau all is normal; tau = 5 tan(pi u / 2) with uniform u is half-Cauchy: the middle of 4,000 slices."""
    tau = 5 * np.tan(np.pi / 2 * (np.arange(4000) + 0.5) / 4000)
    X = np.concatenate((np.ones((len(tau), 8, 1)), tau[:, None, None] * np.eye(8)), -1)
    mean, variance, weight = conditioned(np.diag([1 / 25] + [1.0] * 8)[None], X, sigma, y)
    return mixed(weight, np.column_stack((mean[:, 0], tau, mean[:, 1:])), np.insert(variance, 1, 0.0, axis=1))


def radon(basement, uranium, county, log_radon):
    """Given spread and scale all is normal."""
    J, N = len(uranium), len(basement)
    X = np.column_stack((np.zeros((N, 2)), basement, county[:, None] == np.arange(J)))
    apart = np.column_stack((-np.ones(J), -uranium, np.zeros(J), np.eye(J)))
    means, variances, weights = [], [], []
    scale = np.linspace(0.6, 0.9, 40)
    for log_spread in np.linspace(-4.5, 0.5, 60):
        Q0 = np.diag([1 / 4, 1.0, 1.0] + [0.0] * J) + apart.T @ apart / np.exp(2 * log_spread)
        gram, b = X.T @ X, X.T @ log_radon
        Q = Q0 + gram / scale[:, None, None] ** 2
        covariance = np.linalg.inv(Q)
        mean = covariance @ b / scale[:, None] ** 2
        evidence = np.linalg.slogdet(Q0)[1] - np.linalg.slogdet(Q)[1] - 2 * N * np.log(scale)
        evidence = (evidence + mean @ b / scale**2 - log_radon @ log_radon / scale**2) / 2
        known = np.column_stack((np.full_like(scale, np.exp(log_spread)), scale))
        means.append(np.column_stack((mean[:, :3], known, mean[:, 3:])))
        diagonal = np.diagonal(covariance, axis1=1, axis2=2)
        variances.append(np.column_stack((diagonal[:, :3], 0 * known, diagonal[:, 3:])))
        weights.append(evidence + log_normal(log_spread, -1.5, 0.5) - scale**2 / 2)
    return mixed(np.concatenate(weights), np.concatenate(means), np.concatenate(variances))


def gaussian_process(x, y):
    """Three coordinates: all of them on a grid of logarithms."""
    log_rho, log_alpha, log_scale = grid(np.linspace(-3, 1, 48), np.linspace(-2, 2, 48), np.linspace(-3, 1, 48))
    weight = log_normal(log_rho, -1.0, 0.5) + log_normal(log_alpha, 0.0, 0.5) + log_normal(log_scale, -1.0, 0.5)
    squares, n = (x[:, None] - x) ** 2, len(x)
    for part in np.array_split(np.arange(len(weight)), 48):
        rho, alpha, scale = (np.exp(v[part])[:, None, None] for v in (log_rho, log_alpha, log_scale))
        factor = np.linalg.cholesky(alpha**2 * np.exp(-squares / (2 * rho**2)) + scale**2 * np.eye(n))
        white = np.linalg.solve(factor, np.broadcast_to(y[:, None], (len(part), n, 1)))[..., 0]
        weight[part] -= (white**2).sum(-1) / 2 + np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(-1)
    values = np.exp(np.column_stack((log_rho, log_alpha, log_scale)))
    return mixed(weight, values, np.zeros_like(values))


def state_space(y):
    """Given phi, tau and sigma the filter of Kalman and the smoother of Rauch, Tung and Striebel are exact."""
    phi, log_tau, log_sigma = grid(np.linspace(0.02, 0.9999, 40), np.linspace(-3.5, 1, 40), np.linspace(-2.5, 1, 40))
    weight = 7 * np.log(phi) + np.log1p(-phi) + log_normal(log_tau, -1.0, 0.5) + log_normal(log_sigma, -0.5, 0.5)
    noise, jitter = np.exp(2 * log_tau), np.exp(2 * log_sigma)
    m, v = np.zeros_like(phi), np.zeros_like(phi)
    filtered = []
    for y_t in y:
        ahead, spread = phi * m, phi**2 * v + noise
        total = spread + jitter
        weight = weight - ((y_t - ahead) ** 2 / total + np.log(total)) / 2
        m, v = ahead + spread / total * (y_t - ahead), spread * jitter / total
        filtered.append((m, v))
    smoothed = [filtered[-1]]
    for m, v in reversed(filtered[:-1]):
        spread = phi**2 * v + noise
        gain = phi * v / spread
        later, wide = smoothed[-1]
        smoothed.append((m + gain * (later - phi * m), v + gain**2 * (wide - spread)))
    mean, variance = (np.column_stack(part) for part in zip(*reversed(smoothed), strict=True))
    known = np.column_stack((phi, np.exp(log_tau), np.exp(log_sigma)))
    return mixed(weight, np.column_stack((known, mean)), np.column_stack((0 * known, variance)))


@pytest.mark.parametrize("integral", [eight_schools, radon, gaussian_process, state_space], ids=lambda f: f.__name__)
def test_a_reference_is_what_integration_gives(shared_data, integral):
    """z-tests of P means and P sds, 3 to 90 each; false alarm rate of all four 312 × 2Φ(−5) ≈ 2e-4 of references."""
    from harness.records import read
    from mcmc.posteriors import POSTERIORS
    from mcmc.records import reference_path

    model = integral.__name__
    found = read(reference_path(model))["moments"]
    mean, sd = integral(**POSTERIORS[model].data())
    assert len(found["names"]) == len(mean)
    mean_z = (np.array(found["mean"]) - mean) / found["mean_error"]
    sd_z = (np.array(found["sd"]) - sd) / found["sd_error"]
    assert np.abs(mean_z).max() < FAR, dict(zip(found["names"], mean_z, strict=True))
    assert np.abs(sd_z).max() < FAR, dict(zip(found["names"], sd_z, strict=True))


def test_the_reference_of_german_credit_is_that_of_inference_gym(shared_data):
    """z-tests of 25 means, and sds to 2 % (there are no errors of theirs); false alarm rate 25 × 2Φ(−5) ≈ 1e-5."""
    from harness.records import read
    from mcmc.records import reference_path

    file = shared_data / "inference_gym" / "ground_truth_german_credit_numeric_logistic_regression.json"
    theirs = {key: np.array(value) for key, value in json.loads(file.read_text(encoding="utf-8")).items()}
    ours = {key: np.array(value) for key, value in read(reference_path("german_credit"))["moments"].items()}
    error = np.hypot(ours["mean_error"], theirs["IDENTITY_MEAN_STANDARD_ERROR"])
    assert (np.abs(ours["mean"] - theirs["IDENTITY_MEAN"]) < FAR * error).all()
    assert np.abs(np.log(ours["sd"] / theirs["IDENTITY_STANDARD_DEVIATION"])).max() < 0.02


def test_the_reference_of_the_mixture_is_confirmed_by_another_sampler():
    """It has eight coordinates and no integral: a long run of another sampler passed the whole gate against it."""
    from harness.records import read
    from mcmc.records import reference_path

    found = read(reference_path("mixture"))
    run = found["confirmed"]["run"]
    assert found["confirmed"]["sampler"] != found["sampler"]
    assert run["failures"] == []
    assert run["ess"] > 10_000
    assert run["r_hat"] < 1.01


def test_integration_knows_a_conjugate_answer():
    """One datum y ~ N(beta, s), beta ~ N(0, 1): shrunk by 1 / (1 + s^2); its evidence is that of N(0, 1 + s^2)."""
    s = np.array([[0.5], [2.0]])
    mean, variance, evidence = conditioned(np.ones((1, 1, 1)), np.ones((2, 1, 1)), s, np.array([1.5]))
    assert np.allclose(mean[:, 0], 1.5 / (1 + s[:, 0] ** 2))
    assert np.allclose(variance[:, 0], s[:, 0] ** 2 / (1 + s[:, 0] ** 2))
    exact = [-(1.5**2) / (2 * (1 + v**2)) - math.log(1 + v**2) / 2 for v in (0.5, 2.0)]
    assert np.isclose(evidence[1] - evidence[0], exact[1] - exact[0])
