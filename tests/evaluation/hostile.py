"""Bundles as an attacker would write them: every hash and seal is computed anew.

`judge` says what skipstone makes of one; the rest writes them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skipstone.bundle.files import compute_seal, describe_file
from skipstone.core.errors import SkipstoneError
from skipstone.evaluation.parity import run_checks
from skipstone.inference.open_model import open_model

RECORD, GOLDEN, EXPORTS = "bundle.json", "golden/golden.json", "exports/exports.json"
WEIGHTS, ONNX = "weights.safetensors", "exports/onnx/model.onnx"
XML, BIN = "exports/openvino/model.xml", "exports/openvino/model.bin"

HUGE = 1 << 40
PICKLE = (
    b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."
)


# --- what skipstone makes of it -----------------------------------------------------------------


Known = tuple[list[bytes], list[dict[str, Any]]]  # goldens and the answers to them


def known(source: Path) -> Known:
    """What a valid bundle answers to its goldens."""
    golden = json.loads((source / GOLDEN).read_text())
    return [(source / row["file"]).read_bytes() for row in golden["files"]], golden["predictions"]


def judge(folder: Path, known: Known) -> str:
    """ "refused: why" or "answers". Whatever is neither (another error, other answers that nobody
    noticed) is an AssertionError or the error itself.

    Args:
        known: of the bundle that this one was made from.
    """
    said, answers = [], []
    files, expected = known
    try:
        predictor = open_model(folder, "torch")
        answers = [dict(answer.fields) for answer in predictor.predict(files)]  # type: ignore[union-attr]
    except SkipstoneError as error:
        said.append(str(error))
    try:
        rows = list(run_checks(folder))
    except SkipstoneError as error:
        return f"refused: {error}"
    said += [f"{row['name']}: {row['problem']}" for row in rows if not row["ok"]]
    if said:
        return f"refused: {' '.join(said)}"
    assert alike(answers, expected), "verified, though the goldens are answered otherwise"
    return "answers"


def alike(found: Any, expected: Any) -> bool:
    """Equal, numbers within what runtimes differ by."""
    if isinstance(expected, float):
        return isinstance(found, int | float) and abs(found - expected) <= 1e-4
    if isinstance(expected, dict):
        return expected.keys() == found.keys() and all(alike(found[k], expected[k]) for k in found)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(alike, found, expected))
    return bool(found == expected)


# --- writing as an attacker does ----------------------------------------------------------------


def put(folder: Path, name: str, data: bytes) -> None:
    """Write a file and make the list, the goldens and the programs fit it again."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    if name == WEIGHTS:
        weights = describe_file(data)["sha256"]
        _rewrite(folder, GOLDEN, lambda golden: golden.update(weights=weights))
        if (folder / EXPORTS).is_file():
            _rewrite(
                folder,
                EXPORTS,
                lambda rows: [row.update(weights=weights) for row in rows["programs"]],
            )
    relist(folder, name)


def _rewrite(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    relist(folder, name)


def relist(folder: Path, name: str) -> None:
    row = describe_file((folder / name).read_bytes())
    change_record(folder, lambda record: record["files"].update({name: row}))


def change_record(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change bundle.json, and its seal; and the goldens' digests of what it means."""
    record = json.loads((folder / RECORD).read_text())
    change(record)
    write_record(folder, record)


def write_record(folder: Path, record: Any) -> None:
    with contextlib.suppress(TypeError, ValueError, RecursionError):  # some cannot be sealed
        record["seal"] = compute_seal(record)
    (folder / RECORD).write_text(json.dumps(record))


def splice(folder: Path, name: str, text: str) -> None:
    """Put raw text in place of the first number in a JSON file: what no JSON library writes."""
    content = (folder / name).read_text()
    at = next(i for i, char in enumerate(content) if char.isdigit() and content[i - 1] in " :")
    end = next(i for i in range(at, len(content)) if content[i] in ",\n}] ")
    changed = (content[:at] + text + content[end:]).encode("utf-8", "surrogatepass")
    if name == RECORD:
        (folder / name).write_bytes(changed)
    else:
        put(folder, name, changed)


def tensors_of(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Header and data of the weights."""
    data = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def put_tensors(folder: Path, header: Any, data: bytes, length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    put(folder, WEIGHTS, struct.pack("<Q", len(text) if length is None else length) + text + data)


def change_onnx(folder: Path, change: Callable[[Any], Any]) -> None:
    import onnx

    model = onnx.load_model_from_string((folder / ONNX).read_bytes())
    change(model)
    put(folder, ONNX, model.SerializeToString())


def change_text(folder: Path, name: str, old: str, new: str, times: int = 1) -> None:
    text = (folder / name).read_text()
    assert old in text, f"{name} has no {old!r}"
    put(folder, name, text.replace(old, new, times).encode())


def outside(tensor: Any, canary: Path) -> None:
    """Let an ONNX tensor lie in the canary's file."""
    from onnx import TensorProto

    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", str(canary / "secret.bin")), ("offset", "0"), ("length", "64")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def bomb(xml: str, canary: Path) -> str:
    """A billion laughs, and the canary's file by address."""
    laughs = '<!ENTITY a "haha">' + "".join(
        f'<!ENTITY {after} "{f"&{before};" * 10}">'
        for before, after in itertools.pairwise("abcdefghi")
    )
    secret = f'<!ENTITY secret SYSTEM "file://{canary}/secret.bin">'
    body = xml.partition("?>")[2].replace('name="', 'name="&i;', 1)
    return f'<?xml version="1.0"?><!DOCTYPE net [{laughs}{secret}]>{body}'


def write_canary(folder: Path) -> Path:
    folder.mkdir()
    (folder / "secret.bin").write_bytes(b"\x3f" * 4096)
    return folder
