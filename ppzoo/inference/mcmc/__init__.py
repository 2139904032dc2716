"""Markov chain Monte Carlo: samplers of a posterior, given the program's log density. All chains are one batch.

* ``kernel``: what a sampler's file offers (``State``, ``Info``, ``Noise``, ``init``, ``step``), for one chain and one
  gradient at a time. ``nuts``, ``hmc``, ``chees`` and ``mams`` are four; ``integrator`` and ``uturn`` they share.
* ``machine`` advances all chains of a kernel many steps: as machine code, or replayed operation by operation.
* ``streams``: counter-based noise, so that a chain's numbers depend on the seed and its own number.
* ``adaptation``, ``metric`` and ``warmup`` learn step size and metric outside every kernel's state.
* ``starts``: where chains begin. ``engine``: one run, from a program to draws and statistics, kept while they are made;
  ``thinning`` says which.
* ``samplers``: the methods that users name; ``options``: what they are asked, and its checks.
* ``pyro_nuts`` runs Pyro's own kernel chain after chain, for reference.

Letters: ``C`` chains, ``D`` coordinates, ``K`` doublings of a tree; ``q`` position, ``p`` momentum, ``lp`` log density,
``g`` its gradient.
"""
