"""The batch gives each chain what it would have alone, however the steps are cut into calls."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.mcmc import nuts
from ppzoo.inference.mcmc.kernel import Settings
from ppzoo.inference.mcmc.machines import Captured, Native, Replayed, machine_of
from ppzoo.inference.mcmc.streams import chain_keys
from ppzoo.inference.native.build import available

KERNEL = nuts.build(5)
LIKE = torch.zeros(2, dtype=torch.float64)


def density(q):
    return -0.25 * torch.sum(q**4) - q[0] * q[1], -(q**3) - q.flip(0)


class Uncaptured(Captured):
    """All of a captured machine but the capture itself, which takes a GPU."""

    _capture = staticmethod(lambda burst: burst)


@pytest.fixture(params=[Replayed, Uncaptured, Captured, Native])
def road(request):
    if request.param is Native and available() is None:
        pytest.skip("no C compiler on this machine")
    if request.param is Captured and not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
    with torch.device("cuda" if request.param is Captured else "cpu"):
        yield request.param


def start(road, chains):
    like = torch.zeros(2, dtype=torch.float64)
    machine = road(KERNEL, density, chain_keys(3, chains).to(like.device), like)
    q = torch.tensor([0.5, -0.2], dtype=torch.float64) + torch.arange(chains, dtype=torch.float64)[:, None] / 10
    ones = torch.ones(chains, 2, dtype=torch.float64)
    return machine, machine.start(q, Settings(0.3 * ones[:, 0], ones, torch.full((chains,), 5.0, dtype=torch.float64)))


def rows_of(road, chains, draws, calls):
    machine, state = start(road, chains)
    state = state.emptied(torch.full((chains,), draws), draws)
    while bool((state.counts < draws).any()):
        machine.advance(state, calls)
    return state


def test_calls_do_not_matter(road):
    one, other = rows_of(road, 4, 12, 3), rows_of(road, 4, 12, 50)
    assert all(torch.equal(one.rows[name], other.rows[name]) for name in one.rows)
    assert torch.equal(one.steps, other.steps)


def test_a_chain_is_the_same_alone_and_in_company(road):
    alone, company = rows_of(road, 1, 12, 16), rows_of(road, 6, 12, 16)
    for name in alone.rows:
        torch.testing.assert_close(alone.rows[name][0], company.rows[name][0], rtol=1e-12, atol=1e-12)


def test_a_chain_without_room_stands_still(road):
    machine, state = start(road, 3)
    state = state.emptied(torch.tensor([4, 0, 2]), 4)
    still = {name: value[1].clone() for name, value in state.state.items()}
    while state.counts.tolist() != [4, 0, 2]:
        machine.advance(state, 8)
    assert all(torch.equal(value[1], still[name]) for name, value in state.state.items())
    assert int(state.steps[1]) == 1
    assert machine.advance(state, 8) == 0


def test_rows_can_be_emptied_on_the_way(road):
    whole = rows_of(road, 4, 12, 16)
    machine, state = start(road, 4)
    parts = []
    for _ in range(3):
        state = state.emptied(torch.full((4,), 4), 4)
        while bool((state.counts < 4).any()):
            machine.advance(state, 5)
        parts.append(state.rows["q"])
    assert torch.equal(torch.cat(parts, 1), whole.rows["q"])


@pytest.mark.skipif(available() is None, reason="no C compiler on this machine")
def test_both_roads_give_the_same_draws():
    replayed, native = rows_of(Replayed, 6, 12, 16), rows_of(Native, 6, 12, 16)
    for name in replayed.rows:
        torch.testing.assert_close(replayed.rows[name], native.rows[name], rtol=1e-8, atol=1e-8)
    assert torch.equal(replayed.steps, native.steps)


@pytest.mark.parametrize("batch", [6, 4])
def test_captured_steps_are_the_replayed_ones_in_new_coordinates_too(batch):
    rows = []
    for road in (Replayed, Uncaptured):
        machine = road(KERNEL, density, chain_keys(3, 6), LIKE, batch=batch)
        q, one = torch.arange(12, dtype=torch.float64).reshape(6, 2) / 10, torch.ones(6, dtype=torch.float64)
        for scale in (1.0, 0.3):
            machine.whitening = machine.whitening._replace(scale=torch.full((2,), scale, dtype=torch.float64))
            chains = machine.start(q, Settings(0.3 * one, torch.ones(6, 2, dtype=torch.float64), 5 * one))
            chains = chains.emptied(torch.full((6,), 5), 5)
            while bool((chains.counts < 5).any()):
                machine.advance(chains, 16)
            rows += [chains.rows]
    for replayed, captured in zip(rows[:2], rows[2:], strict=True):
        assert all(torch.equal(replayed[name], captured[name]) for name in replayed)
    assert not torch.equal(rows[0]["q"], rows[1]["q"])


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_matter(threads):
    before = torch.get_num_threads()
    one = rows_of(Native, 40, 6, 16) if available() else rows_of(Replayed, 40, 6, 16)
    torch.set_num_threads(threads)
    try:
        other = rows_of(Native, 40, 6, 16) if available() else rows_of(Replayed, 40, 6, 16)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one.rows[name], other.rows[name]) for name in one.rows)


def test_without_a_compiler_steps_are_replayed_and_the_reason_is_told(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("PATH", "")
    kernel = nuts.build(3)  # another source text: what was compiled before stays
    machine, reason = machine_of(kernel, lambda q: (-torch.sum(q**6), -6 * q**5), chain_keys(0, 2), LIKE)
    assert isinstance(machine, Replayed)
    assert "compiler" in reason
