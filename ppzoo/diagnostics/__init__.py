"""Whether to believe a fit: chains, approximations, and samples, each judged by numbers with a stated threshold.

Every file turns numbers into a :class:`~ppzoo.diagnostics.diagnosis.Diagnosis`. Letters: ``S`` draws in all, ``N``
rows of data; chains come as arrays ``(chain, draw)``. :mod:`ppzoo.diagnostics.arviz` is the one file that knows
ArviZ. Nothing here imports torch.
"""
