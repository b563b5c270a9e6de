"""The built-in heads. Free of torch.

Facts that other rooms ask for:

    gives    what an answer is for: a "sample" or each "pixel". A head may stand in for
             another that gives the same (`--head`)
    suits    options of a backbone that suit it, for those that have them: the stride of
             the deepest map, where a later stage can dilate instead, and which map that is
             (one that was widened for a classifier costs a decoder much and tells it little)
    jumps    whether answers jump where inputs differ in their last bits (a maximum's place does)
    needs    what the backbone has to offer (the fact `offers` of its entry)
"""

from __future__ import annotations

from typing import Any

from skipstone.registry import Entry


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
        "scores of the deepest map, refined by those of shallower ones: FCN-8s, 16s, 32s",
        "Long et al. 2015, arXiv:1411.4038",
    ),
    Entry(
        "given",
        "skipstone.models.heads.given:GivenHead",
        summary="the answer of a backbone that has one for each class itself",
        facts={"gives": "sample", "needs": ["answers of its own"]},
    ),
    _dense(
        "unet",
        "unet:UNetHead",
        "UNetOptions",
        "back up to the picture, handed the backbone's map at each step",
        "Ronneberger et al. 2015, arXiv:1505.04597",
    ),
    _dense(
        "segnet",
        "segnet:SegNetHead",
        "SegNetOptions",
        "the mirror image of a pooling encoder, with its pooling indices",
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
        "the same, separable, with outlines from a map of stride 4",
        "Chen et al. 2018, arXiv:1802.02611",
        stride=16,
    ),
)
