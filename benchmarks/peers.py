"""Decoders of torchvision and segmentation_models_pytorch as heads: the names (free of torch).

They are installed as a plugin, so that `skipstone train --head peer-unet` trains them by the same
loop, data and schedule as ours. The code is in `benchmarks.peer_heads`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from skipstone.core.specs import HeadSpec
from skipstone.models.heads.catalog import ENTRIES

#: our head -> the peer's decoder
PEERS = {
    "lraspp": "TorchvisionLraspp",
    "fcn": "TorchvisionFcn",
    "deeplabv3": "TorchvisionDeepLab",
    "unet": "SmpUnet",
    "deeplabv3plus": "SmpDeepLabPlus",
}


def _entry(name: str) -> HeadSpec:
    ours = next(entry for entry in ENTRIES if entry.name == name)
    target = f"benchmarks.peer_heads:{PEERS[name]}"
    return replace(ours, name=f"peer-{name}", target=target, options=None, summary="", source="")


LRASPP, FCN, DEEPLABV3 = _entry("lraspp"), _entry("fcn"), _entry("deeplabv3")
UNET, DEEPLABV3PLUS = _entry("unet"), _entry("deeplabv3plus")


def install(folder: Path) -> None:
    """Let processes that are started from now on know the peers, as an installed package."""
    info = folder / "skipstone_peers-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: skipstone-peers\nVersion: 1.0\n")
    points = "".join(f"peer-{name} = benchmarks.peers:{name.upper()}\n" for name in PEERS)
    (info / "entry_points.txt").write_text(f"[skipstone.heads]\n{points}")
    paths = [str(folder.resolve()), str(Path(__file__).parents[1])]
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *([before] if before else [])])
