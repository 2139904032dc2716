"""What the sampler recorded is judged in all and chain by chain."""

from __future__ import annotations

import numpy as np
import pytest

from ppzoo.diagnostics.arviz import build_datatree
from ppzoo.diagnostics.sampler import diagnose_sampler, listing, numbered


def judged(**statistics):
    numbers: dict[str, float] = {}
    tree = build_datatree({"posterior": {}, "sample_stats": statistics}, dims={}, coords={}, attrs={})
    return list(diagnose_sampler(tree, numbers)), numbers


def energies(chains, draws, slow=()):
    energy = np.random.default_rng(0).normal(size=(chains, draws))
    energy[list(slow)] = np.cumsum(energy[list(slow)], axis=1)
    return energy


def test_nothing_recorded_nothing_found():
    assert judged() == ([], {})
    assert judged(acceptance_rate=np.ones((4, 100))) == ([], {})


def test_a_chain_that_alone_diverges_is_named():
    """300 of 512,000 draws are 0.06 %, but all are those of one chain."""
    diverging = np.zeros((512, 1000), dtype=bool)
    diverging[77, :300] = True
    findings, numbers = judged(diverging=diverging)
    assert [(finding.level, finding.what) for finding in findings] == [
        ("caution", "trajectories diverged"),
        ("reject", "a chain diverged again and again"),
    ]
    assert findings[1].evidence == "chain 77 (300 of 1000 draws)"
    assert numbers["divergences"] == 300


def test_scattered_divergences_name_no_chain():
    """512 divergences, each anywhere: the most of any chain is 5 or so; false alarm rate 1e-4."""
    diverging = np.zeros(512_000, dtype=bool)
    diverging[np.random.default_rng(0).choice(512_000, 512, replace=False)] = True
    findings, _ = judged(diverging=diverging.reshape(512, 1000))
    assert [finding.level for finding in findings] == ["caution"]


@pytest.mark.parametrize(
    ("deep", "evidence"),
    [
        pytest.param({3: 100}, "up to 50% of a chain's draws > 5%, in chain 3", id="one chain"),
        pytest.param({3: 100, 9: 20}, "in 2 chains: 3, 9", id="two chains"),
        pytest.param({3: 10}, None, id="5 % of one chain"),
        pytest.param(dict.fromkeys(range(100), 20), "10% of the draws > 5%", id="all chains"),
    ],
)
def test_trajectories_that_end_at_the_greatest_depth(deep, evidence):
    reached = np.zeros((100, 200), dtype=bool)
    for chain, count in deep.items():
        reached[chain, :count] = True
    findings, numbers = judged(reached_max_treedepth=reached)
    assert numbers["max_depth_share"] == max(deep.values()) / 200
    if evidence is None:
        assert findings == []
    else:
        assert findings[0].level == "caution"
        assert evidence in findings[0].evidence


def test_a_few_deep_draws_of_a_short_chain_are_chance():
    reached = np.zeros((1000, 25), dtype=bool)
    reached[::3, :2] = True  # 8 % of such a chain, 2.7 % of all
    assert judged(reached_max_treedepth=reached)[0] == []


def test_the_chains_whose_energy_crawls_are_named():
    findings, numbers = judged(energy=energies(50, 400, slow=(7, 31)))
    (finding,) = findings
    assert finding.level == "caution"
    assert finding.evidence.endswith("< 0.3, in 2 chains: 7, 31")
    assert numbers["bfmi"] < 0.3


def test_energies_of_stuck_chains_are_left_to_others():
    energy = energies(6, 400, slow=(4,))
    energy[0], energy[1, 3] = 2.0, np.nan
    assert judged(energy=energy)[0][0].evidence.endswith("in chain 4")  # by its number among all
    assert judged(energy=np.ones((4, 100))) == ([], {})


def test_short_chains_have_a_common_bfmi():
    assert judged(energy=energies(500, 20))[0] == []
    (finding,), _ = judged(energy=np.cumsum(energies(500, 100), axis=1))
    assert "of all chains together" in finding.evidence


def test_how_chains_are_listed():
    assert numbered(np.arange(3)) == "3 chains: 0, 1, 2"
    assert listing("abcdefg", most=3) == "a, b, c and 4 more"
    assert listing([]) == ""
