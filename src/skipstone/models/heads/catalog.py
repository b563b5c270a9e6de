"""The built-in heads. Free of torch."""

from __future__ import annotations

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
    HeadSpec(
        "pyramid",
        "skipstone.models.heads.pyramid:PyramidHead",
        "skipstone.models.heads.options:PyramidOptions",
        summary="a light pyramid, and an anchor-free head with task-aligned soft labels",
        source="Li et al. 2020, arXiv:2006.04388; Feng et al. 2021, arXiv:2108.07755",
        output_level="box",
        decodes_boxes=True,
        train_recipe={"optimizer": "adamw", "lr": 2e-3, "clip": 10.0},
        # features of a frozen backbone are enough, and a step costs a third
        finetune_recipe={"freeze": 1.0, "freeze_epochs": 0, "lr": 2e-3, "clip": 10.0},
        recommended_backbone_options={"last_map": "stage"},
    ),
    HeadSpec(
        "yolo",
        "skipstone.models.heads.yolo_head:YoloHead",
        "skipstone.models.heads.options:YoloOptions",
        summary="a box per cell of three grids, with decoupled branches and SimOTA",
        source="Redmon et al. 2016, arXiv:1506.02640; Ge et al. 2021, arXiv:2107.08430",
        output_level="box",
        decodes_boxes=True,
        train_recipe={"optimizer": "adamw", "lr": 2e-3, "clip": 10.0},
        finetune_recipe={"freeze": 1.0, "freeze_epochs": 0, "lr": 2e-3, "clip": 10.0},
        recommended_backbone_options={"last_map": "stage"},
    ),
    HeadSpec(
        "ssd",
        "skipstone.models.heads.ssd:SsdHead",
        "skipstone.models.heads.options:SsdOptions",
        summary="default boxes of several shapes on several maps",
        source="Liu et al. 2016, arXiv:1512.02325",
        output_level="box",
        recommended_backbone_options={"last_map": "stage"},
        decodes_boxes=True,
        train_recipe={"optimizer": "adamw", "lr": 1e-3, "clip": 10.0},
        finetune_recipe={"freeze": 0.5, "freeze_epochs": 1, "lr": 1e-3, "clip": 10.0},
    ),
)
