"""Samplers and posteriors of the MCMC benchmark: one posterior in three languages, one file for each sampler.

A site has the same name, shape and constrained values in every language; the unconstrained coordinates are each
language's own. Draws are arrays ``(chain, draw, ...)`` by site. Letters: ``C`` chains, ``S`` kept draws per chain.
"""
