"""What the augmentation options of every input have. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class AugmentationOptions:
    """What every input's augmentation options have.

    Attributes:
        augmentation_factory: function(options, input, task) -> `Augmentation` or None, "module:name".
        mixing_factory: function(options, task) -> `Mixing` or None, "module:name".
    """

    augmentation_factory: ClassVar[str]
    mixing_factory: ClassVar[str]

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
