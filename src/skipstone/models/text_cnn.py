"""TextCNN: convolutions over word vectors, and max pooling over the text; and fastText.

Kim 2014, "Convolutional Neural Networks for Sentence Classification", arXiv:1408.5882, section 2,
with dropout and a linear layer (the head's) behind it. Differences: the text is padded on both
sides (a wide convolution, so a text may be shorter than a kernel); kernels are 2 to 4 words wide,
not 3 to 5; word dropout trains the vector of unknown words; and words may have subword vectors
(`word_lookup.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.models.backbone import Backbone, SequenceBackbone
from skipstone.models.text_backbone_options import FastTextOptions, TextCnnOptions
from skipstone.models.word_lookup import embed_words, make_embedding


class TextCnn(SequenceBackbone):
    """Token ids (N, L) or (N, L, 1 + P), 0 for padding -> one vector (N, maps x kernels).

    Padding does not affect predictions: it is embedded as zeros, and responses there are masked.
    """

    classifier_name = "head"

    def __init__(self, *, vocabulary: int, options: TextCnnOptions) -> None:
        super().__init__()
        self.embedding = make_embedding(vocabulary, options.embedding)
        self.token_dropout = options.token_dropout
        self.convolutions = nn.ModuleList(
            nn.Conv1d(options.embedding, options.maps, width) for width in options.kernels
        )
        self.dropout = nn.Dropout(options.dropout)
        self.channels = (options.maps * len(options.kernels),)
        self.strides = (1,)

    def embed_tokens(self, x: Tensor) -> Tensor:
        return embed_words(self.embedding, x, dropout=self.token_dropout)

    def encode_vectors(self, vectors: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        vectors, mask = vectors.transpose(1, 2), mask.unsqueeze(1)  # (N, D, L), (N, 1, L)
        pooled = []
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv1d)
            width = convolution.kernel_size[0]
            padded = F.pad(vectors, ((width - 1) // 2, width // 2))
            response = F.relu(convolution(padded))  # (N, maps, L)
            pooled.append((response * mask).amax(dim=2))  # responses are at least 0
        return (self.dropout(torch.cat(pooled, dim=1)),)

    def stage_modules(self) -> list[list[nn.Module]]:
        return [[self.embedding], [self.convolutions, self.dropout]]


def build_text_cnn(name: str, options: TextCnnOptions, *, in_channels: int) -> TextCnn:
    """The network for a vocabulary of `in_channels` ids."""
    return TextCnn(vocabulary=in_channels, options=options)


class FastTextClassifier(Backbone):
    """fastText's classifier (Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification",
    arXiv:1607.01759): features (N, F) int32, the input's n-grams, and values (N, F) -> the weighted
    mean of their vectors (N, D). Hierarchical softmax, for very many classes, is not implemented.
    """

    classifier_name = "head"

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
