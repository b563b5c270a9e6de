"""The readers that come with skipstone, in the order in which they are tried.

Facts that other packages read:

    takes    the fields of ReadOptions that belong to this layout (default: none). They are rejected
             when another layout is read. Fields that no reader takes (`task`, `exclude`) apply to
             every layout
    audit    function(manifest) -> (findings, counts): the problems that only this layout can have;
             a finding has kind (see data/findings.py), rows, paths, message and notes
"""

from __future__ import annotations

from skipstone.core.registry import Entry

ENTRIES = (
    Entry(
        "class-folders",
        "skipstone.data.readers.class_folders:ClassFolderReader",
        options="skipstone.data.options:ReadOptions",
        summary="one folder per class: photos/cat/1.jpg",
    ),
    Entry(
        "split-folders",
        "skipstone.data.readers.class_folders:SplitFolderReader",
        options="skipstone.data.options:ReadOptions",
        summary="class folders below train, validation (or val) and test: photos/train/cat/1.jpg",
    ),
    Entry(
        "mask-folders",
        "skipstone.data.readers.mask_folders:MaskFolderReader",
        options="skipstone.data.options:ReadOptions",
        summary="pictures and their masks in two folders: images/1.jpg, masks/1.png",
        facts={
            "audit": "skipstone.data.readers.mask_audit:audit_masks",
            "takes": ["images", "masks", "classes", "class_names", "ignore"],
        },
    ),
    Entry(
        "table",
        "skipstone.data.readers.table:TableReader",
        options="skipstone.data.options:ReadOptions",
        summary="CSV, TSV, JSON Lines or Parquet with a column of paths or texts, and one or more "
        "labels",
        facts={
            "audit": "skipstone.data.readers.text_table:audit_text_table",
            "takes": [
                *("path_column", "path_folder", "text_column", "label_column", "label_columns"),
                *("separator", "delimiter", "encoding", "split_column", "group_column"),
            ],
        },
    ),
    Entry(
        "text-folders",
        "skipstone.data.readers.text_folders:TextFolderReader",
        options="skipstone.data.options:ReadOptions",
        summary="one folder of .txt files per class, also below train, validation and test",
        facts={"audit": "skipstone.data.readers.text_folders:audit_text_folders"},
    ),
    Entry(
        "idx",
        "skipstone.data.readers.idx:IdxReader",
        options="skipstone.data.options:ReadOptions",
        summary="IDX files, the format of MNIST: train-images-idx3-ubyte(.gz) and its labels",
        source="http://yann.lecun.com/exdb/mnist/",
    ),
)
