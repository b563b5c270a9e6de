"""Built-in inputs.

Facts of an entry:

    emits       kinds of features: "image", "tokens", ...
    pixels      name of the array (H, W, C) that `inputs.shown` converts for display
    rows        a table's rows hold the sources in "cells", or name "files"
    named       example file names for printed commands
    unfit       function(name, first bytes) -> why the input cannot read the file, or None
    examine     function(bytes or array) -> Examined
    near        function([content of each row, or None]) -> [Link] between near duplicates
    audit       function(Seen) -> ([Finding], counts) of modality-specific checks
    nouns       fields of `prepare.findings.Nouns`: the words of audit messages
    examined    whether the input is `Inspectable`
    preview     function(bytes or array, side) -> image to display, (H, W, 3) uint8, or None
    beside      function([bytes]) -> each text as substrings, and those that differ from the first
    chooser     function that chooses a model
    placed      function(choice) -> the choice for spatial targets
    baseline    the model that every result is compared with
    demo        what `skipstone demo` trains on
"""

from __future__ import annotations

from skipstone.core.registry import Entry

ENTRIES = (
    Entry(
        "image",
        "skipstone.image.input:make_image_input",
        "skipstone.image.options:ImageOptions",
        "pictures: JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, HEIC in 8 bits, grey or colour; TIFF, "
        "16-bit PNG and .npy of any depth and number of channels",
        facts={
            "emits": ["image"],
            "named": ["photo.jpg", "another.png"],
            "pixels": "image",
            "rows": "files",
            "unfit": "skipstone.data.file_types:predict_skip_reason",
            "augment": "skipstone.image.augment_options:ImageAugmentOptions",
            "examine": "skipstone.image.inspect_file:inspect_image",
            "examined": True,
            "preview": "skipstone.image.inspect_file:make_preview",
            "near": "skipstone.image.near_duplicates:find_near_duplicate_images",
            "audit": "skipstone.image.audit:audit_images",
            "chooser": "skipstone.image.auto:choose_image_model",
            "placed": "skipstone.image.auto:for_dense_prediction",
        },
    ),
    Entry(
        "text",
        "skipstone.text.input:TextInput",
        "skipstone.text.options:TextOptions",
        "texts of any language: UTF-8 files, or a column of a table",
        facts={
            "emits": ["tokens", "bag"],
            "named": ["letter.txt", "note.txt"],
            "augment": "skipstone.text.text_augment_options:TextAugmentOptions",
            "chooser": "skipstone.text.auto:choose_text_model",
            "baseline": "logistic",
            "examine": "skipstone.text.inspect_text:inspect_text",
            "near": "skipstone.text.near_duplicates:find_near_duplicate_texts",
            "rows": "cells",
            "beside": "skipstone.text.near_duplicates:diff_texts",
            "audit": "skipstone.text.audit:audit_texts",
            "nouns": {
                "unit": "text",
                "same": "the same text",
                "alike": "nearly the same text",
                "holds": "are the same",
                "another": "are nearly the same text as another",
                "shows": "are nearly the same, {share:.0f} % of their letters agree",
            },
            "demo": "skipstone.workflows.demo_images:DOCSTRINGS",
        },
    ),
)
