"""Named random streams from one root seed.

Every random decision draws from a stream whose seed is a hash of the root seed and the stream's name, so that a
chain's numbers depend on the seed and its own name only, and no two root seeds share a stream (consecutive integer
seeds handed to a generator directly would share whole chains in some samplers).
"""

from __future__ import annotations

import hashlib

__all__ = ["stream_digest", "stream_seed"]


def stream_digest(root: int, *names: str | int) -> bytes:
    """What all numbers of the stream ``names`` under the root seed ``root`` come from: 32 bytes, a SHA-256.

    Args:
        root: The seed that the user gave, ``0 <= root < 2**64``.
        *names: What the stream is for, from general to particular, such as ``"nuts", "chain", 3``.

    Example:
        >>> len(stream_digest(0, "nuts", 1))
        32
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in (root, *names))
    return hashlib.sha256(text.encode()).digest()


def stream_seed(root: int, *names: str | int) -> int:
    """Seed of the stream ``names`` under the root seed ``root``: the first 63 bits of its :func:`stream_digest`.

    Example:
        >>> stream_seed(0, "nuts", 1) == stream_seed(0, "nuts", 1)
        True
        >>> stream_seed(0, "nuts", 1) == stream_seed(1, "nuts", 0)
        False
    """
    return int.from_bytes(stream_digest(root, *names)[:8], "big") >> 1
