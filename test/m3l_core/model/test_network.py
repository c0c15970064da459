"""The network's invariants; its numbers are held to the published ones in the file beside."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: the extra 'train'")

from benchmarks.published_order import PublishedOrder  # noqa: E402
from m3l_core.model.config import ENCODERS, EncoderConfig, NetworkConfig  # noqa: E402
from m3l_core.model.fusion import linear_fusion  # noqa: E402
from m3l_core.model.network import LinearFusionSegFormer, upsample, winning_classes  # noqa: E402

TINY = EncoderConfig(widths=(8, 16, 40, 64), depths=(2, 1, 1, 1))


def tiny_network(num_modalities: int = 2, **settings: object) -> LinearFusionSegFormer:
    torch.manual_seed(3)
    config = NetworkConfig(encoder=TINY, num_modalities=num_modalities, num_classes=5, head_width=16, **settings)  # type: ignore[arg-type]
    network = LinearFusionSegFormer(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name or name == "alpha":  # so that the modalities' norms and weights differ
                parameter.add_(0.3 * torch.randn_like(parameter))
        network.head.norm.running_mean.normal_()
        network.head.norm.running_var.uniform_(0.5, 2.0)
    return network.eval()


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


def test_masking_is_per_sample() -> None:
    network = tiny_network()
    images = torch.randn(3, 2, 3, 64, 64)
    present = torch.tensor([[True, True], [False, True], [True, False]])
    with torch.no_grad():
        together = network(images, present)
        alone = torch.cat([network(images[i : i + 1], present[i : i + 1]) for i in range(3)], dim=1)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_what_stands_where_a_modality_is_missing_does_not_matter() -> None:
    network = tiny_network()
    images, present = torch.randn(1, 2, 3, 64, 64), torch.tensor([[True, False]])
    changed = images.clone()
    changed[:, 1] = 100 * torch.randn(3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images, present), network(changed, present))


def test_streams_inform_each_other() -> None:
    network = tiny_network()
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


def test_fusion_of_two_is_the_paper_s_and_keeps_the_sum() -> None:
    tokens = torch.randn(2, 1, 4, 4, 8)
    fused = linear_fusion(tokens, 0.8)
    torch.testing.assert_close(fused[0], 0.8 * tokens[0] + 0.2 * tokens[1])
    three = torch.randn(3, 1, 4, 4, 8)
    torch.testing.assert_close(linear_fusion(three, 0.8)[1], 0.8 * three[1] + 0.1 * (three[0] + three[2]))
    torch.testing.assert_close(linear_fusion(three, 0.8).sum(0), three.sum(0))


def test_training_trains_every_parameter_that_counts() -> None:
    network = tiny_network().train()
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


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_can_be_built(name: str) -> None:
    with torch.device("meta"):
        network = LinearFusionSegFormer(NetworkConfig.model_validate({"encoder": name, "num_classes": 2}))
        assert network(torch.empty(1, 2, 3, 64, 64), torch.empty(1, 2, dtype=torch.bool)).shape == (2, 1, 2, 16, 16)


def test_the_network_can_be_exported_with_presence_as_an_input() -> None:
    network = tiny_network()
    images, present = torch.randn(1, 2, 3, 64, 64), torch.tensor([[True, True]])
    program = torch.export.export(network, (images, present))
    missing = torch.tensor([[False, True]])
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images, missing), network(images, missing), atol=1e-5, rtol=0)


def test_a_width_that_its_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of its heads"):
        EncoderConfig(widths=(8, 15, 40, 64), depths=(1, 1, 1, 1))
