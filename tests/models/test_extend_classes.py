"""Weights of one network in another whose head has rows for more classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.core.errors import UsageError
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from skipstone.models.build import build_network, export_tensors
from skipstone.models.heads.base import LinearHead
from skipstone.models.network import Network
from skipstone.models.weights import extend_classes


def network(classes: int, seed: int = 0) -> Network:
    head = ComponentConfig("linear", {"options": {}, "shape": {"classes": classes}})
    backbone = ComponentConfig("resnet20", {"options": {"width": 0.25, "depth": 0.34}})
    torch.manual_seed(seed)
    return build_network(Arch(backbone, head), ImageInput(ImageOptions(size=8, channels=3)))


SMALL = {classes: network(classes, classes) for classes in range(1, 7)}
LETTERS = st.permutations("abcdef").flatmap(
    lambda names: st.integers(1, 6).map(lambda count: names[:count])
)


@settings(max_examples=25, deadline=None)
@given(known=LETTERS, wanted=LETTERS)
def test_rows_follow_their_names(known: list[str], wanted: list[str]) -> None:
    old, new = SMALL[len(known)], network(len(wanted), seed=99)
    fresh = export_tensors(new)
    extend_classes(new, export_tensors(old), old_classes=known, new_classes=wanted, where="it")
    before, after = export_tensors(old), export_tensors(new)
    for name, value in after.items():
        if name not in ("head.linear.weight", "head.linear.bias"):
            assert np.array_equal(value, before[name])
            continue
        for row, letter in enumerate(wanted):
            source = before[name][known.index(letter)] if letter in known else fresh[name][row]
            assert np.array_equal(value[row], source)


def test_logits_of_known_classes_stay_what_they_were() -> None:
    old, new = network(3).eval(), network(4, seed=5).eval()
    extend_classes(
        new, export_tensors(old), old_classes=list("abc"), new_classes=list("cabd"), where="it"
    )
    x = {"image": torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)}
    with torch.no_grad():
        was, now = old(x)["logits"], new(x)["logits"]
    assert torch.allclose(now[:, [1, 2, 0]], was, atol=1e-6)


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = export_tensors(network(3))
    with pytest.raises(UsageError, match="does not hold a row for each"):
        extend_classes(
            network(4), tensors, old_classes=list("ab"), new_classes=list("abcd"), where="it"
        )
    with pytest.raises(UsageError, match="it does not fit its network"):
        extend_classes(
            network(4), tensors, old_classes=list("abcd"), new_classes=list("abcd"), where="it"
        )
    monkeypatch.setattr(LinearHead, "class_parameter_names", lambda self: ())
    with pytest.raises(UsageError, match=r"has no rows per class.*--weights it"):
        extend_classes(
            network(4), tensors, old_classes=list("abc"), new_classes=list("abcd"), where="it"
        )
