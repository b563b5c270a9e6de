"""How fast INT8 answers one picture, against eager torch and OpenVINO's float modes.

    python -m benchmarks int8-speed --model efficientnet_lite0
    python -m benchmarks int8-speed --smoke

Any model by name, with random weights: latency does not depend on what was learnt. All candidates
run interleaved in one process; see `skipstone.compression.latency`.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch

from skipstone.compression.latency import (
    BenchmarkResult,
    default_threads,
    interleaved_benchmark,
    make_timed_call,
)
from skipstone.compression.options import Int8Options
from skipstone.compression.steps.int8 import quantize_model
from skipstone.data.sources import Inline
from skipstone.inference.backends.libraries import import_openvino
from skipstone.inference.backends.openvino_backend import OpenVinoRuntime
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.export.onnx_export import onnx_bytes
from skipstone.inference.export.openvino_export import serialize_ir
from skipstone.inference.predictor import Runtime
from skipstone.inference.restore import restore_input, restore_network
from skipstone.workflows.compare_models import make_untrained_bundle

INT8 = "openvino-int8"
AGAIN = "openvino-int8, again"


def measure(
    model: str, *, size: int | None, seconds: float
) -> tuple[BenchmarkResult, dict[str, int]]:
    """The race, and bytes: of the float32 weights and of the INT8 program."""
    bundle = make_untrained_bundle(model, size=size)
    input, network = restore_input(bundle), restore_network(bundle)
    pictures = [
        input.encode(input.decode(Inline(data, name))) for name, data in input.make_golden_files(8)
    ]
    example = {name: torch.from_numpy(value) for name, value in input.make_example(2).items()}
    onnx = import_openvino().Core().read_model(onnx_bytes(network, example, {}), b"")
    floats = serialize_ir(onnx)
    program = quantize_model(onnx, pictures, Int8Options(samples=len(pictures)))

    threads = default_threads()
    runtimes: dict[str, Runtime] = {
        "torch-f32, eager": TorchRuntime(network, threads=threads),
        "openvino-f32": OpenVinoRuntime(*floats, precision="f32", threads=threads),
        "openvino-bf16": OpenVinoRuntime(*floats, precision="bf16", threads=threads),
        INT8: OpenVinoRuntime(*program, precision="int8", floats="bf16", threads=threads),
        AGAIN: OpenVinoRuntime(*program, precision="int8", floats="bf16", threads=threads),
    }
    one = {name: np.stack([value]) for name, value in pictures[0].items()}
    found = interleaved_benchmark(
        {name: make_timed_call(runtime, one) for name, runtime in runtimes.items()},
        seconds=seconds,
        threads=threads,
    )
    weights = sum(tensor.nbytes for tensor in bundle.tensors.values())
    return found, {"float32 weights": weights, "INT8 program": sum(map(len, program))}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks int8-speed")
    made.add_argument("--model", default="efficientnet_lite0", help="see: skipstone models")
    made.add_argument("--size", type=int, default=None, help="side of the pictures")
    made.add_argument("--seconds", type=float, default=12.0, help="to measure")
    made.add_argument("--smoke", action="store_true", help="a tiny model, one second")
    made.add_argument("--json", action="store_true")
    return made


def main(arguments: list[str]) -> int:
    """Measure and print."""
    given = parser().parse_args(arguments)
    model = "resnet20" if given.smoke else given.model
    found, sizes = measure(model, size=given.size, seconds=1.0 if given.smoke else given.seconds)
    floating = found.fastest_of("openvino-f32", "openvino-bf16")
    pairs = [("torch-f32, eager", INT8), (floating, INT8), (AGAIN, INT8)]
    ratios = [
        {"slow": slow, "fast": fast, **found.speed_ratio(slow, fast).to_json()}
        for slow, fast in pairs
    ]
    report = {"model": model, **found.to_json(), "ratios": ratios, "bytes": sizes}
    if given.json:
        print(json.dumps(report))
        return 0
    print(
        f"{model}: one picture, {found.threads} threads, {found.rounds} rounds, interleaved; "
        "milliseconds"
    )
    for row in report["rows"]:
        print(
            f"  {row['name']:<22} {row['median_ms']:9.3f}   "
            f"[{row['p10_ms']:.3f}, {row['p90_ms']:.3f}]  (10th to 90th percentile)"
        )
    for ratio in ratios:
        print(
            f"  {ratio['fast']} against {ratio['slow']}: {ratio['words']} "
            f"[{ratio['low']:.2f}, {ratio['high']:.2f}]"
        )
    print(
        f"  {sizes['float32 weights']:,} bytes of float32 weights, {sizes['INT8 program']:,} of "
        f"INT8 program: {sizes['float32 weights'] / sizes['INT8 program']:.2f}× smaller"
    )
    if found.used_by_others is not None:
        print(f"  other programs used {found.used_by_others:.0%} of the processors meanwhile")
    if not found.speed_ratio(AGAIN, INT8).is_steady:
        print("  two equal candidates differ: the machine was too busy, measure again")
    return 0
