"""A fit as a folder, and back: safetensors, NetCDF and JSON, verified by a manifest; nothing in it can run.

The folder holds ``state.safetensors`` (all that was learnt), ``data.safetensors`` (of streamed data the rows that stand
for all), ``draws.safetensors`` (draws, statistics, losses), ``posterior.nc`` (what ``to_arviz`` returns) and
``manifest.json``.
"""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
import xarray
from torch import Tensor

import ppzoo
from ppzoo.datasets.arguments import Arguments
from ppzoo.datasets.streams import RowsElsewhere
from ppzoo.diagnostics.diagnosis import Finding
from ppzoo.errors import PPZooError, StorageError
from ppzoo.inference.methods import METHODS, method_value
from ppzoo.inference.outcome import Method, Outcome, Run
from ppzoo.inference.program import Pair, copy_model, entry_point, has_method, sites_of
from ppzoo.inference.variational.guides import GUIDES, choose_guide
from ppzoo.isolation import isolated
from ppzoo.result import Fit
from ppzoo.storage.folder import Folder, read_folder, write_folder
from ppzoo.storage.netcdf import write_datatree
from ppzoo.storage.swap import Content
from ppzoo.storage.tensors import dump_tensors, load_tensors, write_tensors
from ppzoo.unfinished import digest_of
from ppzoo.zoo import create_model

__all__ = ["header_of", "load", "save_fit"]

_FORMAT = "ppzoo-fit-1"
_PLAIN = (bool, int, float, str, type(None))
_OWN = "(yours)"  # stands for an object that a file cannot hold: a guide function, a network


def save_fit(fit: Fit, path: str | os.PathLike[str]) -> Path:
    """Write ``fit`` to the folder ``path``.

    Raises:
        StorageError: If the folder cannot be written, or an argument of the model cannot be kept in a file.
    """
    layout, data = _layout(fit.pair.data)
    outcome = fit.outcome
    draws = {f"draws.{name}": value for name, value in (outcome.draws or {}).items()}
    draws |= {f"statistics.{name}": value for name, value in outcome.statistics.items()}
    if outcome.losses is not None:
        draws["losses"] = torch.from_numpy(np.asarray(outcome.losses))
    files: dict[str, Content] = {
        "state.safetensors": dump_tensors(fit.pair.state()),
        "data.safetensors": dump_tensors(data),
        "draws.safetensors": partial(write_tensors, draws),
        "posterior.nc": partial(_write_tree, fit.to_arviz()),
    }
    manifest = {
        "fit": _FORMAT,
        **_settings(fit.pair, fit.method, fit.seed, fit.dtype, fit.device, fit.source),
        "seconds": fit.seconds,
        "notes": list(fit.notes),
        "sampled": outcome.draws is not None,
        "numbers": outcome.numbers,
        "findings": [dataclasses.asdict(finding) for finding in outcome.findings],
        "data": layout,
    }
    return write_folder(path, files, manifest)


def _write_tree(tree: xarray.DataTree, path: Path) -> None:
    with path.open("x+b", buffering=0) as file:
        write_datatree(tree, file)


def header_of(pair: Pair, method: Method, run: Run, source: Mapping[str, Any]) -> dict[str, object]:
    """What tells a run from any other, as JSON: the same header, the same draws."""
    layout, data = _layout(pair.data)
    settings = _settings(pair, method, run.seed, run.dtype, run.device, source)
    if "streamed" in layout:  # then the digest is of the rows that stand for all
        settings["streamed"] = layout["streamed"]
    return {**settings, "data": digest_of(data), "parameters": digest_of(pair.state())}


def load(path: str | os.PathLike[str], *, model: Any = None, guide: Any = None) -> Fit:
    """Read a fit that :meth:`ppzoo.Fit.save` wrote.

    A zoo model is made again from its name and options. A model of your own must be given, for no code is kept in
    the folder; so must a guide function of your own, or a network given to a zoo model.

    Args:
        path: The folder.
        model: The model that was fitted, where it is not the zoo's.
        guide: The guide function or AutoGuide that was fitted, where it is not one of the names.

    Raises:
        StorageError: If the folder is damaged, edited, of another version, or of another model.

    Example:
        >>> import tempfile, ppzoo
        >>> fit = ppzoo.fit(ppzoo.create_model("linear_regression"), ppzoo.load_dataset("diabetes"), method="exact")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = ppzoo.load(fit.save(f"{folder}/run"))
        >>> bool((again.draws(5)["beta"] == fit.draws(5)["beta"]).all())
        True
    """
    folder = read_folder(path)
    manifest = folder.manifest
    if manifest.get("fit") != _FORMAT:
        kind = manifest.get("fit", manifest.get("kind"))
        raise _damaged(
            path, "is not a saved fit", f"a folder of kind {kind!r}", "one that fit.save or --out has written"
        )
    try:
        return _rebuild(folder, model, guide, path)
    except StorageError:
        raise
    except PPZooError as error:  # the model, or an option in the manifest, is not what was fitted
        raise _damaged(path, "cannot be read as a fit of this model", str(error)) from error
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _damaged(path, "does not hold what a saved fit holds", f"{type(error).__name__}: {error}") from error


def _rebuild(folder: Folder, model: Any, guide: Any, path: str | os.PathLike[str]) -> Fit:
    manifest: Any = folder.manifest
    dtype = {"float32": torch.float32, "float64": torch.float64}[manifest["dtype"]]
    method = _method(manifest, guide, path)
    owner = copy_model(model) if model is not None else _make(manifest["model"], path)
    game = has_method(owner, "critic_loss")
    data = _data(manifest["data"], load_tensors(folder.files["data.safetensors"]))
    pair = Pair(owner, owner.critic_loss if game else entry_point(owner), data)
    pair.to(dtype=dtype, device=torch.device("cpu"))
    if not game:
        with isolated(seed=0, dtype=dtype, store=pair.store):
            sites = list(sites_of(pair.trace_model()))
            if method.needs_guide:
                latent = [site.name for site in sites if site.kind == "latent"]
                pair.guide = choose_guide(getattr(method, "guide", None), owner, pair.model, latent)
                pair.to(dtype=dtype, device=torch.device("cpu"))
            pair.first_run()
    found = _sites(pair, dtype, torch.device("cpu"))
    if found != manifest["sites"]:
        raise _damaged(path, "was fitted with another model", f"sites {found}", f"sites {manifest['sites']}")
    try:
        pair.load_state(load_tensors(folder.files["state.safetensors"]))
    except (KeyError, RuntimeError) as error:
        raise _damaged(path, "was fitted with another model", " ".join(str(error).split())[:300]) from error
    for module in pair.modules().values():
        module.eval()  # as the fit left them: what a network remembers of batches is what it reads
    draws = load_tensors(folder.files["draws.safetensors"])
    losses = draws.pop("losses", None)
    sampled = _under("draws.", draws)
    if manifest["sampled"] is not bool(sampled):
        raise _damaged(path, "does not hold what a saved fit holds", f"draws of {sorted(sampled)}")
    outcome = Outcome(
        draws=sampled or None,
        statistics=_under("statistics.", draws),
        losses=None if losses is None else losses.numpy(),
        numbers={name: float(number) for name, number in manifest["numbers"].items()},
        findings=tuple(Finding(**finding) for finding in manifest["findings"]),
    )
    return Fit(
        pair,
        method,
        outcome,
        int(manifest["seed"]),
        dtype,
        torch.device("cpu"),
        float(manifest["seconds"]),
        tuple(str(note) for note in manifest["notes"]),
        {**manifest["model"], "options": _options(manifest["model"])},
    )


def _settings(  # the fields of a fit and of a run that are one and the same
    pair: Pair, method: Method, seed: int, dtype: torch.dtype, device: torch.device, source: Mapping[str, Any]
) -> dict[str, object]:
    """What was asked for, as JSON."""
    return {
        "model": {**source, "options": {n: _plain(v) for n, v in source["options"].items()}},
        "sites": _sites(pair, dtype, device),
        "method": method.name,
        "options": {f.name: _plain(getattr(method, f.name)) for f in dataclasses.fields(method)},  # type: ignore[arg-type]  # every method is a dataclass
        "seed": seed,
        "dtype": str(dtype).removeprefix("torch."),
        "device": device.type,
        "versions": _versions(),
    }


def _method(manifest: Any, guide: Any, path: str | os.PathLike[str]) -> Method:
    if manifest["method"] not in METHODS:
        raise _damaged(path, "was fitted by an unknown method", repr(manifest["method"]))
    options = dict(manifest["options"])
    if options.get("guide") == _OWN:
        if guide is None:
            raise _damaged(
                path,
                "was fitted with a guide of your own",
                "no guide",
                "ppzoo.load(path, guide=...), or --guide file.py:object",
            )
        options["guide"] = guide
    if options.get("init") == _OWN:
        del options["init"]  # the fit that the chains began at is not kept; a note names it
    return method_value(manifest["method"], options)


def _make(source: Any, path: str | os.PathLike[str]) -> Any:
    if not source["zoo"] or _OWN in source["options"].values():
        raise _damaged(
            path,
            f"holds a fit of your own model {source['name']!r}",
            "no model",
            "ppzoo.load(path, model=...), or --model file.py:object",
        )
    return create_model(source["name"], **_options(source))


def _options(source: Any) -> dict[str, Any]:
    """JSON knows no tuples, and no option is a list."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in source["options"].items()}


def _sites(pair: Pair, dtype: torch.dtype, device: torch.device) -> list[list[Any]]:
    """The program's shape, by which another model is told apart."""
    if has_method(pair.owner, "critic_loss"):
        return [[name, "parameter", list(value.shape)] for name, value in pair.owner.state_dict().items()]
    with isolated(seed=0, dtype=dtype, device=device, store=pair.store):
        sites = sites_of(pair.trace_model())
        return [[site.name, site.kind, list(site.shape), _family(site.distribution)] for site in sites]


def _family(distribution: Any) -> str:
    """The distribution's name without what only shapes it."""
    while type(distribution).__name__ in ("Independent", "MaskedDistribution", "ExpandedDistribution"):
        distribution = distribution.base_dist
    return type(distribution).__name__


def _layout(data: Arguments) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments as JSON, tensors replaced by their names, and the tensors."""
    tensors: dict[str, Tensor] = {}

    def keep(key: str, value: Any) -> Any:
        if isinstance(value, Tensor):
            tensors[key] = value
            return {"tensor": key}
        if (plain := _plain(value)) != _OWN:
            return {"tuple": plain} if isinstance(value, tuple) else {"value": plain}
        raise StorageError(
            "cannot be kept in a file",
            argument=key,
            got=f"a {type(value).__name__}",
            expected="a tensor, number, text, flag, None, or a tuple of these",
            remedy="Bind it to the model with functools.partial, and fit that.",
        )

    layout = {
        "args": [keep(f"arg{i}", value) for i, value in enumerate(data.args)],
        "kwargs": {name: keep(f"kwarg.{name}", value) for name, value in data.kwargs.items()},
        "columns": {name: list(columns) for name, columns in data.columns.items()},
        "coords": {name: list(labels) for name, labels in data.coords.items()},
    }
    if data.source is not None:
        layout["streamed"] = {"rows": data.source.rows, "size": data.source.size}
    return layout, tensors


def _data(layout: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Arguments:
    def take(entry: Mapping[str, Any]) -> Any:
        if "tensor" in entry:
            return tensors[entry["tensor"]]
        return tuple(entry["tuple"]) if "tuple" in entry else entry["value"]

    return Arguments(
        args=tuple(take(entry) for entry in layout["args"]),
        kwargs={name: take(entry) for name, entry in layout["kwargs"].items()},
        columns={name: tuple(columns) for name, columns in layout["columns"].items()},
        coords={name: tuple(labels) for name, labels in layout["coords"].items()},
        notes=(),
        source=RowsElsewhere(**layout["streamed"]) if "streamed" in layout else None,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return _OWN if _OWN in items else items
    named = {kind: name for name, kind in GUIDES.items()}
    return named.get(value, _OWN) if isinstance(value, type) else _OWN


def _versions() -> dict[str, str]:
    return {
        "ppzoo": ppzoo.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
    }


def _under(prefix: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _damaged(path: str | os.PathLike[str], problem: str, got: str, expected: str = "") -> StorageError:
    return StorageError(problem, argument=repr(os.fspath(path)), got=got, expected=expected)
