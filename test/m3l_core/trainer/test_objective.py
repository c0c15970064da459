"""What a student is taught by: each term, its weight, and what its teacher saw."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.rooms import METHODS, RECIPE, recipe, training_data
from torch.nn import functional

from m3l_core.datasets.folder import Sample
from m3l_core.labels import IGNORE
from m3l_core.model.network import LinearFusionSegFormer, upsample
from m3l_core.trainer.batches import Batch, training_batches
from m3l_core.trainer.distributed import Ranks
from m3l_core.trainer.losses import ohem_cross_entropy
from m3l_core.trainer.method import Method
from m3l_core.trainer.objective import Objective, objective, teach
from m3l_core.trainer.optimization import new_networks
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.views import pseudo_labels, student_view

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
Rooms = tuple[list[Sample], list[Sample]]
TAUGHT: dict[str, Any] = {"pseudo_labels": "mean_teacher"}
IN_TRAIN_MODE = Method(pseudo_labels="mean_teacher", teacher_mode="train")
DISTILLED: dict[str, Any] = TAUGHT | {"distillation_weight": 1.0}
CALM: dict[str, Any] = {
    "phases": [RECIPE["phases"][0] | {"scale": [0.35, 0.8]}],
    "drop_path": 0.0,
    "head_dropout": 0.0,
}
"""Some views have padding, and nothing is left to chance."""


def networks(made: Recipe) -> tuple[LinearFusionSegFormer, LinearFusionSegFormer]:
    """A student and a teacher with weights of its own, neither of them sure of anything."""
    (student,), _ = new_networks(made)
    (teacher,), _ = new_networks(made.model_copy(update={"seed": made.seed + 1}))
    with torch.no_grad():
        student.alpha.copy_(torch.tensor([1.0, -1.0]))
        for network in (student, teacher):
            network.head.classify.weight.mul_(20)
    return student, teacher


class Case:
    """A recipe, its first batch, and networks for it."""

    def __init__(self, rooms: Rooms, method: dict[str, Any], **changes: Any) -> None:
        self.recipe = recipe(method=method, **CALM | changes)
        data = training_data(rooms)
        self.batch: Batch = next(training_batches((data.labelled, data.unlabelled), self.recipe, 0, 0, Ranks()))
        self.student, teacher = networks(self.recipe)
        self.teacher = teacher if method.get("pseudo_labels") else None
        self.seen: tuple[Any, ...] = ()

    def forward(self, *inputs: Any) -> torch.Tensor:
        self.seen = inputs
        self.streams: torch.Tensor = self.student(*inputs)
        return self.streams

    def __call__(self, ramp: float = 1.0) -> Objective:
        return objective(self.student, self.forward, self.teacher, self.batch, self.recipe, ramp, Ranks())

    def terms(self, ramp: float = 1.0) -> dict[str, float]:
        return {name: term.item() for name, term in self(ramp).terms.items()}


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ({}, ["supervised"]),
        (TAUGHT, ["supervised", "pseudo"]),
        (DISTILLED, ["supervised", "pseudo", "distillation"]),
        (METHODS["everything"], ["supervised", "pseudo", "distillation"]),
    ],
)
def test_every_term_has_a_name_and_a_gradient(rooms: Rooms, method: dict[str, Any], names: list[str]) -> None:
    found = Case(rooms, method)()
    assert list(found.terms) == names
    assert all(term.requires_grad and term.isfinite() and term > 0 for term in found.terms.values())


def test_a_student_that_has_taught_learns_in_the_same_step(rooms: Rooms) -> None:
    case = Case(rooms, {})
    with torch.autocast("cpu", torch.bfloat16):
        teach(case.student, case.batch, case.recipe.method)
        case().terms["supervised"].backward()
    learning = dict(case.student.named_parameters())
    del learning["encoder.mask_token"]  # no sensor is missing
    assert not [name for name, parameter in learning.items() if parameter.grad is None]


def test_every_stream_and_the_ensemble_count_the_same(rooms: Rooms) -> None:
    case = Case(rooms, {"modality_dropout": {}}, ohem_threshold=0.5)
    batch, label = case.batch, case.batch.label.long()
    streams = case.student(batch.strong, batch.present)
    losses = [
        Ranks().mean(ohem_cross_entropy(upsample(logits, (32, 48)).log_softmax(1), label, 0.5)).item()
        for logits in (*streams, case.student.ensemble(streams, batch.present))
    ]
    assert len({round(loss, 4) for loss in losses}) == 3
    assert case.terms()["supervised"] == pytest.approx(sum(losses) / 3, rel=1e-5)


@pytest.mark.parametrize("changes", [{"ohem_threshold": 1.0}, {"ohem_threshold": 0.1}])
def test_the_recipe_says_which_pixels_are_hard(rooms: Rooms, changes: dict[str, Any]) -> None:
    assert Case(rooms, {}, **changes).terms() != pytest.approx(Case(rooms, {}).terms(), rel=1e-3)


def test_weights_scale_their_own_term(rooms: Rooms) -> None:
    plain = Case(rooms, DISTILLED).terms()
    weighted = Case(rooms, DISTILLED | {"pseudo_weight": 0.5, "distillation_weight": 3.0}).terms()
    assert weighted["supervised"] == pytest.approx(plain["supervised"])
    assert weighted["pseudo"] == pytest.approx(0.5 * plain["pseudo"])
    assert weighted["distillation"] == pytest.approx(3 * plain["distillation"])


def test_the_ramp_holds_back_the_teacher_alone(rooms: Rooms) -> None:
    full, quarter, none = (Case(rooms, DISTILLED).terms(ramp) for ramp in (1.0, 0.25, 0.0))
    assert full["supervised"] == quarter["supervised"] == none["supervised"]
    for name in ("pseudo", "distillation"):
        assert quarter[name] == pytest.approx(0.25 * full[name])
        assert none[name] == 0


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_both_sides_of_the_divergence_are_softened_and_its_size_made_up_for(rooms: Rooms, temperature: float) -> None:
    case = Case(rooms, DISTILLED | {"temperature": temperature})
    assert case.teacher is not None
    taught = (teach(case.teacher, case.batch, Method()) / temperature).log_softmax(1)
    streams = case.student(case.batch.strong, case.batch.present)
    inside = case.batch.inside
    found = []
    for logits in (*streams, case.student.ensemble(streams, case.batch.present)):
        learnt = (upsample(logits, (32, 48)) / temperature).log_softmax(1)
        found.append((taught.exp() * (taught - learnt)).sum(1)[inside].mean().item())
    assert case.terms()["distillation"] == pytest.approx(temperature**2 * sum(found) / 3, rel=1e-4)


@pytest.mark.parametrize(
    "option",
    [
        {"valid_mask": False},
        {"pseudo_on_labelled": False},
        {"confidence": "weight"},
        {"confidence": "threshold", "confidence_threshold": 0.6},
    ],
)
def test_an_option_of_the_pseudo_labels_changes_their_term_alone(rooms: Rooms, option: dict[str, Any]) -> None:
    case, plain = Case(rooms, TAUGHT | option), Case(rooms, TAUGHT)
    assert case.teacher is not None
    assert case.terms()["supervised"] == plain.terms()["supervised"]
    assert case.terms()["pseudo"] != pytest.approx(plain.terms()["pseudo"], rel=1e-3)
    view = student_view(case.batch, teach(case.teacher, case.batch, Method()), case.recipe.method)
    wanted = pseudo_labels(view, case.recipe.method)
    weight, number = case().kept
    for each in range(3):
        of_class = wanted.classes == each
        assert weight[each] == pytest.approx(wanted.weight[of_class].sum().item(), rel=1e-4)
        assert number[each] == wanted.counted[of_class].sum()


def test_without_a_teacher_no_pseudo_labels_are_counted(rooms: Rooms) -> None:
    assert not Case(rooms, {})().kept.any()


def test_the_teacher_sees_the_weak_view_with_every_sensor_and_the_student_what_is_left_of_the_strong_one(
    rooms: Rooms,
) -> None:
    case = Case(rooms, METHODS["everything"] | {"clean_labelled_copy": False, "cutmix": 0.0})
    assert case.teacher is not None
    inputs: list[tuple[Any, ...]] = []
    case.teacher.register_forward_pre_hook(lambda _, seen: inputs.append(seen))
    case()
    ((weak, recorded),) = inputs
    assert weak is case.batch.weak
    assert recorded is case.batch.recorded
    for seen, given in zip(case.seen, (case.batch.strong, case.batch.present, case.batch.kept), strict=True):
        assert torch.equal(seen, given)
    assert not torch.equal(case.batch.strong, weak)
    assert not torch.equal(case.batch.present, recorded)


@pytest.mark.parametrize(("partial", "given"), [(0.5, True), (0.0, False)])
def test_tokens_are_only_named_where_some_can_be_lost(rooms: Rooms, partial: float, given: bool) -> None:
    case = Case(rooms, {"modality_dropout": {"partial": partial}})
    case()
    assert (case.seen[2] is not None) == given


def test_the_clean_copy_counts_as_much_as_the_copy_that_lost_sensors(rooms: Rooms) -> None:
    case = Case(rooms, {"clean_labelled_copy": True, "modality_dropout": {"probability": 1.0}}, ohem_threshold=1.0)
    case()
    assert len(case.seen[0]) == 8
    assert case.seen[1][:4].all()
    assert not case.seen[1][4:].all(dim=1).any()


def test_streams_without_a_sensor_teach_nothing_where_there_are_no_such_streams(rooms: Rooms) -> None:
    lost = {"modality_dropout": {"draw": "independent", "probability": {"color": 0.3, "depth": 0.6}}}
    case = Case(rooms, lost, missing="no_stream", ohem_threshold=1.0)
    batch, label = case.batch, case.batch.label.long()
    assert 0 < batch.present.sum() < batch.present.numel()
    streams = case.student(batch.strong, batch.present)
    losses = []
    for logits, there in zip(streams, batch.present.T, strict=True):
        known = label.where(there[:, None, None], torch.tensor(IGNORE))
        losses.append(Ranks().mean(ohem_cross_entropy(upsample(logits, (32, 48)).log_softmax(1), known, 1.0)))
    ensemble = upsample(case.student.ensemble(streams, batch.present), (32, 48)).log_softmax(1)
    losses.append(Ranks().mean(ohem_cross_entropy(ensemble, label, 1.0)))
    assert case.terms()["supervised"] == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_pseudo_labels_are_a_mean_over_the_samples_that_have_the_stream(rooms: Rooms) -> None:
    lost = {"modality_dropout": {"draw": "independent", "probability": {"color": 0.3, "depth": 0.6}}}
    case = Case(rooms, TAUGHT | lost, missing="no_stream")
    assert case.teacher is not None
    batch, method = case.batch, case.recipe.method
    assert 0 < batch.present.sum() < batch.present.numel()
    wanted = pseudo_labels(student_view(batch, teach(case.teacher, batch, method), method), method)
    streams = case.student(batch.strong, batch.present)
    outputs = [*streams, case.student.ensemble(streams, batch.present)]
    losses = []
    for logits, there in zip(outputs, [*batch.present.T, batch.present.any(dim=1)], strict=True):
        log_probabilities = upsample(logits, (32, 48)).log_softmax(1)
        found = functional.nll_loss(log_probabilities, wanted.classes, reduction="none")
        losses.append(found[wanted.counted & there[:, None, None]].mean())
    assert case.terms()["pseudo"] == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


@pytest.mark.parametrize("missing", ["mask_token", "no_stream"])
def test_a_stream_that_does_not_exist_is_not_taught_by_the_teacher_either(rooms: Rooms, missing: str) -> None:
    case = Case(rooms, DISTILLED | {"modality_dropout": {"probability": 1.0}}, missing=missing)
    terms = case().terms
    (gradient,) = torch.autograd.grad(terms["pseudo"] + terms["distillation"], case.streams)
    there = case.batch.present.T
    assert gradient[there].any()
    assert bool(gradient[~there].any()) == (missing == "mask_token")


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("before", [True, False])
def test_teaching_leaves_the_teacher_in_its_mode_and_gives_no_gradient(rooms: Rooms, mode: str, before: bool) -> None:
    case = Case(rooms, TAUGHT)
    assert case.teacher is not None
    case.teacher.train(before)
    taught = teach(case.teacher, case.batch, Method(pseudo_labels="mean_teacher", teacher_mode=mode))
    assert case.teacher.training is before
    assert taught.shape == (8, 3, 32, 48)
    assert not taught.requires_grad


def test_an_eval_teacher_is_its_ensemble_and_uses_its_buffers(rooms: Rooms) -> None:
    case = Case(rooms, TAUGHT, drop_path=0.5, head_dropout=0.5)
    assert case.teacher is not None
    before = {name: buffer.clone() for name, buffer in case.teacher.named_buffers()}
    one, other = (teach(case.teacher.train(), case.batch, Method()) for _ in range(2))
    assert torch.equal(one, other)
    assert all(torch.equal(buffer, before[name]) for name, buffer in case.teacher.named_buffers())
    with torch.no_grad():
        streams = case.teacher.eval()(case.batch.weak, case.batch.recorded)
        expected = upsample(case.teacher.ensemble(streams, case.batch.recorded), (32, 48))
    assert torch.equal(one, expected)
    case.teacher.head.norm.running_mean.add_(1.0)
    assert not torch.allclose(teach(case.teacher, case.batch, Method()), one)


def test_a_teacher_that_flips_says_the_mean_of_a_view_and_of_its_mirror_image(rooms: Rooms) -> None:
    case = Case(rooms, TAUGHT)
    teacher = case.teacher
    assert teacher is not None
    mirrored = case.batch._replace(weak=case.batch.weak.flip(-1))
    plain, other = (teach(teacher, batch, Method(**TAUGHT)) for batch in (case.batch, mirrored))
    assert not torch.allclose(plain, other.flip(-1), atol=1e-2)
    flips = Method(**TAUGHT | {"teacher_flip": True})
    for batch, mean in ((case.batch, (plain + other.flip(-1)) / 2), (mirrored, (plain.flip(-1) + other) / 2)):
        torch.testing.assert_close(teach(teacher, batch, flips), mean, atol=1e-4, rtol=1e-4)


def test_a_train_teacher_drops_out_and_takes_the_batchs_statistics(rooms: Rooms) -> None:
    case = Case(rooms, TAUGHT, head_dropout=0.5)
    assert case.teacher is not None
    one, other = (teach(case.teacher, case.batch, IN_TRAIN_MODE) for _ in range(2))
    assert not torch.equal(one, other)
    case.teacher.head.dropout.p = 0.0
    calm = teach(case.teacher, case.batch, IN_TRAIN_MODE)
    case.teacher.head.norm.running_mean.add_(1.0)
    assert torch.equal(teach(case.teacher, case.batch, IN_TRAIN_MODE), calm)
    torch.manual_seed(0)
    published = Case(rooms, TAUGHT | {"teacher_mode": "train"}).terms()["pseudo"]
    assert published != pytest.approx(Case(rooms, TAUGHT).terms()["pseudo"], rel=1e-3)


def test_the_teacher_is_given_no_gradient_and_the_student_one_everywhere(rooms: Rooms) -> None:
    case = Case(rooms, METHODS["everything"])
    assert case.teacher is not None
    torch.stack([*case().terms.values()]).sum().backward()
    assert all(parameter.grad is None for parameter in case.teacher.parameters())
    assert {name for name, parameter in case.student.named_parameters() if parameter.grad is None} == set()


def test_an_ensemble_by_availability_learns_its_weights_and_an_equal_one_has_none_to_learn(rooms: Rooms) -> None:
    lost = {"modality_dropout": {"probability": 0.5}}
    learnt, equal = Case(rooms, lost), Case(rooms, lost | {"ensemble": "equal"})
    terms = []
    for case, has_gradient in ((learnt, True), (equal, False)):
        term = case().terms["supervised"]
        term.backward()
        terms.append(term.item())
        alpha = case.student.alpha.grad
        assert (alpha is not None and bool(alpha.any())) == has_gradient
    assert terms[0] != pytest.approx(terms[1], rel=1e-3)
