"""A model's card with its options, read from its source: nothing is imported, so the answer is immediate."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from importlib.resources import files

from ppzoo.zoo import Card

__all__ = ["ModelOption", "model_options"]


@dataclass(frozen=True)
class ModelOption:
    """An option of ``create_model``: its name, its type, its default as Python writes it, and one line about it."""

    name: str
    kind: str
    default: str
    doc: str


def model_options(card: Card) -> list[ModelOption]:
    """The options of a zoo model in the order of its constructor; without a default, one is required.

    Example:
        >>> from ppzoo.zoo import model_card
        >>> [(option.name, option.default) for option in model_options(model_card("eight_schools"))]
        [('centred', 'False')]
    """
    module, _, name = card.path.partition(":")
    source = files("ppzoo").joinpath(*module.split(".")[1:-1], f"{module.split('.')[-1]}.py")
    tree = ast.parse(source.read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    made = next((n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if made is None:
        return []
    docs = _arguments(ast.get_docstring(found) or "") | _arguments(ast.get_docstring(made) or "")
    return [
        ModelOption(
            argument.arg,
            ast.unparse(argument.annotation) if argument.annotation else "",
            ast.unparse(default) if default else "",
            docs.get(argument.arg, ""),
        )
        for argument, default in zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True)
    ]


def _arguments(docstring: str) -> dict[str, str]:
    """Name to text of the section ``Args:``, its lines joined."""
    _, _, section = docstring.partition("\nArgs:\n")
    docs: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith("    "):
            break  # the next section
        if match := re.match(r" {4}(\w+): (.*)", line):
            name, docs[match[1]] = match[1], match[2]
        elif name and line.strip():
            docs[name] += f" {line.strip()}"
    return docs
