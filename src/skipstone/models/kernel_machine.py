"""A support vector machine with Gaussian kernels on statistics of recordings: the audio baseline.

Cortes and Vapnik 1995. One machine per class against the others; scikit-learn fits them, and their
support vectors become the tensors of an ordinary network.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from skipstone.models.backbone import ClosedFormProblem, ClosedFormSolution, FeatureBackbone
from skipstone.models.text_backbone_options import LinearModelOptions


class KernelMachine(FeatureBackbone):
    """Features (N, F) -> logits (N, K): kernels exp(-gamma |x - s|^2) with each support vector s,
    weighted per class."""

    classifier_name = "coefficients"
    support: Tensor
    gamma: Tensor

    def __init__(self, *, features: int, vectors: int, outputs: int) -> None:
        super().__init__()
        self.support = nn.Parameter(torch.zeros(vectors, features))
        self.gamma = nn.Parameter(torch.zeros(1))
        self.coefficients = nn.Linear(vectors, outputs)
        self.channels, self.strides = (outputs,), (1,)

    def compute_features(self, x: Tensor) -> Tensor:
        return x

    def classify_features(self, features: Tensor) -> Tensor:
        products = features @ self.support.t()  # (N, S)
        squares = features.square().sum(dim=1, keepdim=True) + self.support.square().sum(dim=1)
        kernels = torch.exp(-self.gamma * (squares - 2 * products))
        logits: Tensor = self.coefficients(kernels)
        return logits

    def stage_modules(self) -> list[list[nn.Module]]:
        return [[self]]


def build_kernel_machine(
    name: str,
    options: LinearModelOptions,
    *,
    in_channels: int,
    vectors: int = 1,
    outputs: int = 2,
) -> KernelMachine:
    return KernelMachine(features=in_channels, vectors=vectors, outputs=outputs)


def solve_kernel_machine(
    options: LinearModelOptions, problem: ClosedFormProblem
) -> ClosedFormSolution:
    """One Gaussian support vector machine per class; gamma as scikit-learn's "scale"."""
    from sklearn.svm import SVC

    features, classes = np.asarray(problem.matrix, np.float64), problem.classes
    is_present = (
        problem.targets.T > 0
        if problem.targets.ndim == 2
        else np.arange(classes)[:, None] == problem.targets[None]
    )
    gamma = 1 / (features.shape[1] * max(features.var(), 1e-12))
    c = 10.0 if options.svm_c is None else options.svm_c
    weights, bias = np.zeros((classes, len(features))), np.full(classes, -10.0)
    for k, positive in enumerate(is_present):
        if positive.all() or not positive.any():
            bias[k] = 10.0 if positive.any() else -10.0
            continue
        machine = SVC(C=c, gamma=gamma).fit(features, positive)
        weights[k, machine.support_], bias[k] = machine.dual_coef_[0], machine.intercept_[0]
    used = np.flatnonzero(weights.any(axis=0))
    used = used if len(used) else np.arange(1)
    tensors = {
        "support": features[used],
        "gamma": np.array([gamma]),
        "coefficients.weight": weights[:, used],
        "coefficients.bias": bias,
    }
    return ClosedFormSolution(
        {name: np.asarray(value, np.float32) for name, value in tensors.items()},
        {"vectors": len(used), "outputs": classes},
    )
