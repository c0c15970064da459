"""A header that says what no network of ours has is refused before anything of it is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from m3l_core.weights_file import check_weights


def written(path: Path, header: Any, content: bytes = bytes(64)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


def tensor(dtype: Any = "F16", shape: Any = (4, 2), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def test_what_the_library_writes_is_taken(tmp_path: Path) -> None:
    tensors = {"a": np.zeros((4, 2), np.float16), "b": np.zeros((3,), np.float32), "c": np.zeros((), np.float32)}
    save_file(tensors, tmp_path / "weights", {"note": "by hand"})
    assert check_weights(tmp_path / "weights") == {"a": (4, 2), "b": (3,), "c": ()}


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (tensor("BF16"), "a is of type BF16, expected F16 or F32"),
        (tensor("F8_E4M3"), "of type F8_E4M3"),
        (tensor("I64"), "of type I64"),
        (tensor(None), "of type None"),
        (tensor(shape=[0, 2**62], offsets=[0, 0]), "does not fit its bytes"),
        (tensor(shape=[2**62, 2**62]), "does not fit its bytes"),
        (tensor(shape=[4, 3]), "does not fit its bytes"),
        (tensor(offsets=[56, 72]), "does not fit its bytes"),
        (tensor(offsets=[16, 0]), "does not fit its bytes"),
        (tensor(offsets=[-16, 0]), "has no shape or no place"),
        (tensor(shape=[-4, -2]), "has no shape or no place"),
        (tensor(shape=[1] * 9), "has no shape or no place"),
        (tensor(shape="4"), "has no shape or no place"),
        (tensor(offsets=[0]), "has no shape or no place"),
        ({"a": 5}, "of type None"),
        ({"a": {"dtype": ["F16"]}}, "of type .'F16'"),
        ({"a": {"dtype": {}}}, "of type {}"),
        ([1], "its header is no mapping"),
        (b"[" * 50_000, "nested|Expecting"),
        (b"no JSON", "Expecting value"),
    ],
)
def test_what_is_no_weight_of_ours_is_told(tmp_path: Path, header: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_weights(written(tmp_path / "weights", header))


@pytest.mark.parametrize("content", [b"", b"12345678", b"\xff" * 64, b"\xff\xff\xff\x7f" + bytes(99)])
def test_a_header_that_is_not_there_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(ValueError, match="it is no safetensors file, its header would have"):
        check_weights(tmp_path / "weights")
