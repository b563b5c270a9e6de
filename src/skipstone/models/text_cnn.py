"""TextCNN: convolutions over word vectors, and the greatest response of each over the text.

Kim 2014, "Convolutional Neural Networks for Sentence Classification", arXiv:1408.5882, section 2:
with dropout and a linear layer (the head's) behind it. What differs: kernels reach over both ends
of the text (a wide convolution, so a text may be shorter than a kernel) and are 2 to 4 words wide,
not 3 to 5; words are hidden at random while training, so that the unknown one is learnt; and a word
may be the sum of its parts (`word_lookup.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.models.backbone import SequenceBackbone
from skipstone.models.text_options import TextCnnOptions
from skipstone.models.word_lookup import look_up, word_table


class TextCnn(SequenceBackbone):
    """Token ids (N, L) or (N, L, 1 + P), 0 for padding -> one vector (N, maps x kernels).

    The padding that a batch needs changes no answer: it is embedded as zeros, and responses beyond
    a text's own end do not count.
    """

    classifier = "head"

    def __init__(self, *, vocabulary: int, options: TextCnnOptions) -> None:
        super().__init__()
        self.embedding = word_table(vocabulary, options.embedding)
        self.token_dropout = options.token_dropout
        self.convolutions = nn.ModuleList(
            nn.Conv1d(options.embedding, options.maps, width) for width in options.kernels
        )
        self.dropout = nn.Dropout(options.dropout)
        self.channels = (options.maps * len(options.kernels),)
        self.strides = (1,)

    def look_up(self, x: Tensor) -> Tensor:
        return look_up(self.embedding, x, hide=self.token_dropout)

    def read(self, vectors: Tensor, there: Tensor) -> tuple[Tensor, ...]:
        vectors, there = vectors.transpose(1, 2), there.unsqueeze(1)  # (N, D, L), (N, 1, L)
        pooled = []
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv1d)
            width = convolution.kernel_size[0]
            wide = F.pad(vectors, ((width - 1) // 2, width // 2))
            response = F.relu(convolution(wide))  # (N, maps, L)
            pooled.append((response * there).amax(dim=2))  # relu gives none below 0
        return (self.dropout(torch.cat(pooled, dim=1)),)

    def stages(self) -> list[list[nn.Module]]:
        return [[self.embedding], [self.convolutions, self.dropout]]


def build_text_cnn(name: str, options: TextCnnOptions, *, in_channels: int) -> TextCnn:
    """The network for a vocabulary of `in_channels` ids."""
    return TextCnn(vocabulary=in_channels, options=options)
