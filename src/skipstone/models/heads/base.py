"""What every head answers: feature maps in, named outputs out, and the loss on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from skipstone.errors import Refusal

Targets = dict[str, Tensor | list[Tensor]]


class Head(nn.Module, ABC):
    """Features to named outputs of fixed names and ranks (so that it exports), and their loss.

    A head registered in HEADS is constructed as
    `Class(options, channels=(...), strides=(...), **shape)` where `shape` is what the task adds
    (`classes=10`), all JSON-able.
    """

    @abstractmethod
    def forward(self, features: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Outputs by name, batch first."""

    def sized(self, outputs: dict[str, Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        """The outputs for an input of this size, (height, width): what a network answers.

        Feature maps do not tell it to the pixel, and an answer for each pixel needs it.
        """
        return outputs

    @abstractmethod
    def loss(self, features: tuple[Tensor, ...], y: Targets) -> dict[str, Tensor]:
        """Named losses, each the *sum* over what `weight` counts; the objective divides."""

    @abstractmethod
    def weight(self, y: Targets) -> Tensor:
        """Scalar: what the sums are divided by (samples, labelled pixels, matched boxes).

        It depends on targets alone, so that accumulation and many machines divide by the global
        amount and not by their share.
        """

    def imitate(
        self, features: tuple[Tensor, ...], answers: dict[str, Tensor], y: Targets
    ) -> dict[str, Tensor]:
        """Named losses against another network's outputs, sums as `loss` gives them.

        Args:
            answers: as that network's head gives them; where they are maps, it may have seen
                larger pictures.
            y: the targets, which say what counts.

        Raises:
            Refusal: this head cannot learn from answers.
        """
        raise Refusal(
            f"{type(self).__name__} cannot learn from another network's answers.",
            hint="Leave the teacher out, such as prune(teacher=0).",
        )

    def vote(
        self, answers: Sequence[dict[str, Tensor]], temperatures: Sequence[float]
    ) -> dict[str, Tensor]:
        """The outputs of an ensemble: what several networks' heads of this kind answer together.

        Args:
            answers: outputs of each, `sized`.
            temperatures: that each one's logits are divided by.

        Raises:
            Refusal: answers of this kind cannot be averaged.
        """
        raise Refusal(
            f"answers of a {type(self).__name__} cannot be averaged, so they make no ensemble."
        )

    def named_rows(self) -> tuple[str, ...]:
        """Names of its tensors that hold one row a class, in the order of `Task.rows`, along their
        first dimension: what grows with new classes. () for a head that cannot grow."""
        return ()
