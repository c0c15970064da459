"""The network's invariants; its numbers are held to the published ones in the file beside."""

from __future__ import annotations

import pytest
import torch
from support.networks import TINY, TINY_EFFICIENTNET, tiny_network

from benchmarks.published_order import PublishedOrder
from m3l_core.model.network import LinearFusionSegFormer, upsample, winning_classes
from m3l_core.network_config import ENCODERS, EfficientNetConfig, MixTransformerConfig, NetworkConfig

pytestmark = pytest.mark.needs("torch")

of_each_kind = pytest.mark.parametrize("encoder", [TINY, TINY_EFFICIENTNET], ids=["transformer", "efficientnet"])
Config = MixTransformerConfig | EfficientNetConfig


@pytest.mark.parametrize("num_modalities", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(64, 96), (60, 84)])
def test_the_cheap_order_gives_the_published_order_s_logits(num_modalities: int, size: tuple[int, int]) -> None:
    network = tiny_network(num_modalities)
    images = torch.randn(3, num_modalities, 3, *size)
    present = torch.rand(3, num_modalities) < 0.6
    with torch.no_grad():
        ours, published = network(images, present), PublishedOrder(network)(images, present)
    assert ours.shape == (num_modalities, 3, 5, *(-(-side // 4) for side in size))
    torch.testing.assert_close(ours, published, atol=1e-4, rtol=0)


@of_each_kind
def test_masking_is_per_sample(encoder: Config) -> None:
    network = tiny_network(encoder=encoder)
    images = torch.randn(3, 2, 3, 64, 64)
    present = torch.tensor([[True, True], [False, True], [True, False]])
    with torch.no_grad():
        together = network(images, present)
        alone = torch.cat([network(images[i : i + 1], present[i : i + 1]) for i in range(3)], dim=1)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@of_each_kind
def test_what_stands_where_a_modality_is_missing_does_not_matter(encoder: Config) -> None:
    network = tiny_network(encoder=encoder)
    images, present = torch.randn(1, 2, 3, 64, 64), torch.tensor([[True, False]])
    changed = images.clone()
    changed[:, 1] = 100 * torch.randn(3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images, present), network(changed, present))


@of_each_kind
def test_streams_inform_each_other(encoder: Config) -> None:
    network = tiny_network(encoder=encoder)
    images, present = torch.randn(1, 2, 3, 64, 64), torch.tensor([[True, True]])
    changed = images.clone()
    changed[:, 1] += 1
    with torch.no_grad():
        assert not torch.allclose(network(images, present)[0], network(changed, present)[0])


@pytest.mark.parametrize(("missing_weight", "share"), [(0.0, 0.0), (1.0, 0.5)])
def test_a_missing_stream_counts_as_configured(missing_weight: float, share: float) -> None:
    network = tiny_network(missing_stream_weight=missing_weight)
    with torch.no_grad():
        network.alpha.fill_(0.5)
        streams = torch.stack((torch.ones(1, 5, 2, 2), torch.zeros(1, 5, 2, 2)))
        ensemble = network.ensemble(streams, torch.tensor([[False, True]]))
    assert torch.allclose(ensemble, torch.tensor(share))


@of_each_kind
def test_tokens_that_are_all_kept_change_nothing_and_none_kept_is_a_missing_modality(encoder: Config) -> None:
    network = tiny_network(encoder=encoder)
    images, present = torch.randn(2, 2, 3, 64, 96), torch.tensor([[True, True], [True, False]])
    kept = torch.ones(2, 2, 16, 24, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(network(images, present, kept), network(images, present))
        kept[:, 0] = False
        nothing_of_color = present & torch.tensor([False, True])
        assert torch.equal(network(images, present, kept), network(images, nothing_of_color))


@pytest.mark.parametrize("size", [(64, 96), (62, 85)])
def test_what_only_masked_tokens_see_does_not_matter(size: tuple[int, int]) -> None:
    network = tiny_network()
    images, present = torch.randn(1, 2, 3, *size), torch.ones(1, 2, dtype=torch.bool)
    kept = torch.ones(1, 2, *(-(-side // 4) for side in size), dtype=torch.bool)
    kept[0, 1, :, :8] = False
    changed, seen = images.clone(), images.clone()
    changed[0, 1, :, :, :29] = torch.randn(3, size[0], 29)  # the first token kept sees columns 29 to 35
    seen[0, 1, :, :, 29] += 1
    with torch.no_grad():
        masked = network(images, present, kept)
        assert torch.equal(network(changed, present, kept), masked)
        assert not torch.equal(network(seen, present, kept), masked)
        assert not torch.equal(network(images, present), masked)


@of_each_kind
def test_training_trains_every_parameter_that_counts(encoder: Config) -> None:
    network = tiny_network(encoder=encoder).train()
    present = torch.tensor([[True, True], [False, True]])
    streams = network(torch.randn(2, 2, 3, 64, 64), present)
    network.ensemble(streams, present).square().sum().backward()
    idle = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert idle == []


def test_winning_classes_are_those_of_argmax() -> None:
    logits = torch.randn(1, 7, 15, 20)
    assert torch.equal(winning_classes(logits, (60, 80)), upsample(logits, (60, 80)).argmax(dim=1))


def test_b2_with_13_classes_has_the_published_size() -> None:
    with torch.device("meta"):
        network = LinearFusionSegFormer(NetworkConfig(encoder="mit_b2", num_classes=13))
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(24.8e6, rel=0.01)


@pytest.mark.parametrize(("name", "millions"), [("pvt_v2_b0", 3.67), ("pvt_v2_b1", 14.01), ("pvt_v2_b2", 25.36)])
def test_pvt_v2_has_the_published_size(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = LinearFusionSegFormer(
            NetworkConfig.model_validate({"encoder": name, "num_modalities": 1, "num_classes": 2})
        )
    classifier = 1000 * (network.config.encoder_config.grid_widths[-1] + 1)
    encoder = sum(parameter.numel() for parameter in network.encoder.stages.parameters())
    assert encoder + classifier == pytest.approx(millions * 1e6, rel=0.001)


@pytest.mark.parametrize(("name", "millions"), [("lite0", 4.65), ("lite1", 5.42), ("lite2", 6.09)])
def test_efficientnet_lite_has_the_published_size(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = LinearFusionSegFormer(
            NetworkConfig.model_validate({"encoder": f"efficientnet_{name}", "num_modalities": 1, "num_classes": 2})
        )
    last = network.config.encoder_config.grid_widths[-1]
    classifier = 1280 * (last + 2) + 1000 * (1280 + 1)
    encoder = sum(parameter.numel() for parameter in network.encoder.parameters()) - len(network.encoder.mask_token)
    assert encoder + classifier == pytest.approx(millions * 1e6, rel=0.002)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_can_be_built(name: str) -> None:
    with torch.device("meta"):
        network = LinearFusionSegFormer(NetworkConfig.model_validate({"encoder": name, "num_classes": 2}))
        assert network(torch.empty(1, 2, 3, 64, 64), torch.empty(1, 2, dtype=torch.bool)).shape == (2, 1, 2, 16, 16)


@of_each_kind
def test_the_network_can_be_exported_with_presence_as_an_input(encoder: Config) -> None:
    network = tiny_network(encoder=encoder)
    images, present = torch.randn(1, 2, 3, 64, 64), torch.tensor([[True, True]])
    program = torch.export.export(network, (images, present))
    missing = torch.tensor([[False, True]])
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images, missing), network(images, missing), atol=1e-5, rtol=0)
