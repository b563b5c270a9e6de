"""Small models of texts for the tests: real parts, a few steps of training, no command line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.bundle.format import Bundle
from skipstone.core.registry import BACKBONES, TASKS
from skipstone.data.manifest import Manifest, save_manifest
from skipstone.data.read import read_manifest
from skipstone.datasets.augmentation import augment_options_type
from skipstone.datasets.loader import Batching, Loader
from skipstone.datasets.splitting import assign_roles
from skipstone.inference.golden_outputs import store_goldens
from skipstone.models.build import build_network, export_tensors
from skipstone.text.input import TextInput
from skipstone.text.options import TextOptions
from skipstone.training.closed_form import extract_features, solve
from skipstone.training.objective import Objective
from skipstone.training.options import TrainOptions
from skipstone.training.recipe import RecipeFacts, resolve_recipe
from tests.text_data import rows, write_csv

#: Options of the small models, and of what they see.
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "textcnn": ({"embedding": 12, "maps": 8}, {"subwords": "none"}),
    "gru": ({"embedding": 12, "hidden": 8}, {"subwords": "none"}),
    "fasttext": ({"embedding": 8}, {"word_ngrams": "1-1", "char_ngrams": "none"}),
    "logistic": ({"svm_c": 30.0}, {"word_ngrams": "1-1", "char_ngrams": "none"}),
    "random-forest": ({"trees": 20}, {"word_ngrams": "1-1", "char_ngrams": "none"}),
}


def text_run(
    folder: Path, model: str, *, count: int = 120, steps: int = 60, **input: Any
) -> tuple[Bundle, Manifest]:
    """A run folder as training leaves it, but for its programs; its bundle and its rows."""
    folder.mkdir(parents=True)
    manifest = assign_roles(read_manifest(write_csv(folder.parent / "texts.csv", rows(count))))
    entry, (options, suits) = BACKBONES[model], MODELS[model]
    train_rows = manifest.rows_with_role("train")
    text = TextInput(TextOptions(**{**entry.input_options, **suits, **input})).fit(
        train_rows.list_sources()
    )
    task = TASKS["classify"].load()(TASKS["classify"].make_options(), manifest.schema)
    head = task.default_head()
    head = ComponentConfig(entry.head or head.name, head.args)
    arch = Arch(
        ComponentConfig(model, {"options": dataclasses.asdict(entry.make_options(options))}), head
    )
    torch.manual_seed(0)
    if entry.solver is not None:
        matrix, targets = extract_features(text, task, train_rows, model)
        network, arch = solve(arch, text, matrix, targets, len(manifest.schema["classes"]), 0)
    else:
        network = build_network(arch, text).train()
        loader = Loader(train_rows, text, task, Batching(batch_size=16, seed=0, shuffle=True))
        objective = Objective(network, task.criterion())
        optimizer = torch.optim.Adam(network.parameters(), 0.02)
        for number in range(steps // len(loader)):
            for batch in loader.iterate_epoch(number):
                optimizer.zero_grad()
                weight = torch.tensor(float(len(batch)))
                objective(batch.x, batch.y, weight=weight)["loss"].backward()
                optimizer.step()
    recipe = resolve_recipe(TrainOptions(batch_size=8), RecipeFacts(samples=len(train_rows)))
    state, arrays = text.get_state()
    bundle = Bundle(
        arch=arch,
        input={"name": "text", "options": dataclasses.asdict(text.options), "state": state},
        task={
            "name": "classify",
            "options": dataclasses.asdict(task.options),
            "schema": dict(task.schema),
        },
        lineage={
            "seed": 0,
            "data": {"fingerprint": manifest.compute_fingerprint()},
            "recipe": recipe.to_json(),
            "augment": dataclasses.asdict(augment_options_type("text")(augment="none")),
        },
        tensors=export_tensors(network.eval()),
        input_arrays=arrays,
    )
    save_manifest(manifest, folder / "manifest.parquet")
    bundle.save(folder / "bundle")
    store_goldens(folder / "bundle")
    return bundle, manifest
