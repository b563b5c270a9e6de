"""python -m benchmarks NAME [...], or --smoke [--jobs N] for all of them at the smallest size.

Each benchmark is a module with `parser()` and `main(arguments) -> int`. Results are appended to a
JSON-lines file under --out, and what is in it already is not measured again: a stopped benchmark
goes on.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

#: name -> the module; those that take longest at smoke size first
BENCHMARKS = {
    "tables": "benchmarks.tables",
    "clothing": "benchmarks.clothing",
    "camvid": "benchmarks.camvid",
    "boxes": "benchmarks.boxes",
    "auto": "benchmarks.auto",
    "fashion-mnist": "benchmarks.fashion_mnist",
    "parity": "benchmarks.parity",
    "text": "benchmarks.text",
    "text-default": "benchmarks.text_default",
    "spoken-digits": "benchmarks.spoken_digits",
    "large-jpeg": "benchmarks.large_jpeg",
    "same-model": "benchmarks.same_model",
    "int8-speed": "benchmarks.int8_speed",
    "training-speed": "benchmarks.training_speed",
    "audit": "benchmarks.audit",
    "audit-texts": "benchmarks.audit_texts",
    "residual": "benchmarks.residual",
    "fine-tuning": "benchmarks.fine_tuning",
    "questions": "benchmarks.questions",
}


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--smoke"]:
        words = arguments[1:] or ["--jobs", "1"]
        if len(words) == 2 and words[0] == "--jobs" and words[1].isdigit() and int(words[1]):
            return _smoke(int(words[1]))
    elif arguments and arguments[0] in BENCHMARKS:
        code: int = importlib.import_module(BENCHMARKS[arguments[0]]).main(arguments[1:])
        return code
    print(__doc__)
    print("names:", ", ".join(BENCHMARKS))
    return 2


def _smoke(jobs: int) -> int:
    """All of them, each in a process and an empty folder of its own, so that nothing that was kept
    is taken for measured; so many at a time, which share the processors. The worst exit code."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    env = {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONPATH": _python_path()}

    def run(name: str) -> int:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks", name, "--smoke"],
                cwd=folder,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        seconds = time.monotonic() - began
        print(
            f"== {name}\n{done.stdout}== {name}: {seconds:.0f} s, exit code {done.returncode}",
            flush=True,
        )
        return abs(done.returncode)

    with ThreadPoolExecutor(jobs) as pool:
        codes = dict(zip(BENCHMARKS, pool.map(run, BENCHMARKS), strict=True))
    failed = [name for name, code in codes.items() if code]
    print(f"benchmarks that failed: {', '.join(failed)}" if failed else "all benchmarks ran")
    return max(codes.values())


def _python_path() -> str:
    before = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(Path(__file__).parents[1]), *([before] if before else [])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
