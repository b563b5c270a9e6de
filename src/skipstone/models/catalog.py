"""The built-in backbones. Free of torch.

Facts:

    accepts      kinds of input features that it takes
    input_size   side in pixels of the images that it was designed for
    pretrained   source of its weights: "package" (installed with skipstone), "hub"
                 (downloaded on request), or None
    hub          the name of those weights on timm's hub
    normalize    normalisation of the pixels for those weights (an `ImageOptions.normalize`)
    parameters   of the backbone as published, with three channels
    macs         multiply-accumulates of one image of that size
    learner      "closed-form" where its parameters are not trained by gradient
    solver       the function that fits them in closed form
    grid         {option: values} of the grid search over options that the user leaves unset; the
                 validation rows decide
    head         the only head that it works with, where the task has no choice
    input        options that the input needs for it
    recipe       values of `TrainOptions` that suit training from scratch
    tuning       values of `TrainOptions` that suit fine-tuning
    vectors      the option that sets the size of its word vectors, and the module that holds them
    resolve      the function that turns a name of this family into a `models.choice.Choice`
    counted      the function that counts parameters, macs and the like of a family's member
    offers       what some heads and augmentations need. "pooling indices": each map but the
                 deepest is the input of a 2x2 max pooling. "vectors in order": it is a
                 `models.backbone.SequenceBackbone`. "class logits": its deepest features are one
                 number per class
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skipstone.core.registry import Entry
from skipstone.models.text_catalog import TEXT_ENTRIES

_RESNET_OPTIONS = "skipstone.models.image_backbone_options:ResNetOptions"
_TIMM_OPTIONS = "skipstone.models.image_backbone_options:TimmOptions"

#: Parameters and MACs, so that a listing needs no torch; a test counts them.
_COSTS = {
    "efficientnet_lite0": (3_371_008, 383_907_552),
    "resnet18": (11_176_512, 1_813_561_344),
    "resnet34": (21_284_672, 3_663_249_408),
    "resnet50": (23_508_032, 4_087_136_256),
    "resnet101": (42_500_160, 7_799_357_440),
    "resnet152": (58_143_808, 11_511_578_624),
    "resnet20": (269_072, 40_550_400),
    "resnet32": (463_504, 68_861_952),
    "resnet44": (657_936, 97_173_504),
    "resnet56": (852_368, 125_485_056),
    "resnet110": (1_727_312, 252_887_040),
    "vgg16_bn": (14_723_136, 15_346_630_656),
}


def _imagenet_resnet(depth: int, block: str) -> Entry:
    return Entry(
        f"resnet{depth}",
        "skipstone.models.resnet:build_resnet",
        _RESNET_OPTIONS,
        summary=f"residual network of {depth} layers, {block} blocks",
        source="He et al. 2015, arXiv:1512.03385",
        facts=_image(
            f"resnet{depth}",
            224,
            pretrained="hub",
            hub=f"resnet{depth}.tv_in1k",
            normalize="imagenet",
        ),
    )


def _cifar_resnet(depth: int) -> Entry:
    return Entry(
        f"resnet{depth}",
        "skipstone.models.resnet:build_resnet",
        _RESNET_OPTIONS,
        summary=f"residual network of {depth} layers for images of about 32 pixels",
        source="He et al. 2015, section 4.2, arXiv:1512.03385",
        facts=_image(f"resnet{depth}", 32, pretrained=None),
    )


def _image(name: str, size: int, **facts: Any) -> Mapping[str, Any]:
    parameters, macs = _COSTS[name]
    return {
        "accepts": ["image"],
        "input_size": size,
        "parameters": parameters,
        "macs": macs,
        **facts,
    }


ENTRIES = (
    Entry(
        "efficientnet_lite0",
        "skipstone.models.timm_backbone:build_timm",
        _TIMM_OPTIONS,
        summary="small and fast on CPUs, ReLU6 throughout, so it quantizes well; pretrained",
        source="Tan and Le 2019, arXiv:1905.11946; TensorFlow's lite variant",
        facts=_image("efficientnet_lite0", 224, pretrained="package", normalize="half"),
    ),
    *(_imagenet_resnet(depth, "basic") for depth in (18, 34)),
    *(_imagenet_resnet(depth, "bottleneck") for depth in (50, 101, 152)),
    *(_cifar_resnet(depth) for depth in (20, 32, 44, 56, 110)),
    *TEXT_ENTRIES,
    Entry(
        "vgg16_bn",
        "skipstone.models.vgg:build_vgg16",
        "skipstone.models.image_backbone_options:VggOptions",
        summary="VGG-16's convolutions with batch norm, for --head segnet",
        source="Simonyan and Zisserman 2015, arXiv:1409.1556",
        facts={
            **_image(
                "vgg16_bn",
                224,
                pretrained="hub",
                hub="vgg16_bn.tv_in1k",
                normalize="imagenet",
            ),
            "offers": ["pooling indices"],
        },
    ),
    Entry(
        "timm/*",
        "skipstone.models.timm_backbone:build_timm",
        _TIMM_OPTIONS,
        summary="any network of timm that gives feature maps, such as timm/convnext_atto",
        source="https://github.com/huggingface/pytorch-image-models",
        # the other facts differ by network: see skipstone.models.weights.pretrained_info
        facts={
            "accepts": ["image"],
            "pretrained": "hub",
            "counted": "skipstone.models.profile:count_image_model",
        },
    ),
)
