"""The option ``no_stream``: a missing modality is left out of everything, and not computed where that can be seen."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import TINY, TINY_EFFICIENTNET, tiny_network

from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.model.norms import ModalityBatchNorm, ModalityNorm

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]


ENCODERS = (TINY, TINY_EFFICIENTNET)


def batch_norms(network: LinearFusionSegFormer) -> list[ModalityBatchNorm]:
    return [module for module in network.modules() if isinstance(module, ModalityBatchNorm)]


def no_stream(num_modalities: int = 2, **settings: Any) -> LinearFusionSegFormer:
    return tiny_network(num_modalities, missing="no_stream", **settings)


def only(network: LinearFusionSegFormer, modalities: list[int]) -> LinearFusionSegFormer:
    """A network of its own for some of the modalities, with the same weights and no notion of a missing one."""
    other = tiny_network(len(modalities), drop=0.0, encoder=network.config.encoder_config)
    state = network.state_dict()
    for name, module in network.named_modules():
        if isinstance(module, ModalityNorm):
            state |= {f"{name}.{kind}": parameter[modalities] for kind, parameter in module.state_dict().items()}
    other.load_state_dict(state | {"alpha": network.alpha[modalities]})
    return other


presences = st.integers(1, 4).flatmap(
    lambda number: st.sampled_from([list(given) for given in product((True, False), repeat=number) if any(given)])
)


@settings(max_examples=20, deadline=None)
@given(presences, st.sampled_from(ENCODERS), st.booleans(), st.integers(0, 100))
def test_what_is_missing_might_never_have_been_there(
    presence: list[bool], encoder: Any, training: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    network = no_stream(len(presence), drop=0.0, encoder=encoder).train(training)
    there = [modality for modality, here in enumerate(presence) if here]
    reference = only(network, there).train(training)
    images, present = torch.randn(2, len(presence), 3, 32, 64), torch.tensor([presence, presence])
    kept = torch.rand(2, len(presence), 8, 16) < 0.8
    with torch.no_grad():
        streams = network(images, present, kept)
        expected = reference(images[:, there], present[:, there], kept[:, there])
        torch.testing.assert_close(streams[there], expected, atol=1e-4, rtol=0)
        absent = [modality for modality, here in enumerate(presence) if not here]
        assert not streams[absent].any()
        torch.testing.assert_close(
            network.ensemble(streams, present),
            reference.ensemble(expected, present[:, there]),
            atol=1e-4,
            rtol=0,
        )
    # The batch norms have seen the same.
    torch.testing.assert_close(network.head.norm.running_mean, reference.head.norm.running_mean, atol=1e-4, rtol=0)
    for norm, expected_norm in zip(batch_norms(network), batch_norms(reference), strict=True):
        for ours, theirs in zip(norm.buffers(), expected_norm.buffers(), strict=True):
            torch.testing.assert_close(ours[there], theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("counted", [[True, False, True], [False, False, False]])
def test_samples_without_a_modality_have_no_part_in_its_statistics(counted: list[bool]) -> None:
    norm, reference = ModalityBatchNorm(2, 4).train(), ModalityBatchNorm(2, 4).train()
    images, samples = torch.randn(3, 4, 5, 6), torch.tensor(counted)
    normalized = norm(images, 1, samples)
    assert not normalized[~samples].any()
    if samples.any():
        torch.testing.assert_close(normalized[samples], reference(images[samples], 1))
    for ours, theirs in zip(norm.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@settings(max_examples=15, deadline=None)
@given(presences, st.sampled_from(ENCODERS), st.integers(0, 100))
def test_a_sample_has_the_same_logits_alone_and_among_others(presence: list[bool], encoder: Any, seed: int) -> None:
    torch.manual_seed(seed)
    network = no_stream(len(presence), encoder=encoder)
    images = torch.randn(2, len(presence), 3, 32, 64)
    present = torch.tensor([presence, [True] * len(presence)])
    with torch.no_grad():
        sliced, mixed = network(images[:1], present[:1]), network(images, present)
    torch.testing.assert_close(mixed[:, :1], sliced, atol=1e-5, rtol=0)


@pytest.mark.parametrize("training", [False, True])
def test_streams_that_no_sample_has_are_not_computed(training: bool) -> None:
    network = no_stream(3).train(training)
    computed: list[int] = []
    network.encoder.stages[0].embedding.projection.register_forward_hook(
        lambda module, inputs, output: computed.append(len(output))
    )
    images = torch.randn(2, 3, 3, 64, 64)
    everything = torch.ones(2, 3, dtype=torch.bool)
    depth_only, mixed = torch.tensor([[False, True, False]] * 2), torch.tensor([[True] * 3, [False, True, False]])
    with torch.no_grad():
        for present in (everything, depth_only, mixed):
            network(images, present)
    assert computed == [6, 2, 6]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("others", [[True, True], [True, False]])
def test_the_content_of_a_missing_modality_does_not_matter(encoder: Any, training: bool, others: list[bool]) -> None:
    network = no_stream(drop=0.0, encoder=encoder).train(training)
    images, present = torch.randn(2, 2, 3, 64, 64), torch.tensor([[True, False], others])
    changed = images.clone()
    changed[0, 1] = 100 * torch.randn(3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images, present), network(changed, present))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("training", [False, True])
def test_no_gradient_passes_a_missing_stream(encoder: Any, training: bool) -> None:
    network = no_stream(3, drop=0.0, encoder=encoder).train(training)
    images = torch.randn(2, 3, 3, 64, 64, requires_grad=True)
    # Of the third modality no sample has any, of the first one has.
    present = torch.tensor([[True, True, False], [False, True, False]])
    streams = network(images, present)
    assert not streams[~present.T].any()
    (streams.square().sum() + network.ensemble(streams, present).square().sum()).backward()
    assert images.grad is not None
    reached = images.grad.flatten(2).any(dim=2)
    assert torch.equal(reached, present)
    for module in network.modules():
        if isinstance(module, ModalityNorm):
            assert module.weight.grad is not None and module.bias.grad is not None
            assert module.weight.grad[:2].any() and module.bias.grad[:2].any()
            assert not module.weight.grad[2].any() and not module.bias.grad[2].any()


@pytest.mark.parametrize("color", [True, False])
def test_training_reaches_every_parameter(color: bool) -> None:
    network, present = no_stream().train(), torch.tensor([[color, True], [False, True]])
    streams = network(torch.randn(2, 2, 3, 64, 64), present)
    network.ensemble(streams, present).square().sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_it_can_be_exported_with_presence_as_an_input() -> None:
    network = no_stream()
    images, everything = torch.randn(1, 2, 3, 64, 64), torch.tensor([[True, True]])
    program = torch.export.export(network, (images, everything)).module()
    with torch.no_grad():
        for present in (everything, torch.tensor([[False, True]]), torch.tensor([[True, False]])):
            torch.testing.assert_close(program(images, present), network(images, present), atol=1e-5, rtol=0)
