"""Variables summed out of random tables, against the sum and the frequencies over all their values."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.stats import chi2

from ppzoo.errors import ModelError
from ppzoo.inference.elimination import Variable, eliminate

PAIR = {"p": ("a",), "q": ("a", "b"), "r": ("b",)}
LOOP = {"p": ("a", "b"), "q": ("b", "c"), "r": ("c", "a"), "s": ("c",)}
PLATED = {"p": ("a",), "q": ("row", "b", "a"), "r": ("row", "b"), "s": ("row", "a")}
SIZES = {"a": 2, "b": 3, "c": 2, "row": 2}


def variables_of(tables):
    """``b`` stands in the plate where there is one."""
    plated = any("row" in dims for dims in tables.values())
    symbols = sorted({d for dims in tables.values() for d in dims} - {"row"})
    return {s: Variable(s.upper(), ("row",) if plated and s == "b" else ()) for s in symbols}


def filled_with(tables, rows):
    generator = torch.Generator().manual_seed(0)
    shapes = {name: [SIZES[d] for d in dims] for name, dims in tables.items()}
    return {
        name: torch.randn(1, *shape, generator=generator, dtype=torch.float64).expand(rows, *shape)
        for name, shape in shapes.items()
    }


def by_brute_force(tables, variables, filled):
    """Every joint value, and its log weight."""
    places = [(s, i) for s, v in variables.items() for i in range(SIZES["row"] if v.plates else 1)]
    values, weights = [], []
    for joint in itertools.product(*(range(SIZES[s]) for s, _ in places)):
        at = dict(zip(places, joint, strict=True))
        total = 0.0
        for name, dims in tables.items():
            for row in range(SIZES["row"] if "row" in dims else 1):
                index = (row if d == "row" else at[d, row if variables[d].plates else 0] for d in dims)
                total += float(filled[name][(0, *index)])
        values.append(joint)
        weights.append(total)
    return torch.tensor(values), torch.tensor(weights, dtype=torch.float64)


@pytest.mark.parametrize("tables", [PAIR, LOOP, PLATED], ids=["pair", "loop", "plated"])
def test_sum_and_draws_are_those_of_all_values(tables):
    """The sum to rounding; frequencies of 50,000 draws by a chi-square test at 1e-6, its false alarm rate."""
    rows, variables = 50_000, variables_of(tables)
    found = eliminate(tables, variables, SIZES)
    filled = filled_with(tables, rows)
    u = torch.rand(rows, found.noise, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    index, evidence = found.draw(filled, u)
    values, weights = by_brute_force(tables, variables, filled)
    assert torch.allclose(evidence, weights.logsumexp(0))
    assert torch.equal(found.log_sum(filled, rows), evidence)
    drawn = torch.cat([index[s].reshape(rows, -1) for s in variables], 1)
    code = 10 ** torch.arange(values.shape[1])
    order = (values @ code).argsort()
    cells = order[torch.searchsorted((values @ code)[order], drawn @ code)]
    assert torch.equal(values[cells], drawn)
    expected = rows * weights.softmax(0)
    observed = torch.bincount(cells, minlength=len(expected))
    rare = expected < 20
    expected, observed = (torch.cat([x[~rare], x[rare].sum()[None]]) for x in (expected, observed))
    kept = expected > 0
    statistic = ((observed - expected)[kept] ** 2 / expected[kept]).sum()
    assert float(statistic) < chi2.isf(1e-6, int(kept.sum()) - 1)


def test_how_much_one_draw_takes():
    found = eliminate(PLATED, variables_of(PLATED), SIZES)
    assert found.noise == 1 + 2  # one of a, and one of b in each row
    tables = 2 + 2 * 3 * 2 + 2 * 3 + 2 * 2
    assert found.elements >= tables + found.noise


def test_what_cannot_be_is_told_by_its_sum():
    found = eliminate(PAIR, variables_of(PAIR), SIZES)
    filled = filled_with(PAIR, 2) | {"p": torch.tensor([[0.0, -torch.inf], [-torch.inf, -torch.inf]])}
    index, evidence = found.draw(filled, torch.full((2, found.noise), 0.99))
    assert int(index["a"][0]) == 0
    assert torch.isfinite(evidence).tolist() == [True, False]


def test_crossed_plates_are_refused_by_name():
    tables = {"p": ("row", "a"), "q": ("column", "b"), "r": ("row", "column", "a", "b")}
    variables = {"a": Variable("left", ("row",)), "b": Variable("right", ("column",))}
    with pytest.raises(ModelError, match=r"cannot be summed out; got sites 'left', 'right'.* Python loop"):
        eliminate(tables, variables, SIZES | {"column": 2})
