from __future__ import annotations

import sys

import pytest

from ppzoo.cli_file import UserFiles, is_file_object
from ppzoo.errors import ModelError

pytest.importorskip("torch", reason="a file is run inside torch's random state")


@pytest.fixture
def place(tmp_path):
    """Writes a file and gives its path; nothing of the import machinery may be changed afterwards."""
    before = list(sys.path), set(sys.modules)

    def write(text: str, name: str = "mine.py") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    yield write
    assert sys.path == before[0]
    assert not [name for name in set(sys.modules) - before[1] if "mine" in name or "neighbour" in name]
    assert not (tmp_path / "__pycache__" / "mine.cpython-311.pyc").exists()


@pytest.mark.parametrize(
    ("text", "answer"),
    [("a.py:model", True), ("a.py", True), ("C:\\a.py:model", True), ("gmm", False), ("a:b", False), ("", False)],
)
def test_what_means_a_file(text, answer):
    assert is_file_object(text) is answer


def test_an_object_of_a_file(place):
    path = place("from dataclasses import dataclass\n@dataclass\nclass A:\n    n: 'int' = 3\ndef model(): return A().n")
    assert UserFiles(0).find(f"{path}:model", argument="model")() == 3


def test_a_file_is_run_once_so_that_model_and_guide_share_its_networks(place):
    path = place("network = object()\ndef model(): return network\ndef guide(): return network")
    files = UserFiles(0)
    assert files.find(f"{path}:model", argument="model")() is files.find(f"{path}:guide", argument="guide")()


def test_the_seed_decides_the_networks_of_a_file(place):
    path = place("import torch\nw = torch.randn(3).tolist()")
    draws = [UserFiles(seed).find(f"{path}:w", argument="model") for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_a_neighbour_can_be_imported_and_what_is_installed_comes_first(place):
    place("value = 7", "neighbour.py")
    place("raise RuntimeError", "json.py")
    path = place("import json, neighbour\nmodel = lambda: neighbour.value")
    assert UserFiles(0).find(f"{path}:model", argument="model")() == 7


def test_the_source_is_read_anew_after_an_edit_of_equal_length(place):
    path = place("value = 1")
    assert UserFiles(0).find(f"{path}:value", argument="model") == 1
    place("value = 2")
    assert UserFiles(0).find(f"{path}:value", argument="model") == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ndef model(:\n", r"the file does not parse; got .*mine\.py, line 2: .*'def model\(:'; expected Python"),
        ("a = 1\nimport nowhere\n", r"got .*mine\.py, line 2: ModuleNotFoundError: No module named 'nowhere'"),
        ("def f():\n    1 / 0\n\nf()\n", r"got .*mine\.py, line 2: ZeroDivisionError"),
        ("import sys\nsys.exit(0)\n", r"got .*mine\.py, line 2: SystemExit: 0"),
        ("\0", "the file does not parse|the file failed"),
        ("def modle(): ...\n", r"the file has no 'model'.*Did you mean 'modle'\?"),
        ("", r"the file has no 'model'.*None is known"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_with_its_line(place, text, message):
    path = place(text)
    with pytest.raises(ModelError, match=message) as found:
        UserFiles(0).find(f"{path}:model", argument="guide")
    assert found.value.argument == "guide"


def test_a_file_without_an_object_and_a_file_that_is_not_there(place):
    path = place("def model(): ...")
    with pytest.raises(ModelError, match=r"needs the name of an object.*expected .*mine\.py:model"):
        UserFiles(0).find(path, argument="model")
    with pytest.raises(ModelError, match=r"no such file.*ppzoo new other\.py"):
        UserFiles(0).find("other.py:model", argument="model")
