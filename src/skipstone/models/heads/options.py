"""Options of the heads. Free of torch, so that `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field

from skipstone.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class LinearOptions:
    """Average the deepest feature map, then one linear layer."""

    dropout: float = field(
        default=0.0,
        metadata={"help": "chance to drop a pooled feature while training, in [0, 1)"},
    )

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}; allowed: at least 0 and less than 1.")
