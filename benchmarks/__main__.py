"""python -m benchmarks NAME [...], or --smoke for all of them at the smallest size.

Each benchmark is a module with `main(arguments) -> int`. Results are appended to a JSON-lines file
under --out, and what is in it already is not measured again: a stopped benchmark goes on.
"""

from __future__ import annotations

import importlib
import sys
import time

#: name -> the module, and the arguments that make it small
BENCHMARKS = {
    "auto": "benchmarks.auto",
    "clothing": "benchmarks.clothing",
    "parity": "benchmarks.parity",
    "camvid": "benchmarks.camvid",
    "fashion-mnist": "benchmarks.fashion_mnist",
    "tables": "benchmarks.tables",
    "audit": "benchmarks.audit",
    "audit-texts": "benchmarks.audit_texts",
    "text": "benchmarks.text",
    "same-model": "benchmarks.same_model",
    "int8-speed": "benchmarks.int8_speed",
    "training-speed": "benchmarks.training_speed",
    "large-jpeg": "benchmarks.large_jpeg",
    "residual": "benchmarks.residual",
}


def main(arguments: list[str]) -> int:
    if arguments == ["--smoke"]:
        return max(_run(name, ["--smoke"]) for name in BENCHMARKS)
    if not arguments or arguments[0] not in BENCHMARKS:
        print(__doc__)
        print("names:", ", ".join(BENCHMARKS))
        return 2
    return _run(arguments[0], arguments[1:])


def _run(name: str, arguments: list[str]) -> int:
    print(f"== {name}", flush=True)
    start = time.monotonic()
    code: int = importlib.import_module(BENCHMARKS[name]).main(arguments)
    print(f"== {name}: {time.monotonic() - start:.0f} s, exit code {code}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
