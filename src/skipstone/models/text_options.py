"""Options of the models for texts. Free of torch, so that `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field

from skipstone.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class TextCnnOptions:
    """Kim 2014: an embedding, convolutions of a few widths, the greatest response of each."""

    embedding: int = field(default=128, metadata={"help": "numbers that stand for a token"})
    maps: int = field(default=100, metadata={"help": "feature maps of each kernel width"})
    kernels: tuple[int, ...] = field(
        default=(3, 4, 5), metadata={"help": "widths of the kernels, in tokens"}
    )
    dropout: float = field(
        default=0.5, metadata={"help": "chance to drop a feature while training, in [0, 1)"}
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernels", tuple(self.kernels))
        problems = [
            f"{name} is {value}; allowed: 1 or more"
            for name, value in (("embedding", self.embedding), ("maps", self.maps))
            if value < 1
        ]
        if not self.kernels or min(self.kernels) < 1:
            problems.append(
                f"kernels is {self.kernels}; allowed: widths of 1 or more, such as 3,4,5"
            )
        problems += dropout_problem(self.dropout)
        if problems:
            raise UsageError("; ".join(problems) + ".")


def dropout_problem(value: float) -> list[str]:
    """What is wrong with a chance to drop, as a list of no or one sentence."""
    return [] if 0 <= value < 1 else [f"dropout is {value}; allowed: at least 0 and less than 1"]
