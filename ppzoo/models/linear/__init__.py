"""Linear latent-variable models: an observation is a linear map of a small Gaussian code, plus noise.

========== ================================================= ==========
letter     meaning                                           shape
========== ================================================= ==========
``x``      observations, one row each                        ``(N, D)``
``z``      code of each row, a priori ``N(0, I)``            ``(N, K)``
``W``      loadings: what one unit of a code adds to ``x``   ``(D, K)``
``mu``     mean of the observations                          ``(D,)``
``sigma``  standard deviation of the noise                   scalar
``M``      ``W^T W + sigma^2 I``                             ``(K, K)``
``C``      ``W W^T + sigma^2 I``, the covariance of a row    ``(D, D)``
``S``      covariance of the data, divided by ``N``          ``(D, D)``
========== ================================================= ==========

``K`` is the option ``latents`` and always less than ``D``, the option ``features``. Rows lie in the plate ``"row"``.

The data see ``W`` only through ``W W^T``: for any rotation ``R`` the loadings ``W R`` explain them as well, with the
codes ``R^T z``. So compare subspaces, covariances or log likelihoods, never single loadings, unless the model says
that it has fixed the rotation.
"""
