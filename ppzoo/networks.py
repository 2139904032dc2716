"""Plain networks: no probability in here, only maps from tensors to tensors."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from ppzoo.errors import ModelError

__all__ = ["check_network", "mlp"]


def mlp(
    inputs: int,
    outputs: int,
    *,
    hidden: Sequence[int] = (),
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Multilayer perceptron: affine maps with ``activation`` between them, none after the last.

    Args:
        inputs: Width of the input.
        outputs: Width of the output.
        hidden: Widths between; empty for one affine map.
        activation: Class of the nonlinearity.

    Returns:
        A network from ``(..., inputs)`` to ``(..., outputs)``.

    Example:
        >>> mlp(3, 2, hidden=(8,))(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """
    widths = [inputs, *hidden, outputs]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def check_network(argument: str, network: object, *, inputs: int, outputs: int) -> nn.Module:
    """``network`` if it maps two rows of zeros ``(2, inputs)`` to ``(2, outputs)``, finite or not.

    It is run once, on a copy, in evaluation mode: nothing of the original changes.

    Raises:
        ModelError: If it is no ``nn.Module``, fails on the zeros, or answers with another shape.

    Example:
        >>> check_network("decoder_network", nn.Linear(2, 3), inputs=2, outputs=4)
        Traceback (most recent call last):
        ppzoo.errors.ModelError: decoder_network: has the wrong output; got shape (2, 3); expected shape (2, 4), ...
    """
    expected = f"an nn.Module from (rows, {inputs}) to (rows, {outputs})"
    if not isinstance(network, nn.Module):
        raise ModelError("is not a network", argument=argument, got=type(network).__name__, expected=expected)
    like = next(network.parameters(), torch.empty(()))
    try:
        with torch.no_grad():
            answer = copy.deepcopy(network).eval()(like.new_zeros(2, inputs))
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        raise ModelError(
            f"fails on two rows of {inputs} zeros",
            argument=argument,
            got=f"{type(error).__name__}: {error}",
            expected=expected,
            remedy=f"Make its first layer {inputs} wide; start with nn.Unflatten where it needs images.",
        ) from error
    got = f"shape {tuple(answer.shape)}" if isinstance(answer, torch.Tensor) else type(answer).__name__
    if got != f"shape {(2, outputs)}":
        raise ModelError(
            "has the wrong output",
            argument=argument,
            got=got,
            expected=f"shape {(2, outputs)}, {expected}",
            remedy=f"Make its last layer {outputs} wide; end with nn.Flatten where it makes images.",
        )
    return network
