r"""Variational inference: the best approximation of a posterior within a family, found by gradient steps.

.. math:: \mathrm{ELBO}(\phi) = \mathbb{E}_{q_\phi(z)}[\log p(x, z) - \log q_\phi(z)] \le \log p(x)

* ``svi``: the method that users name. ``guides``: families by name, and whether a guide fits its program; ``flows``:
  those that bend; ``structured``: one with the program's own dependences; ``amortised``: one that encodes rows.
* ``runs``: what model and guide did. ``objectives``: what is maximised, as functions of some runs; ``divergences`` are
  its parts in closed form, ``bounds`` are by the runs' weights, ``summing`` is over discrete sites. ``losses``: which
  is for a pair.
* ``minibatch``: rows that stand for all. ``step``: loss and gradients, recorded once; ``remembering``: whether they may
  be.
* ``settling``: when a fit without a number of steps is done.
* ``trainers``: what takes steps with all replicas, as machine code or one operation after the other; ``noise``,
  ``optimisers`` and ``descent`` are their parts, ``course`` is how it goes.

Shapes: ``N`` rows of data, ``B`` rows of a step, ``K`` replicas, ``T`` steps. Losses are in nats.
"""
