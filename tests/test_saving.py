"""A saved fit is the same fit in a new process; what is not one is refused, and nothing in it can run."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDiagonalNormal, AutoIAFNormal
from pyro.nn import PyroModule, PyroParam
from torch import nn
from torch.distributions import constraints
from torch.nn.utils import skip_init

import ppzoo
from ppzoo.diagnostics.diagnosis import Diagnosis
from ppzoo.errors import StorageError
from ppzoo.storage.folder import Folder, read_folder, write_folder

Y = torch.tensor([0.9, 1.1, 1.6, 0.4])
X = torch.tensor([[0.1, 1.0], [0.4, -1.0], [-0.3, 0.5], [1.2, 0.2]])
PIXELS = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.25], [0.5, 0.5, 1.0], [0.75, 0.0, 0.0]])


def conjugate(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def own_guide(y):
    loc = pyro.param("loc", torch.tensor(0.0))
    scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
    pyro.sample("mu", dist.Normal(loc, scale))


def parametric(y):
    loc = pyro.param("loc", torch.tensor(0.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


def with_settings(y, widths, name, flag, nothing=None):
    assert (widths, name, flag, nothing) == ((2, 3), "a", True, None)
    conjugate(y)


def network(inputs=2, outputs=1):
    """The same weights wherever it is made."""
    net = skip_init(nn.Linear, inputs, outputs)
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.linspace(-1, 1, value.numel()).reshape(value.shape))
    return net


def closure():
    net = network()

    def model(x, y):
        pyro.module("net", net)
        scale = pyro.sample("scale", dist.HalfNormal(1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(net(x).squeeze(-1), scale), obs=y)

    return model


class Module(PyroModule):
    def __init__(self):
        super().__init__()
        self.linear = network()
        self.scale = PyroParam(torch.tensor(1.0), constraint=constraints.positive)

    def forward(self, x, y):
        shift = pyro.sample("shift", dist.Normal(0.0, self.scale))
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(self.linear(x).squeeze(-1) + shift, 1.0), obs=y)


class Amortised(PyroModule):
    """A guide with a network of its own."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x):
        with pyro.plate("row", len(x)):
            pyro.sample("z", dist.Normal(self.net(x).squeeze(-1), 0.1))


def latent_rows(x):
    with pyro.plate("row", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z[:, None].expand(-1, 2), 1.0).to_event(1), obs=x)


NUTS = {"method": "nuts", "chains": 2, "warmup": 20, "draws": 10}

# model, data, options of the fit, what load must be given
CASES = {
    "svi": lambda: (conjugate, Y, {"steps": 10}, ["model"]),
    "svi, mvn, float64": lambda: (conjugate, Y, {"steps": 10, "guide": "mvn", "dtype": torch.float64}, ["model"]),
    **{
        f"svi, {guide}": functools.partial(lambda guide: (several, Y, {"steps": 10, "guide": guide}, ["model"]), guide)
        for guide in ("lowrank", "iaf", "spline", "structured", "delta")
    },
    "svi, amortised": lambda: (latent_rows, X.double(), {"steps": 5, "guide": "amortised", "batch_size": 2}, ["model"]),
    "svi, AutoGuide class": lambda: (conjugate, Y, {"steps": 10, "guide": AutoDiagonalNormal}, ["model", "guide"]),
    "svi, AutoGuide instance": lambda: (
        several,
        Y,
        {"steps": 5, "guide": AutoIAFNormal(several, hidden_dim=[4])},
        ["model", "guide"],
    ),
    "svi, own guide": lambda: (conjugate, Y, {"steps": 10, "guide": own_guide}, ["model", "guide"]),
    "svi, guide module": lambda: (latent_rows, X.double(), {"steps": 5, "guide": Amortised()}, ["model", "guide"]),
    "svi, settings": lambda: (with_settings, (Y, (2, 3), "a", True), {"steps": 5}, ["model"]),
    "svi, no data": lambda: (functools.partial(conjugate, Y), (), {"steps": 5}, ["model"]),
    "pyro.param": lambda: (parametric, Y, {"steps": 10}, ["model"]),
    "pyro.module": lambda: (closure(), (X, Y), {"steps": 10}, ["model"]),
    "PyroModule": lambda: (Module(), (X, Y), {"steps": 10}, ["model"]),
    "nuts": lambda: (conjugate, Y, NUTS, ["model"]),
    "zoo, nuts": lambda: (ppzoo.create_model("eight_schools", centred=True), "eight_schools", NUTS, []),
    "zoo, exact": lambda: (ppzoo.create_model("linear_regression"), (X, Y), {"method": "exact"}, []),
    "zoo, parameters": lambda: (
        ppzoo.create_model("ppca", features=np.int64(2), latents=1),
        X,
        {"method": "exact"},
        [],
    ),
    "zoo, em": lambda: (
        ppzoo.create_model("gmm", features=2),
        "old_faithful",
        {"method": "em", "restarts": 1, "steps": 5},
        [],
    ),
    "zoo, networks": lambda: (ppzoo.create_model("vae", features=3, latents=2, hidden=(4,)), PIXELS, {"steps": 5}, []),
    "zoo, own network": lambda: (
        ppzoo.create_model("vae", features=3, latents=2, hidden=(), decoder_network=network(2, 3)),
        PIXELS,
        {"steps": 5},
        ["model"],
    ),
    "zoo, flow": lambda: (ppzoo.create_model("realnvp", features=2, hidden=(4,), layers=2), X, {"steps": 3}, []),
    "zoo, game": lambda: (
        ppzoo.create_model("gan", features=2, hidden=(4,)),
        X.repeat(6, 1),
        {"method": "adversarial", "steps": 3},
        [],
    ),
}


def several(y):
    pyro.sample("a", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    conjugate(y)


def digest(fit):
    """All that a fit can say, as one number."""
    seen = hashlib.sha256()
    for verb, arguments in {"draws": (7,), "predict": (), "sample": (3,)}.items():
        try:
            found = getattr(fit, verb)(*arguments, **({"draws": 4} if verb == "predict" else {}))
        except ppzoo.ModelError:
            continue
        for name, value in sorted(found.items() if isinstance(found, dict) else [(verb, found)]):
            seen.update(f"{verb} {name} {value.dtype} {tuple(value.shape)}".encode() + value.numpy().tobytes())
    for name, value in fit.parameters().items():
        seen.update(name.encode() + value.numpy().tobytes())
    if fit.losses is not None:
        seen.update(fit.losses.tobytes())
    seen.update(repr((fit.seed, fit.dtype, fit.method.name, fit.seconds, fit.notes)).encode())
    return seen.hexdigest()


@functools.cache
def saved(case, parent):
    """The fit of a case and its folder."""
    model, data, options, _ = CASES[case]()
    fit = ppzoo.fit(model, data, seed=5, **options)
    return fit, fit.save(Path(parent) / case.replace(", ", "_").replace(" ", "_"))


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """Where the fits of all tests are; few draws go into their trees, for it is not about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ppzoo.tree._DRAWS", 20)
        patch.setattr("ppzoo.tree._FEWEST_DRAWS", 20)
        yield str(tmp_path_factory.mktemp("saved"))


def given(case):
    model, _, options, needed = CASES[case]()
    return {name: {"model": model, "guide": options.get("guide")}[name] for name in needed}


def load_all(folders):
    """What the new process prints."""
    return {case: digest(ppzoo.load(folder, **given(case))) for case, folder in folders.items()}


def test_a_loaded_fit_is_the_same_fit_in_a_new_process(parent):
    fits = {case: saved(case, parent) for case in CASES}
    folders = {case: str(folder) for case, (_, folder) in fits.items()}
    probe = (
        "import importlib.util, json, sys\n"
        f"spec = importlib.util.spec_from_file_location('cases', {__file__!r})\n"
        "cases = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(cases)\n"
        "print(json.dumps(cases.load_all(json.loads(sys.argv[1]))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, json.dumps(folders)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {case for case, (fit, _) in fits.items() if found[case] != digest(fit)} == set()


@pytest.mark.parametrize("case", CASES)
def test_a_loaded_fit_is_the_same_fit(case, parent, isolation):
    fit, folder = saved(case, parent)
    again = ppzoo.load(folder, **given(case))
    assert isolation() == []
    assert digest(again) == digest(fit)
    assert again.to_arviz().identical(fit.to_arviz())
    assert again.to_arviz().attrs == fit.to_arviz().attrs
    assert again.summary().equals(fit.summary())


@pytest.mark.parametrize("case", ["svi", "nuts", "zoo, em", "zoo, game"])
def test_a_loaded_fit_is_judged_and_saved_like_the_first(case, parent):
    fit, folder = saved(case, parent)
    again = ppzoo.load(folder, **given(case))
    assert str(again.diagnose()) == str(fit.diagnose())
    assert digest(ppzoo.load(again.save(folder.with_name(folder.name + "_again")), **given(case))) == digest(fit)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case]()[3]])
def test_what_a_file_cannot_hold_must_be_given(case, parent):
    _, folder = saved(case, parent)
    for missing in given(case):
        rest = {name: value for name, value in given(case).items() if name != missing}
        with pytest.raises(StorageError, match=rf"of your own.*{missing}=\.\.\."):
            ppzoo.load(folder, **rest)


def test_a_loaded_fit_takes_new_data_like_the_first(parent):
    fit, folder = saved("zoo, exact", parent)
    again = ppzoo.load(folder)
    assert torch.equal(again.predict(X[:2])["y"], fit.predict(X[:2])["y"])
    with pytest.raises(ppzoo.DataError, match="3 columns"):
        again.predict(torch.zeros(2, 3))


def test_columns_and_labels_are_kept(tmp_path):
    data = ppzoo.load_dataset("eight_schools")
    fit = ppzoo.fit(ppzoo.create_model("eight_schools"), data, steps=3, run_dir=tmp_path / "run")
    again = ppzoo.load(tmp_path / "run")
    labels = list(again.to_arviz()["posterior"]["school"].values)
    assert labels == list("ABCDEFGH")
    assert again.pair.data.columns == fit.pair.data.columns


def shifted(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("more", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def heavy(y):
    mu = pyro.sample("mu", dist.Cauchy(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def raising(y):
    raise AssertionError("not the model")


@pytest.mark.parametrize("wrong", [shifted, heavy, raising, parametric, lambda: None, 5, Module])
def test_another_model_is_refused(wrong, parent):
    with pytest.raises(StorageError, match=r"another model|fit of this model"):
        ppzoo.load(saved("svi", parent)[1], model=wrong)


def misses(y):
    pass


def other_parameters(y):
    loc = pyro.param("centre", torch.tensor(0.0))
    pyro.sample("mu", dist.Normal(loc, 1.0))


@pytest.mark.parametrize("wrong", [misses, other_parameters, raising, "mvn", 5, nn.Linear(1, 1)])
def test_another_guide_is_refused(wrong, parent):
    with pytest.raises(StorageError):
        ppzoo.load(saved("svi, own guide", parent)[1], model=conjugate, guide=wrong)


def test_another_network_is_refused(parent):
    wrong = ppzoo.create_model("vae", features=3, latents=2, hidden=(7,))
    with pytest.raises(StorageError, match="another model"):
        ppzoo.load(saved("zoo, own network", parent)[1], model=wrong)


def test_a_folder_holds_four_files_and_a_manifest_and_nothing_that_runs(parent):
    for case in CASES:
        _, folder = saved(case, parent)
        names = sorted(path.name for path in folder.iterdir())
        assert names == [
            "data.safetensors",
            "draws.safetensors",
            "manifest.json",
            "posterior.nc",
            "state.safetensors",
        ]
        assert not any(b"\x80\x04\x95" in path.read_bytes()[:64] for path in folder.iterdir())  # a pickle's opening
    manifest = json.loads((saved("zoo, em", parent)[1] / "manifest.json").read_text())
    assert manifest["versions"].keys() == {"ppzoo", "python", "torch", "pyro"}
    assert manifest["seed"] == 5
    assert manifest["options"] == {"steps": 5, "tolerance": 1e-8, "restarts": 1, "init": "data"}
    assert manifest["model"] == {"name": "gmm", "zoo": True, "options": {"features": 2}}


@pytest.mark.parametrize("name", ["manifest.json", "state.safetensors", "draws.safetensors", "posterior.nc"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_damage_is_refused(name, damage, parent, tmp_path):
    _, folder = saved("svi", parent)
    target = tmp_path / "run"
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    data = bytearray((target / name).read_bytes())
    data[len(data) // 2] ^= 1
    (target / name).write_bytes({"flip": bytes(data), "cut": bytes(data[:-1])}.get(damage, b""))
    if damage == "gone":
        (target / name).unlink()
    with pytest.raises(StorageError):
        ppzoo.load(target, model=conjugate)


def test_a_folder_of_something_else_is_refused(tmp_path):
    write_folder(tmp_path / "other", {"a.txt": b"a"}, {"kind": "notes"})
    with pytest.raises(StorageError, match="is not a saved fit"):
        ppzoo.load(tmp_path / "other")
    write_folder(tmp_path / "newer", {"a.txt": b"a"}, {"fit": "ppzoo-fit-2"})
    with pytest.raises(StorageError, match=r"is not a saved fit.*ppzoo-fit-2"):
        ppzoo.load(tmp_path / "newer")
    with pytest.raises(StorageError, match="no such folder"):
        ppzoo.load(tmp_path / "nowhere")


def places(value, here=()):
    """The way to every entry of nested tables and lists, lists by their first entry."""
    yield here
    entries = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*here, key))


def with_change(value, place, new):
    changed = copy.deepcopy(value)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    if new is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = new
    return changed


def test_a_forged_manifest_is_refused_or_harmless(parent, monkeypatch):
    """Every field replaced in turn, as if all digests had been made anew: an error of storage, or a fit to read."""
    _, folder = saved("zoo, exact", parent)
    read = read_folder(folder)
    ours = ("format", "format_version", "files", "sha256")
    fields = {name: value for name, value in read.manifest.items() if name not in ours}
    refused = 0
    for place in list(places(fields))[1:]:
        for new in (..., None, -1, "os:system", [[]], {"tensor": "nope"}):
            forged = Folder(with_change(fields, place, new), read.files)
            monkeypatch.setattr("ppzoo.saving.read_folder", lambda _, forged=forged: forged)
            try:
                fit = ppzoo.load("forged")
            except StorageError:
                refused += 1
                continue
            fit.draws(2)
            repr(fit)
            Diagnosis(fit.outcome.findings, fit.outcome.numbers)._repr_html_()
    assert refused > 100


def test_nothing_is_run_by_loading(parent):
    _, folder = saved("zoo, networks", parent)
    ppzoo.load(folder)  # imports what it imports
    forbidden = {"exec", "compile", "pickle.find_class", "subprocess.Popen", "os.system", "socket.connect"}
    probe = (
        "import sys, ppzoo\n"
        f"folder = {str(folder)!r}\n"
        "ppzoo.load(folder)\n"
        "seen = set()\n"
        "sys.addaudithook(lambda event, _: seen.add(event))\n"
        "ppzoo.load(folder)\n"
        f"print('ran:', sorted(seen & {forbidden!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["ran: []"], done.stderr


def test_saving_again_replaces_and_saving_over_others_files_is_refused(tmp_path, parent):
    fit, _ = saved("svi", parent)
    folder = fit.save(tmp_path / "run")
    other = ppzoo.fit(conjugate, Y + 1, steps=3)
    other.save(folder)
    assert torch.equal(ppzoo.load(folder, model=conjugate).draws(3)["mu"], other.draws(3)["mu"])
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"notes\.txt"):
        fit.save(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("words")
    with pytest.raises(StorageError, match="will not be overwritten"):
        fit.save(tmp_path / "thesis")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "thesis"]


def test_an_argument_that_no_file_can_hold_is_named(tmp_path):
    def model(y, options):
        conjugate(y)

    fit = ppzoo.fit(model, {"y": Y, "options": {"a": 1}}, steps=3)
    with pytest.raises(StorageError, match=r"options: cannot be kept in a file; got a dict.*functools\.partial"):
        fit.save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_streamed_rows_are_not_kept(tmp_path):
    """A fit of a million rows on disk is saved in the bytes of one of two thousand, and says how many it saw."""
    sizes = {}
    for rows in (2000, 1_000_000):
        np.save(tmp_path / "y.npy", np.zeros(rows, dtype=np.float32))
        y = np.load(tmp_path / "y.npy", mmap_mode="r")
        fit = ppzoo.fit(conjugate, y, guide="normal", batch_size=100, steps=60, progress=False)
        folder = fit.save(tmp_path / f"{rows}")
        again = ppzoo.load(folder, model=conjugate)
        assert again.pair.data.total == rows
        assert torch.equal(again.draws(5)["mu"], fit.draws(5)["mu"])
        assert again.summary().equals(fit.summary())
        sizes[rows] = sum(file.stat().st_size for file in folder.iterdir())
    assert sizes[1_000_000] == pytest.approx(sizes[2000], rel=0.01)
