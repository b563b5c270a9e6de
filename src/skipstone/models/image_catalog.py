"""The built-in backbones for images, family by family. Free of torch.

`_CHOICES` says what distinguishes the members of a family; a test counts their parameters and MACs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from skipstone.core.specs import BackboneSpec

#: What an image model takes; a spectrogram is a picture of one channel.
_PICTURES = ("image", "spectrogram")
_OPTIONS = "skipstone.models.image_backbone_options"

#: Parameters and MACs, so that a listing needs no torch.
_COSTS = {
    "googlenet": (5_599_904, 1_497_352_192),
    "inception_v3": (21_785_568, 5_711_168_096),
    "efficientnet_lite0": (3_371_008, 383_907_552),
    "efficientnet_lite1": (4_135_680, 598_905_232),
    "efficientnet_lite2": (4_811_072, 858_456_272),
    "efficientnet_lite3": (6_916_096, 1_382_041_872),
    "efficientnet_lite4": (11_725_568, 2_551_754_336),
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
    "lenet5": (61_156, 650_880),
    "lenet5_relu": (61_156, 650_880),
    "alexnet": (57_003_840, 710_092_480),
    "vgg11": (128_766_336, 7_604_994_048),
    "vgg11_bn": (128_771_840, 7_604_994_048),
    "vgg13": (128_950_848, 11_304_370_176),
    "vgg13_bn": (128_956_736, 11_304_370_176),
    "vgg16": (134_260_544, 15_466_168_320),
    "vgg16_bn": (134_268_992, 15_466_168_320),
    "vgg19": (139_570_240, 19_627_966_464),
    "vgg19_bn": (139_581_248, 19_627_966_464),
    "mobilenet_v1": (3_206_976, 567_716_352),
    "mobilenet_v2": (2_223_872, 299_494_272),
    "mobilenet_v3_small": (1_517_856, 55_486_400),
    "mobilenet_v3_large": (4_202_032, 215_309_760),
    "efficientnet_b0": (4_007_548, 384_534_752),
    "efficientnet_b1": (6_513_184, 685_522_832),
    "efficientnet_b2": (7_700_994, 1_086_121_456),
    "efficientnet_b3": (10_696_232, 1_825_605_392),
    "efficientnet_b4": (17_548_616, 4_391_979_024),
    "efficientnet_b5": (28_340_784, 10_264_336_752),
    "efficientnet_b6": (40_735_704, 19_065_289_536),
    "efficientnet_b7": (63_786_960, 37_743_324_192),
}


def _family(
    name: str, target: str, options: str, source: str, members: dict[str, dict[str, Any]]
) -> Iterator[BackboneSpec]:
    """The specs of a family.

    Args:
        target: "module:builder" in `skipstone.models`.
        members: {name: the fields that are not common}.
    """
    for member, fields in members.items():
        parameters, macs = _COSTS[member]
        spec = BackboneSpec(
            member,
            f"skipstone.models.{target}",
            f"{_OPTIONS}:{options}",
            source=source,
            family=name,
            accepts=_PICTURES,
            parameters=parameters,
            macs=macs,
            input_size=224,
        )
        spec = replace(spec, **fields)
        # a spectrogram may have fewer bands or frames
        yield spec if spec.least_side == 1 else replace(spec, accepts=("image",))


def _published(name: str, summary: str, *, version: int = 1, **fields: Any) -> dict[str, Any]:
    """Fields of a network whose weights torchvision publishes under this name of its class."""
    weights = f"torchvision/{name}_Weights.IMAGENET1K_V{version}"
    return {"normalize": "imagenet", **fields} | {
        "summary": summary,
        "pretrained": "hub",
        "hub": weights,
    }


def _residual(depth: int, block: str) -> dict[str, Any]:
    return {
        "summary": f"residual network of {depth} layers, {block} blocks",
        "pretrained": "hub",
        "hub": f"resnet{depth}.tv_in1k",
        "normalize": "imagenet",
    }


_RESNETS = {f"resnet{depth}": _residual(depth, "basic") for depth in (18, 34)} | {
    f"resnet{depth}": _residual(depth, "bottleneck") for depth in (50, 101, 152)
}
_TINY_RESNETS = {
    f"resnet{depth}": {
        "summary": f"residual network of {depth} layers for images of about 32 pixels",
        "input_size": 32,
    }
    for depth in (20, 32, 44, 56, 110)
}
_LENETS = {
    "lenet5": {"summary": "the paper's: average pooling, tanh"},
    "lenet5_relu": {"summary": "today's: max pooling, ReLU"},
}
_LENET_FIELDS = {"input_size": 28, "least_side": 12, "has_exact_maps": False}
_VGGS = {
    f"vgg{depth}{norm}": _published(
        f"VGG{depth}{norm.upper()}",
        f"{depth} layers of 3x3 convolutions" + (" with batch norm" if norm else ""),
        provides=("pooling indices",),
    )
    for depth in (11, 13, 16, 19)
    for norm in ("", "_bn")
}
_ALEXNET = _published(
    "AlexNet",
    "five convolutions and two hidden layers, the winner of 2012",
    least_side=63,
    has_exact_maps=False,
)
_INCEPTIONS = {
    # torchvision's networks scale ImageNet's normalisation to this one, inside
    "googlenet": _published(
        "GoogLeNet",
        "blocks of several kernels side by side",
        normalize="half",
        least_side=15,
        has_exact_maps=False,
        train_recipe={"auxiliary_loss": 0.3},
    ),
    "inception_v3": _published(
        "Inception_V3",
        "factorised convolutions",
        normalize="half",
        input_size=299,
        least_side=75,
        has_exact_maps=False,
        train_recipe={"auxiliary_loss": 0.3},
    ),
}
_MOBILENETS = {
    "mobilenet_v1": {
        "summary": "depthwise and pointwise convolutions",
        "pretrained": "hub",
        "hub": "mobilenetv1_100.ra4_e3600_r224_in1k",
        "normalize": "half",
    },
    "mobilenet_v2": _published("MobileNet_V2", "inverted residuals, ReLU6", version=2),
    "mobilenet_v3_small": _published("MobileNet_V3_Small", "gates, hard swish, few MACs"),
    "mobilenet_v3_large": _published("MobileNet_V3_Large", "gates, hard swish", version=2),
}
_SIDES = (224, 240, 288, 300, 380, 456, 528, 600)
_EFFICIENTNETS = {
    f"efficientnet_b{number}": _published(
        f"EfficientNet_B{number}",
        f"wider, deeper and for larger images by 2^{number}" if number else "the base network",
        version=2 if number == 1 else 1,
        input_size=side,
    )
    for number, side in enumerate(_SIDES)
}
_PACKAGE = {
    "pretrained": "package",
    "package_weights": "skipstone.models.weights:load_efficientnet_weights",
    "normalize": "half",
}
_LITE_SUMMARY = "fast on CPUs, ReLU6 throughout, so it quantizes well"
_LITES: dict[str, dict[str, Any]] = {
    "efficientnet_lite0": {**_PACKAGE, "summary": f"small and {_LITE_SUMMARY}; pretrained"},
    "efficientnet_lite1": {**_PACKAGE, "summary": _LITE_SUMMARY, "input_size": 240},
    "efficientnet_lite2": {**_PACKAGE, "summary": _LITE_SUMMARY, "input_size": 260},
    "efficientnet_lite3": {"summary": _LITE_SUMMARY, "input_size": 280},
    "efficientnet_lite4": {"summary": _LITE_SUMMARY, "input_size": 300},
}
TIMM = BackboneSpec(
    "timm/*",
    "skipstone.models.timm_backbone:build_timm",
    f"{_OPTIONS}:TimmOptions",
    summary="any network of timm that gives feature maps, such as timm/convnext_atto",
    source="https://github.com/huggingface/pytorch-image-models",
    # the other fields differ by network: see skipstone.models.weights.pretrained_info
    accepts=_PICTURES,
    pretrained="hub",
    count_costs="skipstone.models.profile:count_image_model",
)


def _list_entries() -> Iterator[BackboneSpec]:
    efficient = ("efficientnet:build_efficientnet", "EfficientNetOptions")
    lite_source = "Tan and Le 2019, arXiv:1905.11946; TensorFlow's lite variant"
    residual = ("resnet:build_resnet", "ResNetOptions")
    yield from _family("EfficientNet-Lite", *efficient, lite_source, _LITES)
    yield from _family("ResNet", *residual, "He et al. 2015, arXiv:1512.03385", _RESNETS)
    tiny = "He et al. 2015, section 4.2, arXiv:1512.03385"
    yield from _family("ResNet for tiny images", *residual, tiny, _TINY_RESNETS)
    lenets = {name: {**fields, **_LENET_FIELDS} for name, fields in _LENETS.items()}
    yield from _family("LeNet-5", "lenet:build_lenet", "MapOptions", "LeCun et al. 1998", lenets)
    yield from _family(
        "AlexNet",
        "alexnet:build_alexnet",
        "AlexNetOptions",
        "Krizhevsky et al. 2012; Krizhevsky 2014, arXiv:1404.5997",
        {"alexnet": _ALEXNET},
    )
    vgg_source = "Simonyan and Zisserman 2015, arXiv:1409.1556"
    yield from _family("VGG", "vgg:build_vgg", "VggOptions", vgg_source, _VGGS)
    yield from _family(
        "Inception",
        "inception:build_inception",
        "InceptionOptions",
        "Szegedy et al. 2014, arXiv:1409.4842; 2015, arXiv:1512.00567",
        _INCEPTIONS,
    )
    yield from _family(
        "MobileNet",
        "mobilenet:build_mobilenet",
        "MobileNetOptions",
        "Howard et al. 2017, arXiv:1704.04861; Sandler 2018; Howard 2019",
        _MOBILENETS,
    )
    source = "Tan and Le 2019, arXiv:1905.11946"
    yield from _family("EfficientNet", *efficient, source, _EFFICIENTNETS)


IMAGE_ENTRIES = tuple(_list_entries())
