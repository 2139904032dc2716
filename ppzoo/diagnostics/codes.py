r"""Do the codes of an encoder say anything of the rows? Unused ones are no harm, but one must be in use.

With the mean :math:`\mu_k(x) = \mathbb{E}_{q(z | x)}[z_k]` of each code and the sd :math:`s_k` of its prior, a code is
in use ("active") where

.. math:: A_k = \mathrm{Var}_x(\mu_k(x)) / s_k^2 > 0.01.

Y. Burda, R. Grosse and R. Salakhutdinov, *Importance Weighted Autoencoders*, 2016, section 5.2,
https://arxiv.org/abs/1509.00519, where :math:`s_k = 1`. Where none is, the posterior is the prior for every row: the
weights of the guide are perfect and the loss is flat, so that nothing else in a diagnosis can see it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ppzoo.diagnostics.diagnosis import Diagnosis, Finding
from ppzoo.errors import DataError

__all__ = ["diagnose_codes"]

IN_USE = 0.01  # of the prior's variance


def diagnose_codes(means: ArrayLike, prior_sd: ArrayLike = 1.0) -> Diagnosis:
    """Count the codes in use.

    No code in use is ``"reject"``, like Markov chains that do not agree or draws that miss half of the modes, and not
    ``"caution"``: every row gets one and the same code, so what the codes are fitted for is not there to be used. The
    fit may even be the best there is, of rows that share no structure; its codes say nothing then, either.

    Args:
        means: Posterior mean of the codes of each row, ``(N, K)``.
        prior_sd: Standard deviation of each code under the prior, one number or ``(K,)``.

    Returns:
        A note of how many are in use, or a rejection where none is; the numbers ``codes`` and ``codes_in_use``.

    Raises:
        DataError: If ``means`` is no table of two rows or more.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> print(diagnose_codes(rng.normal(size=(500, 3)) * [0.9, 0.5, 0.01]).findings[0])
        [note] 2 of 3 codes are in use: the variance of a code's mean over the rows is above 1 % of its prior variance.
    """
    table = np.asarray(means, dtype=np.float64)
    if table.ndim != 2 or len(table) < 2 or table.shape[1] == 0:
        raise DataError(
            "must be a table of codes, a row for each row of the data",
            argument="means",
            got=f"shape {table.shape}",
            expected="shape (N, K) with N >= 2",
        )
    spread = table.var(0) / np.square(np.asarray(prior_sd, dtype=np.float64))
    K, used = table.shape[1], int((spread > IN_USE).sum())
    numbers = {"codes": float(K), "codes_in_use": float(used)}
    if not np.isfinite(table).all():
        remedy = "Lower the learning rate, clip the gradients, or scale the data."
        return Diagnosis((Finding("reject", "the codes of some rows are not finite", "", remedy),), numbers)
    rule = f"the variance of a code's mean over the rows is above {100 * IN_USE:g} % of its prior variance"
    if used:
        verb = "is" if used == 1 else "are"
        return Diagnosis((Finding("note", f"{used} of {K} codes {verb} in use", rule),), numbers)
    evidence = f"means vary over the rows by {spread.max():.1g} of the prior variance at most, {IN_USE:g} would be use"
    remedy = "Lower the learning rate (or beta), narrow the networks, take more steps or another seed."
    return Diagnosis((Finding("reject", "no code is in use, every row has the same", evidence, remedy),), numbers)
