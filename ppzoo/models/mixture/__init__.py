"""Mixtures: each row comes from one of a few components, and which one is unknown.

=============== ====================================================== =============
letter          meaning                                                shape
=============== ====================================================== =============
``x``           observations, one row each                             ``(N, D)``
``z``           component of each row, ``0 .. K-1``                    ``(N,)``
``weights``     probability of each component, adds up to one          ``(K,)``
``loc``         mean of each component                                 ``(K, D)``
``scale``       standard deviations of a component, column by column   ``(K, D)``
``scale_tril``  lower Cholesky factor of a component's covariance      ``(K, D, D)``
``r``           responsibilities ``p(z_n = k | x_n)``, rows add to 1   ``(N, K)``
=============== ====================================================== =============

``K`` is the option ``components``, ``D`` the option ``features``. Rows lie in the plate ``"row"``; components and
columns, where they are drawn, in ``"component"`` and ``"feature"``.

``z`` is always summed out, by Pyro's parallel enumeration or by a log-sum-exp, which are the same number:
``p(x_n) = sum_k weights_k N(x_n; loc_k, covariance_k)``. So no guide has to guess it, and NUTS never sees it.

The components carry no names: permuting them changes nothing that can be observed. Compare densities, or sort the
components first. And the likelihood has no maximum: a component that sits on one row and shrinks makes it as large as
you like. Maximum likelihood therefore bounds the covariances from below; a prior does it in the Bayesian model.
"""
