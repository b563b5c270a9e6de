"""What the augmentation options of every input have. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from skipstone.core.errors import did_you_mean


class AugmentationOptions:
    """What every input's augmentation options have.

    `augment` names a preset, or operations separated by commas. Each operation is also an option of
    its own, whose value overrides the preset's.

    Attributes:
        augmentation_factory: function(options, input, task) -> `Augmentation` or None, "module:name".
        mixing_factory: function(options, task) -> `Mixing` or None, "module:name".
        what: what is augmented, for messages.
        preset_names: the presets.
        strengths_alone: {operation: strength when named alone}, in the order in which they run.
    """

    augmentation_factory: ClassVar[str]
    mixing_factory: ClassVar[str]
    what: ClassVar[str]
    preset_names: ClassVar[tuple[str, ...]]
    strengths_alone: ClassVar[Mapping[str, float]]
    augment: str

    @property
    def source_files(self) -> tuple[str, ...]:
        """Files that the augmentation reads; a run with another content is another run."""
        return ()

    @property
    def backbone_requirements(self) -> Mapping[str, str]:
        """Abilities that the backbone must have: {ability: the flag that needs it}."""
        return {}

    def describe_operations(self, size: int) -> str:
        """One sentence for the user: the operations on samples of this size."""
        return ""

    def list_operations(self) -> list[str]:
        """The words of `augment` as names of options."""
        return [word.strip().replace("-", "_") for word in self.augment.split(",")]

    def list_unknown_names(self) -> list[str]:
        """A problem for each word of `augment` that is neither a preset nor an operation."""
        if self.augment in self.preset_names:
            return []
        names = [to_flag(name) for name in self.strengths_alone]
        problems = []
        for word in self.list_operations():
            if word not in self.strengths_alone:
                hint = did_you_mean(to_flag(word), [*self.preset_names, *names])
                problems.append(
                    f"{to_flag(word)!r} is neither a preset ({', '.join(self.preset_names)}) nor "
                    f"an operation on {self.what} ({', '.join(names)}). {hint}".rstrip(" ?.")
                )
        return problems

    def enabled_strengths(self, preset: Mapping[str, float] | None) -> dict[str, float]:
        """{operation: strength} of the enabled ones, in the order in which they run.

        Args:
            preset: the preset's strengths; None: those of the operations that `augment` names.
        """
        names = self.list_operations()
        chosen = {name: self.strengths_alone[name] for name in names} if preset is None else preset
        own = {name: getattr(self, name) for name in self.strengths_alone}
        merged = {
            **chosen,
            **{name: float(value) for name, value in own.items() if value is not None},
        }
        return {name: merged[name] for name in self.strengths_alone if merged.get(name, 0) > 0}


def to_flag(name: str) -> str:
    """An operation's name as in its flag."""
    return name.replace("_", "-")


def describe_strengths(
    title: str, strengths: Mapping[str, float], custom: str | None = None
) -> str:
    """One sentence: the operations, and behind them the user's own callable."""
    parts = [f"{to_flag(name)} {strength:.3g}" for name, strength in strengths.items()]
    parts += [] if custom is None else [custom]
    return f"augmentation {title}: {', '.join(parts) or 'nothing'}"
