"""Nothing in ppzoo can run code from a file: no pickle in any form, nothing evaluated."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parents[2] / "ppzoo").rglob("*.py"))
MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "shelve",
    "marshal",
    "pickletools",
    "copyreg",
    "joblib",
}
CALLS = {
    "eval", "exec", "compile", "__import__", "torch.load", "torch.save", "joblib.load", "joblib.dump", "torch.hub.load",
    "torch.jit.load", "pandas.read_pickle", "pd.read_pickle", "get_param_store().load", "yaml.load",
}  # fmt: skip
METHODS = {"to_pickle", "read_pickle", "_unpickle", "loads_pickle"}


def offences(text: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found += [node.module] if node.module.split(".")[0] in MODULES else sorted(names & CALLS)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func).removeprefix("builtins.")
            if name in CALLS or name.split(".")[-1] in METHODS or _allows_pickle(name, node):
                found.append(ast.unparse(node))
    return found


def _allows_pickle(name: str, call: ast.Call) -> bool:
    words = [ast.unparse(key.value) for key in call.keywords if key.arg == "allow_pickle"]
    return words != ["False"] if name in {"np.load", "numpy.load"} else any(word != "False" for word in words)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: "-".join(path.parts[-2:]))
def test_no_source_file_can_run_what_it_reads(path: Path) -> None:
    assert offences(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import cloudpickle as c",
        "from pickle import loads",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "torch.save(x, 'x')",
        "eval('1')",
        "builtins.exec('1')",
        "np.load('x')",
        "np.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=flag)",
        "np.savez('x', allow_pickle=True)",
        "frame.to_pickle('x')",
        "import shelve, marshal",
    ],
)
def test_the_search_finds_them(text: str) -> None:
    assert offences(text)


def test_the_search_leaves_the_rest_alone() -> None:
    assert offences("model.eval()\nnp.load('x', allow_pickle=False)\nre.compile('x')\njson.load(f)") == []
