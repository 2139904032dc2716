from __future__ import annotations

import ast
import shlex

import pytest

from ppzoo.template import model_file


def test_it_is_python_with_a_model_and_a_guide_of_the_same_arguments():
    functions = {node.name: node for node in ast.parse(model_file("mine.py")).body if isinstance(node, ast.FunctionDef)}
    arguments = {name: [argument.arg for argument in node.args.args] for name, node in functions.items()}
    assert arguments == {"model": ["x", "y"], "guide": ["x", "y"]}


@pytest.mark.parametrize("name", ["mine.py", "my models/it's.py"])
def test_its_commands_can_be_copied(name):
    commands = [line for line in model_file(name).splitlines() if line.startswith("#     ppzoo")]
    assert [shlex.split(line[1:])[:3] for line in commands] == [
        ["ppzoo", verb, f"{name}:model"] for verb in ("check", "fit", "compare")
    ]


def test_it_is_formatted_for_people():
    assert max(map(len, model_file("mine.py").splitlines())) <= 120
