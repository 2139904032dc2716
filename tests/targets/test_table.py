"""No reference is forgotten, and each program comes through the door that users' programs come through."""

from __future__ import annotations

import pytest
import torch

from ppzoo.fitting import prepare
from tests.targets.table import INFERENCE_GYM, POSTERIORDB, TARGETS


def test_every_posterior_with_reference_draws_is_a_target(shared_data):
    assert {path.parent.name for path in (shared_data / "posteriordb").glob("*/draws.npz")} == set(POSTERIORDB)
    assert set(TARGETS) == set(POSTERIORDB) | set(INFERENCE_GYM)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_complete(name, shared_data):
    target = TARGETS[name](shared_data)
    reference = target.reference
    assert target.name == name
    assert {len(v) for v in (reference.mean, reference.mean_error, reference.sd)} == {len(reference.names)}
    assert len(set(reference.names)) == len(reference.names)
    assert (reference.draws is None) == (name in INFERENCE_GYM)
    assert {v.dtype for v in target.data.values()} <= {torch.float64, torch.int64}
    _, dtype, notes = prepare(target.model, target.data, prefer=torch.float64)
    assert dtype is torch.float64
    assert not any("cast" in note for note in notes)
