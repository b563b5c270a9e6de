"""Where an encoder of transformers comes from: a folder as `save_pretrained` writes it.

    config.json         what shapes the network
    tokenizer.json      how texts are cut, as the library tokenizers reads it
    model.safetensors   the weights; or several files and model.safetensors.index.json

A name that is no folder is fetched once from the Hugging Face hub. Nothing but these files is read:
pickled weights and code that comes with a model are never opened. Free of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skipstone import events
from skipstone.errors import DataError, MissingExtra, SkipstoneError, UsageError
from skipstone.models.choice import Choice
from skipstone.models.hf_options import FAMILIES, longest, structure
from skipstone.strict_json import parse_json

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
#: More tokens than this are slow on a laptop; --max-length says otherwise.
_USUAL_LENGTH = 512
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def resolve(name: str, weights: str) -> Choice:
    """What ``hf/<folder or hub name>`` means: a family, its structure, tokenizer and weights.

    Args:
        weights: "auto" and "pretrained" are the folder's own; "none" starts from scratch with its
            structure and tokenizer; or a file.

    Raises:
        UsageError: nothing is there, or a file is missing, or it is of a family that is not known.
        MissingExtra: transformers is not installed.
    """
    require_transformers(name)
    folder = folder_of(name.removeprefix("hf/"), weights)
    family, config = read_config(folder)
    if not (folder / TOKENIZER).is_file():
        raise UsageError(
            f"{folder} has no {TOKENIZER}, which is what texts are cut with.",
            hint="Write it beside the model, where transformers is installed: "
            f'AutoTokenizer.from_pretrained("{folder}").save_pretrained("{folder}")',
        )
    own = weights in ("auto", "pretrained")
    if own:
        weight_files(folder)
    places = longest(family, config)
    most = min(places, _USUAL_LENGTH)
    start = "with its own weights" if own else f"with weights {weights}"
    return Choice(
        model=f"hf/{family}",
        weights=str(folder) if own else weights,
        input={
            "form": "tokens",
            "tokenizer": str(folder / TOKENIZER),
            "max_length": most,
        },
        shape={"config": config},
        most={"max_length": places},
        reason=f"{name} as asked for: {family} {start}; of each text it reads up to {most} tokens",
    )


def require_transformers(name: str) -> None:
    """MissingExtra where the library is not installed."""
    import importlib.util

    if importlib.util.find_spec("transformers") is None:
        raise MissingExtra(
            f"{name} needs the package transformers.", hint="pip install 'skipstone[hf]'"
        )


def folder_of(given: str, weights: str = "auto") -> Path:
    """The folder with the model's files: `given` itself, or fetched from the hub by that name."""
    folder = Path(given).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UsageError(
            f"{folder} is a file; hf/ takes the folder of a model.",
            hint=f"Such as --model hf/{folder.parent}",
        )
    if given.startswith((".", "/", "~")) or given.count("/") > 1:
        raise UsageError(
            f"there is no folder {folder}.",
            hint="hf/ takes the folder of a model, or a name on the Hugging Face hub.",
        )
    tensors = [] if weights == "none" else ["*.safetensors", INDEX]
    return _fetched(given, [CONFIG, TOKENIZER, *tensors])


def _fetched(name: str, patterns: list[str]) -> Path:
    """A snapshot of the hub's model, from its cache where it was fetched before."""
    from huggingface_hub import snapshot_download

    try:
        with events.stage(f"fetching {name} from the Hugging Face hub"):
            return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises its own trees of errors
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"there is no folder {name}, and the hub's model of that name could not be fetched "
            f"({reason}).",
            hint=f"It needs the network once. Or where there is one: hf download {name} "
            "--local-dir FOLDER, then here: --model hf/FOLDER",
        ) from error


def read_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """The family (transformers' `model_type`) and what of its config shapes the network."""
    file = folder / CONFIG
    if not file.is_file():
        raise UsageError(
            f"{folder} has no {CONFIG}, so it is no model of transformers.",
            hint="hf/ takes a folder as `save_pretrained` writes it.",
        )
    try:
        config = parse_json(file.read_bytes(), file)
    except SkipstoneError as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    family = config.get("model_type") if isinstance(config, dict) else None
    if family not in FAMILIES:
        raise UsageError(
            f"{folder} is a model of the family {family!r}.",
            hint=f"Allowed: {', '.join(FAMILIES)}.",
        )
    assert isinstance(family, str)
    return family, structure(config)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder.

    Raises:
        UsageError: there are none; where there are pickled ones, how to convert them.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        index = parse_json((folder / INDEX).read_bytes(), folder / INDEX)
        placed: Mapping[str, Any] = index.get("weight_map", {}) if isinstance(index, dict) else {}
        names = sorted({str(name) for name in placed.values()})
        files = [folder / name for name in names if Path(name).name == name]
        if files and len(files) == len(names) and all(file.is_file() for file in files):
            return files
        raise UsageError(f"{folder / INDEX} names files that are not beside it.")
    pickled = next((name for name in _PICKLED if (folder / name).is_file()), None)
    if pickled is None:
        raise UsageError(
            f"{folder} has no {WEIGHTS}.", hint="Or --weights none, to start from scratch."
        )
    raise UsageError(
        f"{folder} has its weights as {pickled}, a pickle, which may run code when it is opened, "
        "so it is not.",
        hint="Where you trust it, convert it: "
        f'AutoModel.from_pretrained("{folder}").save_pretrained("{folder}") writes {WEIGHTS}.',
    )


def is_model(folder: Path) -> bool:
    """Whether a folder looks like one of transformers."""
    return (folder / CONFIG).is_file()
