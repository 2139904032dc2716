"""Regression: a response explained by predictors, groups, or both.

The data come first, then what is unknown, in the order in which the model draws it:

=========== ======================================================= ==========
letter      meaning                                                 shape
=========== ======================================================= ==========
``x``       predictors, one row for each observation                ``(N, D)``
``y``       response                                                ``(N,)``
``X``       design matrix: a leading column of ones, then ``x``     ``(N, P)``
``beta``    coefficients, the intercept first                       ``(P,)``
``sigma``   standard deviation of the noise, where it is given      ``(N,)``
``sigma2``  variance of the noise, where it is unknown              scalar
``mu``      mean of a population of groups                          scalar
``tau``     standard deviation between groups                       scalar
``theta``   effect of each group                                    ``(J,)``
=========== ======================================================= ==========

``P = D + 1`` with an intercept, else ``P = D``. Rows lie in the plate ``"row"``; groups in a plate named after them
(``"school"``). A normal is written ``N(mean, sd)`` for a number and ``N(mean, covariance)`` for a vector. Precisions
are called ``precision`` and covariances ``covariance``, so that no letter ever means both.

In a hierarchy the same model can be written centred, ``theta ~ N(mu, tau)``, or non-centred, ``theta = mu + tau z``
with ``z ~ N(0, 1)``. Both have the same posterior of ``mu, tau, theta``; a sampler finds the second easier where the
data say little about each group, and the first where they say much.
"""
