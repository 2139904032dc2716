"""A program, its guide and everything they learn, as one value: the :class:`Pair`.

A pair is bound to its data. It works on copies: the model that the user gave is never changed by a fit.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.infer import config_enumerate
from pyro.infer.autoguide import AutoGuide
from pyro.infer.autoguide.initialization import InitMessenger
from pyro.nn import PyroModule
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor, nn

from ppzoo.datasets.arguments import Arguments
from ppzoo.errors import ModelError, PPZooError
from ppzoo.inference.start import prior_median
from ppzoo.isolation import Store

__all__ = [
    "Guide",
    "Pair",
    "Site",
    "check_program_like",
    "copy_model",
    "entry_point",
    "first_words",
    "has_method",
    "is_conditioned",
    "nodes_of",
    "point_guide",
    "run_once",
    "sites_of",
    "trace_of",
]

Guide = Callable[..., Any]


@dataclass(frozen=True)
class Site:
    """One ``pyro.sample`` or ``pyro.deterministic`` statement, as one run of the program showed it.

    ``shape`` is batch plus event; ``plates`` names the batch dimensions that a plate declares, as
    ``(name, dim counted from the right of the batch shape, size)``.
    """

    name: str
    kind: str  # "latent", "discrete", "observed", "deterministic"
    distribution: TorchDistributionMixin
    value: Tensor
    shape: tuple[int, ...]
    plates: tuple[tuple[str, int, int], ...]
    auxiliary: bool = False  # drawn for convenience, reported in another form

    @property
    def event_dim(self) -> int:
        """Number of event dimensions (0 for a deterministic site, whose plates are matched by size)."""
        return 0 if self.kind == "deterministic" else len(self.distribution.event_shape)

    @property
    def dims(self) -> list[str]:
        """A name for each dimension of ``shape``: its plate's, or ``<site>_dim_<i>``."""
        names = [f"{self.name}_dim_{i}" for i in range(len(self.shape))]
        for plate, dim, size in self.plates:
            axis = len(self.shape) - self.event_dim + dim
            if 0 <= axis < len(self.shape) and self.shape[axis] == size:
                names[axis] = plate
        return names


@dataclass
class Pair:
    """A program and (once chosen) its guide, bound to data and to the parameters they learn.

    Attributes:
        owner: The copy of what the user gave: a zoo model, a PyroModule, a function.
        model: The program itself.
        guide: The guide; ``None`` for methods that need none.
        data: The arguments of both.
        store: What ``pyro.param`` and ``pyro.module`` hold.
    """

    owner: Any
    model: Callable[..., Any]
    data: Arguments
    guide: Guide | None = None
    store: Store = field(default_factory=Store)

    def modules(self) -> dict[str, nn.Module]:
        """The modules whose parameters belong to the pair, by role; none twice."""
        found: dict[str, nn.Module] = {}
        for role, value in (("model", self.owner), ("guide", self.guide)):
            module = value if isinstance(value, nn.Module) else getattr(value, "__self__", None)
            if isinstance(module, nn.Module) and module not in found.values():
                found[role] = module
        return found

    def to(self, *, dtype: torch.dtype, device: torch.device) -> None:
        """Cast and move every parameter and buffer of the pair's modules."""
        for module in self.modules().values():
            module.to(dtype=dtype, device=device)

    def trainable(self) -> list[Tensor]:
        """Every parameter that a gradient can train, each once. Call it after the pair has run."""
        values = [p for module in self.modules().values() for p in module.parameters()]
        return list({id(p): p for p in [*values, *self.store.params.values()] if p.requires_grad}.values())

    def buffers(self) -> list[Tensor]:
        """What the pair's modules remember beside their parameters, each once."""
        return list({id(b): b for module in self.modules().values() for b in module.buffers()}.values())

    def state(self) -> dict[str, Tensor]:
        """All that was learnt, by name: ``model.<name>``, ``guide.<name>``, ``param.<name>`` (unconstrained)."""
        state = {f"param.{name}": value for name, value in self.store.unconstrained().items()}
        for role, module in self.modules().items():
            state |= {f"{role}.{name}": value.detach() for name, value in module.state_dict().items()}
        return {name: value.clone() for name, value in state.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put back what :meth:`state` gave; the pair must have run once.

        Raises:
            KeyError: If the names are not those of this pair.
            RuntimeError: If a shape is not that of this pair.
        """
        if sorted(state) != sorted(self.state()):
            raise KeyError(f"parameters {sorted(set(state) ^ set(self.state()))[:5]} are on one side only")
        for role, module in self.modules().items():
            module.load_state_dict({n: state[f"{role}.{n}"] for n in module.state_dict()})
        for name, value in self.store.params.items():
            saved = state[f"param.{name}"]
            if saved.shape != value.shape:
                raise RuntimeError(f"parameter {name!r} has shape {tuple(value.shape)}, not {tuple(saved.shape)}")
            if name in self.store.borrowed:
                self.store.borrowed[name] = (self.store.borrowed[name][0], saved)
            else:
                value.data = saved

    def trained(self) -> dict[str, Tensor]:
        """The parameters that the program's own density hangs on, unconstrained; those of the guide alone are not."""
        module = self.modules().get("model")
        named = {**self.store.params, **dict(module.named_parameters() if module is not None else ())}
        named = {name: value for name, value in named.items() if value.requires_grad}
        with torch.enable_grad():
            density = torch.as_tensor(self.trace_model().log_prob_sum())
        if not named or not density.requires_grad:
            return {}
        slopes: tuple[Tensor | None, ...] = torch.autograd.grad(density, list(named.values()), allow_unused=True)
        return {name: named[name].detach() for name, slope in zip(named, slopes, strict=True) if slope is not None}

    def twin(self) -> Pair:
        """The same program on the same data, with parameters of its own."""
        owner = copy_model(self.owner)
        return Pair(owner, entry_point(owner), self.data)

    def rebind(self, data: Arguments) -> Pair:
        """The same pair, same parameters, on other data."""
        return replace(self, data=data)

    def trace_model(self, start: Callable[[dict[str, Any]], Tensor] = prior_median) -> poutine.Trace:
        """Run the program once, latent sites started by ``start`` and never sampled where they cannot be."""
        return run_once(InitMessenger(start)(self.model), self.data, "model")

    def first_run(self) -> None:
        """Run model and guide once, so that every parameter exists; borrow those of modules outside."""
        self.trace_model()
        if self.guide is not None:
            run_once(self.guide, self.data, "guide")
        self.store.borrow()

    def enumerated(self) -> Callable[..., Any]:
        """The program with its finite discrete latent sites marked for parallel enumeration."""
        marked: Callable[..., Any] = config_enumerate(self.model, "parallel")
        return marked


def copy_model(model: Any) -> Any:
    """A copy whose parameters are its own; functions are returned as they are.

    Raises:
        ModelError: If the model holds something that cannot be copied.
    """
    if inspect.isfunction(model):
        return model
    try:
        if inspect.ismethod(model):
            return getattr(copy_model(model.__self__), model.__name__)
        twin = _copy_guide(model) if isinstance(model, AutoGuide) else copy.deepcopy(model)
    except (TypeError, RuntimeError) as error:
        raise ModelError(
            "cannot be copied, and a fit works on a copy",
            argument="model",
            got=f"{type(error).__name__}: {error}",
            remedy="Keep locks, files and graph tensors out of its attributes, or pass a function.",
        ) from error
    for module in twin.modules() if isinstance(twin, nn.Module) else ():
        if isinstance(module, PyroModule):
            _make_local(module)
    return twin


def _make_local(module: PyroModule) -> None:
    """Give a module that was made outside an isolated world the place for its own parameters that those inside have."""
    context = module._pyro_context  # noqa: SLF001  # Pyro adds it only to modules made in local mode
    if not hasattr(context, "param_state"):
        context.param_state = {"params": {}, "constraints": {}}


def _copy_guide(guide: AutoGuide) -> AutoGuide:
    """Deep copy without Pyro's habit of cutting the original guide off from its model."""
    model, master = guide._model, guide.master  # noqa: SLF001  # the only way to a guide's model
    try:
        twin = copy.deepcopy(guide)
    finally:
        point_guide(guide, model)
        guide.master = master
    point_guide(twin, model)
    return twin


def point_guide(guide: AutoGuide, model: tuple[Any, ...]) -> None:
    """Tell an AutoGuide which model it guides."""
    guide._model = model  # noqa: SLF001  # Pyro has no other way


def has_method(model: Any, name: str) -> bool:
    """Whether the model's class defines the method; a submodule that happens to have the name does not count."""
    return callable(getattr(type(model), name, None))


def entry_point(model: Any) -> Callable[..., Any]:
    """The callable to run: ``model.model`` of a zoo model, else the callable itself.

    Raises:
        ModelError: If there is nothing to call.
    """
    if has_method(model, "model"):
        return model.model  # type: ignore[no-any-return]  # has_method: it is a bound method
    if callable(model) and not inspect.isclass(model):
        return model  # type: ignore[no-any-return]  # callable, of whatever signature
    raise ModelError(
        "is not a Pyro program",
        argument="model",
        got=f"the class {model.__name__}" if inspect.isclass(model) else f"a {type(model).__name__}",
        expected="a function, bound method, PyroModule or zoo model",
        remedy='Pass an instance, or create one: ppzoo.create_model("ppca", features=4).',
    )


def nodes_of(trace: poutine.Trace) -> dict[str, Any]:
    """The trace's records by name; Pyro types each entry as possibly absent."""
    return dict(trace.nodes)


def trace_of(program: Callable[..., Any], data: Arguments) -> poutine.Trace:
    """One run of a program on its data."""
    return poutine.trace(program).get_trace(*data.args, **data.kwargs)


def check_program_like(model: Any, method: str) -> None:
    """The model can be run as a Pyro program, and is no game.

    Raises:
        ModelError: If not.
    """
    if has_method(model, "critic_loss"):
        raise ModelError(
            "is a game between two networks: it has no likelihood, and no posterior to sample",
            argument="method",
            got=repr(method),
            expected="'adversarial'",
            remedy='Use method="adversarial" (--method adversarial).',
        )
    entry_point(model)


def sites_of(trace: poutine.Trace) -> Iterator[Site]:
    """The program's statements in order, without subsampling, factors and masked placeholders."""
    for name, node in nodes_of(trace).items():
        if node["type"] != "sample" or isinstance(node["fn"], _Subsample):
            continue
        value, fn = node["value"], node["fn"]
        if node["infer"].get("_deterministic"):
            kind = "deterministic"
        elif node["is_observed"]:
            kind = "observed"
        else:
            kind = "discrete" if fn.has_enumerate_support or fn.support.is_discrete else "latent"
        if not isinstance(value, Tensor) or (kind == "observed" and value.numel() == 0):
            continue  # pyro.factor observes an empty value
        plates = tuple((f.name, f.dim, f.size) for f in node["cond_indep_stack"] if f.vectorized)
        auxiliary = bool(node["infer"].get("is_auxiliary"))
        yield Site(name, kind, fn, value, tuple(value.shape), plates, auxiliary)


def is_conditioned(trace: poutine.Trace) -> bool:
    """Whether a run observed anything: a site with ``obs=``, or a factor."""
    nodes = [node for node in nodes_of(trace).values() if node["type"] == "sample"]
    return any(node["is_observed"] and not node["infer"].get("_deterministic") for node in nodes)


def run_once(program: Callable[..., Any], data: Arguments, argument: str) -> poutine.Trace:
    """One trace, with whatever the user's code raises turned into a message that says where it came from."""
    try:
        return trace_of(program, data)
    except PPZooError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(
            "failed when it was run once on the data",
            argument=argument,
            got=f"{type(error).__name__}: {first_words(error)}",
            expected="a Pyro program that runs on these arguments",
            remedy=_remedy(error),
        ) from error


def first_words(error: BaseException) -> str:
    """The message on one line, without the table of shapes that Pyro appends."""
    return " ".join(str(error).split()).partition(" Trace Shapes:")[0][:400]


def _remedy(error: BaseException) -> str:
    text = str(error)
    if "param_state" in text:
        return "It calls a PyroModule made outside it: make it a method of that module, or pass the module itself."
    if "global pyro.param" in text:
        return "Inside a module make it an attribute: self.scale = PyroParam(value, constraint=...)."
    if "constraint" in text:
        return "A parameter of a distribution left its range: look for NaN, zero scales or logarithms of zero."
    if "Multiple" in text and "sites named" in text:
        return "Give each sample statement its own name; repeated ones belong in a plate or carry an index."
    if "dtype" in text or "same dtype" in text or "expected scalar type" in text:
        return "Create tensors inside the program from its data (x.new_zeros(...)), or pass dtype= to fit."
    if "plate" in text or "shape" in text or "size" in text:
        return "Check the shapes of the data against the plates; a column (N, 1) is not a vector (N,)."
    return "Run the function on the data by hand to see where it fails."
