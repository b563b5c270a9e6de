"""The readers that come with skipstone, in the order in which they are tried."""

from __future__ import annotations

from skipstone.core.specs import ReaderSpec

ENTRIES = (
    ReaderSpec(
        "class-folders",
        "skipstone.data.readers.class_folders:ClassFolderReader",
        options="skipstone.data.options:ReadOptions",
        summary="one folder per class: photos/cat/1.jpg, mail/spam/1.txt",
        audit="skipstone.data.readers.class_folders:audit_class_folders",
        own_options=("input",),
    ),
    ReaderSpec(
        "split-folders",
        "skipstone.data.readers.class_folders:SplitFolderReader",
        options="skipstone.data.options:ReadOptions",
        summary="class folders below train, validation (or val) and test: photos/train/cat/1.jpg",
        audit="skipstone.data.readers.class_folders:audit_class_folders",
        own_options=("input",),
    ),
    ReaderSpec(
        "mask-folders",
        "skipstone.data.readers.mask_folders:MaskFolderReader",
        options="skipstone.data.options:ReadOptions",
        summary="pictures and their masks in two folders: images/1.jpg, masks/1.png",
        audit="skipstone.data.readers.mask_audit:audit_masks",
        own_options=("images", "masks", "classes", "class_names", "ignore"),
    ),
    ReaderSpec(
        "coco",
        "skipstone.data.readers.coco:CocoReader",
        options="skipstone.data.options:ReadOptions",
        summary="photos with boxes, a COCO file (.json) for all of them or for each split",
        source="Lin et al. 2014, arXiv:1405.0312",
        audit="skipstone.data.readers.box_audit:audit_boxes",
        own_options=("box_frame",),
    ),
    ReaderSpec(
        "yolo",
        "skipstone.data.readers.yolo:YoloReader",
        options="skipstone.data.options:ReadOptions",
        summary="photos with boxes, a YOLO file (.txt) for each photo, and data.yaml",
        audit="skipstone.data.readers.box_audit:audit_boxes",
        own_options=("box_frame", "class_names"),
    ),
    ReaderSpec(
        "voc",
        "skipstone.data.readers.voc:VocReader",
        options="skipstone.data.options:ReadOptions",
        summary="photos with boxes, a Pascal VOC file (.xml) for each photo",
        source="Everingham et al. 2010, IJCV 88(2)",
        audit="skipstone.data.readers.box_audit:audit_boxes",
        own_options=("box_frame",),
    ),
    ReaderSpec(
        "table",
        "skipstone.data.readers.table:TableReader",
        options="skipstone.data.options:ReadOptions",
        summary="CSV, TSV, JSON Lines or Parquet with a column of paths or texts, and one or more "
        "labels",
        audit="skipstone.data.readers.table:audit_text_table",
        own_options=(
            *(
                "input",
                "path_column",
                "path_folder",
                "text_column",
                "label_column",
                "label_columns",
            ),
            *("separator", "delimiter", "encoding", "quoting", "split_column", "group_column"),
        ),
    ),
    ReaderSpec(
        "box-table",
        "skipstone.data.readers.box_table:BoxTableReader",
        options="skipstone.data.options:ReadOptions",
        summary="CSV, TSV, JSON Lines or Parquet with a path, a label and a box per row",
        audit="skipstone.data.readers.box_audit:audit_boxes",
        own_options=(
            *("path_column", "path_folder", "label_column", "split_column"),
            *("delimiter", "encoding", "quoting", "box_format", "box_frame"),
        ),
    ),
    ReaderSpec(
        "idx",
        "skipstone.data.readers.idx:IdxReader",
        options="skipstone.data.options:ReadOptions",
        summary="IDX files, the format of MNIST: train-images-idx3-ubyte(.gz) and its labels",
        source="http://yann.lecun.com/exdb/mnist/",
    ),
)
