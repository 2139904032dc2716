"""Autoencoders: a latent code for each row, a network that decodes it, a network that guesses it.

====== ======================================================= ==========
letter meaning                                                 shape
====== ======================================================= ==========
``x``  observed rows, the data                                 ``(N, D)``
``z``  latent code of each row, standard normal a priori       ``(N, K)``
``f``  decoder: the row expected of a code, or its logits      ``(N, D)``
``m``  encoder: posterior mean of the code                     ``(N, K)``
``v``  encoder: log standard deviation of the code             ``(N, K)``
``s``  noise of a Gaussian decoder, one number                 ``()``
====== ======================================================= ==========

``N`` rows (the plate ``"row"``), ``D`` columns (``features``), ``K`` code dimensions (``latents``). Both ``x`` and
``z`` have one event dimension: a row and its code are one observation each.

The evidence ``log p(x)`` is an integral over ``z`` that nobody can do, so these models have no ``log_prob``: they have
lower bounds of it, in nats per row, that close in on it as more draws are spent. The encoder is shared by all rows
(amortised), so a new row is encoded without any fitting.
"""
