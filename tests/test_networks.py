"""Builders have the shape they promise, and a user's network is looked at once, without being touched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppzoo.errors import ModelError
from ppzoo.networks import check_network, mlp


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_mlp_alternates_affine_maps_and_activations(hidden, seeded):
    network = mlp(3, 2, hidden=hidden, activation=nn.Tanh)
    assert [type(layer) for layer in network] == [nn.Linear, nn.Tanh] * len(hidden) + [nn.Linear]
    assert [layer.out_features for layer in network[::2]] == [*hidden, 2]
    assert network(torch.zeros(4, 6, 3)).shape == (4, 6, 2)


def test_mlp_without_hidden_layers_is_affine(seeded):
    network = mlp(3, 2).double()
    a, b = torch.randn(2, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(network(0.3 * a + 0.7 * b), 0.3 * network(a) + 0.7 * network(b), rtol=0, atol=1e-14)


def test_a_fitting_network_is_returned_untouched(seeded):
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)).double()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert check_network("encoder_network", network, inputs=3, outputs=2) is network
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(3, 5), r"encoder_network: has the wrong output; got shape \(2, 5\); expected shape \(2, 2\)"),
        (nn.Linear(4, 2), "encoder_network: fails on two rows of 3 zeros"),
        (nn.LSTM(3, 2), "encoder_network: has the wrong output; got tuple"),
        ("a string", "encoder_network: is not a network; got str"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_at_once(network, message, seeded):
    with pytest.raises(ModelError, match=message):
        check_network("encoder_network", network, inputs=3, outputs=2)
