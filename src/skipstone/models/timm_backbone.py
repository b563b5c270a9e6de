"""timm's networks as backbones: all of it but the final linear layer, or its feature maps.

A network is first built on the meta device to find its maps, their sizes, and the layers that no
map depends on (a classifier; for maps also the layers between a pooling and it, such as
MobileNetV3's ``conv_head``). Those layers are removed, so that every parameter is trained.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import timm
import timm.models
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.core.errors import UsageError, did_you_mean
from skipstone.models.backbone import Backbone, PublishedNetwork
from skipstone.models.image_backbone_options import LastMap, TimmOptions
from skipstone.models.meta_device import on_meta

#: Arguments that let networks of a fixed image size take any size.
_ANY_SIZE = {"dynamic_img_size": True, "dynamic_img_pad": True, "strict_img_size": False}


@runtime_checkable
class GivesIntermediates(Protocol):
    """A timm network that returns its intermediate feature maps."""

    def forward_intermediates(self, x: Tensor) -> Any: ...


@runtime_checkable
class NamesStages(Protocol):
    """A timm network that names its stages by patterns of parameter names."""

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]: ...


@runtime_checkable
class NamesUndecayed(Protocol):
    """A timm network that names the parameters that weight decay leaves alone."""

    def no_weight_decay(self) -> set[str]: ...


@dataclass(frozen=True, kw_only=True)
class TimmPlan:
    """How to build a network, found on the meta device.

    Args:
        arguments: of timm's constructor.
        indices: the intermediate maps that are used; () for one vector per image, which the
            network's own classifier reads behind its own pooling and last layers.
        norm: whether timm can normalise intermediate maps, which a transformer's need.
        uses_final_features: whether the deepest map is the output of ``forward_features``.
            EfficientNet's ``conv_head`` comes after the last intermediate map; its classifier
            needs that output, a segmentation decoder does not.
        unused: paths of the modules that no feature map depends on.
        channels: of each map.
        strides: of each map.
        classifier: timm's name of the final linear layer.
        pad_to: images are padded at the right and bottom to a multiple of this, where a map would
            otherwise have fewer pixels than ceil(H / stride); maps are cropped to that size.
        fixed_size: the only supported (H, W), or None.
    """

    arguments: tuple[tuple[str, Any], ...]
    indices: tuple[int, ...] = ()
    norm: bool = False
    uses_final_features: bool = False
    unused: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    classifier: str = "head"
    pad_to: int = 1
    fixed_size: tuple[int, int] | None = None


class TimmBackbone(Backbone):
    """A network of timm without its classifier: (N, in_channels, H, W) -> feature maps.

    With ``last_map="pooled"`` the only map is a vector (N, C). Otherwise the maps are those from
    stride 2 on; of successive maps with the same channels and stride (all blocks of a vision
    transformer) only the deepest. A transformer's map is the grid of its normalised patch tokens.
    Some networks with fixed position embeddings or windows support one
    image size only (`fixed_size`). Inception's convolutions do not pad, so its maps are slightly
    smaller than ``strides`` say.

    `net` is timm's module; `published_module()` returns it.

    Args:
        name: timm's name, with or without a tag of weights.
        plan: from `plan_timm`.
    """

    def __init__(self, *, name: str, plan: TimmPlan) -> None:
        super().__init__()
        self.net = create_network(name, dict(plan.arguments))
        remove_modules(self.net, plan.unused)
        self.channels, self.strides = plan.channels, plan.strides
        self.classifier_name = plan.classifier
        self.name, self.plan = name, plan

    def published_module(self) -> nn.Module:
        module: nn.Module = self.net
        return module

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # (N, C_in, H, W)
        height, width = x.shape[2:]
        if self.plan.fixed_size not in (None, (height, width)):
            raise UsageError(
                f"timm's {self.name} takes only images of {self.plan.fixed_size} pixels (height, "
                f"width), not {(height, width)}.",
                hint="Set that size, or choose a model that takes any size.",
            )
        maps = feature_maps(self.net, pad_to_multiple(x, self.plan.pad_to), self.plan)
        if self.plan.pad_to == 1 or not self.plan.indices:
            return maps
        sizes = map_sizes(self.plan, height, width)
        return tuple(map_[:, :, :h, :w] for map_, (h, w) in zip(maps, sizes, strict=True))

    def published_network(self, classes: int) -> PublishedNetwork:
        arguments = published_arguments(self.name, self.plan)
        net = create_network(self.name, arguments, classes=classes)
        return PublishedNetwork(
            f"timm's {self.name}", net, lambda x: net(pad_to_multiple(x, self.plan.pad_to))
        )

    def undecayed_parameters(self) -> list[nn.Parameter]:
        names = self.net.no_weight_decay() if isinstance(self.net, NamesUndecayed) else ()
        return [parameter for name, parameter in self.net.named_parameters() if name in names]

    def stage_modules(self) -> list[list[nn.Module]]:
        names_stages = isinstance(self.net, NamesStages)
        if not names_stages:  # poolformer and its relatives name no stages
            return [[self.net]]
        matcher = self.net.group_matcher(coarse=True)
        stage_of = timm.models.group_parameters(self.net, matcher, reverse=True)
        stages: dict[int, list[nn.Module]] = {}
        for number, module in modules_by_stage(self.net, "", stage_of):
            stages.setdefault(number, []).append(module)
        return [stages[number] for number in sorted(stages)]


def build_timm(name: str, options: TimmOptions, *, in_channels: int) -> TimmBackbone:
    """Build a network of timm with fresh weights, by its name ``timm/<name>``.

    Raises:
        UsageError: timm has no such network, it gives no feature maps, or it does not support an
            option; or less than one input channel.
    """
    if in_channels < 1:
        raise UsageError(f"in_channels is {in_channels}; a network needs at least 1.")
    return TimmBackbone(name=check_name(name), plan=plan_timm(name, options, in_channels))


def check_name(name: str) -> str:
    """timm's name of the network. UsageError with similar names if timm does not have it."""
    bare = name.removeprefix("timm/")
    if timm.is_model(bare):
        return bare
    architecture = bare.partition(".")[0]
    hint = did_you_mean(f"timm/{architecture}", [f"timm/{model}" for model in timm.list_models()])
    raise UsageError(f"timm {timm.__version__} has no network {bare!r}.", hint=hint or None)


@functools.lru_cache(maxsize=64)
def plan_timm(name: str, options: TimmOptions, in_channels: int) -> TimmPlan:
    """The plan of a network, found on the meta device."""
    timm_name = check_name(name)
    arguments: dict[str, Any] = {"in_chans": in_channels}
    if options.stochastic_depth:
        arguments["drop_path_rate"] = options.stochastic_depth
    if options.output_stride != TimmOptions().output_stride:
        arguments["output_stride"] = options.output_stride
    with on_meta():
        net = create_network(timm_name, arguments)
        accepted = inspect.signature(type(net).__init__).parameters
        any_size = {key: value for key, value in _ANY_SIZE.items() if key in accepted}
        if any_size:
            arguments |= any_size
            net = create_network(timm_name, arguments)
    net.eval()
    image = torch.zeros(1, in_channels, *image_size(net), device="meta")
    gives_maps = isinstance(net, GivesIntermediates)
    if not gives_maps and options.last_map != "pooled":
        raise UsageError(f"timm's {timm_name} gives no feature maps, so it cannot be a backbone.")
    try:
        if options.last_map == "pooled":
            return inspect_pooled(timm_name, net, image, arguments)
        return inspect_network(net, image, arguments, last_map=options.last_map)
    except (AttributeError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        # families whose features are not maps (CoaT's are lists, of three branches)
        raise UsageError(
            f"timm's {timm_name} gives no feature maps that skipstone can use: {error}"
        ) from error


def inspect_pooled(name: str, net: Any, image: Tensor, arguments: dict[str, Any]) -> TimmPlan:
    """The plan of the vector that the network's own classifier reads; removes the classifier.

    Raises:
        UsageError: without its final linear layers the network gives something else.
    """
    layers = classifier_layers(net)
    plan = TimmPlan(arguments=tuple(arguments.items()), unused=layers, classifier=layers[0])
    remove_modules(net, plan.unused)
    (vector,) = feature_maps(net, image, plan)
    if vector.ndim != 2:
        raise UsageError(f"timm's {name} gives its classifier more than one vector per image.")
    unused = (*layers, *find_unused_modules(net, (vector,)))
    stride = max(int(row["reduction"]) for row in net.feature_info)
    plan = dataclasses.replace(plan, unused=unused, channels=(vector.shape[1],), strides=(stride,))
    for pad_to in (1, stride):
        with contextlib.suppress(AssertionError, RuntimeError, ValueError):
            feature_maps(net, pad_to_multiple(odd_sided(image), pad_to), plan)
            return dataclasses.replace(plan, pad_to=pad_to)
    return dataclasses.replace(plan, fixed_size=image_size(net))


def classifier_layers(net: Any) -> tuple[str, ...]:
    """Names of the final linear layers; a network that was distilled averages two."""
    names = net.pretrained_cfg.get("classifier") or "head"
    return (names,) if isinstance(names, str) else tuple(names)


def image_size(net: Any) -> tuple[int, int]:
    """(height, width) of the images that the network is published for."""
    height, width = net.pretrained_cfg.get("input_size", (3, 224, 224))[1:]
    return height, width


def odd_sided(image: Tensor) -> Tensor:
    """A larger image on the meta device, with sides that a stride does not divide."""
    *shape, height, width = image.shape
    return torch.zeros(*shape, height + 11, width + 33, device="meta")


def inspect_network(
    net: Any, image: Tensor, arguments: dict[str, Any], *, last_map: LastMap
) -> TimmPlan:
    """Run the network on the meta device to find its plan; removes the unused modules of `net`."""
    height, width = image.shape[2:]
    norm = True
    try:
        last, maps = net.forward_intermediates(image, norm=True)
    except AssertionError:  # "normalization of features not supported"
        norm = False
        last, maps = net.forward_intermediates(image)
    reductions = [int(row["reduction"]) for row in net.feature_info]
    strides = [
        measure_stride(height, map_.shape[2], reduction)
        for map_, reduction in zip(maps, reductions, strict=True)
    ]
    plan = TimmPlan(
        arguments=tuple(arguments.items()),
        indices=tuple(select_maps([map_.shape[1] for map_ in maps], strides)),
        norm=norm,
        uses_final_features=last_map == "features"
        and last.ndim == 4
        and last.shape[2:] == maps[-1].shape[2:],
    )
    unused = tuple(find_unused_modules(net, feature_maps(net, image, plan)))
    remove_modules(net, unused)
    features = feature_maps(net, image, plan)  # also checks that it runs without them
    plan = dataclasses.replace(
        plan,
        unused=unused,
        channels=tuple(int(feature.shape[1]) for feature in features),
        strides=tuple(strides[index] for index in plan.indices),
        classifier=classifier_layers(net)[0],
    )
    exact = map_sizes(plan, height, width) == [tuple(map_.shape[2:]) for map_ in features]
    odd = odd_sided(image)
    for pad_to in (1, max(plan.strides)):
        try:
            sizes = [
                tuple(map_.shape[2:])
                for map_ in feature_maps(net, pad_to_multiple(odd, pad_to), plan)
            ]
        except (AssertionError, RuntimeError, ValueError):
            continue
        if not exact or sizes == map_sizes(plan, *pad_to_multiple(odd, pad_to).shape[2:]):
            return dataclasses.replace(plan, pad_to=pad_to)
    return dataclasses.replace(plan, fixed_size=(height, width))


def published_arguments(name: str, plan: TimmPlan) -> dict[str, Any]:
    """Arguments of timm's constructor without those of skipstone's options, which change outputs."""
    keys = {"in_chans", *_ANY_SIZE}
    return {key: value for key, value in plan.arguments if key in keys}


def map_sizes(plan: TimmPlan, height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of each map by the contract of `Backbone`."""
    return [(math.ceil(height / s), math.ceil(width / s)) for s in plan.strides]


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad with zeros at the right and bottom: (N, C, H, W) -> (N, C, H', W'), multiples of it."""
    height, width = x.shape[2:]
    if height % multiple == 0 and width % multiple == 0:
        return x
    return F.pad(x, (0, -width % multiple, 0, -height % multiple))


def create_network(name: str, arguments: dict[str, Any], classes: int = 1) -> Any:
    """timm's network with fresh weights. UsageError if it does not support an argument."""
    try:
        return timm.create_model(name, pretrained=False, num_classes=classes, **arguments)
    except TypeError as error:
        options = {"drop_path_rate": "stochastic_depth", "output_stride": "output_stride"}
        for argument, option in options.items():
            if argument in arguments and argument in str(error):
                raise UsageError(
                    f"timm's {name} has no option {option}.", hint="Leave it at its default."
                ) from error
        raise
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        # an unknown tag of weights, or an unsupported output stride or number of channels
        raise UsageError(f"timm cannot build {name}: {error}") from error


def feature_maps(net: Any, x: Tensor, plan: TimmPlan) -> tuple[Tensor, ...]:
    """The chosen maps, shallow to deep, each (N, C, H / stride, W / stride); or (N, C)."""
    if not plan.indices:
        return (net(x).flatten(1),)
    selection = {"indices": list(plan.indices), "norm": plan.norm}
    if not plan.uses_final_features:
        return tuple(net.forward_intermediates(x, intermediates_only=True, **selection))
    last, maps = net.forward_intermediates(x, **selection)
    return (*maps[:-1], last)


def measure_stride(pixels: int, map_pixels: int, reduction: int) -> int:
    """timm's `reduction` where it is right, else the measured stride (inception, levit)."""
    if math.ceil(pixels / reduction) == map_pixels:
        return reduction
    return max(1, round(pixels / map_pixels))


def select_maps(channels: list[int], strides: list[int]) -> Iterator[int]:
    """Indices of the maps from stride 2 on whose successor differs in channels or stride."""
    deepest = len(channels) - 1
    shapes = list(zip(channels, strides, strict=True))
    for index, shape in enumerate(shapes):
        if index == deepest or (strides[index] > 1 and shape != shapes[index + 1]):
            yield index


def find_unused_modules(net: nn.Module, features: tuple[Tensor, ...]) -> Iterator[str]:
    """Paths of the topmost modules whose parameters no feature depends on."""
    names, parameters = zip(*net.named_parameters(), strict=True)
    total = torch.stack([feature.sum() for feature in features]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    unused = {name for name, gradient in zip(names, gradients, strict=True) if gradient is None}
    yield from _unused_modules(net, "", unused)


def _unused_modules(module: nn.Module, prefix: str, unused: set[str]) -> Iterator[str]:
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        inside = [f"{path}.{parameter}" for parameter, _ in child.named_parameters()]
        if inside and unused.issuperset(inside):
            yield path
        else:
            yield from _unused_modules(child, f"{path}.", unused)


def remove_modules(net: nn.Module, paths: tuple[str, ...]) -> None:
    for path in paths:
        parent, _, name = path.rpartition(".")
        setattr(net.get_submodule(parent), name, nn.Identity())


def modules_by_stage(
    module: nn.Module, prefix: str, stage_of: dict[str, int]
) -> Iterator[tuple[int, nn.Module]]:
    """The topmost modules that belong to one stage, each with the stage's number.

    A parameter outside of such modules (a transformer's position embedding) gets its own
    `ParameterList`.
    """
    inside = {stage_of[f"{prefix}{name}"] for name, _ in module.named_parameters()}
    if len(inside) == 1:
        yield inside.pop(), module
        return
    for name, parameter in module.named_parameters(recurse=False):
        yield stage_of[f"{prefix}{name}"], nn.ParameterList([parameter])
    for name, child in module.named_children():
        yield from modules_by_stage(child, f"{prefix}{name}.", stage_of)
