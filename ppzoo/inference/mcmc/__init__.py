"""Markov chain Monte Carlo: samplers of a posterior, given the program's log density.

``pyro_nuts`` runs Pyro's own kernel chain after chain, in this process, and records what Pyro leaves out (energy,
tree depth, number of gradients, step size per draw).
"""
