"""The one table of methods: name to the value that carries its options."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import Any

from ppzoo.checks import nearest
from ppzoo.errors import OptionError
from ppzoo.inference.outcome import Method

__all__ = ["METHODS", "method_value"]

METHODS = {
    "svi": "ppzoo.inference.variational.svi:SVI",
    "nuts": "ppzoo.inference.mcmc.samplers:NUTS",
    "hmc": "ppzoo.inference.mcmc.samplers:HMC",
    "chees": "ppzoo.inference.mcmc.samplers:ChEES",
    "mams": "ppzoo.inference.mcmc.samplers:MAMS",
    "pyro-nuts": "ppzoo.inference.mcmc.pyro_nuts:PyroNUTS",
    "map": "ppzoo.inference.approximate.approximations:MAP",
    "laplace": "ppzoo.inference.approximate.approximations:Laplace",
    "pathfinder": "ppzoo.inference.approximate.approximations:Pathfinder",
    "importance": "ppzoo.inference.approximate.importance:Importance",
    "exact": "ppzoo.inference.exact:Exact",
    "em": "ppzoo.inference.em:EM",
    "adversarial": "ppzoo.inference.adversarial:Adversarial",
}


def method_value(method: str | Method, options: dict[str, Any]) -> Method:
    """``"nuts", {"chains": 4}`` as ``NUTS(chains=4)``; a value is returned as it is.

    Raises:
        OptionError: If the name or an option is unknown, or options come beside a value.

    Example:
        >>> method_value("nuts", {"chains": 2}).chains
        2
    """
    if not isinstance(method, str):
        if getattr(type(method), "name", None) not in METHODS:
            raise OptionError(
                "is not a method", argument="method", got=f"a {type(method).__name__}", remedy=nearest("", METHODS)
            )
        if options:
            raise OptionError(
                "options belong inside the method value",
                argument=next(iter(options)),
                got=f"{sorted(options)} beside {method!r}",
                remedy=f"Write {type(method).__name__}(...) with all of them.",
            )
        return method
    if method not in METHODS:
        raise OptionError("unknown method", argument="method", got=repr(method), remedy=nearest(method, METHODS))
    module, _, name = METHODS[method].partition(":")
    kind = getattr(import_module(module), name)
    known = [field.name for field in fields(kind)]
    for option in options:
        if option not in known:
            raise OptionError(
                f"is not an option of method {method!r}",
                argument=option,
                got=repr(options[option]),
                remedy=nearest(option, known),
            )
    value: Method = kind(**options)
    return value
