"""From ids to vectors: where every model of words begins.

Ids are those of the input `text`: (N, L), or (N, L, 1 + P), where those of a word's parts follow
its own (`inputs/subwords.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.inputs.text_features import PAD, UNKNOWN


def word_table(ids: int, size: int) -> nn.Embedding:
    """A table of vectors; padding is the one of zeros."""
    table = nn.Embedding(ids, size, padding_idx=PAD)
    nn.init.normal_(table.weight, std=0.1)
    with torch.no_grad():
        table.weight[PAD] = 0
    return table


def own_ids(x: Tensor) -> Tensor:
    """Of the words themselves, (N, L)."""
    return x if x.dim() == 2 else x[:, :, 0]


def look_up(table: nn.Embedding, x: Tensor, *, hide: float) -> Tensor:
    """Vectors (N, L, D): each word's own and, where its parts are given, their sum divided by the
    root of their number, which keeps its spread that of one.

    Args:
        hide: chance that, while training, a word's own vector is that of the unknown one.
    """
    vectors: Tensor = table(hide_tokens(own_ids(x), hide, table.training))
    if x.dim() == 2:
        return vectors
    parts = x[:, :, 1:]
    count = (parts != PAD).sum(dim=2, keepdim=True).clamp(min=1)
    return vectors + sum_of_parts(table.weight, parts) / count.sqrt()


def sum_of_parts(weight: Tensor, parts: Tensor) -> Tensor:
    """Ids (N, L, P) -> the sum of their vectors (N, L, D), without (N, L, P, D) in memory.

    Exporters know no such sum, so there it is taken of what is looked up.
    """
    if torch.compiler.is_exporting():
        return F.embedding(parts, weight).sum(dim=2)  # that of padding is zeros
    rows = F.embedding_bag(parts.flatten(0, 1), weight, mode="sum", padding_idx=PAD)
    return rows.reshape(*parts.shape[:2], -1)


def hide_tokens(x: Tensor, chance: float, training: bool) -> Tensor:
    """While training, tokens become the unknown one by chance: so its vector is learnt, and no
    word is relied on alone (Iyyer et al. 2015, word dropout)."""
    if not training or not chance:
        return x
    hidden = (torch.rand(x.shape, device=x.device) < chance) & (x != PAD)
    return torch.where(hidden, torch.full_like(x, UNKNOWN), x)
