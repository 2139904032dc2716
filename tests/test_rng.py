"""Named streams: a hash, so that no two names or seeds share one."""

from __future__ import annotations

import hashlib
import itertools

from ppzoo.rng import stream_digest, stream_seed


def test_a_stream_is_the_same_everywhere_and_for_ever():
    # stored numbers: a change would silently change every fit's draws
    assert stream_seed(0) == 3696793467068528757
    assert stream_seed(7, "nuts", "chain", 3) == 7684276526160812675
    assert stream_seed(0, "nuts", "chain", 3) == stream_seed(0, "nuts", "chain", 3)


def test_seeds_are_what_torch_takes():
    assert all(0 <= stream_seed(root, "a") < 2**63 for root in (0, 1, 2**63, 2**64 - 1))


def test_the_digest_is_published():
    """SHA-256 of the parts with their types, separated by a character that no name has."""
    assert stream_digest(7, "nuts", 3) == hashlib.sha256(b"int:7\x1fstr:nuts\x1fint:3").digest()


def test_no_two_streams_meet():
    names = [(), ("a",), ("a", "b"), ("ab",), ("a", 1), ("a", "1"), (1, "a"), ("",), ("", "")]
    seeds = [0, 1, 2, 10, 12, 2**32, 2**64 - 1]
    streams = [stream_seed(seed, *name) for seed, name in itertools.product(seeds, names)]
    assert len(set(streams)) == len(streams)


def test_consecutive_seeds_and_chains_share_nothing():
    streams = {stream_seed(seed, "chain", chain) for seed in range(100) for chain in range(100)}
    assert len(streams) == 100 * 100
