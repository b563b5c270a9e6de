"""The built-in backbones. Free of torch."""

from __future__ import annotations

from dataclasses import replace

from skipstone.core.specs import BackboneSpec
from skipstone.models.audio_catalog import AUDIO_ENTRIES
from skipstone.models.text_catalog import TEXT_ENTRIES

_RESNET_OPTIONS = "skipstone.models.image_backbone_options:ResNetOptions"
_TIMM_OPTIONS = "skipstone.models.image_backbone_options:TimmOptions"

#: What an image model takes; a spectrogram is a picture of one channel.
_PICTURES = ("image", "spectrogram")

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


def _image_model(spec: BackboneSpec) -> BackboneSpec:
    """The same spec with what all named image models have in common."""
    parameters, macs = _COSTS[spec.name]
    return replace(spec, accepts=_PICTURES, parameters=parameters, macs=macs)


def _imagenet_resnet(depth: int, block: str) -> BackboneSpec:
    return BackboneSpec(
        f"resnet{depth}",
        "skipstone.models.resnet:build_resnet",
        _RESNET_OPTIONS,
        summary=f"residual network of {depth} layers, {block} blocks",
        source="He et al. 2015, arXiv:1512.03385",
        input_size=224,
        pretrained="hub",
        hub=f"resnet{depth}.tv_in1k",
        normalize="imagenet",
    )


def _cifar_resnet(depth: int) -> BackboneSpec:
    return BackboneSpec(
        f"resnet{depth}",
        "skipstone.models.resnet:build_resnet",
        _RESNET_OPTIONS,
        summary=f"residual network of {depth} layers for images of about 32 pixels",
        source="He et al. 2015, section 4.2, arXiv:1512.03385",
        input_size=32,
    )


EFFICIENTNET = BackboneSpec(
    "efficientnet_lite0",
    "skipstone.models.timm_backbone:build_timm",
    _TIMM_OPTIONS,
    summary="small and fast on CPUs, ReLU6 throughout, so it quantizes well; pretrained",
    source="Tan and Le 2019, arXiv:1905.11946; TensorFlow's lite variant",
    input_size=224,
    pretrained="package",
    package_weights="skipstone.models.weights:load_efficientnet_weights",
    normalize="half",
)
VGG = BackboneSpec(
    "vgg16_bn",
    "skipstone.models.vgg:build_vgg16",
    "skipstone.models.image_backbone_options:VggOptions",
    summary="VGG-16's convolutions with batch norm, for --head segnet",
    source="Simonyan and Zisserman 2015, arXiv:1409.1556",
    input_size=224,
    pretrained="hub",
    hub="vgg16_bn.tv_in1k",
    normalize="imagenet",
    provides=("pooling indices",),
)
TIMM = BackboneSpec(
    "timm/*",
    "skipstone.models.timm_backbone:build_timm",
    _TIMM_OPTIONS,
    summary="any network of timm that gives feature maps, such as timm/convnext_atto",
    source="https://github.com/huggingface/pytorch-image-models",
    # the other fields differ by network: see skipstone.models.weights.pretrained_info
    accepts=_PICTURES,
    pretrained="hub",
    count_costs="skipstone.models.profile:count_image_model",
)

ENTRIES = (
    _image_model(EFFICIENTNET),
    *(_image_model(_imagenet_resnet(depth, "basic")) for depth in (18, 34)),
    *(_image_model(_imagenet_resnet(depth, "bottleneck")) for depth in (50, 101, 152)),
    *(_image_model(_cifar_resnet(depth)) for depth in (20, 32, 44, 56, 110)),
    *TEXT_ENTRIES,
    *AUDIO_ENTRIES,
    _image_model(VGG),
    TIMM,
)
