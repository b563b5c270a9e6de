"""Built-in inputs."""

from __future__ import annotations

from skipstone.registry import Entry

ENTRIES = (
    Entry(
        "image",
        "skipstone.inputs.image:image_input",
        "skipstone.inputs.options:ImageOptions",
        "pictures: JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, HEIC in 8 bits, grey or colour; TIFF, "
        "16-bit PNG and .npy of any depth and number of channels",
        facts={
            "emits": ["image"],
            "pixels": "image",  # the array that `inputs.shown` makes a picture of: (H, W, C)
            "standalone": "skipstone.inputs.pixels:decode_pixels",
            "examine": "skipstone.inputs.examine:examine",
            "preview": "skipstone.inputs.examine:preview",
            "chooser": "skipstone.models.auto:for_image",
            "placed": "skipstone.models.auto:keeping_shape",
        },
    ),
    Entry(
        "text",
        "skipstone.inputs.text:TextInput",
        "skipstone.inputs.text_options:TextOptions",
        "texts of any language: UTF-8 files, or a column of a table",
        facts={
            "emits": ["tokens", "bag"],
            "chooser": "skipstone.models.auto_text:for_text",
            "baseline": "logistic",
            "demo": "skipstone.verbs.demo_text:DOCSTRINGS",
        },
    ),
)
