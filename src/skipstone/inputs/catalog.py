"""Built-in inputs.

Facts that other rooms ask for:

    emits       kinds of what it hands to a network
    pixels      the array that `inputs.shown` makes a picture of: (H, W, C)
    rows        what rows of a table are to it: "cells" that hold sources, or names of "files"
    named       what files of it may be called, where a command is shown
    unfit       function(name, first bytes) -> why a file is none of it, or None
    standalone  the function that decodes in the exported script
    examine     function(bytes or array) -> Examined: whether it can be read, what it shows
    near        function([what each row shows, or None]) -> [Link]: which show the same
    audit       function(Seen) -> ([Finding], counts): what only they can have wrong
    nouns       fields of `prepare.findings.Nouns`: how an audit speaks of them
    examined    whether it has the method `examined`: what is seen and the record from one decode
    preview     function(bytes or array, side) -> a picture for a person, (H, W, 3) uint8, or None
    beside      function([bytes]) -> of each the text in pieces, and which differ from the first's
    chooser     function that chooses a model
    placed      function(choice) -> the choice where answers lie on the input
    baseline    the model that is found first and shown beside others
    demo        what `skipstone demo` shows
"""

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
            "named": ["photo.jpg", "another.png"],
            "pixels": "image",
            "rows": "files",
            "unfit": "skipstone.data.file_types:unanswerable",
            "standalone": "skipstone.inputs.placed:decode_seen",
            "augment": "skipstone.prepare.augment_options:AugmentOptions",
            "examine": "skipstone.inputs.examine:examine",
            "examined": True,
            "preview": "skipstone.inputs.examine:preview",
            "near": "skipstone.prepare.near:near_links",
            "audit": "skipstone.prepare.audit_pictures:audit_pictures",
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
            "named": ["letter.txt", "note.txt"],
            "augment": "skipstone.prepare.text_augment_options:TextAugmentOptions",
            "chooser": "skipstone.models.auto_text:for_text",
            "baseline": "logistic",
            "examine": "skipstone.inputs.text_examine:examine_text",
            "near": "skipstone.prepare.near_texts:near_texts",
            "rows": "cells",
            "beside": "skipstone.prepare.near_texts:beside",
            "audit": "skipstone.prepare.audit_texts:audit_texts",
            "nouns": {
                "unit": "text",
                "same": "the same text",
                "alike": "nearly the same text",
                "holds": "are the same",
                "another": "are nearly the same text as another",
                "shows": "are nearly the same, {share:.0f} % of their letters agree",
            },
            "demo": "skipstone.verbs.demo_text:DOCSTRINGS",
        },
    ),
)
