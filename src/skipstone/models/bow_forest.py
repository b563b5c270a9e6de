"""Random forests as a network: all trees are traversed at once, one level per step.

Breiman 2001, "Random Forests", Machine Learning 45. scikit-learn grows the trees; here they are
tables of features, thresholds, children and class probabilities, and traversal is `gather`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skipstone.models.backbone import Backbone, ClosedFormProblem, ClosedFormSolution
from skipstone.models.text_backbone_options import ForestOptions

#: Probabilities are clamped to this, so that their logarithm is finite.
_LEAST = 1e-6


class BowForest(Backbone):
    """Features (N, F) int32 and values (N, F) -> log of the mean class probability (N, K).

    Only the features that some tree splits on are read: `slot` maps a feature to its column in a
    dense row of values.

    Args:
        features: number of input features, padding included.
        nodes: number of nodes of all trees, which are concatenated.
        trees: number of trees.
        depth: of the deepest tree.
        used: number of features that some tree splits on.
        outputs: K.
        multi_label: whether the outputs are one logit per label.
    """

    classifier_name = "share"
    slot: Tensor
    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    root: Tensor
    share: Tensor

    def __init__(
        self,
        *,
        features: int,
        nodes: int = 1,
        trees: int = 1,
        depth: int = 0,
        used: int = 0,
        outputs: int = 2,
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        self.depth, self.used, self.multi_label = depth, used, multi_label
        for name, shape, kind in (
            ("slot", (features,), torch.int64),  # unused features share the last column
            ("feature", (nodes,), torch.int64),
            ("threshold", (nodes,), torch.float32),
            ("left", (nodes,), torch.int64),
            ("right", (nodes,), torch.int64),
            ("root", (trees,), torch.int64),
            ("share", (nodes, outputs), torch.float32),
        ):
            self.register_buffer(name, torch.zeros(shape, dtype=kind))
        # The tables have no gradient, but fine-tuning needs a parameter.
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.channels, self.strides = (outputs,), (1,)

    def forward(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:  # type: ignore[override]
        features, values = x
        row = values.new_zeros(values.shape[0], self.used + 1)
        row = row.scatter_add(1, self.slot[features.long()], values)  # (N, used + 1)
        node = self.root.unsqueeze(0).expand(values.shape[0], -1)  # (N, trees)
        for _ in range(self.depth):
            value = row.gather(1, self.feature[node])
            node = torch.where(value <= self.threshold[node], self.left[node], self.right[node])
        share = self.share[node].mean(dim=1)  # (N, K); a leaf leads to itself
        share = share.clamp(_LEAST, 1 - _LEAST)
        logits = share.log() - (1 - share).log() if self.multi_label else share.log()
        return (logits + self.bias,)

    def feature_effects(self, matrix: Any, *, multi_label: bool) -> np.ndarray:
        """(F,): the effect of each feature on the predictions for the rows of `matrix` (N, F).

        At each node where a row goes right, that is the squared distance between the class
        probabilities of both children, because without the feature the row would go left.
        Features that no tree splits on have effect 0.
        """
        slot = self.slot[1:].numpy()  # without padding
        features = np.argsort(slot, kind="stable")[: self.used]
        gap = (self.share[self.left] - self.share[self.right]).double().square().sum(dim=1)
        totals = torch.zeros(self.used + 1, dtype=torch.float64)
        for begin in range(0, matrix.shape[0], 256):
            values = matrix[begin : begin + 256][:, features].toarray()
            row = torch.from_numpy(np.pad(values, ((0, 0), (0, 1))))
            node = self.root.unsqueeze(0).expand(len(row), -1)
            for _ in range(self.depth):
                right = row.gather(1, self.feature[node]) > self.threshold[node]
                totals.index_add_(0, self.feature[node[right]], gap[node[right]])
                node = torch.where(right, self.right[node], self.left[node])
        effects = np.zeros(len(slot))
        effects[features] = totals[: self.used].numpy()
        return effects

    def stage_modules(self) -> list[list[nn.Module]]:
        return [[self]]


def build_bow_forest(
    name: str,
    options: ForestOptions,
    *,
    in_channels: int,
    **shape: Any,
) -> BowForest:
    """The network for `in_channels` features and trees of this `shape`."""
    return BowForest(features=in_channels, **shape)


def solve_forest(options: ForestOptions, problem: ClosedFormProblem) -> ClosedFormSolution:
    """Grow trees on bootstrap samples, each split among sqrt(features) drawn at random."""
    from sklearn.ensemble import RandomForestClassifier

    matrix, targets, classes = problem.matrix, problem.targets, problem.classes
    model = RandomForestClassifier(
        n_estimators=options.trees,
        max_depth=options.max_depth,
        min_samples_leaf=options.min_leaf,
        random_state=problem.seed,
        n_jobs=-1,
    )
    model.fit(matrix, targets)
    multi_label = targets.ndim == 2
    present = np.arange(classes) if multi_label else model.classes_
    tables = [
        _table(tree.tree_, present, classes, multi_label=multi_label) for tree in model.estimators_
    ]
    counts = [len(table["feature"]) for table in tables]
    starts = np.cumsum([0, *counts])
    nodes = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    for name in ("left", "right"):
        nodes[name] = nodes[name] + np.repeat(starts[:-1], counts)
    features, columns = np.unique(nodes["feature"], return_inverse=True)
    is_split = features >= 0  # a leaf has -1
    used = int(is_split.sum())
    slot = np.full(matrix.shape[1] + 1, used, np.int64)
    slot[features[is_split] + 1] = np.arange(used)  # feature 0 is padding
    nodes["feature"] = np.where(nodes["feature"] < 0, used, columns - int(not is_split.all()))
    depth = max(tree.tree_.max_depth for tree in model.estimators_)
    tensors = {**nodes, "slot": slot, "root": starts[:-1], "bias": np.zeros(classes, np.float32)}
    kinds = {"threshold": np.float32, "share": np.float32, "bias": np.float32}
    return ClosedFormSolution(
        {name: value.astype(kinds.get(name, np.int64)) for name, value in tensors.items()},
        {
            "nodes": int(starts[-1]),
            "trees": len(tables),
            "depth": int(depth),
            "used": used,
            "outputs": classes,
            "multi_label": multi_label,
        },
    )


def _table(
    tree: Any, present: np.ndarray, classes: int, *, multi_label: bool
) -> dict[str, np.ndarray]:
    """The arrays of one tree; a leaf has feature -1 and is its own child."""
    itself = np.arange(tree.node_count)
    leaf = tree.children_left < 0
    share = np.zeros((tree.node_count, classes))
    if multi_label:  # value (nodes, K, 2): rows without and with each label
        share[:] = tree.value[:, :, -1] / np.maximum(tree.value.sum(axis=2), 1e-12)
    else:
        counts = tree.value[:, 0, :]
        share[:, present] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    # scikit-learn compares float32 values with float64 thresholds: the largest float32 not above
    # the threshold gives the same comparison.
    low = tree.threshold.astype(np.float32)
    low = np.where(low > tree.threshold, np.nextafter(low, np.float32(-np.inf)), low)
    return {
        "feature": np.where(leaf, -1, tree.feature),
        "threshold": low,
        "left": np.where(leaf, itself, tree.children_left),
        "right": np.where(leaf, itself, tree.children_right),
        "share": share,
    }
