"""The built-in heads. Free of torch.

Facts:

    gives    level of the output: one per "sample" or per "pixel". A head can be replaced by another
             of the same level (`--head`)
    suits    recommended options of the backbone: the stride of the deepest map, where a later stage
             can dilate instead, and which map that is (a map widened for a classifier is expensive
             for a decoder, with little gain)
    jumps    whether the output is discontinuous, so that rounding can change it much (as the
             position of a maximum)
    needs    what the backbone has to offer (the fact `offers` of its entry)
"""

from __future__ import annotations

from typing import Any

from skipstone.core.registry import Entry


def _dense(
    name: str, target: str, options: str, summary: str, source: str, stride: int = 32, **facts: Any
) -> Entry:
    suits = {"output_stride": stride, "last_map": "stage"}
    return Entry(
        name,
        f"skipstone.models.heads.{target}",
        f"skipstone.models.heads.options:{options}",
        summary=summary,
        source=source,
        facts={"gives": "pixel", "suits": suits, **facts},
    )


ENTRIES = (
    Entry(
        "linear",
        "skipstone.models.heads.linear:LinearHead",
        "skipstone.models.heads.options:LinearOptions",
        summary="global average pool, dropout, one linear layer",
        facts={"gives": "sample"},
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
    Entry(
        "identity",
        "skipstone.models.heads.identity:IdentityHead",
        summary="no layers, for backbones whose features are the class logits",
        facts={"gives": "sample", "needs": ["class logits"]},
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
        needs=["pooling indices"],
        jumps=True,
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
)
