"""transformers' encoders as backbones: BERT and its relatives, built from their config alone.

A bundle holds the structure (what of config.json shapes the network), the tokenizer and the
weights, so it needs neither the folder that they came from nor the hub. The classes are those of
the installed transformers: code that comes with a model is never run, and no kernel is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.errors import MissingExtra, SkipstoneError, UsageError
from skipstone.inputs.text_features import FIRST
from skipstone.models.backbone import SequenceBackbone
from skipstone.models.hf_options import FAMILIES, HfOptions, longest, structure
from skipstone.models.hf_source import resolve
from skipstone.models.meta import on_meta
from skipstone.models.profile import profile


class HfBackbone(SequenceBackbone):
    """Token ids (N, L), 0 for padding, else the tokenizer's id + 2 -> one vector (N, C).

    Padding is masked in attention and left out of the mean, so it changes no answer.

    Args:
        family: transformers' `model_type`.
        config: what of its config.json shapes the network.
        vocabulary: ids that the input gives.

    Raises:
        UsageError: the tokenizer knows more tokens than the network; a value of the config that
            transformers does not take.
    """

    classifier = "classifier"

    def __init__(
        self, *, family: str, config: Mapping[str, Any], vocabulary: int, options: HfOptions
    ) -> None:
        super().__init__()
        self.net, made = create(family, config)
        if vocabulary - FIRST > made.vocab_size:
            raise UsageError(
                f"the tokenizer has {vocabulary - FIRST:,} tokens, and the network knows "
                f"{made.vocab_size:,}.",
                hint="Take the tokenizer.json that belongs to the model.",
            )
        self.pad = int(made.pad_token_id or 0)
        self.longest = longest(family, config)
        self.pooling = options.token_pooling
        self.dropout = nn.Dropout(options.dropout)
        self.channels, self.strides = (int(made.hidden_size),), (1,)

    def look_up(self, x: Tensor) -> Tensor:
        if x.shape[1] > self.longest:
            raise UsageError(
                f"this encoder reads up to {self.longest} tokens of a text, and one has "
                f"{x.shape[1]}.",
                hint=f"Cut them: --max-length {self.longest}",
            )
        ids = torch.where(x != 0, (x.long() - FIRST).clamp(min=0), self.pad)
        vectors: Tensor = self.net.get_input_embeddings()(ids)
        return vectors

    def read(self, vectors: Tensor, there: Tensor) -> tuple[Tensor, ...]:
        # as attention wants it, so that transformers does not look whether there is padding at all
        mask = there[:, None, None, :]  # (N, 1, 1, L)
        states = self.net(inputs_embeds=vectors, attention_mask=mask).last_hidden_state
        if self.pooling == "cls":
            return (self.dropout(states[:, 0]),)
        seen = there.unsqueeze(2).to(states.dtype)  # (N, L, 1)
        return (self.dropout((states * seen).sum(dim=1) / seen.sum(dim=1)),)

    def published(self) -> nn.Module:
        module: nn.Module = self.net
        return module

    def stages(self) -> list[list[nn.Module]]:
        layers = max(
            (m for m in self.net.modules() if isinstance(m, nn.ModuleList)), key=_parameters
        )
        first, last = [self.net.embeddings], [*_outside(self.net, {self.net.embeddings, *layers})]
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
        UsageError: no config, or an unknown family; see `HfBackbone`.
    """
    family = name.removeprefix("hf/")
    if family not in FAMILIES or config is None:
        raise UsageError(
            f"{name!r} is built from the files of a model.",
            hint="Name its folder, or its name on the Hugging Face hub: --model hf/FOLDER",
        )
    return HfBackbone(family=family, config=config, vocabulary=in_channels, options=options)


def counted(name: str) -> dict[str, Any]:
    """Parameters of the encoder in a folder, and MACs of one text as long as it reads."""
    found = resolve(name, "none")
    config, length = found.shape["config"], int(found.input["max_length"])
    with on_meta():
        net = build_hf(found.model, HfOptions(), in_channels=FIRST, config=config)
    cost = profile(net, torch.ones(1, length, dtype=torch.int32))
    return {"parameters": cost.parameters, "macs": cost.macs}


def create(family: str, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """transformers' encoder without what is behind its states (a pooler), and its config."""
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise MissingExtra(
            f"hf/{family} needs the package transformers; the exported programs do without.",
            hint="pip install 'skipstone[hf]'",
        ) from error
    try:
        made = AutoConfig.for_model(family, **structure(config))
        build: Any = AutoModel.from_config
        net = build(made, attn_implementation="sdpa", trust_remote_code=False)
    except SkipstoneError:  # torch's hooks of ours: more layers than there are tensors
        raise
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise UsageError(f"transformers cannot build this {family}: {error}") from error
    if getattr(net, "pooler", None) is not None:
        net.pooler = None
    return net, made


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _outside(module: nn.Module, taken: set[nn.Module]) -> Iterator[nn.Module]:
    """The topmost modules below `module` with parameters and nothing of `taken`."""
    for child in module.children():
        if child in taken or not any(True for _ in child.parameters()):
            continue
        if any(part in taken for part in child.modules()):
            yield from _outside(child, taken)
        else:
            yield child
