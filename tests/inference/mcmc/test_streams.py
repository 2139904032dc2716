"""The cipher against its published answers; the numbers against their distribution; keys that nobody shares."""

from __future__ import annotations

import math

import pytest
import torch

from ppzoo.inference.mcmc.streams import chain_keys, normals, threefry, uniforms

STEP = torch.tensor(7)


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [  # Random123's known answers for threefry2x64, 20 rounds
        ((0, 0), (0, 0), (0xC2B6E3A8C2C69865, 0x6F81ED42F350084D)),
        ((-1, -1), (-1, -1), (0xE02CB7C4D95D277A, 0xD06633D0893B8B68)),
    ],
)
def test_known_answers(key, counter, words):
    x, y = threefry(torch.tensor(key), tuple(torch.tensor([c]) for c in counter))
    assert (int(x) % 2**64, int(y) % 2**64) == words


def test_keys_are_the_same_everywhere_and_for_ever():
    # stored numbers: a change would silently change every fit's draws
    assert chain_keys(0, 2, "nuts").tolist() == [
        [-3226951725448461774, 1720583628590905042],
        [4443876874615905457, -4657856117927331868],
    ]
    assert chain_keys(0, 1).tolist() == [[-368541186157659009, -5847568957252160730]]


def test_uniforms_are_open_and_even():
    u = uniforms(chain_keys(0, 1)[0], STEP, 100_001)
    assert u.shape == (100_001,)
    assert u.dtype == torch.float64
    assert float(u.min()) > 0
    assert float(u.max()) < 1
    # 20 cells, chi-square with 19 degrees of freedom: 43.8 is passed once in a thousand seeds, and this one is fixed
    expected = len(u) / 20
    assert float(((torch.histc(u, 20, 0, 1) - expected) ** 2).sum()) / expected < 43.8


def test_normals_are_normal():
    z = normals(uniforms(chain_keys(1, 1)[0], STEP, 200_000))
    edges = torch.linspace(-2.5, 2.5, 21, dtype=torch.float64)
    below = (z[:, None] < edges).double().mean(0)
    exact = 0.5 * (1 + torch.erf(edges / math.sqrt(2)))
    assert float((below - exact).abs().max()) < 4 * 0.5 / math.sqrt(len(z))  # 4 standard errors at 21 places
    assert abs(float((z[:-1] * z[1:]).mean())) < 4 / math.sqrt(len(z))


def test_normals_of_a_pair_know_nothing_of_each_other():
    """4 standard errors of the correlation of 100,000 pairs, and of that of their squares, whose radius they share."""
    one, other = normals(uniforms(chain_keys(1, 1)[0], STEP, 200_000)).chunk(2)
    for pairs in (torch.stack([one, other]), torch.stack([one, other]) ** 2):
        assert abs(float(torch.corrcoef(pairs)[0, 1])) < 4 / math.sqrt(len(one))


def test_a_stream_is_the_chains_own():
    """Step, use, chain, seed and name each change every number; the number of chains changes none."""
    key = chain_keys(0, 4, "nuts")
    assert torch.equal(key[:2], chain_keys(0, 2, "nuts"))
    streams = [
        uniforms(key[0], STEP, 6),
        uniforms(key[0], STEP + 1, 6),
        uniforms(key[0], STEP, 6, purpose=3),
        uniforms(key[1], STEP, 6),
        uniforms(chain_keys(1, 1, "nuts")[0], STEP, 6),
        uniforms(chain_keys(0, 1, "hmc")[0], STEP, 6),
    ]
    assert len({float(v) for stream in streams for v in stream}) == 36
    assert torch.equal(uniforms(key[0], STEP, 3), streams[0][[0, 1, 3]])  # fewer numbers are the same numbers
