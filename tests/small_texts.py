"""Tiny bundles of texts for the tests of bundle, runtime and proof: fitted, solved or drawn."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.bundle.format import Bundle
from skipstone.core.registry import BACKBONES, TASKS
from skipstone.core.specs import resolve_target
from skipstone.inference.golden_outputs import store_goldens
from skipstone.models.backbone import ClosedFormProblem
from skipstone.models.build import build_network, export_tensors, load_tensors
from skipstone.text.input import TextInput
from skipstone.text.options import TextOptions
from tests.text_data import WORDS, rows, write_csv

CLASSES = sorted(WORDS)
#: Options of the input and of the model.
SMALL = {
    "logistic": ({"char_ngrams": "none", "word_ngrams": "1-2"}, {"svm_c": 1.0}),
    "textcnn": ({}, {"embedding": 8, "maps": 6}),
}


def small_text_bundle(model: str) -> Bundle:
    """Colours, animals or numbers by 90 texts: solved, or a network drawn with seed 0."""
    entry, task_entry = BACKBONES[model], TASKS["classify"]
    of_input, of_model = SMALL[model]
    with tempfile.TemporaryDirectory() as folder:
        table = write_csv(Path(folder, "texts.csv"), rows(90))
        from skipstone.data.read import read_manifest

        manifest = read_manifest(table)
        options = TextOptions(**{**entry.input_options, **of_input})  # type: ignore[arg-type]
        made = TextInput(options).fit(manifest.list_sources())
        matrix = (
            made.make_feature_matrix(manifest.list_sources())[0]
            if entry.solver is not None
            else None
        )
        targets = np.array([CLASSES.index(name) for name in manifest.column_values("target")])
    choices = task_entry.make_options()
    schema = {"classes": CLASSES}
    usual = task_entry.load()(choices, schema).default_head()
    args = {"options": dataclasses.asdict(entry.make_options(of_model))}
    head = ComponentConfig(entry.head or usual.name, usual.args)
    torch.manual_seed(0)
    if matrix is None:
        arch = Arch(ComponentConfig(model, args), head)
        network = build_network(arch, made)
    else:
        solve = resolve_target(entry.solver)
        solution = solve(
            entry.make_options(of_model),
            ClosedFormProblem(matrix, targets, 3, 0, made.feature_groups),
        )
        arch = Arch(ComponentConfig(model, {**args, "shape": solution.shape}), head)
        network = build_network(arch, made)
        found = {f"backbone.{name}": value for name, value in solution.tensors.items()}
        load_tensors(network, found, where="the solution")
    network.eval()
    state, arrays = made.get_state()
    return Bundle(
        arch=arch,
        input={"name": "text", "options": dataclasses.asdict(options), "state": state},
        task={"name": "classify", "options": dataclasses.asdict(choices), "schema": schema},
        post={"temperature": 1.5},
        lineage={"command": "test", "seed": 0},
        metrics={},
        tensors=export_tensors(network),
        input_arrays=dict(arrays),
    )


def write_small_text(folder: Path, model: str = "logistic", *, goldens: bool = True) -> Path:
    """Save a small bundle of texts, with goldens."""
    small_text_bundle(model).save(folder)
    if goldens:
        store_goldens(folder)
    return folder
