"""The option ``head: joint``: one head takes in all streams."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.networks import TINY, TINY_EFFICIENTNET, tiny_network

from m3l_core.network_config import NetworkConfig

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
of_each_kind = pytest.mark.parametrize("encoder", [TINY, TINY_EFFICIENTNET], ids=["transformer", "efficientnet"])


@of_each_kind
def test_its_logits_are_those_of_all_streams_and_the_ensemble_as_well(encoder: Any) -> None:
    network = tiny_network(encoder=encoder, head="joint")
    images, present = torch.randn(2, 2, 3, 64, 96), torch.tensor([[True, True], [False, True]])
    with torch.no_grad():
        streams = network(images, present)
        assert streams.shape == (1, 2, 5, 16, 24)
        assert torch.equal(network.ensemble(streams, present), streams[0])
        changed = images.clone()
        changed[1, 0] = 100 * torch.randn(3, 64, 96)
        assert torch.equal(network(changed, present), streams)
        changed[0, 0] += 1
        assert not torch.equal(network(changed, present)[:, 0], streams[:, 0])


def test_from_a_head_of_each_stream_it_starts_as_the_head_of_their_mean() -> None:
    joint, apart = tiny_network(head="joint"), tiny_network()
    joint.load_state_dict(joint.with_joint_head(apart.state_dict()))
    images, present = torch.randn(1, 2, 3, 64, 64), torch.tensor([[True, True]])
    with torch.no_grad():
        grids = apart.encoder(images, present)
        expected = apart.head([grid.mean(dim=0, keepdim=True) for grid in grids])
        torch.testing.assert_close(joint(images, present), expected, atol=1e-4, rtol=0)


def test_with_one_modality_there_is_nothing_to_join() -> None:
    images, present = torch.randn(1, 1, 3, 64, 64), torch.tensor([[True]])
    joint, apart = tiny_network(1, head="joint"), tiny_network(1)
    joint.load_state_dict(apart.state_dict())
    with torch.no_grad():
        assert torch.equal(joint(images, present), apart(images, present))


@pytest.mark.parametrize("modalities", [[0], [1], [0, 2]])
def test_a_network_for_some_sensors_starts_from_their_part_of_it(modalities: list[int]) -> None:
    full = tiny_network(3, encoder=TINY_EFFICIENTNET, head="joint")
    part = tiny_network(len(modalities), encoder=TINY_EFFICIENTNET, head="joint")
    part.load_state_dict(full.state_of(modalities))
    width = TINY_EFFICIENTNET.grid_widths[0]
    whole, theirs = (network.head.stage_linears[0].weight for network in (full, part))
    for place, modality in enumerate(modalities):
        columns = whole[:, modality * width : (modality + 1) * width]
        torch.testing.assert_close(theirs[:, place * width : (place + 1) * width], columns * 3 / len(modalities))


@of_each_kind
def test_training_trains_every_parameter_but_the_weights_of_the_streams(encoder: Any) -> None:
    network = tiny_network(encoder=encoder, head="joint").train()
    network(torch.randn(2, 2, 3, 64, 64), torch.tensor([[True, True], [False, True]])).square().sum().backward()
    assert [name for name, each in network.named_parameters() if each.grad is None] == ["alpha"]


def test_it_wants_streams_for_all_modalities() -> None:
    with pytest.raises(ValueError, match="a joint head takes in all streams: set missing to 'mask_token'"):
        NetworkConfig(num_classes=5, head="joint", missing="no_stream")
