"""Flows: an invertible map carries a normal code to a row, so the density of the row is known exactly.

====== ======================================================= ==========
letter meaning                                                 shape
====== ======================================================= ==========
``x``  observed rows, the data                                 ``(N, D)``
``z``  base code of each row, standard normal, as wide as x    ``(N, D)``
``f``  the map, ``x = f(z)``, a chain of invertible layers
``J``  its Jacobian ``dx/dz``, of which only log|det| is used  ``(D, D)``
``s``  log scales that a coupling layer predicts               ``(N, D - d)``
``t``  shifts that a coupling layer predicts                   ``(N, D - d)``
====== ======================================================= ==========

``N`` rows (the plate ``"row"``), ``D`` columns (``features``), ``d`` the columns that a layer leaves as they are. The
density follows from the change of variables, ``log p(x) = log N(z; 0, I) - log|det J|`` at ``z = f^-1(x)``, in nats.

Nothing is latent: the one site ``x`` is observed with an exact density and the guide is empty, so SVI is maximum
likelihood and its loss is the negative log likelihood. Layers are ``pyro.distributions.transforms``.
"""
