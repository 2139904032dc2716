"""Bugs in what is said of the draws: R-hat, effective sample sizes, errors, chains that are stuck or stay away."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["DIAGNOSES"]

RHAT, ESS = ("diagnostics/test_rhat.py",), ("diagnostics/test_ess.py",)
CONVERGENCE = ("diagnostics/test_convergence.py",)

DIAGNOSES = (
    Mutant(
        "R-hat without folding",
        "Chains that differ in spread alone agree.",
        "diagnostics/rhat.py",
        "return np.fmax(_split_rhat(draws.scores), _split_rhat(draws.folded))",
        "return _split_rhat(draws.scores)",
        RHAT,
    ),
    Mutant(
        "R-hat without splitting",
        "Chains are not halved: one that drifts agrees with itself.",
        "diagnostics/ranks.py",
        "self.halves = np.concatenate([draws[..., :n], draws[..., -n:]], axis=1) if n >= FEWEST_DRAWS // 2 else draws",
        "self.halves = draws",
        RHAT,
    ),
    Mutant(
        "R-hat without ranks",
        "Draws are taken for their normal scores.",
        "diagnostics/ranks.py",
        "return self._scatter(self._ordered, self._order)",
        "return self.halves",
        RHAT,
    ),
    Mutant(
        "R-hat with the variances upside down",
        "The variance within over that between.",
        "diagnostics/rhat.py",
        "z.mean(2).var(1, ddof=1) / _real(z.var(2, ddof=1).mean(1))",
        "z.var(2, ddof=1).mean(1) / _real(z.mean(2).var(1, ddof=1))",
        RHAT,
    ),
    Mutant(
        "superchains in the order of the chains",
        "Nested R-hat groups neighbours, whatever start they share.",
        "diagnostics/rhat.py",
        'return np.argsort(ids, kind="stable"), int(sizes[0])',
        "return np.arange(len(ids)), int(sizes[0])",
        RHAT,
    ),
    Mutant(
        "ESS of chains that never meet",
        "The variance between chains does not count.",
        "diagnostics/ess.py",
        "(covariance[:, [0]] + means.var(1, ddof=1)[:, None])",
        "covariance[:, [0]]",
        ESS,
    ),
    Mutant(
        "ESS without Geyer's end",
        "The sum of autocorrelations does not end where pairs turn negative.",
        "diagnostics/ess.py",
        "[pairs[:, :last] <= 0,",
        "[pairs[:, :last] <= -np.inf,",
        ESS,
    ),
    Mutant(
        "ESS of the tails of one side",
        "Only the lower tail counts.",
        "diagnostics/ess.py",
        "_TAILS = (0.05, 0.95)",
        "_TAILS = (0.05, 0.05)",
        ESS,
    ),
    Mutant(
        "MCSE too small by the root of two",
        "The error of a mean is that of twice as many draws.",
        "diagnostics/ess.py",
        "unit * x.std((1, 2), ddof=1) / np.sqrt(_ess(",
        "unit * x.std((1, 2), ddof=1) / np.sqrt(2 * _ess(",
        ESS,
    ),
    Mutant(
        "MCSE of the sd twice as large",
        "The error of the variance over the sd is taken for that of the sd.",
        "diagnostics/ess.py",
        "np.sqrt(np.maximum(error, 0) / variance) / 2)",
        "np.sqrt(np.maximum(error, 0) / variance))",
        ESS,
    ),
    Mutant(
        "stuck chains pass",
        "A chain counts as stuck only where every parameter is.",
        "diagnostics/convergence.py",
        "stuck = np.flatnonzero(few.any(0))",
        "stuck = np.flatnonzero(few.all(0))",
        CONVERGENCE,
    ),
    Mutant(
        "chains that stay away pass",
        "A chain in another mode is not named.",
        "diagnostics/convergence.py",
        "apart = [found for found in measured.outliers if found.chain not in stuck]",
        "apart = [found for found in measured.outliers if found.chain in stuck]",
        CONVERGENCE,
    ),
    Mutant(
        "R-hat may be 1.1",
        "The threshold is that of thirty years ago.",
        "diagnostics/convergence.py",
        "R_HAT = 1.01",
        "R_HAT = 1.1",
        CONVERGENCE,
    ),
    Mutant(
        "one chain passes",
        "A single chain is not cautioned.",
        "diagnostics/convergence.py",
        "    if chains == 1:\n",
        "    if chains == 0:\n",
        CONVERGENCE,
    ),
    Mutant(
        "draws that are no numbers pass",
        "NaN among the draws is not said.",
        "diagnostics/convergence.py",
        "bad = (~np.isfinite(x)).sum(2)",
        "bad = np.isinf(x).sum(2)",
        CONVERGENCE,
    ),
    Mutant(
        "a chain's divergences are averaged away",
        "A chain that diverges throughout is not named among many.",
        "diagnostics/sampler.py",
        "of_chain > binom.isf(FALSE_ALARM / chains, length, DIVERGENT_SHARE)",
        "of_chain > length",
        ("diagnostics/test_sampler.py",),
    ),
)
