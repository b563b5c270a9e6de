"""What was measured on this machine and later commands use again, in the user's cache folder.

    ~/.cache/skipstone/<kind>/<digest of the key>.json    {"key": {...}, "value": {...}}

`SKIPSTONE_CACHE` names another folder, `XDG_CACHE_HOME` the parent of one. Nothing depends on these
files: where one is missing, damaged or cannot be written, the command measures.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skipstone.core import storage
from skipstone.core.errors import DamagedError, StorageError
from skipstone.core.events import emit_warning


def read_measurement(kind: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The value that `write_measurement` stored for this key; None where there is none. A damaged
    file counts as none, with a warning."""
    path = _measurement_path(kind, key)
    if path is None or not path.is_file():
        return None
    try:
        record = storage.read_json(path)
        if not isinstance(record, dict) or record.get("key") != dict(key):
            raise DamagedError(f"{path} is not what skipstone writes.")
        if not isinstance(record.get("value"), dict):
            raise DamagedError(f"{path} has no value.")
    except (DamagedError, StorageError) as error:
        emit_warning(f"{error.message} What it held is measured again.")
        return None
    return dict(record["value"])


def write_measurement(kind: str, key: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    """Store a JSON-able value; without effect where the folder cannot be written."""
    path = _measurement_path(kind, key)
    if path is None:
        return
    with contextlib.suppress(StorageError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        storage.write_json(path, {"key": dict(key), "value": dict(value)})


def _measurement_path(kind: str, key: Mapping[str, Any]) -> Path | None:
    """None for a user without a home folder."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder = os.environ.get("SKIPSTONE_CACHE")
    if folder is None:
        try:
            parent = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        except RuntimeError:
            return None
        folder = str(Path(parent) / "skipstone")
    return Path(folder) / kind / f"{digest[:32]}.json"
