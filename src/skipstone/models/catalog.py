"""The built-in backbones. Free of torch."""

from __future__ import annotations

from skipstone.models.audio_catalog import AUDIO_ENTRIES
from skipstone.models.image_catalog import IMAGE_ENTRIES, TIMM
from skipstone.models.text_catalog import TEXT_ENTRIES

ENTRIES = (*IMAGE_ENTRIES, *TEXT_ENTRIES, *AUDIO_ENTRIES, TIMM)
