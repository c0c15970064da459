"""A network's shape is written into a bundle and read again; what makes no sense is refused with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from m3l_core.network_config import ENCODERS, MixTransformerConfig, NetworkConfig
from m3l_core.shipped import shipped_bundle

sizes = st.integers(1, 16)
fours = st.tuples(sizes, sizes, sizes, sizes)


@st.composite
def encoders(draw: st.DrawFn) -> MixTransformerConfig:
    heads = draw(fours)
    widths = tuple(each * times for each, times in zip(heads, draw(fours), strict=True))
    return MixTransformerConfig.model_validate(
        {"widths": widths, "heads": heads, "depths": draw(fours), "reductions": draw(fours), "mlp_ratios": draw(fours)}
    )


@st.composite
def networks(draw: st.DrawFn) -> NetworkConfig:
    missing = draw(st.sampled_from(["mask_token", "no_stream"]))
    return NetworkConfig(
        encoder=draw(st.sampled_from(list(ENCODERS)) | encoders()),
        num_modalities=draw(st.integers(1, 4)),
        num_classes=draw(st.integers(2, 255)),
        head_width=draw(sizes),
        fusion_ratio=draw(st.floats(0, 1)),
        missing=missing,
        missing_stream_weight=draw(st.floats(0, 1)) if missing == "mask_token" else 0.0,
    )


@settings(deadline=None)
@given(networks())
def test_what_is_written_is_read_again(config: NetworkConfig) -> None:
    content = config.model_dump(mode="json")
    assert NetworkConfig.model_validate(yaml.safe_load(yaml.safe_dump(content))) == config
    assert NetworkConfig.model_validate(json.loads(json.dumps(content))) == config


def test_a_bundle_written_before_an_option_has_its_default() -> None:
    content = yaml.safe_load((shipped_bundle() / "model.yaml").read_text())["network"]
    del content["missing"]
    assert NetworkConfig.model_validate(content).missing == "mask_token"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encoder": "mit_b9"}, "unknown encoder 'mit_b9', expected mit_b0, .*pvt_v2_b2.*, or widths and depths"),
        ({"encoder": {"widths": [8, 15, 40, 64], "depths": [1, 1, 1, 1]}}, "multiple of its heads, got 15 and 2"),
        ({"encoder": {"widths": [8, 16, 40, 64], "depths": [1, 1, 1, 0]}}, "greater than 0"),
        ({"encoder": {"widths": [8, 16, 40], "depths": [1, 1, 1, 1]}}, "widths"),
        ({"encoder": {"widths": [8, 16, 40, 64], "depths": [1, 1, 1, 1], "mlp_ratio": 4}}, "mlp_ratio"),
        ({"num_modalities": 0}, "num_modalities"),
        ({"num_modalities": 5}, "less than or equal to 4"),
        ({"num_classes": 256}, "num_classes"),
        ({"fusion_ratio": 1.5}, "fusion_ratio"),
        ({"missing": "black_image"}, "'mask_token' or 'no_stream'"),
        ({"missing": "no_stream", "missing_stream_weight": 1.0}, "missing_stream_weight 1.0 could count: set it to 0"),
        ({"flavour": "sweet"}, "flavour"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        NetworkConfig.model_validate({"num_classes": 5} | change)


@pytest.mark.parametrize(
    "encoder",
    [
        {"widths": [32, 64, 160, 256], "depths": [10**9, 2, 2, 2]},
        {"widths": [2**20, 64, 160, 256], "depths": [2, 2, 2, 2]},
        {"widths": [32, 64, 160, 256], "depths": [2, 2, 2, 2], "mlp_ratios": [10**9, 4, 4, 4]},
        {"widths": [32, 64, 160, 256], "depths": [2, 2, 2, 2], "reductions": [10**6, 4, 2, 1]},
        {"kind": "efficientnet_lite", "group_depths": [1, 2, 2, 10**9, 3, 4, 1]},
        {"kind": "efficientnet_lite", "expansion": 10**9},
        {"kind": "efficientnet_lite", "stem_width": 10**9},
    ],
)
def test_a_network_that_no_machine_runs_is_refused(encoder: dict[str, list[int]]) -> None:
    with pytest.raises(ValidationError, match=r"weights, expected 1e\+09 at most"):
        NetworkConfig.model_validate({"encoder": encoder, "num_classes": 3})
