"""Options of transformers' encoders, and which parts of a config count. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from skipstone.option_types import CHANCE, check_options

HfPooling = Literal["mean", "cls"]

#: Families that are tested: encoders of one text, each with the places that its position table
#: keeps for padding.
FAMILIES: Mapping[str, int] = {
    "albert": 0,
    "bert": 0,
    "camembert": 2,
    "distilbert": 0,
    "electra": 0,
    "roberta": 2,
    "xlm-roberta": 2,
}
#: What of a config says where code or kernels come from, what the file was, or what it was for:
#: none of it shapes the network, and some of it would have transformers fetch code.
_NOT_STRUCTURE = {
    "architectures",
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "dtype",
    "experts_implementation",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "label2id",
    "model_type",
    "name_or_path",
    "problem_type",
    "quantization_config",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
}


@dataclass(frozen=True, kw_only=True)
class HfOptions:
    """How an encoder's tokens become one vector."""

    token_pooling: HfPooling = field(
        default="mean",
        metadata={"help": "a text is the 'mean' of its tokens' states, or its first one's ('cls')"},
    )
    dropout: float = field(
        default=0.1, metadata={"help": "chance to drop a feature while training, in [0, 1)"}
    )

    def __post_init__(self) -> None:
        check_options(self, dropout=CHANCE)


def structure(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config.json shapes the network."""
    return {
        name: value
        for name, value in config.items()
        if name not in _NOT_STRUCTURE and not name.startswith("_")
    }


def longest(family: str, config: Mapping[str, Any]) -> int:
    """Tokens that the network's position table has places for, the marks at both ends included."""
    return int(config.get("max_position_embeddings", 512)) - FAMILIES[family]
