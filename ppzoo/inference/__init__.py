"""How a model is fitted: one file, one algorithm.

A method is a frozen value that carries its options (``SVI(steps=2000)``, ``NUTS(chains=4)``) and has one verb,
``run(pair, run) -> Outcome``. A :class:`~ppzoo.inference.program.Pair` is a program, its guide and everything they
learn; an :class:`~ppzoo.inference.outcome.Outcome` is what came of a run: chains of draws, or a trained pair, with
losses, statistics and findings. Methods never import a concrete model; they look for the contracts it implements.

Samplers and whatever else looks at a posterior stand on its log density: ``density`` has it over named unconstrained
values, ``flat`` over one vector per chain, by the fastest of three roads; ``graph`` traces and simplifies, ``native``
compiles, ``mcmc`` samples. ``variational`` trains a guide, ``approximate`` finds a mode and normals near it, and
weighs draws.

Shapes: ``S`` draws, ``C`` chains, ``N`` rows. Log densities, losses and bounds are in nats.
"""
