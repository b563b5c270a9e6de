"""The built-in heads. Free of torch."""

from __future__ import annotations

from dataclasses import replace

from skipstone.core.specs import HeadSpec


def _dense(
    name: str,
    target: str,
    options: str,
    summary: str,
    source: str,
    *,
    stride: int = 32,
    requires: tuple[str, ...] = (),
    discontinuous: bool = False,
) -> HeadSpec:
    return HeadSpec(
        name,
        f"skipstone.models.heads.{target}",
        f"skipstone.models.heads.options:{options}",
        summary=summary,
        source=source,
        output_level="pixel",
        recommended_backbone_options={"output_stride": stride, "last_map": "stage"},
        requires=requires,
        discontinuous=discontinuous,
    )


def _boxes(
    name: str,
    target: str,
    options: str,
    summary: str,
    source: str,
    *,
    lr: float = 1e-3,
    discontinuous: bool = False,
    regions: int = 0,
) -> HeadSpec:
    """A detector. Features of a frozen backbone are enough for most, and a step costs a third."""
    return HeadSpec(
        name,
        f"skipstone.models.heads.{target}",
        f"skipstone.models.heads.options:{options}",
        summary=summary,
        source=source,
        output_level="box",
        recommended_backbone_options={"last_map": "stage"},
        discontinuous=discontinuous,
        regions=regions,
        decodes_boxes=True,
        train_recipe={"optimizer": "adamw", "lr": lr, "clip": 10.0},
        finetune_recipe={"freeze": 1.0, "freeze_epochs": 0, "lr": lr, "clip": 10.0},
    )


ENTRIES = (
    HeadSpec(
        "linear",
        "skipstone.models.heads.base:LinearHead",
        "skipstone.models.heads.options:LinearOptions",
        summary="global average pool, dropout, one linear layer",
        output_level="sample",
        recommended_backbone_options={"last_map": "pooled"},
    ),
    _dense(
        "lraspp",
        "lraspp:LrasppHead",
        "LrasppOptions",
        "two light branches on the deepest map and a skip from stride 8",
        "Howard et al. 2019, arXiv:1905.02244, section 6.4",
        stride=16,
    ),
    _dense(
        "fcn",
        "fcn:FcnHead",
        "FcnOptions",
        "class scores of the deepest map, refined by shallower maps: FCN-8s, 16s, 32s",
        "Long et al. 2015, arXiv:1411.4038",
    ),
    HeadSpec(
        "identity",
        "skipstone.models.heads.base:IdentityHead",
        summary="no layers, for backbones whose features are the class logits",
        output_level="sample",
        requires=("class logits",),
    ),
    _dense(
        "unet",
        "unet:UNetHead",
        "UNetOptions",
        "decoder with a skip from the backbone's map at each step",
        "Ronneberger et al. 2015, arXiv:1505.04597",
    ),
    _dense(
        "segnet",
        "segnet:SegNetHead",
        "SegNetOptions",
        "mirror image of a max-pooling encoder, with its pooling indices",
        "Badrinarayanan et al. 2017, arXiv:1511.00561",
        requires=("pooling indices",),
        discontinuous=True,
    ),
    _dense(
        "deeplabv3",
        "deeplab:DeepLabV3Head",
        "DeepLabOptions",
        "atrous spatial pyramid pooling on a dilated backbone",
        "Chen et al. 2017, arXiv:1706.05587",
        stride=16,
    ),
    _dense(
        "deeplabv3plus",
        "deeplab:DeepLabV3PlusHead",
        "DeepLabOptions",
        "DeepLab v3 with separable convolutions and a skip from stride 4",
        "Chen et al. 2018, arXiv:1802.02611",
        stride=16,
    ),
    _boxes(
        "pyramid",
        "pyramid:PyramidHead",
        "PyramidOptions",
        "a light pyramid, and an anchor-free head with task-aligned soft labels",
        "Li et al. 2020, arXiv:2006.04388; Feng et al. 2021, arXiv:2108.07755",
        lr=2e-3,
    ),
    _boxes(
        "yolo",
        "yolo_head:YoloHead",
        "YoloOptions",
        "a box per cell of three grids, with decoupled branches and SimOTA",
        "Redmon et al. 2016, arXiv:1506.02640; Ge et al. 2021, arXiv:2107.08430",
        lr=2e-3,
    ),
    replace(
        _boxes(
            "ssd",
            "ssd:SsdHead",
            "SsdOptions",
            "default boxes of several shapes on several maps",
            "Liu et al. 2016, arXiv:1512.02325",
        ),
        finetune_recipe={"freeze": 0.5, "freeze_epochs": 1, "lr": 1e-3, "clip": 10.0},
        fit_shape="skipstone.models.heads.ssd:fit_default_shapes",
    ),
    _boxes(
        "faster-rcnn",
        "faster_rcnn:FasterRcnnHead",
        "FasterRcnnOptions",
        "proposes regions, then classifies each",
        "Ren et al. 2015, arXiv:1506.01497; Lin et al. 2017, arXiv:1612.03144",
        discontinuous=True,
    ),
    _boxes(
        "fast-rcnn",
        "fast_rcnn:FastRcnnHead",
        "FastRcnnOptions",
        "classifies regions that selective search finds",
        "Girshick 2015, arXiv:1504.08083; Uijlings et al. 2013",
        discontinuous=True,
        regions=1000,
    ),
)
