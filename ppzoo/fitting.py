"""``fit``: check at the door, open an isolated world, run the method, return a :class:`~ppzoo.result.Fit`."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ppzoo.checks import check_flag, check_seed
from ppzoo.datasets.arguments import Arguments, arguments_for, real_numbers
from ppzoo.datasets.streams import streamed
from ppzoo.datasets.tensors import check_dtype
from ppzoo.errors import ModelError
from ppzoo.inference.mcmc.placement import place
from ppzoo.inference.methods import method_value
from ppzoo.inference.outcome import Method, Run
from ppzoo.inference.program import Pair, copy_model, entry_point, has_method
from ppzoo.inference.rows import check_on_some
from ppzoo.isolation import isolated, random_state
from ppzoo.processes import joined, own_device, restarted
from ppzoo.result import Fit
from ppzoo.rng import stream_seed
from ppzoo.saving import header_of
from ppzoo.storage.folder import check_writable
from ppzoo.tensorboard import Events
from ppzoo.unfinished import OfAll, Unfinished, beside, check_resume

__all__ = ["fit", "prepare", "source_of"]


def fit(  # noqa: PLR0913  # the settings that every fit shares, by name
    model: Any,
    data: Any = (),
    *,
    method: str | Method = "svi",
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    progress: bool | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    log_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Fit:
    """Fit a model to data by one method.

    The model is copied first and never changed; nothing global is changed either. The same seed, settings and
    machine give the same bytes.

    Under ``torchrun`` the processes of a job make one fit, each by the same call: SVI divides the rows of every step
    among them and averages the gradients, so that its losses are those of one process but for rounding; other methods
    run in each. All get the same fit; the first alone writes, and shows progress. When a job is started again
    (``--max-restarts``), a fit with ``run_dir`` goes on from its last state.

    Args:
        model: A Pyro function, bound method, PyroModule, or zoo model.
        data: What reaches the model as its arguments: a tensor, array or DataFrame is the one positional argument, a
            tuple the positional arguments (``()``: none), a dict the keyword arguments; a
            :class:`~ppzoo.datasets.record.Dataset` gives the arguments the model names. SVI also takes rows that are
            not in memory: with ``batch_size`` a NumPy memory map among these is read a few rows at a time; and a
            ``DataLoader``, or what else can be gone through again and again, gives batches.
        method: A name (``"svi"``, ``"nuts"``, ``"hmc"``, ``"mams"``, ``"chees"``, ``"map"``, ``"laplace"``,
            ``"pathfinder"``, ``"importance"``, ``"exact"``, ``"em"``, ``"adversarial"``), or a value with options.
        seed: Decides everything random, ``0 <= seed < 2**64``.
        device: ``"cpu"``, ``"cuda"``, or for samplers ``"auto"``: a GPU if there is one and the chains times the size
            of the model are worth it, by an estimate that a note tells.
        dtype: Floating type of the run. ``None`` follows the data; most methods but SVI then prefer float64.
        progress: ``None`` shows a bar on a terminal, ``True`` plain lines elsewhere too, ``False`` nothing.
        run_dir: Folder to save the fit into. A sampler's draws are on disk beside it as soon as they are made, and the
            state of SVI every five seconds, in ``<run_dir>.unfinished``.
        resume: Go on with the unfinished run beside ``run_dir``, to the same bytes as if it had never stopped; begin
            one if there is none.
        log_dir: Folder for TensorBoard: loss and rate of SVI, divergences and step sizes of samplers, by step; needs
            ``pip install "ppzoo[tensorboard]"``.
        **options: Options of the method, such as ``chains=4`` or ``guide="mvn"``.

    Returns:
        The fit. Interrupted with Ctrl-C, a sampler gives the draws there are, SVI its best state, and a finding says
        so.

    Raises:
        OptionError: If an option is unknown or outside its range.
        DataError: If the data cannot be used, or do not fit the model.
        ModelError: If the model lacks what the method needs.
        FitError: If the computation found no finite start, or stayed non-finite.
        StorageError: If ``run_dir`` or ``log_dir`` cannot be written, or the unfinished run is another one.
        KeyboardInterrupt: If there was too little to keep when it came.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, ppzoo
        >>> def model(y):
        ...     mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("row", len(y)):
        ...         pyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> answer = ppzoo.fit(model, torch.tensor([0.9, 1.1]), method="svi", steps=2000, lr=0.05)
        >>> round(float(answer.draws(4000)["mu"].mean()), 1)  # exact: (0.9 + 1.1) / (2 + 1)
        0.7
    """
    value = method_value(method, options)
    check_seed(seed)
    if progress is not None:
        check_flag("progress", progress)
    check_resume(value, run_dir, resume)
    value.check_model(model)
    device = own_device(device)
    with joined(device) as processes, ExitStack() as held:
        if run_dir is not None:
            processes.first_does(partial(check_writable, run_dir))
        pair, own_dtype, where, notes = _placed(model, data, value, device, dtype)
        shown = progress if processes.first else False
        run, source = Run(seed, own_dtype, where, shown, processes=processes), source_of(model)
        if log_dir is not None and processes.first:
            run = replace(run, log=held.enter_context(Events(log_dir)))
        if processes.size > 1:
            given = header_of(pair, value, run, source)
            processes.check_alike({name: repr(what) for name, what in given.items()})
        if run_dir is not None and value.resumable:
            header = header_of(pair, value, run, source)
            keeper = beside(run_dir, header, processes, resume=resume or restarted())
            held.push(keeper)
            run = replace(run, keeper=keeper)
        began = time.perf_counter()
        with isolated(seed=stream_seed(seed, value.name), dtype=run.dtype, device=run.device, store=pair.store):
            outcome = value.run(pair, run)
        seconds = time.perf_counter() - began
        notes = (*notes, *outcome.notes)
        if processes.size > 1 and "processes" not in outcome.numbers:
            notes = (*notes, f"Each of the {processes.size} processes ran the whole fit.")
        result = Fit(pair, value, outcome, seed, run.dtype, run.device, seconds, notes, source)
        if run_dir is not None and not outcome.interrupted:
            processes.first_does(partial(result.save, run_dir))
            if isinstance(run.keeper, Unfinished | OfAll):
                run.keeper.discard()
    return result


def _placed(
    model: Any, data: Any, method: Method, device: str | torch.device, dtype: torch.dtype | None
) -> tuple[Pair, torch.dtype, torch.device, tuple[str, ...]]:
    """As :func:`prepare`, on the device that is worth it where the user leaves it open."""
    wanted: dict[str, Any] = {"prefer": _preference(method), "fixed": dtype}
    wanted["batch_size"] = getattr(method, "batch_size", None)
    if method.streams:
        wanted |= {"streams": True, "rows": getattr(method, "rows", None)}
    pair, own_dtype, notes = prepare(model, data, device="cpu" if device == "auto" else device, **wanted)
    if device != "auto":
        return pair, own_dtype, torch.device(device), notes
    with isolated(seed=0, dtype=own_dtype, store=pair.store):
        where, why = place(pair, method, own_dtype)
    if where.type != "cpu":
        pair, own_dtype, notes = prepare(model, data, device=where, **wanted)
    return pair, own_dtype, where, (*notes, why)


def prepare(
    model: Any,
    data: Any,
    *,
    device: str | torch.device = "cpu",
    prefer: torch.dtype | None = None,
    fixed: torch.dtype | None = None,
    batch_size: int | None = None,
    rows: int | None = None,
    streams: bool = False,
) -> tuple[Pair, torch.dtype, tuple[str, ...]]:
    """A copy of the model bound to checked data, in the floating type it runs in.

    Args:
        model: As for :func:`fit`.
        data: As for :func:`fit`.
        device: Where to run.
        prefer: Floating type to try first; the data's own when ``None``.
        fixed: The type the user insists on; no other is tried.
        batch_size: Rows that a step will see; all if ``None``. Of many rows, the program is run on so many.
        rows: How many a loader gives, where it does not tell.
        streams: Whether rows may be read while the fit goes on.

    Returns:
        The pair, its floating type, and notes on the casts and on what was not looked at.
    """
    fixed = check_dtype(fixed)
    owner = copy_model(model)
    program = owner.critic_loss if has_method(owner, "critic_loss") else entry_point(owner)
    source = None
    if streams:
        with random_state(0):  # which loaders draw from
            data, source = streamed(program, data, batch_size=batch_size, rows=rows)
    plain = replace(arguments_for(program, data, device=device), source=source)
    if type(owner).__module__.startswith("ppzoo."):  # what is observed in the zoo is real; a program's may be counts
        plain = real_numbers(plain)
    wanted = fixed or prefer or _floating_type(plain)
    try:
        dtype, (pair, seen) = wanted, _bind(owner, program, plain, wanted, device, batch_size)
    except ModelError as error:
        if fixed is not None or not _is_about_types(error):
            raise
        dtype = torch.float32 if wanted is torch.float64 else torch.float64
        pair, seen = _bind(owner, program, plain, dtype, device, batch_size)
    return pair, dtype, (*plain.notes, *_casts(plain, dtype, wanted), *seen)


def _bind(
    owner: Any,
    program: Any,
    plain: Arguments,
    dtype: torch.dtype,
    device: str | torch.device,
    batch_size: int | None,
) -> tuple[Pair, tuple[str, ...]]:
    """The program on its data in one floating type, checked by the model's own check and by one run; and notes."""
    pair = Pair(owner, program, _cast(plain, dtype))
    pair.to(dtype=dtype, device=torch.device(device))
    if has_method(owner, "check"):
        owner.check(*pair.data.args, **pair.data.kwargs)
    notes: tuple[str, ...] = ()
    if not has_method(owner, "critic_loss"):
        with isolated(seed=0, dtype=dtype, device=device, validate=True):
            notes = check_on_some(pair, batch_size)
    return pair, notes


def source_of(model: Any) -> dict[str, Any]:
    """How to make the model again: ``{"name", "zoo", "options"}``; ``zoo`` is false for the user's own."""
    spec = getattr(model, "zoo_spec", None)
    if spec is not None:
        return {"name": spec[0], "zoo": True, "options": dict(spec[1])}
    name = getattr(model, "__qualname__", None) or type(model).__qualname__
    return {"name": name, "zoo": False, "options": {}}


def _preference(method: Method) -> torch.dtype | None:
    return torch.float64 if method.prefers_float64 else None


def _floating_type(data: Arguments) -> torch.dtype:
    return next((t.dtype for t in data.tensors() if t.dtype.is_floating_point), torch.get_default_dtype())


def _cast(data: Arguments, dtype: torch.dtype) -> Arguments:
    def cast(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) and value.dtype.is_floating_point else value

    return replace(data, args=tuple(map(cast, data.args)), kwargs={name: cast(v) for name, v in data.kwargs.items()})


def _casts(data: Arguments, dtype: torch.dtype, wanted: torch.dtype) -> list[str]:
    name = str(dtype).removeprefix("torch.")
    if dtype is not wanted:
        return [f"Ran in {name}: the program holds tensors of that type, which cannot be cast from outside."]
    if any(t.dtype.is_floating_point and t.dtype is not dtype for t in data.tensors()):
        return [f"Data were cast to {name} for the run."]
    return []


def _is_about_types(error: ModelError) -> bool:
    text = str(error.__cause__)
    return any(word in text for word in ("dtype", "scalar type", "Double", "Float"))
