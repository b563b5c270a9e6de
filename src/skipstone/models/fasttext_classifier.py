"""fastText's classifier: the mean of n-gram vectors, and a linear layer (the head's).

Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification", arXiv:1607.01759. The n-grams
are features of the input (`--text-features bag`). Hierarchical softmax, for very many classes, is not
implemented.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skipstone.models.backbone import Backbone
from skipstone.models.text_backbone_options import FastTextOptions


class FastTextClassifier(Backbone):
    """Features (N, F) int32 and values (N, F) -> the weighted mean of their vectors (N, D)."""

    classifier = "head"

    def __init__(self, *, features: int, options: FastTextOptions) -> None:
        super().__init__()
        self.embedding = nn.Embedding(features, options.embedding, padding_idx=0)
        nn.init.uniform_(self.embedding.weight, -1 / options.embedding, 1 / options.embedding)
        with torch.no_grad():
            self.embedding.weight[0] = 0
        self.dropout = nn.Dropout(options.dropout)
        self.channels, self.strides = (options.embedding,), (1,)

    def forward(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:  # type: ignore[override]
        features, values = x
        vectors = self.embedding(features)  # (N, F, D)
        return (self.dropout(torch.bmm(values.unsqueeze(1), vectors).squeeze(1)),)

    def stage_modules(self) -> list[list[nn.Module]]:
        return [[self.embedding, self.dropout]]


def build_fasttext(name: str, options: FastTextOptions, *, in_channels: int) -> FastTextClassifier:
    """The network for `in_channels` features, padding included."""
    return FastTextClassifier(features=in_channels, options=options)
