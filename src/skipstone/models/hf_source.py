"""Files of a transformers encoder: a folder as `save_pretrained` writes it. Free of torch.

    config.json         the structure of the network
    tokenizer.json      the tokenizer, in the format of the library tokenizers
    model.safetensors   the weights; or several files and model.safetensors.index.json

A name that is not a folder is downloaded once from the Hugging Face hub. Only these files are
read: pickled weights and code that comes with a model are never opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skipstone.core import events
from skipstone.core.disk import read_regular
from skipstone.core.errors import DataError, MissingExtra, SkipstoneError, UsageError
from skipstone.core.specs import ModelChoice
from skipstone.core.strict_json import parse_json

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
#: Default limit of tokens per text, because more are slow on a laptop.
_DEFAULT_LENGTH = 512
#: Supported families, and the positions that their position tables reserve for padding.
FAMILIES: Mapping[str, int] = {
    "albert": 0,
    "bert": 0,
    "camembert": 2,
    "distilbert": 0,
    "electra": 0,
    "roberta": 2,
    "xlm-roberta": 2,
}
#: Keys of a config that do not shape the network; some would make transformers download code.
_NOT_STRUCTURE = {
    "architectures",
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "dtype",
    "experts_implementation",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "label2id",
    "model_type",
    "name_or_path",
    "problem_type",
    "quantization_config",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
}
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def resolve_encoder(name: str, weights: str) -> ModelChoice:
    """Resolve ``hf/<folder or hub name>`` to a family, its structure, tokenizer and weights.

    Args:
        weights: "auto" and "pretrained" are the folder's weights; "none" trains from scratch with
            its structure and tokenizer; or a file.

    Raises:
        UsageError: the folder or one of its files does not exist, or the family is unknown.
        MissingExtra: transformers is not installed.
    """
    require_transformers(name)
    folder = find_model_folder(name.removeprefix("hf/"), weights)
    family, config = read_config(folder)
    if not (folder / TOKENIZER).is_file():
        raise UsageError(
            f"{folder} has no {TOKENIZER}.",
            hint="Write it into that folder, where transformers is installed: "
            f'AutoTokenizer.from_pretrained("{folder}").save_pretrained("{folder}")',
        )
    is_pretrained = weights in ("auto", "pretrained")
    if is_pretrained:
        list_weight_files(folder)
    limit = max_tokens(family, config)
    max_length = min(limit, _DEFAULT_LENGTH)
    start = "with its pretrained weights" if is_pretrained else f"with weights {weights}"
    return ModelChoice(
        model=f"hf/{family}",
        weights=str(folder) if is_pretrained else weights,
        input={
            "text_features": "tokens",
            "tokenizer": str(folder / TOKENIZER),
            "max_length": max_length,
        },
        shape={"config": config},
        input_limits={"max_length": limit},
        reason=f"{name} as requested: {family} {start}, which reads up to {max_length} tokens "
        "per text",
    )


def require_transformers(name: str) -> None:
    """MissingExtra where the library is not installed."""
    import importlib.util

    if importlib.util.find_spec("transformers") is None:
        raise MissingExtra(
            f"{name} needs the package transformers.",
            hint="In skipstone's source folder: pip install '.[hf]'",
        )


def find_model_folder(name: str, weights: str = "auto") -> Path:
    """The folder with the model's files: the path `name`, or a download from the hub."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UsageError(
            f"{folder} is a file; hf/ takes the folder of a model.",
            hint=f"Such as --model hf/{folder.parent}",
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UsageError(
            f"the folder {folder} does not exist.",
            hint="hf/ takes the folder of a model, or a name on the Hugging Face hub.",
        )
    tensors = [] if weights == "none" else ["*.safetensors", INDEX]
    return _download(name, [CONFIG, TOKENIZER, *tensors])


def _download(name: str, patterns: list[str]) -> Path:
    """A snapshot of the hub's model, from the local cache where it exists."""
    from huggingface_hub import snapshot_download

    try:
        with events.progress_stage(f"downloading {name} from the Hugging Face hub"):
            return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises its own trees of errors
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"{name} is not a folder, and the hub's model of that name could not be downloaded "
            f"({reason}).",
            hint="The download needs the internet once. Or on a machine that is online: "
            f"hf download {name} --local-dir FOLDER, then here: --model hf/FOLDER",
        ) from error


def read_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """The family (transformers' `model_type`) and the config's keys that shape the network."""
    file = folder / CONFIG
    if not file.is_file():
        raise UsageError(
            f"{folder} has no {CONFIG}, so it is not a model of transformers.",
            hint="hf/ takes a folder as `save_pretrained` writes it.",
        )
    try:
        config = parse_json(read_regular(file), file)
    except SkipstoneError as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    family = config.get("model_type") if isinstance(config, dict) else None
    if family not in FAMILIES:
        raise UsageError(
            f"{folder} is a model of the unsupported family {family!r}.",
            hint=f"Allowed: {', '.join(FAMILIES)}.",
        )
    assert isinstance(family, str)
    return family, select_structure(config)


def list_weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder.

    Raises:
        UsageError: a file is missing; the hint says how to convert pickled weights.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        index = parse_json(read_regular(folder / INDEX), folder / INDEX)
        file_of: Mapping[str, Any] = index.get("weight_map", {}) if isinstance(index, dict) else {}
        names = sorted({str(name) for name in file_of.values()})
        files = [folder / name for name in names if Path(name).name == name]
        if files and len(files) == len(names) and all(file.is_file() for file in files):
            return files
        raise UsageError(f"{folder / INDEX} names files that the folder does not have.")
    pickled = next((name for name in _PICKLED if (folder / name).is_file()), None)
    if pickled is None:
        raise UsageError(
            f"{folder} has no {WEIGHTS}.", hint="To train from scratch: --weights none"
        )
    raise UsageError(
        f"{folder} has its weights in {pickled}, a pickle, which skipstone does not open because "
        "it may run code.",
        hint="If you trust it, convert it: "
        f'AutoModel.from_pretrained("{folder}").save_pretrained("{folder}") writes {WEIGHTS}.',
    )


def is_transformers_folder(folder: Path) -> bool:
    """Whether a folder has a transformers config."""
    return (folder / CONFIG).is_file()


def select_structure(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a config.json that shape the network."""
    return {
        name: value
        for name, value in config.items()
        if name not in _NOT_STRUCTURE and not name.startswith("_")
    }


def max_tokens(family: str, config: Mapping[str, Any]) -> int:
    """The most tokens that the position table allows, special tokens included."""
    return int(config.get("max_position_embeddings", 512)) - FAMILIES[family]
