"""Start weights land where they should, say on what terms, and are refused where they do not fit."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from support.bundles import write_bundle
from support.networks import (
    HUGGING_FACE,
    ORIGINAL,
    TIMM,
    TINY,
    TINY_PVT,
    public_encoder,
    published_m3l,
    tiny_network,
)

from m3l_core.bundle import BundleDescription, ModelBundle, save_bundle
from m3l_core.errors import BundleError, MissingPackageError
from m3l_core.installation import install_command
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.model.norms import ModalityLayerNorm
from m3l_core.model.start_weights import StartWeights, load_start_weights
from m3l_core.network_config import NetworkConfig
from m3l_core.shipped import shipped_bundle

pytestmark = pytest.mark.needs("torch")

NVIDIA, M3L, APACHE = "NVIDIA Source Code License for SegFormer", "none given", "Apache-2.0"


def trained(**settings: Any) -> LinearFusionSegFormer:
    """The network that a file is made of; another one than the tests' own."""
    return tiny_network(1, seed=11, **settings)


def snapshot(network: LinearFusionSegFormer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(network: LinearFusionSegFormer, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def bundle_of(network: LinearFusionSegFormer, folder: Path, **training: Any) -> Path:
    """A bundle of color and depth whose weights are exact in float16."""
    with torch.no_grad():
        for value in network.state_dict().values():
            value.copy_(value.half())
    tiny = ModelBundle.load(write_bundle(folder / "tiny")).description
    content = tiny.model_dump() | {"network": network.config, "name": "rooms", "training": training}
    content["labels"] = {
        "classes": [{"name": f"class {i}", "color": (i, i, i)} for i in range(network.config.num_classes)]
    }
    weights = {k: v.numpy() for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    return save_bundle(folder / "rooms", BundleDescription.model_validate(content), weights, "# rooms\n").folder


def test_random_weights_stay_as_they_are() -> None:
    network = tiny_network()
    before = snapshot(network)
    assert load_start_weights(network) == load_start_weights(network, "random")
    assert load_start_weights(network) == StartWeights(source="random", licence=APACHE, commercial=True)
    assert not changed(network, before)


@pytest.mark.parametrize(
    ("names", "shape", "wrap", "licence"),
    [
        (ORIGINAL, TINY, {}, NVIDIA),
        (ORIGINAL, TINY, {"prefix": "backbone.", "key": "state_dict"}, NVIDIA),
        (ORIGINAL, TINY, {"prefix": "module.backbone.", "key": "model"}, NVIDIA),
        (ORIGINAL, TINY_PVT, {}, APACHE),
        (TIMM, TINY_PVT, {}, APACHE),
        (TIMM, TINY_PVT, {"suffix": ".safetensors"}, APACHE),
        (HUGGING_FACE, TINY, {}, NVIDIA),
        (HUGGING_FACE, TINY, {"suffix": ".safetensors"}, NVIDIA),
    ],
)
def test_an_encoder_s_weights_land_in_every_modality(
    tmp_path: Path, names: dict[str, str], shape: Any, wrap: dict[str, str], licence: str
) -> None:
    source, network = trained(encoder=shape), tiny_network(3, encoder=shape)
    tensors = {wrap.get("prefix", "") + name: value for name, value in public_encoder(source, names).items()}
    # Classifiers and heads, which are not ours to use.
    tensors |= {"head.weight": torch.zeros(7, 64), "classifier.bias": torch.zeros(7)}
    tensors |= {"decode_head.linear_c1.proj.weight": torch.zeros(3, 8)}
    path = tmp_path / f"weights{wrap.get('suffix', '.pth')}"
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({wrap["key"]: tensors, "epoch": 3} if "key" in wrap else tensors, path)
    before = snapshot(network)
    start = load_start_weights(network, str(path))
    assert (start.licence, start.commercial) == (licence, licence == APACHE)
    assert (start.notice is None) == start.commercial
    assert start.source.startswith(path.name) and str(tmp_path) not in start.source
    assert changed(network, before) == {name for name in before if name.startswith("encoder.stages.")}
    norms = [module for module in network.encoder.modules() if isinstance(module, ModalityLayerNorm)]
    assert all(torch.equal(copy, norm.weight[0]) for norm in norms for copy in norm.weight)
    # Equal streams exchange nothing, so each of three is what the one network computes.
    image, everything = torch.randn(1, 1, 3, 64, 64), torch.ones(1, 3, dtype=torch.bool)
    with torch.no_grad():
        grids = network.encoder(image.expand(-1, 3, -1, -1, -1), everything)
        expected = source.encoder(image, everything[:, :1])
    for grid, reference in zip(grids, expected, strict=True):
        torch.testing.assert_close(grid, reference.expand_as(grid), atol=1e-4, rtol=0)


def test_features_are_those_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="needs timm")
    model = timm.create_model("pvt_v2_b0", pretrained=False).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6  # timm has 1e-5 in the embeddings and in the reductions, M3L 1e-6 throughout
    torch.save(model.state_dict(), tmp_path / "pvt_v2_b0.pth")
    network = LinearFusionSegFormer(NetworkConfig(encoder="pvt_v2_b0", num_modalities=1, num_classes=2)).eval()
    load_start_weights(network, str(tmp_path / "pvt_v2_b0.pth"))
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        ours = network.encoder(image[:, None], torch.ones(1, 1, dtype=torch.bool))[-1]
        theirs = model.forward_features(image)
    torch.testing.assert_close(ours[0].permute(0, 3, 1, 2), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("num_classes", [5, 7])
def test_a_bundle_goes_on_and_keeps_its_classifier_if_the_classes_are_as_many(
    tmp_path: Path, num_classes: int, caplog: pytest.LogCaptureFixture
) -> None:
    source, network = tiny_network(seed=11), tiny_network(num_classes=num_classes)
    folder, before = bundle_of(source, tmp_path), snapshot(network)
    with caplog.at_level(logging.WARNING):
        start = load_start_weights(network, str(folder))
    assert start == StartWeights(source="bundle rooms", licence=APACHE, commercial=True)
    fresh = {name for name in before if name not in changed(network, before)} - {"head.norm.num_batches_tracked"}
    if num_classes == 5:
        assert fresh == set() and not caplog.records
    else:
        assert fresh == {"head.classify.weight", "head.classify.bias"}
        assert "knows 5 classes, the network 7: the classifier starts anew" in caplog.text
    same = {name: value for name, value in source.state_dict().items() if name not in fresh}
    assert all(torch.equal(network.state_dict()[name], value) for name, value in same.items())


def test_a_bundle_hands_its_terms_on(tmp_path: Path) -> None:
    encoder_file = tmp_path / "mit_tiny.pth"
    torch.save(public_encoder(trained(), ORIGINAL), encoder_file)
    first = load_start_weights(tiny_network(), str(encoder_file))
    folder = bundle_of(tiny_network(), tmp_path, start_weights=first.model_dump())
    second = load_start_weights(tiny_network(), str(folder))
    assert second.source == f"bundle rooms, from {first.source}"
    assert (second.licence, second.commercial, second.notice) == (NVIDIA, False, first.notice)


def test_a_bundle_with_terms_that_say_nothing_is_refused(tmp_path: Path) -> None:
    network = tiny_network()
    before = snapshot(network)
    folder = bundle_of(tiny_network(seed=11), tmp_path, start_weights="from a friend")
    with pytest.raises(BundleError, match="start_weights cannot be understood"):
        load_start_weights(network, str(folder))
    assert not changed(network, before)


def test_the_shipped_bundle_is_a_start() -> None:
    config = NetworkConfig.model_validate(yaml.safe_load((shipped_bundle() / "model.yaml").read_text())["network"])
    start = load_start_weights(LinearFusionSegFormer(config), str(shipped_bundle()))
    assert start.source.startswith("bundle indoor, from bundle indoor_start, from efficientnet_lite0")
    assert (start.licence, start.commercial) == (APACHE, True) and "TensorFlow's EfficientNet-lite" in str(start.notice)


@pytest.mark.parametrize("pair", [False, True])
def test_a_published_m3l_checkpoint_goes_on(tmp_path: Path, pair: bool, caplog: pytest.LogCaptureFixture) -> None:
    source, network = tiny_network(seed=11), tiny_network(num_classes=7)
    tensors = published_m3l(source)
    if pair:
        tensors = {f"teacher.{k}": v for k, v in tensors.items()} | {f"student.{k}": 0 * v for k, v in tensors.items()}
    torch.save({"model_state_dict": tensors, "optimizer_state_dict": {}}, tmp_path / "m3l.pth")
    start = load_start_weights(network, str(tmp_path / "m3l.pth"))
    assert start.licence == M3L and not start.commercial
    assert start.notice is not None and "NVIDIA" in start.notice
    assert start.notice in caplog.text
    for name, value in source.state_dict().items():
        assert torch.equal(network.state_dict()[name], value) != name.startswith("head.classify."), name


def _without(ending: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in tensors.items() if not name.endswith(ending)}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda: public_encoder(trained(encoder=TINY_PVT), TIMM),
            r"expand.weight is 64x8, not 32x8.*more",
        ),
        (
            lambda: _without("block2.0.attn.q.bias", public_encoder(trained(), ORIGINAL)),
            r"modalities: encoder.stages.1.blocks.0.attention.query.bias is missing\. Give",
        ),
        (
            lambda: _without("attention.self.value.bias", public_encoder(trained(), HUGGING_FACE)),
            "key_value.bias is missing.*more",
        ),
        (
            lambda: public_encoder(trained(), ORIGINAL) | {"block1.2.norm1.weight": torch.zeros(8)},
            "encoder.stages.0.blocks.2.attention_norm.weight is unknown",
        ),
        (
            lambda: {"conv1.weight": torch.zeros(3), "fc.bias": torch.zeros(2)},
            "no encoder in a layout.*it has conv1",
        ),
        (
            lambda: public_encoder(trained(), ORIGINAL) | {"norm1.weight": torch.tensor(1.0)},
            r"encoder.stages.0.norm.weight is a number, not 2x8\. Give",
        ),
        (lambda: published_m3l(tiny_network(3)), "stages.0.embedding.norm.weight is 3x8, not 2x8"),
        (lambda: published_m3l(tiny_network(head_width=8)), r"head.stage_linears.0.weight is 8x8, not 16x8"),
        (lambda: _without("alpha", published_m3l(tiny_network())), "not in the layout of a published M3L"),
        (lambda: {"epoch": 3}, "expected a dict of tensors, alone or under one of model_state_dict, state_dict, model"),
        (lambda: {}, "no encoder in a layout known"),
    ],
)
def test_a_file_that_fits_nothing_is_refused_and_nothing_is_changed(tmp_path: Path, make: Any, reason: str) -> None:
    torch.save(make(), tmp_path / "some.pth")
    network = tiny_network()
    before = snapshot(network)
    with pytest.raises(BundleError, match=reason):
        load_start_weights(network, str(tmp_path / "some.pth"))
    assert not changed(network, before)


@pytest.mark.parametrize("name", ["some.pth", "some.safetensors"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not a checkpoint")
    with pytest.raises(BundleError, match="cannot be read as a checkpoint"):
        load_start_weights(tiny_network(), str(tmp_path / name))


def test_bundles_of_other_networks_and_folders_of_other_things_are_refused(tmp_path: Path) -> None:
    other_heads = TINY.model_copy(update={"heads": (2, 2, 5, 8)})
    folder = bundle_of(tiny_network(encoder=other_heads), tmp_path)
    with pytest.raises(BundleError, match=r"\(2, 2, 5, 8\) attention heads"):
        load_start_weights(tiny_network(), str(folder))
    with pytest.raises(BundleError, match="is not a model bundle"):
        load_start_weights(tiny_network(), str(tmp_path))
    with pytest.raises(BundleError, match=r"no start weights 'nowhere/mit_b0\.pth': expected random, "):
        load_start_weights(tiny_network(), "nowhere/mit_b0.pth")


def test_a_name_on_the_hub_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, network = trained(encoder=TINY_PVT), tiny_network(encoder=TINY_PVT)
    save_file(public_encoder(source, TIMM), tmp_path / "model.safetensors")
    asked: list[tuple[str, str]] = []

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        return str(tmp_path / file)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    start = load_start_weights(network, "timm/pvt_v2_b0.in1k")
    assert asked == [("timm/pvt_v2_b0.in1k", "model.safetensors")]
    assert start.source.startswith("timm/pvt_v2_b0.in1k") and start.licence == APACHE
    query = "encoder.stages.0.blocks.0.attention.query.weight"
    assert torch.equal(network.state_dict()[query], source.state_dict()[query])


def test_a_hub_out_of_reach_says_how_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repository: str, file: str) -> str:
        raise OSError("no route to host")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    with pytest.raises(BundleError, match=r"no route to host.*Download model.safetensors of .*give its path"):
        load_start_weights(tiny_network(), "timm/pvt_v2_b0.in1k")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match=re.escape(install_command("hub"))):
        load_start_weights(tiny_network(), "timm/pvt_v2_b0.in1k")
