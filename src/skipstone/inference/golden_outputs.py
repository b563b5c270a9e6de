"""Goldens: generated files in a bundle, and the network's outputs for them.

    golden/<number>-<name>       the files, as raw bytes
    golden/golden.json           digests of the decoded arrays, of the class list, the options and
                                 the post-processing; predictions as a user sees them; versions
    golden/golden.safetensors    the network's outputs in float32
    golden/<program>.safetensors a program's own outputs (`reference_outputs`)

The digests are needed because a few images may not show that preprocessing changed, and because
outputs do not show the order of class names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.bundle.files import (
    BUNDLE_JSON,
    add_files,
    read_bundle_json,
    read_file,
    read_listed_json,
)
from skipstone.bundle.format import WEIGHTS_FILE, Bundle, read_arrays
from skipstone.core.errors import DamagedError, UsageError
from skipstone.data.sources import Inline
from skipstone.inference.predictor import Predictor, RawOutputs, Runtime
from skipstone.inference.reference_outputs import SampledOutputs, max_relative_error, sample_outputs
from skipstone.inference.restore import restore_input, restore_network, restore_task
from skipstone.inputs.base import Input
from skipstone.tasks.base import Difference, Prediction

GOLDEN_COUNT = 16
GOLDEN_JSON = "golden/golden.json"
GOLDEN_OUTPUTS = "golden/golden.safetensors"
#: Parts of bundle.json that decide what an output means; the goldens hold a digest of each.
MEANING_KEYS = ("arch", "input", "task", "post")


@dataclass(frozen=True)
class Goldens:
    """The goldens of one bundle, read back.

    Args:
        bundle: the one they belong to.
        sources: the files' bytes.
        outputs: the network's, in float32, by name.
        record: golden.json.
    """

    bundle: Bundle
    sources: list[Inline]
    outputs: dict[str, np.ndarray]
    record: Mapping[str, Any]

    @staticmethod
    def load(folder: Path) -> Goldens:
        """Read them and check their hashes. UsageError if the bundle has none."""
        record = read_bundle_json(folder)
        if GOLDEN_JSON not in record["files"]:
            raise UsageError(
                f"{folder} has no goldens: the outputs to compare with are missing.",
                hint="It was not written by `skipstone train`; store them with store_goldens().",
            )
        golden = read_listed_json(folder, GOLDEN_JSON, record)
        if not _is_golden(golden):
            raise DamagedError(f"{folder / GOLDEN_JSON} is not what skipstone writes.")
        sources = [
            Inline(read_file(folder, row["file"], record), name=row["file"])
            for row in golden["files"]
        ]
        outputs = read_arrays(folder, GOLDEN_OUTPUTS, record)
        for name, value in outputs.items():
            if value.shape[:1] != (len(sources),) or not np.isfinite(value).all():
                raise DamagedError(
                    f"{folder / GOLDEN_OUTPUTS}: {name} does not hold finite outputs for "
                    f"{len(sources)} goldens."
                )
        return Goldens(Bundle.load(folder), sources, outputs, golden)

    def make_predictor(self, runtime: Runtime) -> Predictor:
        return Predictor(
            restore_input(self.bundle), runtime, restore_task(self.bundle), dict(self.bundle.post)
        )


def _is_golden(golden: Any) -> bool:
    """Whether golden.json holds what `store_goldens` writes."""
    if not isinstance(golden, dict) or not isinstance(golden.get("weights"), str):
        return False
    rows, predictions = golden.get("files"), golden.get("predictions")
    return (
        isinstance(rows, list)
        and len(rows) > 0
        and all(isinstance(row, dict) and isinstance(row.get("file"), str) for row in rows)
        and all(isinstance(row.get("arrays"), str) for row in rows)
        and isinstance(predictions, list)
        and len(predictions) == len(rows)
        and all(isinstance(row, dict) for row in predictions)
        and all(isinstance(golden.get(name), dict) for name in ("meaning", "versions"))
    )


def store_goldens(folder: Path | str, count: int = GOLDEN_COUNT) -> None:
    """Generate goldens and store the network's float32 outputs (on the CPU) in the bundle."""
    from safetensors.numpy import save

    from skipstone.inference.backends.torch_backend import TorchRuntime

    folder = Path(folder)
    bundle = Bundle.load(folder)
    input = restore_input(bundle)
    runtime = TorchRuntime(restore_network(bundle))
    predictor = Predictor(input, runtime, restore_task(bundle), dict(bundle.post))
    files = {
        f"golden/{at:02d}-{name}": data
        for at, (name, data) in enumerate(input.make_golden_files(count))
    }
    sources = [Inline(data, name=name) for name, data in files.items()]
    answers = predict_goldens(predictor, sources, batch_size=count)
    rows = [{"file": source.name, "arrays": input_digest(input, source)} for source in sources]
    record = read_bundle_json(folder)
    golden = {
        "files": rows,
        "weights": record["files"][WEIGHTS_FILE]["sha256"],
        "meaning": meaning_digests(record),
        "predictions": prediction_fields(predictor, answers),
        "versions": runtime_versions(),
    }
    text = json.dumps(golden, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    outputs = save({name: np.ascontiguousarray(value) for name, value in answers.outputs.items()})
    add_files(folder, {**files, GOLDEN_OUTPUTS: outputs, GOLDEN_JSON: text.encode()})


def compare_outputs(
    goldens: Goldens, runtime: Runtime, reference_outputs: SampledOutputs | None = None
) -> tuple[dict[str, Any], RawOutputs, SampledOutputs]:
    """Differences between a runtime's outputs and the stored ones, one by one and as one batch.

    Both, because a program may be compiled separately for batch 1. Returns (1) probability,
    relative, flips, near_ties (the worse of the two) and n, and for per-pixel predictions share and
    typical (see `Difference`); (2) the outputs of the one batch; (3) a sample of both outputs, to
    be stored as the program's reference_outputs.

    Args:
        reference_outputs: the program's reference_outputs outputs, stored when it was made; the difference from them is
            returned as "own".
    """
    predictor = goldens.make_predictor(runtime)
    differences: list[Difference] = []
    sampled: SampledOutputs = {}
    for way, batch_size in (("one by one", 1), ("at once", len(goldens.sources))):
        answers = predict_goldens(predictor, goldens.sources, batch_size=batch_size)
        if missing := set(goldens.outputs) ^ set(answers.outputs):
            raise DamagedError(f"{runtime.name} has other outputs: {', '.join(sorted(missing))}.")
        for name, stored in goldens.outputs.items():
            if answers.outputs[name].shape != stored.shape:
                raise DamagedError(
                    f"{runtime.name} gives {name} as {answers.outputs[name].shape}, not "
                    f"{stored.shape}."
                )
        differences.append(
            predictor.task.compare_outputs(goldens.outputs, answers.outputs, goldens.bundle.post)
        )
        sampled |= {
            f"{way}/{name}": value for name, value in sample_outputs(answers.outputs).items()
        }
    measured = {
        "probability": max(float(item.max_probability) for item in differences),
        "relative": max(float(item.max_relative) for item in differences),
        "flips": max(int(item.flips) for item in differences),
        "near_ties": max(int(item.near_ties) for item in differences),
        "n": len(goldens.sources),
    }
    if reference_outputs is not None:
        measured["own"] = max_relative_error(reference_outputs, sampled)
    shares = [float(item.share) for item in differences if item.share is not None]
    typical = [float(item.typical) for item in differences if item.typical is not None]
    measured |= {"share": max(shares)} if shares else {}
    measured |= {"typical": max(typical)} if typical else {}
    return measured, answers, sampled


def predict_goldens(
    predictor: Predictor, sources: Sequence[Inline], *, batch_size: int
) -> RawOutputs:
    """Outputs for every golden. DamagedError if one cannot be decoded."""
    answers = predictor.compute_outputs(sources, batch_size=batch_size)
    for failure in answers.failures:
        raise DamagedError(f"{failure.name} cannot be decoded: {failure.error}")
    return answers


def prediction_fields(predictor: Predictor, answers: RawOutputs) -> list[dict[str, Any]]:
    """Predictions as users see them, as JSON."""
    predictions: list[Prediction] = predictor.decode(answers.outputs, answers.metas)
    return [dict(json.loads(json.dumps(dict(item.fields)))) for item in predictions]


def input_digest(input: Input, source: Inline) -> str:
    """SHA-256 of the arrays that the network gets for one source."""
    arrays = input.encode(input.decode(source))
    sha256 = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        sha256.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        sha256.update(value.tobytes())
    return sha256.hexdigest()


def meaning_digests(record: Mapping[str, Any]) -> dict[str, str]:
    """A digest of each part of `bundle.json` that decides what an output means."""
    digests = {}
    for name in MEANING_KEYS:
        if name not in record:
            raise DamagedError(f"{BUNDLE_JSON} has no {name!r}.")
        text = json.dumps(record[name], sort_keys=True, ensure_ascii=False)
        digests[name] = hashlib.sha256(text.encode()).hexdigest()
    return digests


def runtime_versions() -> dict[str, str]:
    """Versions of the packages that decode and compute; a change may explain a difference."""
    import PIL
    import torch

    return {"pillow": PIL.__version__, "numpy": np.__version__, "torch": torch.__version__}
