"""The zoo: one file is one model, one folder is one family.

A model is a :class:`pyro.nn.PyroModule` named as its paper names it. The file opens with the equation and its source;
the code below looks like the equation. What a model can do is what it implements (:mod:`ppzoo.contracts`):

* ``model(x)`` tells the generative story, ``guide(x)`` (where there is one) the posterior that fits it;
* ``check(x)`` says before any computation whether the data can be used;
* ``log_prob(x)`` and ``sample(n)`` where the density is known, ``encode(x)`` where an observation has a code;
* ``solve(x)`` where the answer is closed, ``initialise``, ``e_step`` and ``m_step`` where EM applies.

Letters and shapes that hold in every family; each family's own ``__init__`` adds its few:

====== ===================================================== ==================
letter meaning                                               shape
====== ===================================================== ==================
``x``  table of observations, or of predictors               ``(N, D)``
``y``  response, one number for each row                     ``(N,)``
``z``  latent code or assignment of each row                 ``(N, K)``, ``(N,)``
``N``  rows; the plate ``"row"``
``D``  columns of ``x``; the option ``features``
``K``  latent dimensions (``latents``) or ``components``
====== ===================================================== ==================

Plates are named by what they run over, and those names are the dims of the results. Options are keyword-only and
plain values. Parameters live on the object, never in Pyro's global store, and no model draws or keeps anything when it
is imported. Models know nothing of how they are fitted: nothing in here imports :mod:`ppzoo.inference`.
"""
