"""Distillation: the teacher's answers are learnt, and the teacher is not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.special import rel_entr, softmax

from skipstone.core.errors import Refusal
from skipstone.inference.restore import restore_network, restore_task
from skipstone.models.losses import DISTILLATION_TEMPERATURE, BinaryCrossEntropy, CrossEntropy, Loss
from skipstone.models.network import Network
from skipstone.training.objective import Distillation, Objective
from tests.small_bundles import small_bundle
from tests.training.tiny import TinyCriterion, tiny_network

CRITERION = restore_task(small_bundle()).criterion()


def divergence(loss: Loss, logits: torch.Tensor, teacher_logits: torch.Tensor) -> float:
    target = torch.zeros(len(logits), dtype=torch.int64)  # not read
    return float(loss.distillation_loss(logits, teacher_logits, target))


def network(seed: int) -> Network:
    made = restore_network(small_bundle())
    torch.manual_seed(seed)
    with torch.no_grad():
        made.head.linear.weight.normal_()
    return made


def batch() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    x = {"image": torch.randint(0, 256, (8, 24, 24, 3), dtype=torch.uint8)}
    return x, {"label": torch.arange(8) % 3}


def test_softmax_answers_are_imitated_by_their_kl_divergence() -> None:
    torch.manual_seed(0)
    own, taught = torch.randn(5, 4), 3 * torch.randn(5, 4)
    p, q = (softmax(t.double().numpy() / DISTILLATION_TEMPERATURE, axis=1) for t in (taught, own))
    expected = rel_entr(p, q).sum() * DISTILLATION_TEMPERATURE**2
    assert divergence(CrossEntropy(), own, taught) == pytest.approx(expected, rel=1e-5)
    assert divergence(CrossEntropy(), taught, taught) == pytest.approx(0, abs=1e-5)


def test_tags_are_imitated_by_their_binary_divergence() -> None:
    torch.manual_seed(0)
    own, taught = torch.randn(5, 4), 3 * torch.randn(5, 4)
    p, q = (torch.sigmoid(t.double()).numpy() for t in (taught, own))
    expected = (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).sum()
    assert divergence(BinaryCrossEntropy(), own, taught) == pytest.approx(expected, rel=1e-5)
    assert divergence(BinaryCrossEntropy(), taught, taught) == pytest.approx(0, abs=1e-4)


def test_shares_of_labels_and_teacher() -> None:
    student, teacher = network(0), network(2)
    x, y = batch()
    aim = Distillation(student.eval(), CRITERION, teacher, share=0.7)
    losses = aim(x, y, weight=aim.weight(y))
    logits, taught = student(x)["logits"], teacher(x)["logits"]
    smoothing = CRITERION.loss.label_smoothing
    labels = F.cross_entropy(logits, y["label"], label_smoothing=smoothing)
    target = y["label"]
    imitated = CrossEntropy().distillation_loss(logits, taught, target) / 8
    torch.testing.assert_close(losses["loss"], 0.3 * labels + 0.7 * imitated)
    torch.testing.assert_close(losses["teacher_loss"], 0.7 * imitated.detach())


def test_without_a_share_it_is_the_plain_objective() -> None:
    student = network(0).eval()
    x, y = batch()
    aims = (
        Distillation(student, CRITERION, network(2), share=0.0),
        Objective(student, CRITERION),
    )
    with_teacher, plain = (aim(x, y, weight=aim.weight(y))["loss"] for aim in aims)
    torch.testing.assert_close(with_teacher, plain)


def test_the_student_comes_to_answer_as_the_teacher_who_stays() -> None:
    student, teacher = network(0), network(2)
    x, y = batch()
    aim = Distillation(student.eval(), CRITERION, teacher, share=1.0)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    assert {id(p) for p in aim.parameters()} == {id(p) for p in student.parameters()}
    optimizer = torch.optim.Adam(aim.parameters(), 3e-3)
    history = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = aim(x, y, weight=aim.weight(y))["loss"]
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    assert history[-1] < 0.2 * history[0]
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_a_criterion_that_cannot_distil_says_so() -> None:
    student = tiny_network()
    aim = Distillation(student, TinyCriterion(), tiny_network(1))
    x, y = {"image": torch.zeros(2, 1, 8, 8)}, {"label": torch.tensor([0, 1])}
    with pytest.raises(Refusal, match="TinyCriterion cannot learn from a teacher's outputs"):
        aim(x, y, weight=aim.weight(y))
