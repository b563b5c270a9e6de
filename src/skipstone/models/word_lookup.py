"""Embedding of words and subwords, the first layer of the sequence models.

Ids are those of the input `text`: (N, L), or (N, L, 1 + P), where the ids of a word's P subwords
follow its own (`text/subwords.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.inputs.base import PAD, UNKNOWN


def make_embedding(ids: int, size: int) -> nn.Embedding:
    """An embedding table; the vector of padding is zero."""
    table = nn.Embedding(ids, size, padding_idx=PAD)
    nn.init.normal_(table.weight, std=0.1)
    with torch.no_grad():
        table.weight[PAD] = 0
    return table


def token_ids(x: Tensor) -> Tensor:
    """The ids of the words, without subwords: (N, L)."""
    return x if x.dim() == 2 else x[:, :, 0]


def embed_words(table: nn.Embedding, x: Tensor, *, dropout: float) -> Tensor:
    """Vectors (N, L, D): each word's vector, plus the sum of its subwords' vectors divided by the
    root of their number, which keeps the variance.

    Args:
        dropout: rate of word dropout, for the words' own ids (`apply_word_dropout`).
    """
    vectors: Tensor = table(apply_word_dropout(token_ids(x), dropout, table.training))
    if x.dim() == 2:
        return vectors
    subwords = x[:, :, 1:]
    count = (subwords != PAD).sum(dim=2, keepdim=True).clamp(min=1)
    return vectors + sum_subword_vectors(table.weight, subwords) / count.sqrt()


def sum_subword_vectors(weight: Tensor, subwords: Tensor) -> Tensor:
    """Ids (N, L, P) -> the sum of their vectors (N, L, D), without (N, L, P, D) in memory.

    Exporters do not support `embedding_bag`, so exported programs sum an ordinary embedding.
    """
    if torch.compiler.is_exporting():
        return F.embedding(subwords, weight).sum(dim=2)  # the vector of padding is zero
    rows = F.embedding_bag(subwords.flatten(0, 1), weight, mode="sum", padding_idx=PAD)
    return rows.reshape(*subwords.shape[:2], -1)


def apply_word_dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Word dropout (Iyyer et al. 2015): while training, tokens become the unknown token at random,
    which trains its vector and regularises."""
    if not training or not rate:
        return x
    hidden = (torch.rand(x.shape, device=x.device) < rate) & (x != PAD)
    return torch.where(hidden, torch.full_like(x, UNKNOWN), x)
