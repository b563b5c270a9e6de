"""Hostile bundles by seed: what `make proof` judges a thousand of.

python -m tests.evaluation.mutants BARE EXPORTED FIRST COUNT      one line of JSON a seed
"""

from __future__ import annotations

import copy
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.evaluation.hostile import (
    BIN,
    EXPORTS,
    GOLDEN,
    HUGE,
    ONNX,
    PICKLE,
    RECORD,
    XML,
    bomb,
    change_onnx,
    change_record,
    change_text,
    judge,
    known,
    outside,
    put,
    put_tensors,
    splice,
    tensors_of,
    write_canary,
    write_record,
)
from tests.evaluation.watch import watching

Rng = np.random.Generator

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, HUGE, -HUGE, (1 << 63) - 1, 1e308, -0.5, 0.5, 1e-300,
    "", "x", "../../etc/passwd", "/etc/passwd", "os:system", "timm/resnet18", "timm/hf-hub:a/b",
    "hf-hub:evil/model", "resnet152", "linear", "\u0000", "\ud7ff", "a" * 5000, "openvino-f32",
    [], {}, [0], [HUGE], [None], [[[[[]]]]], {"name": "x"}, {"": 0}, ["a"] * 1000, [1e308] * 3,
)  # fmt: skip
RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, '"\\ud800"', "[" * 5000,
    "[" * 200 + "]" * 200,
    '{"a":1,"a":2}', "\ud800", "0x10", "'x'", "1 // x", "\x00",
)  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += _places(inner, (*path, key))
    return found


def _any_json(rng: Rng, content: Any, skip: tuple[str, ...] = ()) -> str:
    """Change one place of a JSON value: another value, gone, doubled, or two elements swapped."""
    places = [place for place in _places(content) if place[0] not in skip]
    path = places[rng.integers(len(places))]
    owner = content
    for key in path[:-1]:
        owner = owner[key]
    key, kind = path[-1], rng.integers(5)
    if kind == 0:
        del owner[key]
        return f"without {path}"
    if kind == 1 and isinstance(owner, list) and len(owner) > 1:
        other = int(rng.integers(len(owner)))
        owner[key], owner[other] = owner[other], owner[key]
        return f"swapped {path} and {other}"
    if kind == 2 and type(owner[key]) in (int, float):
        owner[key] = owner[key] * float(rng.choice([-1, 0, 0.5, 1e6, 1e30]))
        return f"{path} scaled to {owner[key]}"
    if kind == 3:
        other_path = places[rng.integers(len(places))]
        source = content
        for step in other_path:
            source = source[step] if isinstance(source, dict | list) else source
        owner[key] = copy.deepcopy(source)
        return f"{path} from {other_path}"
    owner[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    return f"{path} is {owner[key]!r:.60}"


def _record(rng: Rng, folder: Path, canary: Path) -> str:
    record = json.loads((folder / RECORD).read_text())
    said = "; ".join(_any_json(rng, record, ("seal", "files")) for _ in range(rng.integers(1, 3)))
    write_record(folder, record)
    return said


def _list(rng: Rng, folder: Path, canary: Path) -> str:
    record = json.loads((folder / RECORD).read_text())
    if rng.random() < 0.5:
        said = _any_json(rng, record["files"])
    else:
        names = (
            "../x",
            str(canary / "secret.bin"),
            "..",
            "a/../../x",
            "golden/../../x",
            "",
            "a\0b",
        )
        name, old = str(rng.choice(names)), str(rng.choice(list(record["files"])))
        record["files"][name] = record["files"].pop(old)
        said = f"{old} called {name!r}"
    write_record(folder, record)
    return "files: " + said


def _raw(rng: Rng, folder: Path, canary: Path) -> str:
    name = str(rng.choice([n for n in (RECORD, GOLDEN, EXPORTS) if (folder / n).is_file()]))
    text = RAW[rng.integers(len(RAW))]
    splice(folder, name, text)
    return f"{name} with {text[:20]!r}"


def _golden(rng: Rng, folder: Path, canary: Path) -> str:
    name = GOLDEN if rng.random() < 0.5 or not (folder / EXPORTS).is_file() else EXPORTS
    content = json.loads((folder / name).read_text())
    said = _any_json(rng, content)
    put(folder, name, json.dumps(content).encode())
    return f"{name}: {said}"


def _odd_file(rng: Rng, folder: Path, canary: Path) -> str:
    names = list(json.loads((folder / RECORD).read_text())["files"])
    name = str(rng.choice(names))
    path, kind = folder / name, int(rng.integers(6))
    data = path.read_bytes()
    path.unlink()
    if kind == 0:
        path.symlink_to(canary / "secret.bin")
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.mkdir()
    elif kind == 3:
        put(folder, name, PICKLE)
    elif kind == 4:
        put(folder, name, data[: int(rng.integers(len(data)))])
    else:
        with path.open("wb") as file:
            file.truncate(HUGE)
        row = {"bytes": HUGE, "sha256": "0" * 64}
        change_record(folder, lambda record: record["files"].update({name: row}))
    return f"{name} is {('a link', 'a pipe', 'a folder', 'a pickle', 'cut', 'sparse')[kind]}"


def _weights(rng: Rng, folder: Path, canary: Path) -> str:
    header, data = tensors_of(folder)
    names = [name for name in header if name != "__metadata__"]
    name, kind = str(rng.choice(names)), int(rng.integers(9))
    row = header[name]
    if kind == 0:
        row["shape"] = [[HUGE], [HUGE, HUGE], [0, 1 << 62], [-1], [1] * 70, [1 << 63]][
            rng.integers(6)
        ]
    elif kind == 1:
        row["dtype"] = str(rng.choice(["F64", "I64", "BF16", "F8_E4M3", "BOOL", "F4", "", "O"]))
    elif kind == 2:
        row["data_offsets"] = [[0, HUGE], [5, 2], [-4, 0], [1 << 62, 1 << 63]][rng.integers(4)]
    elif kind == 3:
        header[f"{name}.more"] = header.pop(name)
    elif kind == 4:
        header[name], header[names[0]] = header[names[0]], header[name]
    elif kind == 5:
        at = 4 * int(rng.integers(len(data) // 4))
        odd = float(rng.choice([np.nan, np.inf, 3e38, -1e30, 1e10]))
        data = data[:at] + np.float32(odd).tobytes() + data[at + 4 :]
    elif kind == 6:
        put_tensors(folder, header, data, int(rng.choice([1 << 62, len(data), 0, (1 << 32) - 1])))
        return "a header of another length"
    elif kind == 7:
        text = json.dumps(header)[:-1] + ',"x":' + "[" * 100_000
        put_tensors(folder, text.encode(), data)
        return "a deep header"
    else:
        at = int(rng.integers(len(data)))
        data = data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
    put_tensors(folder, header, data)
    return f"weights: {name} of kind {kind}"


def _onnx(rng: Rng, folder: Path, canary: Path) -> str:
    kind = int(rng.integers(8))
    if kind == 0:
        return _flip(rng, folder, ONNX)

    def change(model: Any) -> None:
        graph = model.graph
        tensor = graph.initializer[int(rng.integers(len(graph.initializer)))]
        node = graph.node[int(rng.integers(len(graph.node)))]
        if kind == 1:
            outside(tensor, canary)
        elif kind == 2:
            tensor.dims[:] = (
                [HUGE] if rng.random() < 0.5 else [int(v) for v in rng.integers(0, 99, 3)]
            )
        elif kind == 3:
            node.op_type = str(rng.choice(["Loop", "Scan", "If", "EPContext", "Relu", "Nothing"]))
        elif kind == 4:
            node.domain = str(rng.choice(["com.microsoft", "evil", "ai.onnx.ml"]))
        elif kind == 5:
            graph.output[0].name = "other"
        elif kind == 6:
            del graph.node[int(rng.integers(len(graph.node)))]
        elif node.input:
            node.input[0] = graph.node[-1].output[0]

    change_onnx(folder, change)
    return f"ONNX of kind {kind}"


def _openvino(rng: Rng, folder: Path, canary: Path) -> str:
    kind = int(rng.integers(6))
    if kind == 0:
        return _flip(rng, folder, XML if rng.random() < 0.7 else BIN)
    text = (folder / XML).read_text()
    if kind == 1:
        put(folder, XML, bomb(text, canary).encode())
    elif kind == 2:
        change_text(
            folder, XML, 'offset="', f'offset="{rng.integers(1, 99)}', int(rng.integers(1, 5))
        )
    elif kind == 3:
        change_text(folder, XML, "<dim>3</dim>", f"<dim>{HUGE}</dim>", int(rng.integers(1, 9)))
    elif kind == 4:
        old, new = rng.choice(["Convolution", "Relu", "Add", "Const", "MatMul", "Result"], 2)
        change_text(folder, XML, f'type="{old}"' if old in text else "type=", f'type="{new}"')
    else:
        lines = text.splitlines(keepends=True)
        del lines[int(rng.integers(2, len(lines)))]
        put(folder, XML, "".join(lines).encode())
    return f"IR of kind {kind}"


def _flip(rng: Rng, folder: Path, name: str) -> str:
    data = bytearray((folder / name).read_bytes())
    for _ in range(int(rng.integers(1, 4))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    put(folder, name, bytes(data))
    return f"{name} with other bytes"


def _picture(rng: Rng, folder: Path, canary: Path) -> str:
    files = sorted(folder.glob("golden/*-golden-*"))
    name = files[rng.integers(len(files))].relative_to(folder).as_posix()
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n"
    pgm = b"P5 1000000 1000000 255\n"
    other = files[rng.integers(len(files))].read_bytes()
    data = (postscript, PICKLE, pgm, b"", b"\x93NUMPY\x01\x00v\x00", other)[rng.integers(6)]
    put(folder, name, data)
    return f"{name} is {data[:8]!r}"


#: A mutation, how often, and whether it needs the bundle with all programs (which takes longer).
MUTATIONS: tuple[tuple[Callable[[Rng, Path, Path], str], float, bool], ...] = (
    (_record, 0.34, False),
    (_list, 0.08, False),
    (_raw, 0.08, False),
    (_golden, 0.14, False),
    (_odd_file, 0.08, False),
    (_weights, 0.14, False),
    (_picture, 0.03, False),
    (_golden, 0.03, True),
    (_onnx, 0.04, True),
    (_openvino, 0.04, True),
)


def mutate(seed: int, bare: Path, exported: Path, folder: Path, canary: Path) -> str:
    """A hostile bundle at `folder`, and what was done in words."""
    rng = np.random.default_rng([7, seed])
    weights = np.array([weight for _, weight, _ in MUTATIONS])
    change, _, programs = MUTATIONS[rng.choice(len(MUTATIONS), p=weights / weights.sum())]
    shutil.copytree(exported if programs else bare, folder)
    return f"{change.__name__[1:]}: {change(rng, folder, canary)}"


def attack(seed: int, bare: Path, exported: Path, room: Path) -> dict[str, Any]:
    """One mutant, judged. "bad" says what must not be."""
    folder, canary = room / "bundle", room / "canary"
    canary = canary if canary.exists() else write_canary(canary)
    shutil.rmtree(folder, ignore_errors=True)
    done = mutate(seed, bare, exported, folder, canary)
    bad, verdict, began = [], "", time.monotonic()
    answers = known(exported if (folder / EXPORTS).exists() else bare)
    with watching(folder, canary) as watch:
        try:
            verdict = judge(folder, answers)
        except Exception as error:
            bad.append(f"{type(error).__name__}: {error}")
    bad += watch.found
    seconds = round(time.monotonic() - began, 2)
    return {"seed": seed, "done": done, "verdict": verdict, "bad": bad, "seconds": seconds}


def main(bare: str, exported: str, first: str, count: str) -> None:
    """Judge mutants in this process, which may have 4 GB more than it has now."""
    import onnxruntime  # noqa: F401

    with tempfile.TemporaryDirectory() as room:
        untouched = Path(room, "untouched")
        shutil.copytree(exported, untouched)
        assert judge(untouched, known(untouched)) == "answers"  # and all is imported
        usage = Path("/proc/self/statm").read_text().split()
        limit = int(usage[5]) * os.sysconf("SC_PAGE_SIZE") + (4 << 30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        for seed in range(int(first), int(first) + int(count)):
            print(json.dumps({"begin": seed}), flush=True)
            print(json.dumps(attack(seed, Path(bare), Path(exported), Path(room))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
