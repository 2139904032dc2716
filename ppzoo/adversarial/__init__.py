"""Games: a generator draws, a critic tells draws from data, and each is the other's loss.

====== ======================================================= ==================
letter meaning                                                 shape
====== ======================================================= ==================
``x``  rows of data                                            ``(N, features)``
``z``  noise that the generator starts from, standard normal   ``(n, K)``
``G``  generator: a row for each noise                         ``(n, features)``
``D``  critic: a logit for each row, positive for "data"       ``(n, 1)``
====== ======================================================= ==================

``N`` rows of data, ``n`` draws, ``K`` numbers of noise (``latents``). A draw is ``G(z)``: all the randomness is in
``z``, so where ``z`` is narrower than a row the draws fill a surface and have no density. A game is therefore no
Pyro program. It has no ``model`` and no ``guide``, SVI and NUTS refuse it, and it lives in a room of its own with a
contract of its own (:class:`ppzoo.contracts.Game`): the parameters of two players and a loss for each, which
``method="adversarial"`` lowers in turn.

Neither loss says how good the draws are: both only measure one player against the other. Whether the generator
reaches all of the data is asked of its draws, by :mod:`ppzoo.diagnostics.samples`.
"""
