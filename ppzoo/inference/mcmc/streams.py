r"""Counter-based random numbers: the noise of step ``t`` of a chain is a pure function of the chain's key and ``t``.

Threefry-2x64 with 20 rounds (Salmon, Moraes, Dror, Shaw, *Parallel Random Numbers: As Easy as 1, 2, 3*, 2011,
https://doi.org/10.1145/2063384.2063405): a block cipher whose key is the chain's and whose plain text is the counter.
So a chain's numbers depend on the seed and its own number alone, whatever runs beside it, on any device, and a run
that stopped continues from its counter. It is written in plain integer operations, so that it is traced, mapped over
chains and compiled together with the kernel that uses it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppzoo.rng import stream_digest

__all__ = ["chain_keys", "normals", "threefry", "uniforms"]

_ROTATIONS = (16, 42, 12, 31, 16, 32, 24, 21)
_PARITY = 0x1BD11BDAA9FC1A22
_ROUNDS = 20


def chain_keys(seed: int, chains: int, *names: str | int) -> Tensor:
    """One 128-bit key per chain, ``(C, 2)`` of int64: the first half of the digest of seed, names and chain.

    Example:
        >>> bool((chain_keys(0, 3, "nuts")[:2] == chain_keys(0, 2, "nuts")).all())
        True
    """
    rows = []
    for chain in range(chains):
        digest = stream_digest(seed, *names, chain)
        rows.append([int.from_bytes(digest[i : i + 8], "big", signed=True) for i in (0, 8)])
    return torch.tensor(rows, dtype=torch.int64, device="cpu").reshape(chains, 2)


def threefry(key: Tensor, counter: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The cipher: a key ``(2,)`` and two counters ``(n,)`` of int64 give two words ``(n,)`` of 64 random bits each."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for i in range(_ROUNDS):
        bits = _ROTATIONS[i % 8]
        x = x + y
        y = ((y << bits) | ((y >> (64 - bits)) & ((1 << bits) - 1))) ^ x
        if i % 4 == 3:
            j = i // 4 + 1
            x, y = x + keys[j % 3], y + keys[(j + 1) % 3] + j
    return x, y


def uniforms(key: Tensor, step: Tensor, n: int, *, purpose: int = 0) -> Tensor:
    """``n`` numbers in (0, 1) with 52 bits, float64 ``(n,)``.

    Args:
        key: The chain's key ``(2,)``.
        step: The chain's own step count, an int64 scalar.
        n: How many.
        purpose: Keeps the numbers of one step for different uses apart.
    """
    blocks = (n + 1) // 2
    position = torch.arange(blocks, device=key.device) + (purpose << 32)
    words = threefry(key, (position, step.expand(blocks)))
    return torch.cat([_unit(word) for word in words])[:n]


def normals(u: Tensor) -> Tensor:
    """As many independent standard normal numbers as uniform ones, an even number (Box and Muller, 1958)."""
    half = len(u) // 2
    radius = torch.sqrt(-2 * torch.log(u[:half]))
    angle = 2 * math.pi * u[half:]
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)])


def _unit(word: Tensor) -> Tensor:
    """The upper 52 bits as a number in the open interval (0, 1); with 53 the largest would round to 1."""
    return ((word >> 12) & ((1 << 52) - 1)).to(torch.float64) * 2.0**-52 + 2.0**-53
