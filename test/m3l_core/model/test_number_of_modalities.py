"""What holds of fusion, masking, ensemble and the whole network for any number of modalities."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import tiny_network

from m3l_core.model.fusion import linear_fusion, mask_missing
from m3l_core.model.norms import ModalityLayerNorm

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]

seeds = st.integers(0, 2**16)
numbers = st.integers(1, 4)
ratios = st.floats(0, 1)


def random_presence(number: int, batch: int) -> torch.Tensor:
    """(B, M) bool, at least one of each sample."""
    present = torch.rand(batch, number) < 0.5
    present[torch.arange(batch), torch.randint(number, (batch,))] = True
    return present


def fused_naively(tokens: torch.Tensor, ratio: float, present: torch.Tensor) -> torch.Tensor:
    """The definition, one stream after the other; NaN where a stream is missing."""
    fused = torch.full_like(tokens, float("nan"))
    for sample, is_present in enumerate(present.tolist()):
        streams = [index for index, here in enumerate(is_present) if here]
        for index in streams:
            others = [tokens[other, sample] for other in streams if other != index]
            own = tokens[index, sample]
            fused[index, sample] = ratio * own + (1 - ratio) * torch.stack(others).mean(0) if others else own
    return fused


@settings(max_examples=40, deadline=None)
@given(numbers, ratios, seeds)
def test_fusion_is_the_paper_s_and_keeps_the_sum_over_the_streams(number: int, ratio: float, seed: int) -> None:
    torch.manual_seed(seed)
    tokens = torch.randn(number, 2, 3, 4, 8)
    fused = linear_fusion(tokens, ratio)
    everything = torch.ones(2, number, dtype=torch.bool)
    torch.testing.assert_close(fused, fused_naively(tokens, ratio, everything), atol=1e-5, rtol=0)
    torch.testing.assert_close(fused.sum(0), tokens.sum(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(linear_fusion(tokens, ratio, everything), fused, atol=1e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(numbers, ratios, seeds)
def test_fusion_of_the_present_streams_leaves_the_missing_ones_out(number: int, ratio: float, seed: int) -> None:
    torch.manual_seed(seed)
    tokens, present = torch.randn(number, 3, 2, 2, 8), random_presence(number, 3)
    here = present.T
    fused = linear_fusion(tokens, ratio, present)
    torch.testing.assert_close(fused[here], fused_naively(tokens, ratio, present)[here], atol=1e-5, rtol=0)
    kept = here[..., None, None, None]
    torch.testing.assert_close((fused * kept).sum(0), (tokens * kept).sum(0), atol=1e-5, rtol=0)
    assert fused.isfinite().all()


@settings(max_examples=40, deadline=None)
@given(numbers, seeds)
def test_a_masked_token_is_the_mask_token_and_every_other_one_stays(number: int, seed: int) -> None:
    torch.manual_seed(seed)
    tokens, mask_token = torch.randn(number, 2, 3, 4, 8), torch.randn(8)
    present, kept = random_presence(number, 2), torch.rand(2, number, 3, 4) < 0.7
    for given_kept in (None, kept):
        masked = mask_missing(tokens, present, mask_token, given_kept)
        for modality in range(number):
            for sample in range(2):
                stays = present[sample, modality] & (True if given_kept is None else kept[sample, modality])
                stays = stays.expand(3, 4)
                assert torch.equal(masked[modality, sample][stays], tokens[modality, sample][stays])
                assert (masked[modality, sample][~stays] == mask_token).all()


@settings(max_examples=40, deadline=None)
@given(numbers, st.sampled_from([0.0, 0.5, 1.0]), seeds)
def test_the_ensemble_is_a_mean_of_what_counts(number: int, missing_weight: float, seed: int) -> None:
    torch.manual_seed(seed)
    network = tiny_network(number, missing_stream_weight=missing_weight)
    present = random_presence(number, 3)
    streams = torch.randn(number, 3, 5, 2, 2)
    ensemble = network.ensemble(streams, present)
    counted = present.T if missing_weight == 0 else torch.ones_like(present.T)
    for sample in range(3):
        candidates = streams[counted[:, sample], sample]
        assert (ensemble[sample] >= candidates.amin(0) - 1e-5).all()
        assert (ensemble[sample] <= candidates.amax(0) + 1e-5).all()
    torch.testing.assert_close(network.ensemble(streams + 1, present), ensemble + 1, atol=1e-5, rtol=0)
    same = streams[:1].expand_as(streams)
    torch.testing.assert_close(network.ensemble(same, present), same[0], atol=1e-5, rtol=0)


@settings(max_examples=15, deadline=None)
@given(st.data(), numbers, st.sampled_from(["mask_token", "no_stream"]), seeds)
def test_permuting_the_modalities_with_all_that_is_theirs_permutes_the_outputs(
    data: st.DataObject, number: int, missing: str, seed: int
) -> None:
    order = data.draw(st.permutations(range(number)))
    torch.manual_seed(seed)
    network, other = tiny_network(number, missing=missing), tiny_network(number, missing=missing)
    images, present = torch.randn(2, number, 3, 32, 64), random_presence(number, 2)
    kept = torch.rand(2, number, 8, 16) < 0.7
    with torch.no_grad():
        other.alpha.copy_(network.alpha[order])
        for mine, theirs in zip(network.modules(), other.modules(), strict=True):
            if isinstance(mine, ModalityLayerNorm) and isinstance(theirs, ModalityLayerNorm):
                theirs.weight.copy_(mine.weight[order])
                theirs.bias.copy_(mine.bias[order])
        streams = network(images, present, kept)
        permuted = other(images[:, order], present[:, order], kept[:, order])
        torch.testing.assert_close(permuted, streams[order], atol=1e-4, rtol=0)
        torch.testing.assert_close(
            other.ensemble(permuted, present[:, order]), network.ensemble(streams, present), atol=1e-4, rtol=0
        )
