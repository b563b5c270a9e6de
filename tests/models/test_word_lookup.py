"""Vectors of words with their parts, against the sum written out and torch's nn.EmbeddingBag."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from skipstone.models.word_lookup import embed_words, make_embedding, sum_subword_vectors, token_ids
from skipstone.text.features import PAD, UNKNOWN


@pytest.fixture
def table() -> nn.Embedding:
    torch.manual_seed(0)
    return make_embedding(30, 5).eval()


def words(*rows: list[int]) -> Tensor:
    """One text: of each word its id and those of its parts, filled up."""
    width = max(map(len, rows))
    return torch.tensor([[row + [PAD] * (width - len(row)) for row in rows]])


def test_padding_is_zeros_also_after_a_step(table: nn.Embedding) -> None:
    x = words([3, 20, 21], [4, 20], [PAD])
    optimizer = torch.optim.AdamW(table.parameters(), 0.1, weight_decay=0.1)
    embed_words(table.train(), x, dropout=0.0).square().sum().backward()
    optimizer.step()
    assert not table.weight[PAD].any()
    assert not embed_words(table, x, dropout=0.0)[0, 2].any()


def test_without_parts_it_is_the_table(table: nn.Embedding) -> None:
    x = torch.tensor([[3, 4, PAD]])
    assert token_ids(x) is x
    torch.testing.assert_close(embed_words(table, x, dropout=0.0), table(x))


def test_parts_are_added_over_the_root_of_their_number(table: nn.Embedding) -> None:
    x = words([3, 20, 21, 22, 20], [UNKNOWN, 25], [4])
    found = embed_words(table, x, dropout=0.0)[0]
    rows = table.weight
    torch.testing.assert_close(found[0], rows[3] + (2 * rows[20] + rows[21] + rows[22]) / 2)
    torch.testing.assert_close(found[1], rows[UNKNOWN] + rows[25])
    torch.testing.assert_close(found[2], rows[4])
    assert token_ids(x).tolist() == [[3, UNKNOWN, 4]]


def test_the_sum_is_that_of_exporters_and_of_torch(
    table: nn.Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = torch.randint(0, 30, (4, 6, 7))
    quick = sum_subword_vectors(table.weight, parts)
    bag = nn.EmbeddingBag.from_pretrained(table.weight.detach(), mode="sum")
    torch.testing.assert_close(quick, bag(parts.flatten(0, 1)).reshape(4, 6, 5))
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(quick, sum_subword_vectors(table.weight, parts))


def test_only_a_words_own_vector_is_hidden(table: nn.Embedding) -> None:
    x = words([3, 20], [PAD])
    found = embed_words(table.train(), x, dropout=1.0)[0]
    torch.testing.assert_close(found[0], table.weight[UNKNOWN] + table.weight[20])
    assert not found[1].any()
