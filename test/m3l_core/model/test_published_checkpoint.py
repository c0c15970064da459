"""Our network against the logits of the published one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.networks import TINY_PVT, published_m3l, tiny_network

from m3l_core.errors import BundleError
from m3l_core.model.network import LinearFusionSegFormer, upsample
from m3l_core.model.published_checkpoint import load_published_checkpoint

pytestmark = pytest.mark.needs("torch")
SITUATIONS = {"both": (True, True), "color_missing": (False, True), "depth_missing": (True, False)}


@pytest.fixture
def parity(shared: Path) -> Path:
    return shared / "official_parity"


@pytest.fixture
def network(parity: Path) -> LinearFusionSegFormer:
    config, state = load_published_checkpoint(parity / "published_layout.pth")
    network = LinearFusionSegFormer(config).eval()
    network.load_state_dict(state)
    return network


@pytest.mark.parametrize("situation", SITUATIONS)
def test_logits_are_those_of_the_published_network(
    parity: Path, network: LinearFusionSegFormer, situation: str
) -> None:
    expected = np.load(parity / "expected.npz")
    images = torch.from_numpy(np.stack((expected["color"], expected["depth"]), axis=1))
    present = torch.tensor([SITUATIONS[situation]])
    size = images.shape[-2:]
    with torch.no_grad():
        streams = network(images, present)
        ours = {
            "color_stream": upsample(streams[0], size),
            "depth_stream": upsample(streams[1], size),
            "ensemble": upsample(network.ensemble(streams, present), size),
        }
    for name, logits in ours.items():
        np.testing.assert_allclose(logits.numpy(), expected[f"{situation}/{name}"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("num_modalities", [1, 2, 3, 4])
def test_any_number_of_modalities_is_read(num_modalities: int, tmp_path: Path) -> None:
    written = tiny_network(num_modalities, encoder=TINY_PVT, missing_stream_weight=1.0)
    torch.save({"model_state_dict": published_m3l(written)}, tmp_path / "published.pth")
    config, state = load_published_checkpoint(tmp_path / "published.pth")
    assert config == written.config
    expected = {k: v for k, v in written.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())


def test_a_semi_supervised_checkpoint_holds_two_networks(
    parity: Path, network: LinearFusionSegFormer, tmp_path: Path
) -> None:
    plain = torch.load(parity / "published_layout.pth", weights_only=True)["model_state_dict"]
    pair = {f"teacher.{name}": value for name, value in plain.items()}
    pair |= {f"student.{name}": torch.zeros_like(value) for name, value in plain.items()}
    torch.save({"model_state_dict": pair, "optimizer_state_dict": {}}, tmp_path / "pair.pth")
    config, teacher = load_published_checkpoint(tmp_path / "pair.pth")
    assert config == network.config
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in teacher.items())
    _, student = load_published_checkpoint(tmp_path / "pair.pth", network="student")
    assert not any(value.any() for value in student.values())


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.pth"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(BundleError, match="cannot be read"):
        load_published_checkpoint(path)
    torch.save({"model_state_dict": {"backbone.weight": torch.zeros(3)}}, path)
    with pytest.raises(BundleError, match="not in the layout"):
        load_published_checkpoint(path)
    torch.save(published_m3l(tiny_network()) | {"alpha": torch.tensor(1.0)}, path)
    with pytest.raises(BundleError, match="not in the layout"):
        load_published_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(BundleError, match="expected a dict of tensors"):
        load_published_checkpoint(path)


class Payload:
    """Unpickling it would call ``print``."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code was run",)


def test_a_checkpoint_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model_state_dict": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(BundleError, match="cannot be read"):
        load_published_checkpoint(tmp_path / "evil.pth")
    assert "code was run" not in capsys.readouterr().out
