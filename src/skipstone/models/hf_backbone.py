"""Encoders of transformers as backbones: BERT and its relatives, built from their config.

A bundle holds the structure (the keys of config.json that shape the network), the tokenizer and
the weights, so it needs neither the original folder nor the hub. The classes are those of the
installed transformers: code that comes with a model is never run, and no kernel is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.core.errors import MissingExtra, SkipstoneError, UsageError
from skipstone.inputs.base import FIRST
from skipstone.models.backbone import SequenceBackbone
from skipstone.models.hf_source import FAMILIES, max_tokens, resolve_encoder, select_structure
from skipstone.models.meta_device import on_meta
from skipstone.models.profile import profile_network
from skipstone.models.text_backbone_options import HfOptions


class HfBackbone(SequenceBackbone):
    """Token ids (N, L), 0 for padding, else the tokenizer's id + 2 -> one vector (N, C).

    Padding is masked in attention and excluded from the mean, so it does not affect predictions.

    Args:
        family: transformers' `model_type`.
        config: the keys of its config.json that shape the network.
        vocabulary: number of ids of the input.

    Raises:
        UsageError: the tokenizer has more tokens than the network; transformers rejects a value
            of the config.
    """

    classifier_name = "classifier"

    def __init__(
        self, *, family: str, config: Mapping[str, Any], vocabulary: int, options: HfOptions
    ) -> None:
        super().__init__()
        self.net, full_config = create_encoder(family, config)
        if vocabulary - FIRST > full_config.vocab_size:
            raise UsageError(
                f"the tokenizer has {vocabulary - FIRST:,} tokens, and the network "
                f"{full_config.vocab_size:,}.",
                hint="Use the tokenizer.json that belongs to the model.",
            )
        self.published_prefix = str(self.net.base_model_prefix)
        self.pad = int(full_config.pad_token_id or 0)
        self.max_tokens = max_tokens(family, config)
        self.pooling = options.token_pooling
        self.dropout = nn.Dropout(options.dropout)
        self.channels, self.strides = (int(full_config.hidden_size),), (1,)

    def embed_tokens(self, x: Tensor) -> Tensor:
        if x.shape[1] > self.max_tokens:
            raise UsageError(
                f"a text has {x.shape[1]} tokens, and this encoder reads up to {self.max_tokens}.",
                hint=f"Truncate texts: --max-length {self.max_tokens}",
            )
        ids = torch.where(x != 0, (x.long() - FIRST).clamp(min=0), self.pad)
        vectors: Tensor = self.net.get_input_embeddings()(ids)
        return vectors

    def encode_vectors(self, vectors: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        # in four dimensions, so that transformers does not test the values for padding
        attention_mask = mask[:, None, None, :]  # (N, 1, 1, L)
        states = self.net(inputs_embeds=vectors, attention_mask=attention_mask).last_hidden_state
        if self.pooling == "cls":
            return (self.dropout(states[:, 0]),)
        weights = mask.unsqueeze(2).to(states.dtype)  # (N, L, 1)
        return (self.dropout((states * weights).sum(dim=1) / weights.sum(dim=1)),)

    def published_module(self) -> nn.Module:
        module: nn.Module = self.net
        return module

    def stage_modules(self) -> list[list[nn.Module]]:
        layers = max(
            (m for m in self.net.modules() if isinstance(m, nn.ModuleList)), key=_count_parameters
        )
        first = [self.net.embeddings]
        last = list(_modules_without(self.net, {self.net.embeddings, *layers}))
        return [first, *([layer] for layer in layers), [*last, self.dropout]]


def build_hf(
    name: str,
    options: HfOptions,
    *,
    in_channels: int,
    config: Mapping[str, Any] | None = None,
) -> HfBackbone:
    """The network ``hf/<family>`` with fresh weights, for `in_channels` ids.

    Raises:
        UsageError: no config, an unknown family, or as of `HfBackbone`.
    """
    family = name.removeprefix("hf/")
    if family not in FAMILIES or config is None:
        raise UsageError(
            f"{name!r} is not a folder of a model.",
            hint="Give its folder, or its name on the Hugging Face hub: --model hf/FOLDER",
        )
    return HfBackbone(family=family, config=config, vocabulary=in_channels, options=options)


def count_text_encoder(name: str) -> dict[str, Any]:
    """Parameters of the encoder in a folder, and MACs of one text of the greatest length."""
    choice = resolve_encoder(name, "none")
    config, length = choice.shape["config"], int(choice.input["max_length"])
    with on_meta():
        net = build_hf(choice.model, HfOptions(), in_channels=FIRST, config=config)
    cost = profile_network(net, torch.ones(1, length, dtype=torch.int32))
    return {"parameters": cost.parameters, "macs": cost.macs}


def create_encoder(family: str, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """transformers' encoder without its pooler, and its complete config."""
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise MissingExtra(
            f"hf/{family} needs the package transformers (exported programs do not).",
            hint="In skipstone's source folder: pip install '.[hf]'",
        ) from error
    try:
        full_config = AutoConfig.for_model(family, **select_structure(config))
        build: Any = AutoModel.from_config
        net = build(full_config, attn_implementation="sdpa", trust_remote_code=False)
    except SkipstoneError:  # from the module hook of `build.check_fits`
        raise
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise UsageError(f"transformers cannot build this {family}: {error}") from error
    if "pooler" in dict(net.named_children()):
        net.pooler = None
    return net, full_config


def _count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _modules_without(module: nn.Module, excluded: set[nn.Module]) -> Iterator[nn.Module]:
    """The topmost modules below `module` that have parameters and none of `excluded`."""
    for child in module.children():
        if child in excluded or not any(True for _ in child.parameters()):
            continue
        if any(descendant in excluded for descendant in child.modules()):
            yield from _modules_without(child, excluded)
        else:
            yield child
