"""A loop in C is the same loop in torch, however chains, lanes, threads and steps are cut."""

from __future__ import annotations

import pytest
import torch

from ppzoo.inference.graph.recording import record
from ppzoo.inference.native import compile_loop
from ppzoo.inference.native.build import lanes

F = torch.float64
C, T, B, D = 13, 40, 6, 3


def _step(x, total, table, k, flip, e, u, scale, mass):
    """A walk with a table of remembered places, a swap of two fields, and a row now and then."""
    proposal = x + scale * e / mass.sqrt()
    accepted = u < torch.exp(0.5 * (x.square().sum() - proposal.square().sum()))
    new = torch.where(accepted, proposal, x)
    slot = torch.arange(4) == k % 4
    remembered = torch.where(slot[:, None], new, table)
    row_due = (k % 5 == 4) & accepted
    return new, total + x.sum(), remembered, k + 1, ~flip, row_due, x, table[1] + total, k, flip


NAMES = ("x", "total", "table", "k", "flip"), ("e", "u"), ("scale", "mass"), ("was", "mixed", "at", "flipped")


def _examples():
    state = (
        torch.zeros(D, dtype=F),
        torch.zeros((), dtype=F),
        torch.zeros(4, D, dtype=F),
        torch.tensor(0),
        torch.tensor(False),
    )
    noise = torch.zeros(D, dtype=F), torch.zeros((), dtype=F)
    shared = torch.tensor(0.5, dtype=F), torch.ones(D, dtype=F)
    row = _step(*state, *noise, *shared)[6:]
    return [
        dict(zip(names, values, strict=True)) for names, values in zip(NAMES, (state, noise, shared, row), strict=True)
    ]


def _loop(**options):
    state, noise, shared, row = _examples()
    graph = record(_step, [*state.values(), *noise.values(), *shared.values()])
    return compile_loop(graph, state=state, noise=noise, shared=shared, row=row, **options)


def _start(chains=C):
    state, _, _, row = _examples()
    begin = {name: torch.randn(chains, *v.shape, dtype=F).to(v.dtype) for name, v in state.items()}
    begin["k"] = torch.randint(0, 5, (chains,))
    ahead = {"e": torch.randn(chains, T, D, dtype=F), "u": torch.rand(chains, T, dtype=F)}
    rows = {name: torch.zeros(chains, B, *v.shape, dtype=v.dtype) for name, v in row.items()}
    shared = {"scale": torch.tensor(0.7, dtype=F), "mass": torch.tensor([0.5, 1.0, 2.0], dtype=F)}
    return begin, ahead, shared, rows, torch.randint(0, 3, (chains,))


def _in_torch(state, noise, shared, rows, count, steps, room):
    executed = torch.zeros_like(count)
    for c in range(len(count)):
        for t in range(steps):
            if count[c] >= room[c]:
                break
            fields = [v[c].clone() for v in state.values()]
            out = _step(*fields, *(n[c, t] for n in noise.values()), *shared.values())
            for name, value in zip(state, out[:5], strict=True):
                state[name][c] = value.clone()
            if out[5]:
                for name, value in zip(rows, out[6:], strict=True):
                    rows[name][c, count[c]] = value
                count[c] += 1
            executed[c] += 1
    return executed


def _copy(fields):
    return {name: value.clone() for name, value in fields.items()}


def test_the_loop_is_that_of_torch(seeded):
    state, noise, shared, rows, count = _start()
    room = torch.full_like(count, B)
    room[2], room[3] = 3, int(count[3])  # one chain with little room, one with none
    mine = [_copy(state), _copy(rows), count.clone()]
    executed, idle = _loop().run(mine[0], noise, shared, mine[1], mine[2], T, room=room)
    assert torch.equal(executed, _in_torch(state, noise, shared, rows, count, T, room))
    assert executed[3] == 0
    assert executed.unique().numel() > 2  # some chains were full before others
    assert idle > 0
    assert torch.equal(mine[2], count)
    for name, value in (state | rows).items():
        assert torch.allclose((mine[0] | mine[1])[name].to(F), value.to(F), rtol=1e-12, atol=1e-12), name


@pytest.mark.parametrize("width", [2, 4, 8])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("cut", [T, 7])
def test_lanes_threads_and_calls_change_no_bit(seeded, width, threads, cut):
    if width > lanes():
        pytest.skip(f"vectors of this machine hold {lanes()} doubles")
    state, noise, shared, rows, count = _start()
    mine = [_copy(state), _copy(rows), count.clone()]
    _loop().run(state, noise, shared, rows, count, T)
    loop = _loop(width=width)
    for t in range(0, T, cut):
        ahead = {name: value[:, t : t + cut].contiguous() for name, value in noise.items()}
        loop.run(mine[0], ahead, shared, mine[1], mine[2], min(cut, T - t), threads=threads)
    assert torch.equal(mine[2], count)
    for name, value in (state | rows).items():
        assert torch.equal((mine[0] | mine[1])[name], value), name


def test_a_chain_does_not_see_the_others(seeded):
    state, noise, shared, rows, count = _start()
    loop = _loop()
    alone = [{name: v[4:5].clone() for name, v in fields.items()} for fields in (state, noise, rows)]
    own = count[4:5].clone()
    loop.run(state, noise, shared, rows, count, T)
    loop.run(alone[0], alone[1], shared, alone[2], own, T)
    assert torch.equal(own, count[4:5])
    assert all(torch.equal(alone[0][name], state[name][4:5]) for name in state)
    assert all(torch.equal(alone[2][name], rows[name][4:5]) for name in rows)


def test_fields_that_change_places(seeded):
    """Each field becomes another's old value, and one becomes part of its own."""

    def step(a, b, c):
        return b, a + 0, torch.cat([c[1:], a[:1]]), a[0] > -9, a, b

    state = {name: torch.randn(3, 4, dtype=F) for name in "abc"}
    rows = {"a": torch.zeros(3, 5, 4, dtype=F), "b": torch.zeros(3, 5, 4, dtype=F)}
    first = {name: value[0] for name, value in state.items()}
    loop = compile_loop(
        record(step, [*first.values()]), state=first, noise={}, shared={}, row={"a": first["a"], "b": first["b"]}
    )
    want = [value.clone() for value in state.values()]
    for t in range(5):
        assert_row = want[0].clone(), want[1].clone()
        want = [want[1], want[0], torch.cat([want[2][:, 1:], want[0][:, :1]], 1)]
        if t == 0:
            first_row = assert_row
    executed, _ = loop.run(state, {}, {}, rows, torch.zeros(3, dtype=torch.int64), 5)
    assert executed.tolist() == [5, 5, 5]
    assert all(torch.equal(a, b) for a, b in zip(state.values(), want, strict=True))
    assert torch.equal(rows["a"][:, 0], first_row[0])
    assert torch.equal(rows["b"][:, 0], first_row[1])


def test_noise_that_nobody_hears_disturbs_nothing(seeded):
    """Its place in memory may be anybody's."""
    shared = {"s": torch.rand(50, dtype=F) + 1}
    x, deaf = torch.zeros(50, dtype=F), torch.zeros(50, dtype=F)
    graph = record(lambda x, e, s: (x + s.log(), x[0] > 1e9, x), [x, deaf, shared["s"]])
    loop = compile_loop(graph, state={"x": x}, noise={"e": deaf}, shared=shared, row={"x": x})
    state, noise = {"x": torch.zeros(9, 50, dtype=F)}, {"e": torch.randn(9, 4, 50, dtype=F)}
    loop.run(state, noise, shared, {"x": torch.zeros(9, 1, 50, dtype=F)}, torch.zeros(9, dtype=torch.int64), 4)
    assert torch.allclose(state["x"], 4 * shared["s"].log().expand(9, 50), rtol=1e-12)


def test_what_depends_on_shared_inputs_alone_is_computed_once_per_group(seeded):
    text = _loop().source.text
    once, part = text.split("static void part0")[1].split("static void part1")[:2]
    assert "sqrt_d" in once
    assert "sqrt_d" not in part.split("static void leave")[0]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_lane_takes_the_next_chain_when_its_own_has_all_its_rows(seeded, threads):
    """One chain of a hundred rows beside 63 of five."""
    x = torch.zeros(1, dtype=F)
    graph = record(lambda x: (x + 1, (x >= 0).all(), x), [x])
    loop = compile_loop(graph, state={"x": x}, noise={}, shared={}, row={"x": x}, width=2)
    start, room = torch.randn(64, 1, dtype=F).abs(), torch.full((64,), 5)
    room[3] = 100
    state, rows, counts = (
        {"x": start.clone()},
        {"x": torch.zeros(64, 100, 1, dtype=F)},
        torch.zeros(64, dtype=torch.int64),
    )
    executed, idle = loop.run(state, {}, {}, rows, counts, 1000, room=room, threads=threads)
    assert torch.equal(executed, room)
    assert torch.equal(counts, room)
    assert idle <= (5 if threads == 1 else 105)  # in pairs, 95 for the long one alone
    steps = torch.arange(100)[None, :, None]
    expected = torch.where(steps < room[:, None, None], start[:, None] + steps, 0.0)
    torch.testing.assert_close(rows["x"], expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(state["x"], start + room[:, None], rtol=1e-14, atol=0)


def test_a_position_out_of_range_raises_for_chains_that_are_still_there():
    table = torch.arange(4, dtype=F)

    k = torch.zeros(1, dtype=torch.int64)
    graph = record(lambda k: (k + 1, (k >= 0).all(), table[k]), [k])
    loop = compile_loop(graph, state={"k": k}, noise={}, shared={}, row={"at": table[k]})
    counts = torch.zeros(3, dtype=torch.int64)
    state, rows = {"k": torch.zeros(3, 1, dtype=torch.int64)}, {"at": torch.zeros(3, 9, 1, dtype=F)}
    room = torch.tensor([4, 3, 2])
    loop.run(state, {}, {}, rows, counts, 9, room=room)  # lanes run on after their chains have left
    assert rows["at"][0, :4, 0].tolist() == [0.0, 1.0, 2.0, 3.0]
    with pytest.raises(IndexError, match="out of range"):
        loop.run(state, {}, {}, rows, counts, 9, room=room + 1)


def test_a_step_that_returns_something_else_is_refused():
    x = torch.zeros(2, dtype=F)
    with pytest.raises(ValueError, match="beside the state it returns"):
        compile_loop(record(lambda x: (x, x.sum(), x), [x]), state={"x": x}, noise={}, shared={}, row={"x": x})


def test_wrong_fields_are_refused(seeded):
    state, noise, shared, rows, count = _start()
    loop = _loop()
    with pytest.raises(ValueError, match="noise: got the fields"):
        loop.run(state, {"u": noise["u"], "e": noise["e"]}, shared, rows, count, 1)
    with pytest.raises(ValueError, match=r"state x: got \(13, 2\)"):
        loop.run(state | {"x": state["x"][:, :2].contiguous()}, noise, shared, rows, count, 1)
    with pytest.raises(ValueError, match="1 to the 40 steps"):
        loop.run(state, noise, shared, rows, count, 41)
    with pytest.raises(ValueError, match="at most the 6 rows"):
        loop.run(state, noise, shared, rows, count, 1, room=count + 7)
    with pytest.raises(ValueError, match="count: got"):
        loop.run(state, noise, shared, rows, count.int(), 1)
    with pytest.raises(ValueError, match="shared scale"):
        loop.run(state, noise, shared | {"scale": torch.tensor(1.0)}, rows, count, 1)
