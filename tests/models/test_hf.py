"""Encoders of transformers: equal to transformers' own, from files that travel, without pickles."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.commands.models import list_models
from skipstone.core.errors import DataError, MissingExtra, UsageError
from skipstone.core.registry import BACKBONES, TASKS
from skipstone.data.sources import Inline
from skipstone.models.build import build_network
from skipstone.models.hf_backbone import HfBackbone, build_hf
from skipstone.models.hf_source import resolve_encoder, select_structure
from skipstone.models.network import MIXED_WORDS, Network
from skipstone.models.text_backbone_options import HfOptions
from skipstone.models.weights import load_weights
from skipstone.text.features import FIRST
from skipstone.text.input import TextInput
from skipstone.text.options import TextOptions
from tests.hf_models import FAMILIES, write_encoder, write_tokenizer

TEXTS = [
    "The cat saw a dog",
    "cats",
    "",
    "red green blue 猫 unseen words today ? " * 3,
    "two three " * 60,
]
each_family = pytest.mark.parametrize("family", FAMILIES)


def made(folder: Path, **options: str) -> tuple[Network, TextInput]:
    """The network and the input that the folder gives, with its weights."""
    choice = resolve_encoder(f"hf/{folder}", "auto")
    entry = BACKBONES[choice.model]
    input = TextInput(TextOptions(**choice.input)).fit([Inline(t.encode()) for t in TEXTS])
    given = dataclasses.asdict(entry.make_options(options))
    task = TASKS["classify"].load()(TASKS["classify"].make_options(), {"classes": ["a", "b"]})
    backbone = ComponentConfig(choice.model, {"options": given, "shape": dict(choice.shape)})
    network = build_network(Arch(backbone, task.default_head()), input)
    load_weights(network, name=choice.model, weights=choice.weights, example={})
    return network.eval(), input


def batch(input: TextInput, texts: list[str], more: int = 0) -> torch.Tensor:
    rows = [
        torch.from_numpy(input.encode(input.decode(Inline(t.encode())))["tokens"]) for t in texts
    ]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return torch.nn.functional.pad(padded, (0, more))


def theirs(folder: Path) -> tuple[torch.nn.Module, object]:
    """transformers' own network and tokenizer."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]"
    )
    return transformers.AutoModel.from_pretrained(folder).eval(), tokenizer


@each_family
def test_it_answers_as_transformers_does_however_far_it_is_padded(family: str, tmp_path) -> None:
    folder = write_encoder(tmp_path / family, family)
    network, input = made(folder)
    net, tokenizer = theirs(folder)
    together = [network.backbone(batch(input, TEXTS[:-1], more))[-1] for more in (0, 5)]
    alone = torch.cat([network.backbone(batch(input, [text]))[-1] for text in TEXTS])
    expected = []
    for text in TEXTS:
        most = {"truncation": True, "max_length": input.options.max_length, "padding": False}
        marked = tokenizer(text, return_tensors="pt", **most)
        with torch.no_grad():
            states = net(marked["input_ids"]).last_hidden_state
        expected.append(states.mean(dim=1))
    for answers in (*together, alone):
        right = torch.cat(expected[: len(answers)])
        torch.testing.assert_close(answers, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["roberta", "albert"])
def test_mixed_words_are_read_as_transformers_reads_vectors(family: str, tmp_path) -> None:
    """wordMixup (Guo 2019) by hand: a pair, zeros behind the shorter text, all places there."""
    network, input = made(write_encoder(tmp_path / family, family))
    net, tokenizer = theirs(tmp_path / family)
    x = batch(input, TEXTS[:2], 3)
    share = torch.full((2,), 0.7)
    found = network.features({"tokens": x, MIXED_WORDS: share})[-1]
    table = net.get_input_embeddings()
    ids = [tokenizer(text, return_tensors="pt", padding=False)["input_ids"] for text in TEXTS[:2]]
    first, second = (table(row)[0] for row in ids)
    assert len(first) > len(second)
    second = torch.nn.functional.pad(second, (0, 0, 0, len(first) - len(second)))
    for row, (own, other) in enumerate([(first, second), (second, first)]):
        blended = (0.7 * own + 0.3 * other)[None]
        expected = net(inputs_embeds=blended).last_hidden_state.mean(dim=1)[0]
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


def test_the_first_token_s_state_on_request(tmp_path) -> None:
    folder = write_encoder(tmp_path / "bert")
    network, input = made(folder, token_pooling="cls")
    net, tokenizer = theirs(folder)
    ids = tokenizer(TEXTS[0], return_tensors="pt", padding=False)["input_ids"]
    expected = net(ids).last_hidden_state[:, 0]
    found = network.backbone(batch(input, TEXTS[:2]))[-1][:1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_texts_are_cut_as_the_tokenizer_cuts_them_and_the_cut_is_said(tmp_path) -> None:
    network, input = made(write_encoder(tmp_path / "roberta", "roberta"))
    _, tokenizer = theirs(tmp_path / "roberta")
    for text in TEXTS:
        expected = tokenizer(text, truncation=True, max_length=64, padding=False)["input_ids"]
        row = input.encode(input.decode(Inline(text.encode())))["tokens"]
        np.testing.assert_array_equal(row, np.array(expected) + FIRST)
    assert input.options.max_length == network.backbone.max_tokens == 64
    assert input.fit_notes == [
        "1 of 5 training texts are longer than 64 tokens and are truncated there (--max-length)."
    ]
    with pytest.raises(UsageError, match="reads up to 64") as caught:
        network.backbone(torch.full((1, 65), 3))
    assert "--max-length 64" in str(caught.value.hint)


@each_family
def test_every_parameter_learns_and_is_in_one_stage(family: str, tmp_path) -> None:
    network, input = made(write_encoder(tmp_path / family, family))
    backbone = network.backbone.train()
    backbone(batch(input, TEXTS))[-1].square().sum().backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []
    staged = [
        id(p) for stage in backbone.stage_modules() for module in stage for p in module.parameters()
    ]
    assert sorted(staged) == sorted(id(p) for p in backbone.parameters())


@each_family
def test_exported_it_answers_the_same_at_another_size(family: str, tmp_path) -> None:
    network, input = made(write_encoder(tmp_path / family, family))
    (axis,) = input.dynamic_axes["tokens"].values()
    shapes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=axis.max_size)}
    example = torch.from_numpy(input.make_example(2)["tokens"])
    program = torch.export.export(network.backbone, (example,), dynamic_shapes=(shapes,)).module()
    x = batch(input, TEXTS)
    torch.testing.assert_close(program(x)[-1], network.backbone(x)[-1], rtol=1e-4, atol=1e-5)


def test_weights_of_a_larger_model_of_old_names_and_in_parts(tmp_path) -> None:
    """`bert.` before each name, LayerNorm's gamma and beta, two files and their index."""
    folder = write_encoder(tmp_path / "bert")
    expected, _ = made(folder)
    whole = load_file(folder / "model.safetensors")
    old = {"weight": "gamma", "bias": "beta"}
    named = {}
    for name, value in whole.items():
        stem, _, last = name.rpartition(".")
        last = old[last] if stem.endswith("LayerNorm") else last
        named[f"bert.{stem}.{last}"] = value
    named["cls.predictions.bias"] = torch.zeros(9)
    (folder / "model.safetensors").unlink()
    parts = {f"model-{number}.safetensors": list(named)[number::2] for number in (0, 1)}
    for file, names in parts.items():
        save_file({name: named[name] for name in names}, folder / file)
    placed = {name: file for file, names in parts.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    found, _ = made(folder)
    for name, value in expected.backbone.state_dict().items():
        assert torch.equal(found.backbone.state_dict()[name], value), name


def test_pickled_weights_are_refused_with_the_way_to_convert_them(tmp_path) -> None:
    folder = write_encoder(tmp_path / "bert", weights=False)
    with pytest.raises(UsageError, match=r"no model\.safetensors"):
        resolve_encoder(f"hf/{folder}", "auto")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(UsageError, match=r"pytorch_model\.bin, a pickle") as caught:
        resolve_encoder(f"hf/{folder}", "auto")
    assert "save_pretrained" in str(caught.value.hint)
    assert resolve_encoder(f"hf/{folder}", "none").weights == "none"


def test_what_is_missing_or_unknown_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="could not be downloaded") as caught:
        resolve_encoder("hf/nobody/no-such-model", "auto")
    assert "hf download nobody/no-such-model" in str(caught.value.hint)
    with pytest.raises(UsageError, match="does not exist"):
        resolve_encoder("hf/./nowhere", "auto")
    with pytest.raises(UsageError, match=r"no config\.json"):
        resolve_encoder(f"hf/{tmp_path}", "auto")
    folder = write_encoder(tmp_path / "bert")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match=r"no tokenizer\.json") as caught:
        resolve_encoder(f"hf/{folder}", "auto")
    assert "AutoTokenizer" in str(caught.value.hint)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UsageError, match="family 'gpt2'") as caught:
        resolve_encoder(f"hf/{folder}", "auto")
    assert "roberta" in str(caught.value.hint)
    (folder / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json"):
        resolve_encoder(f"hf/{folder}", "auto")
    with pytest.raises(UsageError, match="not a folder of a model"):
        build_hf("hf/bert", HfOptions(), in_channels=9)


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="transformers") as caught:
        resolve_encoder(f"hf/{tmp_path}", "auto")
    assert "pip install '.[hf]'" in str(caught.value.hint)


def test_a_config_brings_no_code_and_no_kernel() -> None:
    """Keys that would have transformers fetch something are no structure."""
    bad = {
        "auto_map": {"AutoModel": "evil--model.Evil"},
        "_attn_implementation": "somebody/kernel",
        "quantization_config": {"quant_method": "awq"},
        "custom_pipelines": {},
    }
    good = {"hidden_size": 32, "hidden_act": "gelu"}
    assert select_structure({**bad, **good, "model_type": "bert"}) == good
    config = {**bad, **FAMILIES["bert"], "vocab_size": 20}
    backbone = build_hf("hf/bert", HfOptions(), in_channels=22, config=config)
    assert type(backbone.published_module()).__module__.startswith("transformers.models.bert")
    with pytest.raises(UsageError, match="cannot build this bert"):
        build_hf("hf/bert", HfOptions(), in_channels=22, config={**config, "hidden_act": "evil"})


def test_a_tokenizer_of_another_model_is_refused(tmp_path) -> None:
    folder = write_encoder(tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    size = write_tokenizer(tmp_path)
    config["vocab_size"] = size - 1
    with pytest.raises(UsageError, match=f"{size} tokens, and the network {size - 1}"):
        HfBackbone(
            family="bert",
            config=select_structure(config),
            vocabulary=size + FIRST,
            options=HfOptions(),
        )


def test_its_cost_is_listed(tmp_path) -> None:
    folder = write_encoder(tmp_path / "bert")
    (row,) = list_models(f"hf/{folder}").rows
    network, _ = made(folder)
    assert row["parameters"] == sum(p.numel() for p in network.backbone.parameters())
    assert row["macs"] > 0
