r"""Approximations without training: a mode, a normal around it, normals on the way to it, weights that mend draws.

.. math:: q(u) \approx \pi(u) = p(\mathrm{data}, t(u)) \prod_s |\det J_{t_s}(u_s)|,
          \qquad w = \frac{\pi(u)}{q(u)}, \quad u \sim q

* ``lbfgs``: many paths uphill as one batch. ``map_estimate``: the highest of their ends. ``laplace``: the normal with
  the curvature that the density has there. ``pathfinder``: normals from what the paths have seen, weighed together.
* ``values``: log densities of many points. ``importance``: any fit whose density is known, its draws weighed by the
  posterior's and drawn again.
* ``approximations``: the methods that users name and their options.

All of them know how far to trust themselves: paths that end elsewhere, weights with a heavy tail.

Letters: ``P`` paths, ``D`` coordinates, ``S`` draws; ``q`` a position, ``lp`` its log density, ``g`` its gradient. Log
densities and weights are in nats, and so is the evidence.
"""
