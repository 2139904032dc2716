"""Bugs in what is sampled: the density of a program, the roads to it, the sums over discrete sites."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["DENSITIES"]

DENSITY, FLAT = ("inference/test_density.py",), ("inference/test_flat.py",)
SIMPLIFY = ("inference/graph/test_simplify.py",)

DENSITIES = (
    Mutant(
        "jacobian dropped",
        "The density of the constrained values is taken for that of the unconstrained ones.",
        "inference/density.py",
        "return self._log_prob(trace) + sum((j.sum() for j in jacobians), torch.zeros(()))",
        "return self._log_prob(trace)",
        DENSITY,
    ),
    Mutant(
        "jacobian with the wrong sign",
        "The Jacobian of the inverse transform is added.",
        "inference/density.py",
        "self.log_jacobians.append(transform.log_abs_det_jacobian(u, x))",
        "self.log_jacobians.append(-transform.log_abs_det_jacobian(u, x))",
        DENSITY,
    ),
    Mutant(
        "jacobian twice",
        "Each Jacobian counts twice.",
        "inference/density.py",
        "self.log_jacobians.append(transform.log_abs_det_jacobian(u, x))",
        "self.log_jacobians.append(2 * transform.log_abs_det_jacobian(u, x))",
        DENSITY,
    ),
    Mutant(
        "bounds of the first run",
        "A support that depends on another site keeps the bounds that it had when the program first ran.",
        "inference/density.py",
        'def _pyro_sample(self, msg: dict[str, Any]) -> None:\n        u = self._u.get(msg["name"])\n'
        '        if u is None or msg["is_observed"]:\n            return\n'
        '        transform = biject_to(msg["fn"].support)\n',
        'def _pyro_sample(self, msg: dict[str, Any], first: Any = {}) -> None:\n        u = self._u.get(msg["name"])\n'
        '        if u is None or msg["is_observed"]:\n            return\n'
        '        transform = first.setdefault(msg["name"], biject_to(msg["fn"].support))\n',
        DENSITY,
    ),
    Mutant(
        "factors dropped",
        "pyro.factor adds nothing to the density.",
        "inference/density.py",
        'u = self._u.get(msg["name"])\n',
        'u = self._u.get(msg["name"])\n        msg["mask"] = False if isinstance(msg["fn"], Unit) else msg["mask"]\n',
        DENSITY,
    ),
    Mutant(
        "data dropped",
        "Observed sites add nothing to the density: the prior is sampled.",
        "inference/density.py",
        'u = self._u.get(msg["name"])\n',
        'u = self._u.get(msg["name"])\n        msg["mask"] = False if msg["is_observed"] else msg["mask"]\n',
        DENSITY,
    ),
    Mutant(
        "scales ignored",
        "A site inside of poutine.scale counts once.",
        "inference/density.py",
        'u = self._u.get(msg["name"])\n',
        'u = self._u.get(msg["name"])\n        msg["scale"] = 1.0\n',
        DENSITY,
    ),
    Mutant(
        "gradient with the wrong sign",
        "The gradient is that of the potential energy.",
        "inference/density.py",
        "torch.autograd.grad(value, list(leaves.values()), allow_unused=True)",
        "torch.autograd.grad(-value, list(leaves.values()), allow_unused=True)",
        DENSITY,
    ),
    Mutant(
        "data of all chains dropped from a batch",
        "Where chains are a batch dimension, terms that no chain changes are left out of the density.",
        "inference/density.py",
        "return value + sum((term.sum() for term in shared), q.new_zeros(()))",
        "return value",
        FLAT,
    ),
    Mutant(
        "gradient of a batch with the wrong sign",
        "Where chains are a batch dimension, the gradient is that of the potential energy.",
        "inference/flat.py",
        "(gradient,) = torch.autograd.grad(value.sum(), leaf)",
        "(gradient,) = torch.autograd.grad(-value.sum(), leaf)",
        FLAT,
    ),
    Mutant(
        "roads unchecked",
        "A traced density is not compared with the program: one branch is taken for all values.",
        "inference/flat.py",
        "            _check(function, program, points)\n",
        "",
        FLAT,
    ),
    Mutant(
        "a matrix that fails ends the run",
        "A traced Cholesky factor raises for all chains where it should be NaN for one.",
        "inference/graph/tracing.py",
        "_in_parts() | _failing_softly()",
        "_in_parts()",
        ("inference/graph/test_tracing.py",),
    ),
    Mutant(
        "simplified 0 - x is x",
        "A rule of the simplifier forgets the sign.",
        "inference/graph/simplify.py",
        "return self.call(_aten.neg.default, (c,), {}, like) if _alike(c, like) and _uniform(x) == 0 else None",
        "return c if _alike(c, like) and _uniform(x) == 0 else None",
        SIMPLIFY,
    ),
    Mutant(
        "simplified -1 * x is x",
        "A rule of the simplifier takes a factor of -1 for 1.",
        "inference/graph/simplify.py",
        "if number == 1:",
        "if number in (1, -1):",
        SIMPLIFY,
    ),
    Mutant(
        "simplified constants of one shape are one",
        "Operations on different constants of the same shape are shared.",
        "inference/graph/simplify.py",
        '("constant", id(tensor))',
        '("constant", tuple(tensor.shape))',
        SIMPLIFY,
    ),
    Mutant(
        "simplified choice is the other one",
        "Where a condition is known, the value of the other case is taken.",
        "inference/graph/simplify.py",
        "pick = no if known is False else yes if known is True else None",
        "pick = yes if known is False else no if known is True else None",
        SIMPLIFY,
    ),
    Mutant(
        "maximum for a sum over labels",
        "Discrete variables are maximised out before their draws.",
        "inference/elimination.py",
        "tables.append(total.logsumexp(over) if step.draws else total.sum(over))",
        "tables.append(total.amax(over) if step.draws else total.sum(over))",
        ("inference/test_elimination.py",),
    ),
    Mutant(
        "labels drawn without their data",
        "A discrete variable is drawn from the first of the tables that know it.",
        "inference/elimination.py",
        "self._given(tables[i], dims[i], symbol, index) for i in step.inputs)",
        "self._given(tables[i], dims[i], symbol, index) for i in step.inputs[:1])",
        ("inference/test_elimination.py",),
    ),
    Mutant(
        "likelihood of the likeliest label",
        "The pointwise likelihood takes the maximum over discrete values.",
        "inference/draws.py",
        "return flat.logsumexp(0)",
        "return flat.amax(0)",
        ("inference/test_draws.py",),
    ),
)
