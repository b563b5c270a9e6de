"""Follow the hint of an error as a user would: type what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from skipstone.core.errors import UsageError
from skipstone.core.settings import Settings
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest


def follow_hint(error: UsageError, folder: Path) -> Manifest:
    """What is read after the commands of a hint, which run in `folder`: a shell command that ends
    with "; then: skipstone train DATA", or that alone."""
    hint = error.hint or ""
    command, mark, train = hint.rpartition("; then: skipstone train ")
    if mark:
        shell = command.partition(": ")[2]
        subprocess.run(["bash", "-euo", "pipefail", "-c", shell], cwd=folder, check=True)
    else:
        train = hint.rpartition("skipstone train ")[2]
    assert train, hint
    words = shlex.split(re.split(r" \(|\. |\.$", train)[0])
    flags = {
        flag.removeprefix("--").replace("-", "_"): value
        for flag, value in zip(words[1::2], words[2::2], strict=True)
    }
    if "exclude" in flags:
        flags["exclude"] = str(folder / flags["exclude"])
    return read_manifest(folder / words[0], Settings(dict(flags)).make_options(ReadOptions))
