"""Builds a network from an `Arch`, and loads its tensors strictly."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.core.errors import DamagedError, UsageError
from skipstone.core.events import emit_note
from skipstone.core.registry import BACKBONES, HEADS
from skipstone.core.specs import BackboneSpec, HeadSpec
from skipstone.inputs.base import FeatureSpec, Input
from skipstone.models.backbone import Backbone
from skipstone.models.edits import apply_edits
from skipstone.models.heads.base import Head
from skipstone.models.meta_device import on_meta
from skipstone.models.network import Network


def keep_stem_in_float32(backbone: nn.Module) -> None:
    """Compute the backbone's first convolution in float32 under any autocast: bfloat16 has 8 bits of
    precision, too few for 16-bit pixels. The convolution's outputs may be rounded.

    Its class changes to a subclass; names and values stay.

    Raises:
        UsageError: the backbone has no convolution.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            cls: Any = type(module)
            module.__class__ = _float32_subclass(cls)
            return
    raise UsageError(
        "images of more than 8 bits need a network whose first layer is a convolution.",
        hint="Choose another --model, or reduce the images: --bits 8",
    )


class _Float32:
    """A mixin for a class of convolutions that disables autocast in its forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        forward: Any = super().forward  # type: ignore[misc]
        device = x.device.type
        if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
            output: Tensor = forward(x)
            return output
        with torch.autocast(device, enabled=False):
            exact: Tensor = forward(x.float())
            return exact


@functools.cache
def _float32_subclass(cls: Any) -> Any:
    return type(f"Float32{cls.__name__}", (_Float32, cls), {})


#: A bundle is refused whose network has, before its edits, more than this factor times the stored
#: numbers, plus an allowance.
_MAX_PRUNING_FACTOR, _ALLOWED_NUMBERS = 100, 1 << 26


def build_network(arch: Arch, input: Input) -> Network:
    """A network with fresh weights, on the CPU.

    Raises:
        UsageError: an unknown name or option, a backbone that does not accept this input's
            features, or an edit of an unknown kind.
    """
    backbone, head = build_backbone_and_head(arch, input.feature_spec())
    network = Network(front=input.preprocessing_module(), backbone=backbone, head=head)
    apply_edits(network, arch.edits)
    return network


def build_backbone_and_head(arch: Arch, emits: FeatureSpec) -> tuple[Backbone, Head]:
    """The parts of a network that do not depend on the fitted input."""
    entry = BACKBONES[arch.backbone.name]
    check_backbone_accepts(entry, arch.backbone.name, emits.kind)
    options = entry.make_options(arch.backbone.args.get("options"))
    backbone: Backbone = entry.load()(
        arch.backbone.name,
        options,
        in_channels=emits.channels,
        **arch.backbone.args.get("shape", {}),
    )

    if emits.requires_float32:
        keep_stem_in_float32(backbone)

    head_entry = HEADS[arch.head.name]
    check_head_needs(head_entry, entry, arch.backbone.name)
    check_regions(head_entry, emits)
    head: Head = head_entry.load()(
        head_entry.make_options(arch.head.args.get("options")),
        channels=tuple(backbone.channels),
        strides=tuple(backbone.strides),
        **arch.head.args.get("shape", {}),
    )
    return backbone, head


def check_tensors_fit(
    arch: Arch, emits: FeatureSpec, tensors: Mapping[str, Any], *, where: str
) -> None:
    """DamagedError unless `tensors` are those of the backbone and the head.

    Those are built on torch's meta device, which gives shapes and allocates nothing. The number
    of modules is limited by the number of tensors, so that a crafted architecture cannot exhaust
    memory.
    """
    max_modules = 1000 + 50 * len(tensors)
    module_count = 0

    def limit_modules(module: nn.Module, name: str, child: nn.Module | None) -> None:
        nonlocal module_count
        module_count += 1
        if module_count > max_modules:
            raise DamagedError(
                f"{where} holds {len(tensors)} tensors, and its network has more layers than that."
            )

    hook = register_module_module_registration_hook(limit_modules)
    try:
        with on_meta():
            backbone, head = build_backbone_and_head(arch, emits)
            network = Network(front=nn.Identity(), backbone=backbone, head=head)
            unpruned = sum(value.numel() for value in network.state_dict().values())
            apply_edits(network, arch.edits)
    finally:
        hook.remove()
    expected = network.state_dict()
    stored = {name: value for name, value in tensors.items() if not name.startswith("front.")}
    _reject_mismatches(_find_mismatches(expected, stored), where)
    numbers = sum(int(np.prod(value.shape)) for value in stored.values())
    if unpruned > _MAX_PRUNING_FACTOR * numbers + _ALLOWED_NUMBERS:
        raise DamagedError(
            f"{where} holds {numbers:,} numbers, and its network {unpruned:,} before "
            f"{len(arch.edits)} edits, which is more than pruning removes."
        )


def takes_images(backbone: nn.Module, channels: int, side: int) -> bool:
    """Whether a backbone on the meta device takes square images of this side."""
    try:
        backbone(torch.zeros(1, channels, side, side, device="meta"))
    except Exception:  # networks raise anything for too small images
        return False
    return True


def reject_small_images(arch: Arch, emits: FeatureSpec, side: int) -> None:
    """UsageError that names the least size if the network takes larger square images only."""
    with on_meta():
        backbone, _ = build_backbone_and_head(arch, emits)
    if takes_images(backbone.eval(), emits.channels, side):
        return
    least = find_least_side(backbone, emits.channels)
    if least is not None and least > side:
        raise UsageError(
            f"{arch.name} takes images of at least {least} x {least} pixels, and these have "
            f"{side} x {side}.",
            hint=f"Choose --size {least} or more, or another --model.",
        )


def find_least_side(backbone: Backbone, channels: int, most: int = 1024) -> int | None:
    """The least side of square images that the backbone takes, found on the meta device; None if it
    is more than `most`."""
    twin = copy.deepcopy(backbone).to("meta").eval()

    def takes(side: int) -> bool:
        return takes_images(twin, channels, side)

    fails, least = 0, 1
    while not takes(least):
        fails, least = least, 2 * least
        if least > most:
            return None
    while least - fails > 1:
        middle = (fails + least) // 2
        fails, least = (fails, middle) if takes(middle) else (middle, least)
    return least


def check_backbone_accepts(entry: BackboneSpec, name: str, *kinds: str) -> None:
    """UsageError unless a backbone accepts one of the `kinds` that the input emits or may emit."""
    accepts = entry.accepts
    if not set(kinds) & set(accepts):
        fitting = [other.name for other in BACKBONES if set(kinds) & set(other.accepts)]
        some = f" such as {', '.join(fitting[:3])}" if fitting else ""
        emitted = " or ".join(kinds)
        raise UsageError(
            f"{name!r} takes {' or '.join(accepts) or 'nothing'}, and this input gives {emitted}.",
            hint=f"Choose a model that takes {emitted}{some}. See: skipstone models",
        )


def check_head_needs(head: HeadSpec, backbone: BackboneSpec, name: str) -> None:
    """UsageError where a head needs something that the backbone `name` does not provide."""
    for need in head.requires:
        if need not in backbone.provides:
            fitting = [e.name for e in BACKBONES if need in e.provides]
            raise UsageError(
                f"the head {head.name!r} needs {need}, which {name!r} does not provide.",
                hint=f"Choose a --model of these: {', '.join(fitting)}" if fitting else None,
            )


def check_regions(head: HeadSpec, emits: FeatureSpec) -> None:
    """UsageError where a head classifies regions and the input finds none, or the other way round."""
    if bool(head.regions) == bool(emits.regions):
        return
    if head.regions:
        raise UsageError(
            f"the head {head.name!r} classifies regions, and this input finds none.",
            hint=f"Leave --regions out, or ask for some: --regions {head.regions}",
        )
    fitting = " or ".join(e.name for e in HEADS if e.regions)
    raise UsageError(
        f"--regions {emits.regions} is for heads that classify them, and {head.name!r} does not.",
        hint=f"Leave it out, or choose --head {fitting}",
    )


def recommend_options(
    backbone: BackboneSpec, name: str, head: HeadSpec, values: Mapping[str, Any]
) -> Any:
    """The backbone's options: `values`, then the options that the head recommends.

    Where the backbone does not support a recommendation (some of timm's cannot dilate), the
    default stays, and a note reports it.
    """
    options_class = backbone.options_type()
    known = () if options_class is None else options_class.__dataclass_fields__
    options = backbone.make_options(values)
    chosen = dict(values)
    for option, value in head.recommended_backbone_options.items():
        if option not in known or option in values or getattr(options, option) == value:
            continue
        recommended = backbone.make_options({**chosen, option: value})
        try:
            with on_meta():
                backbone.load()(name, recommended, in_channels=3)
        except UsageError:
            emit_note(f"{name} cannot change its {option}, which stays {getattr(options, option)}.")
            continue
        options, chosen[option] = recommended, value
    return options


def choose_head(name: str, usual: ComponentConfig) -> ComponentConfig:
    """The head `name` in place of the task's default one; "auto" is the default.

    Raises:
        UsageError: an unknown head, or one whose output does not suit the task.
    """
    if name in ("auto", usual.name):
        return usual
    level = HEADS[usual.name].output_level
    if HEADS[name].output_level != level or level is None:
        fitting = [e.name for e in HEADS if level and e.output_level == level]
        raise UsageError(
            f"the output of the head {name!r} does not suit this task.",
            hint=f"Allowed: {', '.join(fitting or [usual.name])}.",
        )
    return ComponentConfig(name, usual.args)


def export_tensors(network: nn.Module) -> dict[str, np.ndarray]:
    """The state dict as numpy copies, which a bundle stores."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous().numpy()
        for name, tensor in network.state_dict().items()
    }


def load_tensors(network: nn.Module, tensors: Mapping[str, Any], *, where: str) -> None:
    """Load all tensors strictly: the same names, shapes and types, and finite numbers.

    Args:
        tensors: numpy arrays or tensors by state-dict name.
        where: their file, for messages.

    Raises:
        DamagedError: a tensor is missing, unexpected, of another shape or type, or not finite.
    """
    state = {name: torch.as_tensor(np.array(value)) for name, value in tensors.items()}
    problems = _find_mismatches(network.state_dict(), state)
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            problems.append(f"{name} holds numbers that are not finite")
    _reject_mismatches(problems, where)
    network.load_state_dict(state, strict=True)


def _find_mismatches(expected: Mapping[str, torch.Tensor], actual: Mapping[str, Any]) -> list[str]:
    """One sentence for each tensor that is missing, unexpected, or of another shape or type."""
    problems = [f"{name} is missing" for name in expected if name not in actual]
    problems += [f"{name} is unknown" for name in actual if name not in expected]
    for name, value in actual.items():
        if name in expected:
            spec, expected_spec = _format_spec(value), _format_spec(expected[name])
            if spec != expected_spec:
                problems.append(f"{name} is {spec}, not {expected_spec}")
    return problems


def _reject_mismatches(problems: list[str], where: str) -> None:
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise DamagedError(f"{where} does not fit its network: {'; '.join(problems[:3])}{more}.")


def _format_spec(value: Any) -> str:
    """Type and shape of a tensor or an array."""
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
