"""`train --vectors`: what ships is an ordinary network, and a stopped run goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from skipstone.bundle.format import Bundle
from skipstone.data.samples import Batch
from skipstone.data.sources import Inline
from skipstone.datasets.loader import Loader
from skipstone.inference.open_model import open_model
from tests.pipelines.command import Answer, ask
from tests.text_data import FILLER, WORDS, rows, write_csv
from tests.vector_data import table, word2vec_binary

VECTORS = table([*FILLER, *(word for words in WORDS.values() for word in words)], 12, seed=4)
FLAGS = ["--model", "textcnn", "--maps", "8", "--epochs", "2", "--lr", "0.02"]
FLAGS += ["--batch-size", "8", "--threads", "1", "--precision", "f32", "--checkpoint-every", "1"]


def train(folder: Path, *more: object, out: str = "runs") -> Answer:
    words = ("--vectors", folder / "v.bin", "--freeze-vectors", *FLAGS, *more)
    return ask("train", folder / "texts.csv", "--out", folder / out, *words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vectors")
    write_csv(root / "texts.csv", rows(45))
    word2vec_binary(root / "v.bin", VECTORS)
    return root


@pytest.fixture(scope="module")
def whole(folder: Path) -> Answer:
    done = train(folder, out="whole")
    assert done.code == 0, done
    return done


def test_the_bundle_holds_the_vectors_and_needs_no_file(folder: Path, whole: Answer) -> None:
    done = whole
    assert done.value["verified"]
    assert "words found in v.bin (word2vec binary, 28 x 12" in done.err
    report = (Path(done.value["run"]) / "report.html").read_text()
    assert "words found in v.bin" in report
    bundle = Bundle.load(Path(done.value["bundle"]))
    assert bundle.arch.backbone.args["options"]["embedding"] == 12
    assert bundle.lineage["vectors"]["found"] > 20
    (folder / "v.bin").rename(folder / "away.bin")
    model = open_model(Path(done.value["run"]), "torch")
    weight = bundle.tensors["backbone.embedding.weight"]
    ids = model.input.encode(model.input.decode(Inline("grün violet 猫")))["tokens"]
    expected = np.stack([VECTORS[word] for word in ("grün", "violet", "猫")])
    assert np.allclose(weight[ids], expected, atol=1e-6)  # they were frozen
    (folder / "away.bin").rename(folder / "v.bin")


def test_a_stopped_run_goes_on_with_the_same_file_only(
    folder: Path, whole: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = Loader.iterate_epoch

    def stopping(self: Loader, number: int, start: int = 0) -> Iterator[Batch]:
        for step, batch in enumerate(epoch(self, number, start), start):
            if self.batching.shuffle and (number, step) == (1, 1):
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(Loader, "iterate_epoch", stopping)
        assert train(folder).code == 143
    data = (folder / "v.bin").read_bytes()
    word2vec_binary(folder / "v.bin", {**VECTORS, "red": VECTORS["red"] + 1})
    refused = train(folder)
    assert refused.code == 1
    assert "has changed since" in refused.value["error"]
    assert "Put the file back" in refused.value["hint"]
    (folder / "v.bin").write_bytes(data)
    done = train(folder)
    assert done.code == 0, done
    assert (Path(done.value["run"]).name, done.value["metrics"]) == ("001", whole.value["metrics"])
    tensors = [Bundle.load(Path(answer.value["bundle"])).tensors for answer in (done, whole)]
    for name, value in tensors[0].items():
        assert np.array_equal(value, tensors[1][name]), name


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--embedding", "16"], "--embedding is 16, and the vectors of"),
        (["--model", "logistic"], "has no word vectors"),
        (["--token-level", "char"], "--token-level char"),
    ],
)
def test_refused_before_a_run_begins(folder: Path, more: list[str], complaint: str) -> None:
    flags = ["--model", "textcnn", *more] if "--model" not in more else more
    words = ("--vectors", folder / "v.bin", "--out", folder / "refused")
    done = ask("train", folder / "texts.csv", *words, *flags)
    assert done.code == 2
    assert complaint in done.value["error"]
    assert not (folder / "refused" / "001").exists()
