"""The contract of the backbones for texts that the catalogue has.

Encoders of transformers are built from a model's files: `test_hf.py`. Forests are held to
scikit-learn's in `test_solvers.py`, and what becomes of each when it is exported is held to torch
in `tests/inference/test_text_programs.py`.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from skipstone.core.specs import BackboneSpec
from skipstone.models.backbone import SequenceBackbone
from skipstone.models.catalog import ENTRIES

IDS = 50
SEQUENCES = [e for e in ENTRIES if "tokens" in e.accepts and e.resolve_family is None]
BAGS = [e for e in ENTRIES if "bag" in e.accepts and "forest" not in e.target]
SMALL = {"embedding": 8, "maps": 4, "hidden": 6}

each_sequence = pytest.mark.parametrize("entry", SEQUENCES, ids=lambda entry: entry.name)


def build(entry: BackboneSpec) -> nn.Module:
    torch.manual_seed(0)
    known = entry.options_type().__dataclass_fields__
    options = entry.make_options({k: v for k, v in SMALL.items() if k in known})
    return entry.load()(entry.name, options, in_channels=IDS).eval()


def tokens(*lengths: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.zeros(len(lengths), max(lengths), dtype=torch.int32)
    for row, length in zip(x, lengths, strict=True):
        row[:length] = torch.randint(1, IDS, (length,), generator=generator, dtype=torch.int32)
    return x


@each_sequence
def test_padding_changes_no_answer(entry):
    backbone = build(entry)
    x = tokens(1, 2, 5, 9)
    with torch.no_grad():
        together = backbone(x)[-1]
        longer = backbone(torch.nn.functional.pad(x, (0, 7)))[-1]
        alone = torch.cat([backbone(row[row != 0][None])[-1] for row in x])
    assert together.shape == (4, backbone.channels[-1])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(together, longer, rtol=1e-5, atol=1e-6)


@each_sequence
def test_every_parameter_learns_and_is_in_one_stage(entry):
    backbone = build(entry).train()
    backbone(tokens(4, 9))[-1].square().sum().backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []
    staged = [
        id(p) for stage in backbone.stage_modules() for module in stage for p in module.parameters()
    ]
    assert sorted(staged) == sorted(id(p) for p in backbone.parameters())


@each_sequence
def test_padding_is_never_learnt(entry):
    backbone = build(entry).train()
    backbone(tokens(4, 9))[-1].square().sum().backward()
    assert not backbone.embedding.weight.grad[0].any()


@each_sequence
def test_token_embeddings_are_looked_up_and_read(entry):
    """What is mixed between the two is in tests/datasets/test_mixing.py."""
    backbone, x = build(entry), tokens(3, 7)
    assert isinstance(backbone, SequenceBackbone) == ("token embeddings" in entry.provides)
    vectors = backbone.embed_tokens(x)
    assert torch.equal(vectors, backbone.embedding.weight[x.long()])
    assert torch.equal(backbone.encode_vectors(vectors, x != 0)[-1], backbone(x)[-1])


@pytest.mark.parametrize("entry", BAGS, ids=lambda entry: entry.name)
def test_a_bag_is_a_weighted_sum_of_rows(entry):
    given = {"outputs": 3} if entry.solver is not None else {}
    backbone = entry.load()(entry.name, entry.make_options(), in_channels=IDS, **given)
    state = backbone.state_dict()
    (table,) = (value for name, value in state.items() if name.endswith(".weight"))
    features = torch.tensor([[4, 9, 0, 0], [4, 2, 3, 9]], dtype=torch.int32)
    values = torch.tensor([[1.0, 2.0, 0.0, 0.0], [0.5, 1.0, 1.0, 3.0]])
    whole = torch.zeros(2, IDS)
    whole.scatter_add_(1, features.long(), values)
    expected = whole @ table + state.get("bias", 0)
    torch.testing.assert_close(backbone((features, values))[-1], expected)
