"""A program as a flat graph of tensor operations: traced for one chain, simplified, then mapped over all chains.

Letters: ``C`` chains, ``D`` coordinates of the unconstrained space. A graph of one chain takes tensors without a chain
dimension; a mapped graph takes the same tensors with the chains first, ``(C, ...)``. The order matters: tracing first
removes Pyro's Python, enumeration included, and what is left are plain operations that any number of chains can share.
"""
