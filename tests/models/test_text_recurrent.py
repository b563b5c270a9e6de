"""Recurrent networks against torch's own packed sequences, at every length."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from skipstone.models.text_backbone_options import RecurrentOptions
from skipstone.models.text_recurrent import RecurrentEncoder, reversal_indices

LENGTHS = tuple(range(1, 12))
CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def reference(cell: str, ours: nn.ModuleList, size: int, hidden: int) -> nn.Module:
    """torch's bidirectional layer with the weights of our two directions."""
    theirs = CELLS[cell](size, hidden, batch_first=True, bidirectional=True)
    for direction, suffix in zip(ours, ("", "_reverse"), strict=True):
        state = {name.removesuffix("_l0"): v for name, v in direction.cell.state_dict().items()}
        for name, value in state.items():
            getattr(theirs, f"{name}_l0{suffix}").data.copy_(value)
    return theirs


@pytest.mark.parametrize("cell", CELLS)
def test_states_equal_those_of_packed_sequences_at_every_length(cell: str) -> None:
    torch.manual_seed(0)
    options = RecurrentOptions(embedding=7, hidden=5)
    net = RecurrentEncoder(cell=cell, vocabulary=30, options=options).eval()
    x = torch.randn(len(LENGTHS), max(LENGTHS), 7)
    there = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    packed = pack_padded_sequence(x, torch.tensor(LENGTHS), True, enforce_sorted=False)
    with torch.no_grad():
        ours = net._run_layer(net.layers[0], x, reversal_indices(there))
        theirs, _ = pad_packed_sequence(reference(cell, net.layers[0], 7, 5)(packed)[0], True)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(ours[row, :length], theirs[row, :length])


@pytest.mark.parametrize("options", [{"layers": 2}, {"bidirectional": False}, {"pooling": "max"}])
def test_padding_changes_no_answer(options: dict) -> None:
    torch.manual_seed(0)
    given = RecurrentOptions(embedding=6, hidden=4, **options)
    net = RecurrentEncoder(cell="gru", vocabulary=30, options=given).eval()
    x = torch.randint(1, 30, (4, 8))
    for row, length in enumerate((1, 3, 5, 8)):
        x[row, length:] = 0
    with torch.no_grad():
        longer = net(nn.functional.pad(x, (0, 5)))[-1]
        torch.testing.assert_close(net(x)[-1], longer)
