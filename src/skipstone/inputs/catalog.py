"""The built-in inputs. Free of torch."""

from __future__ import annotations

from skipstone.core.specs import AuditNouns, InputSpec

ENTRIES = (
    InputSpec(
        "image",
        "skipstone.image.input:make_image_input",
        "skipstone.image.options:ImageOptions",
        "pictures: JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, HEIC in 8 bits, grey or colour; TIFF, "
        "16-bit PNG and .npy of any depth and number of channels",
        emits=("image",),
        example_names=("photo.jpg", "another.png"),
        display_array="image",
        row_content="files",
        suffixes=(
            *(".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff"),
            *(".heic", ".heif", ".hif", ".npy"),
        ),
        noun="picture",
        formats="JPEG, PNG, WebP, BMP, TIFF and HEIC",
        skip_reason="skipstone.image.picture_types:not_picture_reason",
        predict_skip_reason="skipstone.image.picture_types:predict_skip_reason",
        conversions="skipstone.image.picture_types:CONVERSIONS",
        reject_layout="skipstone.data.readers.unsupported_layouts:reject_masks",
        nouns=AuditNouns(
            near_duplicate_title="the same picture",
            near_duplicate_verb="show the same picture, their details agree to {share:.0f} %",
            near_duplicate_of_another="show the same picture as another, in other bytes",
        ),
        augment="skipstone.image.augment_options:ImageAugmentOptions",
        inspect="skipstone.image.inspect_file:inspect_image",
        is_inspectable=True,
        preview="skipstone.image.inspect_file:make_preview",
        find_near_duplicates="skipstone.image.near_duplicates:find_near_duplicate_images",
        audit="skipstone.image.audit:audit_images",
        choose_model="skipstone.image.auto:choose_image_model",
        adapt_to_spatial_targets="skipstone.image.auto:for_dense_prediction",
    ),
    InputSpec(
        "text",
        "skipstone.text.input:TextInput",
        "skipstone.text.options:TextOptions",
        "texts of any language: UTF-8 files, or a column of a table",
        emits=("tokens", "bag"),
        example_names=("letter.txt", "note.txt"),
        suffixes=(".txt",),
        noun="text",
        is_sidecar=True,
        predict_skip_reason="skipstone.text.inspect_text:accept_any_file",
        is_blank="skipstone.text.inspect_text:is_blank_file",
        augment="skipstone.text.text_augment_options:TextAugmentOptions",
        choose_model="skipstone.text.auto:choose_text_model",
        baseline="logistic",
        inspect="skipstone.text.inspect_text:inspect_text",
        find_near_duplicates="skipstone.text.near_duplicates:find_near_duplicate_texts",
        row_content="cells",
        diff_texts="skipstone.text.near_duplicates:diff_texts",
        audit="skipstone.text.audit:audit_texts",
        nouns=AuditNouns(
            unit="text",
            duplicate_title="the same text",
            near_duplicate_title="nearly the same text",
            duplicate_verb="are the same",
            near_duplicate_verb="are nearly the same, {share:.0f} % of their letters agree",
            near_duplicate_of_another="are nearly the same text as another",
        ),
        demo="skipstone.workflows.demo_images:DOCSTRINGS",
    ),
)
