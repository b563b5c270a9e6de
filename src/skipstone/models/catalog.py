"""The built-in backbones. Free of torch.

Facts that other rooms ask for:

    accepts      kinds of input that it takes
    family       who is related to whom
    input_size   side in pixels of the pictures that it is made for
    pretrained   where its weights come from: "package" (installed with skipstone), "hub"
                 (downloaded on request), or None
    hub          the name of those weights on timm's hub
    normalize    how those weights want pixels scaled (an `ImageOptions.normalize`), and as numbers:
    mean, std    in units of pixels from 0 to 1
    classifier   what published state dicts call the final linear layer
    any_size     False where a picture's sides must be known when the network is built
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skipstone.registry import Entry

_RESNET_OPTIONS = "skipstone.models.resnet_options:ResNetOptions"
_TIMM_OPTIONS = "skipstone.models.timm_options:TimmOptions"
_IMAGENET = {"normalize": "imagenet", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_HALF = {"normalize": "half", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def _imagenet_resnet(depth: int, block: str) -> Entry:
    return Entry(
        f"resnet{depth}",
        "skipstone.models.resnet:build_resnet",
        _RESNET_OPTIONS,
        summary=f"residual network of {depth} layers, {block} blocks",
        source="He et al. 2015, arXiv:1512.03385",
        facts=_image(
            "resnet", 224, "fc", pretrained="hub", hub=f"resnet{depth}.tv_in1k", **_IMAGENET
        ),
    )


def _cifar_resnet(depth: int) -> Entry:
    return Entry(
        f"resnet{depth}",
        "skipstone.models.resnet:build_resnet",
        _RESNET_OPTIONS,
        summary=f"residual network of {depth} layers for pictures of about 32 pixels",
        source="He et al. 2015, section 4.2, arXiv:1512.03385",
        facts=_image("cifar-resnet", 32, "linear", pretrained=None),
    )


def _image(family: str, size: int, classifier: str, **facts: Any) -> Mapping[str, Any]:
    return {
        "accepts": ["image"],
        "family": family,
        "input_size": size,
        "classifier": classifier,
        "any_size": True,
        **facts,
    }


ENTRIES = (
    Entry(
        "efficientnet_lite0",
        "skipstone.models.timm_backbone:build_timm",
        _TIMM_OPTIONS,
        summary="small and quick on CPUs, ReLU6 throughout, so it quantizes well; pretrained",
        source="Tan and Le 2019, arXiv:1905.11946; TensorFlow's lite variant",
        facts=_image("efficientnet", 224, "classifier", pretrained="package", **_HALF),
    ),
    *(_imagenet_resnet(depth, "basic") for depth in (18, 34)),
    *(_imagenet_resnet(depth, "bottleneck") for depth in (50, 101, 152)),
    *(_cifar_resnet(depth) for depth in (20, 32, 44, 56, 110)),
    Entry(
        "timm/*",
        "skipstone.models.timm_backbone:build_timm",
        _TIMM_OPTIONS,
        summary="any network of timm's zoo that gives feature maps, such as timm/convnext_atto",
        source="https://github.com/huggingface/pytorch-image-models",
        # the other facts differ by network: skipstone.models.weights.published tells them
        facts={"accepts": ["image"], "family": "timm", "pretrained": "hub"},
    ),
)
