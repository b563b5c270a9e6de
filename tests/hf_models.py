"""Tiny random encoders of transformers in folders, as `save_pretrained` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.text_data import FILLER, WORDS

_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
}
#: What differs by family.
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": _SMALL,
    "distilbert": {
        "dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 48,
        "max_position_embeddings": 66,
    },
    "roberta": {**_SMALL, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    "albert": {**_SMALL, "embedding_size": 16},
    "electra": {**_SMALL, "embedding_size": 16},
}
WORD_LIST = [*FILLER, *(word for group in WORDS.values() for word in group), "##s", "cats", *"0123"]


def write_encoder(folder: Path, family: str = "bert", *, weights: bool = True) -> Path:
    """config.json, tokenizer.json, and the weights of a random network with a pooler behind it."""
    import torch
    import transformers

    folder.mkdir(parents=True)
    size = write_tokenizer(folder, pad=FAMILIES[family].get("pad_token_id", 0))
    config = transformers.AutoConfig.for_model(family, vocab_size=size, **FAMILIES[family])
    torch.manual_seed(0)
    network = transformers.AutoModel.from_config(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    if weights:
        network.save_pretrained(folder)
    else:
        config.save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path, *, pad: int = 0) -> int:
    """WordPiece in small letters, with marks at both ends; how many tokens it has."""
    import tokenizers

    special = ["[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    special.insert(pad, "[PAD]")
    words = {word: at for at, word in enumerate([*special, *dict.fromkeys(WORD_LIST)])}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    ends = [("[SEP]", words["[SEP]"]), ("[CLS]", words["[CLS]"])]
    made.post_processor = tokenizers.processors.BertProcessing(*ends)
    made.enable_padding(pad_id=pad, length=12)  # what a model's file may ask for, and we do not do
    made.save(str(folder / "tokenizer.json"))
    return len(words)
