"""What an attacker does to a bundle, by name, and what the refusal has to say."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.evaluation import hostile
from tests.evaluation.hostile import (
    BIN,
    EXPORTS,
    GOLDEN,
    HUGE,
    ONNX,
    PICKLE,
    RECORD,
    WEIGHTS,
    XML,
    change_onnx,
    change_record,
    change_text,
    put,
    put_tensors,
    splice,
    tensors_of,
)

Attack = Callable[[Path, Path], Any]


def _set(*path: Any) -> Attack:
    """bundle.json with the last of `path` at the place that the others lead to."""

    def attack(folder: Path, canary: Path) -> None:
        def change(record: dict[str, Any]) -> None:
            owner: Any = record
            for key in path[:-2]:
                owner = owner[key]
            owner[path[-2]] = path[-1]

        change_record(folder, change)

    return attack


def _resnet(**options: Any) -> Attack:
    return _set("arch", "backbone", "args", {"options": options})


def _head(classes: int) -> Attack:
    return _set("arch", "head", "args", "shape", "classes", classes)


def _list_as(name: str) -> Attack:
    """The weights under another name in the list."""

    def change(record: dict[str, Any]) -> None:
        record["files"][name] = record["files"].pop(WEIGHTS)

    return lambda folder, canary: change_record(folder, change)


def _tensor(**row: Any) -> Attack:
    """One tensor's entry in the header, changed."""

    def attack(folder: Path, canary: Path) -> None:
        header, data = tensors_of(folder)
        header["backbone.conv1.weight"].update(row)
        put_tensors(folder, header, data)

    return attack


def _value(value: float) -> Attack:
    def attack(folder: Path, canary: Path) -> None:
        header, data = tensors_of(folder)
        at = header["head.linear.weight"]["data_offsets"][0]
        put_tensors(folder, header, data[:at] + np.float32(value).tobytes() + data[at + 4 :])

    return attack


def _link(name: str) -> Attack:
    def attack(folder: Path, canary: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(canary / "secret.bin")

    return attack


def _linked_folder(folder: Path, canary: Path) -> None:
    (folder / "golden").rename(folder.parent / "golden")
    (folder / "golden").symlink_to(folder.parent / "golden")


def _pipe(folder: Path, canary: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


def _sparse(folder: Path, canary: Path) -> None:
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate(HUGE)
    _set("files", WEIGHTS, {"bytes": HUGE, "sha256": "0" * 64})(folder, canary)


def _archive(folder: Path, canary: Path) -> None:
    """What torch.save writes: a zip with a pickle in it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("archive/data.pkl", PICKLE)
    put(folder, WEIGHTS, stream.getvalue())


def _object_array(folder: Path, canary: Path) -> None:
    """A .npy file whose content is a pickle, as a golden."""
    stream = io.BytesIO()
    np.save(stream, np.array([{}], object), allow_pickle=True)
    name = next(folder.glob("golden/03-*")).relative_to(folder).as_posix()
    put(folder, name, stream.getvalue())


def _twins(folder: Path, canary: Path) -> None:
    """The class list reversed, and the goldens' digest of it made to fit."""
    from skipstone.inference.golden_outputs import meaning_digests

    change_record(folder, lambda record: record["task"]["schema"]["classes"].reverse())
    golden = json.loads((folder / GOLDEN).read_text())
    golden["meaning"] = meaning_digests(json.loads((folder / RECORD).read_text()))
    put(folder, GOLDEN, json.dumps(golden).encode())


def _swapped_rows(folder: Path, canary: Path) -> None:
    """Classes reordered where nothing has a name: in the rows of the last layer."""
    header, data = tensors_of(folder)
    start, end = header["head.linear.weight"]["data_offsets"]
    rows = np.frombuffer(data[start:end], np.float32).reshape(3, -1)[::-1]
    put_tensors(folder, header, data[:start] + rows.tobytes() + data[end:])


def _all_tolerated(folder: Path, canary: Path) -> None:
    """Another program, whose row says that anything will do."""
    rows = json.loads((folder / EXPORTS).read_text())
    for row in rows["programs"]:
        row["tolerance"] = {"probability": 1.0, "relative": 1e9, "flips": 99}
    put(folder, EXPORTS, json.dumps(rows).encode())
    change_onnx(folder, lambda model: model.graph.initializer[0].CopyFrom(_noise(model)))


def _noise(model: Any) -> Any:
    import onnx

    tensor = model.graph.initializer[0]
    values = onnx.numpy_helper.to_array(tensor)
    return onnx.numpy_helper.from_array((values + 1).astype(values.dtype), tensor.name)


def _program(**fields: Any) -> Attack:
    def attack(folder: Path, canary: Path) -> None:
        rows = json.loads((folder / EXPORTS).read_text())
        rows["programs"][0].update(fields)
        put(folder, EXPORTS, json.dumps(rows).encode())

    return attack


def _named_twice(folder: Path, canary: Path) -> None:
    rows = json.loads((folder / EXPORTS).read_text())
    rows["programs"].append(rows["programs"][0])
    put(folder, EXPORTS, json.dumps(rows).encode())


def _many_programs(folder: Path, canary: Path) -> None:
    rows = json.loads((folder / EXPORTS).read_text())
    rows["programs"] = [{**rows["programs"][0], "name": f"x{n}"} for n in range(20_000)]
    put(folder, EXPORTS, json.dumps(rows).encode())


def _function(folder: Path, canary: Path) -> None:
    """A harmless function of a domain whose operators open files."""

    def change(model: Any) -> None:
        import onnx

        node = onnx.helper.make_node("Identity", ["x"], ["y"])
        opset = onnx.helper.make_opsetid("", 20)
        model.functions.append(
            onnx.helper.make_function("com.microsoft", "Harmless", ["x"], ["y"], [node], [opset])
        )
        model.graph.node[-1].op_type = "EPContext"
        model.graph.node[-1].domain = "com.microsoft"

    change_onnx(folder, change)


def _layer_within_a_layer(folder: Path, canary: Path) -> None:
    """Weights beyond the file, told after a layer that has none."""
    inner = '<layer name="inner" type="Parameter" version="opset1"/>'
    text, count = re.subn(
        r'<data ([^>]*)offset="',
        rf'{inner}<data \1offset="9999',
        (folder / XML).read_text(),
        count=1,
    )
    assert count == 1
    put(folder, XML, text.encode())


def external(kind: str) -> Attack:
    """ONNX tensors in the canary's file, in each place where ONNX can have tensors."""

    def attack(folder: Path, canary: Path) -> None:
        import onnx

        def change(model: Any) -> None:
            graph = model.graph
            if kind == "initializer":
                hostile.outside(graph.initializer[0], canary)
                return
            if kind == "sparse":
                tensor = graph.sparse_initializer.add().values
                tensor.name = "sparse"
            else:
                holder = graph.node.add()
                holder.op_type, holder.name = "Constant", "hidden"
                holder.output.append("hidden")
                if kind == "subgraph":
                    branch = holder.attribute.add()
                    branch.name, branch.type = "body", onnx.AttributeProto.GRAPH
                    tensor = branch.g.initializer.add()
                else:
                    value = holder.attribute.add()
                    value.name, value.type = "value", onnx.AttributeProto.TENSOR
                    tensor = value.t
            tensor.data_type = onnx.TensorProto.FLOAT
            tensor.dims.append(16)
            hostile.outside(tensor, canary)

        change_onnx(folder, change)

    return attack


def _operator(kind: str, domain: str = "") -> Attack:
    def change(model: Any) -> None:
        node = model.graph.node[-1]
        node.op_type, node.domain = kind, domain

    return lambda folder, canary: change_onnx(folder, change)


def _large_array(folder: Path, canary: Path) -> None:
    import onnx

    def change(model: Any) -> None:
        size = onnx.helper.make_tensor("size", onnx.TensorProto.INT64, [2], [1 << 20, 1 << 20])
        model.graph.initializer.append(size)
        model.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["size"], ["large"]))

    change_onnx(folder, change)


def _entities(folder: Path, canary: Path) -> None:
    put(folder, XML, hostile.bomb((folder / XML).read_text(), canary).encode())


#: what is done, what the refusal has to say ("" where it may also be harmless), needs programs
ATTACKS: tuple[tuple[str, Attack, str, bool], ...] = (
    ("a path upwards", _list_as("../weights.safetensors"), "not inside the bundle", False),
    ("a path inside out", _list_as("a/../../x"), "not inside the bundle", False),
    ("an absolute path", _list_as("/etc/passwd"), "not inside the bundle", False),
    ("a name of 5,000 letters", _list_as("x" * 5000), "too long a name", False),
    ("a folder in a folder in a folder", _list_as("a/" * 9 + "x"), "too long a name", False),
    ("a bundle of format 0", _set("format", 0), "format 0", False),
    ("a bundle of format -1", _set("format", -1), "format -1", False),
    ("a bundle of format true", _set("format", True), "states no format", False),
    ("20,000 programs", _many_programs, "more than 64", True),
    ("a link to outside", _link(WEIGHTS), "symbolic link", False),
    ("a golden that is a link", _link("golden/golden.safetensors"), "symbolic link", False),
    ("a record that is a link", _link(RECORD), "symbolic link", False),
    ("a linked folder", _linked_folder, "symbolic link", False),
    ("a pipe that never ends", _pipe, "not a regular file", False),
    ("a terabyte of nothing", _sparse, "at most", False),
    (
        "sizes that are words",
        _set("files", WEIGHTS, {"bytes": "1", "sha256": "0" * 64}),
        "does not describe the content",
        False,
    ),
    ("nested too deep", lambda f, c: splice(f, RECORD, "[" * 200 + "]" * 200), "deeper", False),
    ("nested without end", lambda f, c: splice(f, RECORD, "[" * 100_000), "valid JSON", False),
    ("a name given twice", lambda f, c: splice(f, RECORD, '{"a":1,"a":2}'), "given twice", False),
    ("a number of 5,000 digits", lambda f, c: splice(f, GOLDEN, "9" * 5000), "64 bits", False),
    ("infinity in disguise", lambda f, c: splice(f, RECORD, "1e999"), "finite", False),
    ("not a number", lambda f, c: splice(f, GOLDEN, "NaN"), "not a number", False),
    ("half a letter", lambda f, c: splice(f, RECORD, '"\\ud800"'), "valid JSON", False),
    ("a network of 2^40 width", _resnet(width=HUGE), "width", False),
    ("a network of 1e9 depth", _resnet(depth=1e9), "depth", False),
    ("100 times the depth", _resnet(depth=100), "more layers", False),
    ("100 times the width", _resnet(width=100), "does not fit", False),
    ("a width of words", _resnet(width="wide"), "finite number", False),
    ("a larger net", _set("arch", "backbone", "name", "resnet152"), "does not fit", False),
    (
        "a net from the network",
        _set("arch", "backbone", {"name": "timm/hf-hub:evil/model", "args": {}}),
        "evil/model",
        False,
    ),
    ("an import path", _set("arch", "backbone", "name", "os:system"), "os:system", False),
    ("2^40 classes in the head", _head(HUGE), "does not fit", False),
    ("a size without end", _head(1 << 62), "network", False),
    ("an unknown edit", _set("arch", "edits", [{"kind": "x"}]), "does not support", False),
    ("edits that are no edits", _set("arch", "edits", ["x", 7]), "'arch'", False),
    ("2^40 channels", _set("input", "state", "channels", HUGE), "channels", False),
    ("a spread of 0", _set("input", "state", "std", [0.0, 0.2, 0.2]), "std", False),
    ("pictures of 2^40 pixels", _set("input", "options", "size", HUGE), "size", False),
    (
        "more classes than answers",
        _set("task", "schema", "classes", list("abcdef")),
        "network and task do not match",
        False,
    ),
    ("classes in another order", _twins, "predictions differ", False),
    ("a temperature of 0", _set("post", "temperature", 0), "temperature", False),
    (
        "a package with a command",
        _set("plugins", {"resnet20": "x; rm -rf ~"}),
        "invalid package names",
        False,
    ),
    ("a tensor of 2^40 numbers", _tensor(shape=[HUGE]), WEIGHTS, False),
    ("a shape that overflows", _tensor(shape=[1 << 62, 1 << 62]), WEIGHTS, False),
    ("a tensor of another's bytes", _tensor(data_offsets=[0, 64]), WEIGHTS, False),
    ("an infinite weight", _value(np.inf), "not finite", False),
    ("a weight that is no number", _value(np.nan), "not finite", False),
    ("reordered classes in the weights", _swapped_rows, "torch-f32", False),
    (
        "a header of 2^62 bytes",
        lambda f, c: put_tensors(f, *tensors_of(f), 1 << 62),
        WEIGHTS,
        False,
    ),
    ("a pickle called weights", lambda f, c: put(f, WEIGHTS, PICKLE), WEIGHTS, False),
    ("a zip of torch.save", _archive, WEIGHTS, False),
    (
        "a pickle called goldens",
        lambda f, c: put(f, "golden/golden.safetensors", PICKLE),
        "golden.safetensors",
        False,
    ),
    ("a picture that is a pickle in .npy", _object_array, "golden", False),
    ("external data in an initializer", external("initializer"), "another file", True),
    ("external data in an attribute", external("attribute"), "another file", True),
    ("external data in a subgraph", external("subgraph"), "another file", True),
    ("external data in a sparse tensor", external("sparse"), "another file", True),
    ("an operator that opens files", _operator("EPContext", "com.microsoft"), "EPContext", True),
    ("a loop", _operator("Loop"), "Loop", True),
    ("an array of 2^40 numbers", _large_array, "creates an array of more than", True),
    ("a program that allows itself anything", _all_tolerated, "onnxruntime-f32", True),
    ("a program of a list", _program(files=["x"]), "exports.json", True),
    ("a program called the network", _program(name="torch"), "should be named", True),
    (
        "the network called a program",
        _program(name="torch-f32", runtime="torch"),
        "cannot have files of its own",
        True,
    ),
    ("a program listed twice", _named_twice, "have the same name", True),
    ("a function that opens a domain", _function, "defines a function", True),
    ("a layer within a layer", _layer_within_a_layer, "lies at bytes", True),
    ("a billion laughs", _entities, "document type", True),
    (
        "weights beyond the file",
        lambda f, c: change_text(f, XML, 'offset="', 'offset="9999', 1),
        "lies at bytes",
        True,
    ),
    (
        "a constant of 2^40",
        lambda f, c: change_text(f, XML, 'shape="', f'shape="{HUGE}, ', 9),
        "claims too large a shape",
        True,
    ),
    (
        "an operator from elsewhere",
        lambda f, c: change_text(f, XML, 'version="opset1"', 'version="evil"'),
        "evil",
        True,
    ),
    ("a pickle called model.bin", lambda f, c: put(f, BIN, PICKLE), "lies at bytes", True),
    ("a pickle called model.onnx", lambda f, c: put(f, ONNX, PICKLE), "cannot be read", True),
)
