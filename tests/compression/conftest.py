from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from skipstone.bundle.format import Bundle
from skipstone.data.manifest import Manifest, load_manifest, save_manifest
from skipstone.data.read import read_manifest
from skipstone.datasets.splitting import assign_roles
from skipstone.image.augment_options import ImageAugmentOptions
from skipstone.inference.export.openvino_export import export_openvino
from skipstone.inference.golden_outputs import store_goldens
from skipstone.inference.restore import restore_input, restore_network
from skipstone.models.build import export_tensors
from skipstone.training.options import TrainOptions
from skipstone.training.recipe import RecipeFacts, resolve_recipe
from tests.photos import CLASSES
from tests.small_bundles import small_bundle


def _learnt(bundle: Bundle, manifest: Manifest) -> Bundle:
    """The bundle after a few steps on the training rows: enough to tell the shapes apart."""
    input, network = restore_input(bundle), restore_network(bundle)
    train_rows = manifest.rows_with_role("train")
    pictures = np.stack([input.encode(input.decode(s))["image"] for s in train_rows.list_sources()])
    x = {"image": torch.from_numpy(pictures)}
    y = torch.tensor([CLASSES.index(name) for name in train_rows.column_values("target")])
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(network(x)["logits"], y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.eval()
    return dataclasses.replace(bundle, tensors=export_tensors(network), post={})


@pytest.fixture(scope="session")
def run(flat_photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as training leaves it: a bundle with programs, and the manifest. Read-only."""
    folder = tmp_path_factory.mktemp("runs") / "001"
    manifest = assign_roles(read_manifest(flat_photo_folder))
    bundle = small_bundle()
    schema = {"classes": list(CLASSES)}
    bundle.task["schema"] = schema
    recipe = resolve_recipe(
        TrainOptions(batch_size=8), RecipeFacts(samples=len(manifest.rows_with_role("train")))
    )
    bundle.lineage = {
        "seed": 0,
        "data": {"fingerprint": manifest.compute_fingerprint()},
        "recipe": recipe.to_json(),
        "augment": dataclasses.asdict(ImageAugmentOptions(augment="none")),
    }
    folder.mkdir()
    save_manifest(manifest, folder / "manifest.parquet")
    _learnt(bundle, manifest).save(folder / "bundle")
    store_goldens(folder / "bundle")
    export_openvino(folder / "bundle")
    return folder


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may write into."""
    return Path(shutil.copytree(run, tmp_path / "001"))


@pytest.fixture(scope="session")
def rows(run: Path) -> Manifest:
    return load_manifest(run / "manifest.parquet")
