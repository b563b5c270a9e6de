from __future__ import annotations

import gc
import io
import pickle
import re
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from skipstone.core import events
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.samples import SampleMeta
from skipstone.data.sources import FileRef, Inline, Source
from skipstone.inference.open_model import open_model
from skipstone.inference.predictor import DECODE_THREADS, Failure, Predictor, SourceLike
from skipstone.inputs.base import DecodedSample
from skipstone.tasks.base import Prediction
from tests.small_bundles import CLASSES, write_small


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return open_model(write_small(tmp_path_factory.mktemp("model") / "bundle", goldens=False))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = []
    for number in range(11):
        pixels = rng.integers(0, 256, (3, 3, 3), np.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels).resize((30, 20)).save(paths[-1])
    return paths


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_answers_come_in_the_order_of_the_sources(
    predictor: Predictor, pictures: list[Path], batch_size: int
) -> None:
    answers = predictor.predict(pictures, batch_size)
    assert [answer.meta.name for answer in answers if isinstance(answer, Prediction)] == [
        str(path) for path in pictures
    ]
    alone = [predictor.predict([path])[0] for path in pictures]
    for one, other in zip(answers, alone, strict=True):
        assert isinstance(one, Prediction)
        assert isinstance(other, Prediction)
        np.testing.assert_allclose(
            one.scores["probability"], other.scores["probability"], atol=1e-5
        )


def test_a_bad_file_fails_alone_and_keeps_its_place(
    predictor: Predictor, pictures: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff not a picture")
    sources: list[SourceLike] = [pictures[0], bad, tmp_path / "missing.png", pictures[1]]
    answers = predictor.predict(sources, batch_size=2)
    assert [type(answer) for answer in answers] == [Prediction, Failure, Failure, Prediction]
    assert [getattr(answers[at], "name", "") for at in (1, 2)] == [str(bad), str(sources[2])]
    assert "bad.jpg" in getattr(answers[1], "error", "")
    found = predictor.compute_outputs(sources, batch_size=3)
    assert found.outputs["logits"].shape == (2, 3)
    assert [meta.id for meta in found.metas] == [0, 3]
    assert [failure.index for failure in found.failures] == [1, 2]


def test_only_bad_files(predictor: Predictor, tmp_path: Path) -> None:
    answers = predictor.predict([tmp_path / "a", tmp_path / "b"])
    assert [type(answer) for answer in answers] == [Failure, Failure]
    assert predictor.compute_outputs([tmp_path / "a"]).outputs == {}
    assert predictor.predict([]) == []


def test_paths_bytes_and_arrays_of_one_picture_agree(
    predictor: Predictor, pictures: list[Path]
) -> None:
    path = pictures[0]
    data = path.read_bytes()
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    forms: list[SourceLike] = [path, str(path), data, pixels, FileRef(path), Inline(data, "x")]
    logits = predictor.compute_outputs(forms).outputs["logits"]
    np.testing.assert_allclose(logits, np.broadcast_to(logits[:1], logits.shape), atol=1e-5)


def test_one_source_is_a_list_of_one_and_any_walk_is_a_list(
    predictor: Predictor, pictures: list[Path]
) -> None:
    """A path's letters and a picture's rows are no sources."""
    pixels = np.asarray(Image.open(pictures[0]))
    given: list[Any] = [str(pictures[0]), pictures[0], pictures[0].read_bytes(), pixels]
    given += [FileRef(pictures[0]), (path for path in pictures[:1]), pixels[None]]
    for sources in given:
        (answer,) = predictor.predict(sources)
        assert isinstance(answer, Prediction)
        assert answer.fields["label"] in CLASSES


def test_answers_and_models_say_what_they_are(predictor: Predictor, pictures: list[Path]) -> None:
    assert repr(predictor) == "Predictor(classify, torch-f32)"
    (answer,) = predictor.predict(pictures[0])
    said = re.fullmatch(r"Prediction\('(.*)', label='(\w+)', probability=([0-9.]+)\)", repr(answer))
    assert said is not None
    assert said[1] == str(pictures[0])
    assert float(said[3]) == pytest.approx(answer.fields["probability"], abs=1e-4)
    tags = Prediction(SampleMeta(0, "a.jpg"), {"label": ["x"], "probability": [0.123456]}, {})
    assert repr(tags) == "Prediction('a.jpg', label=['x'], probability=[0.1235])"


def test_the_four_steps_one_by_one_predict_the_same(
    predictor: Predictor, pictures: list[Path]
) -> None:
    """So that a server can schedule encode, batch, run and decode itself."""
    encoded = [predictor.encode(path) for path in pictures]
    batch = predictor.batch(encoded)
    assert {name: value.shape[0] for name, value in batch.items()} == {"image": len(pictures)}
    predictions = predictor.decode(predictor.run(batch), [item.meta for item in encoded])
    expected = predictor.predict(pictures, batch_size=len(pictures))
    for prediction, other in zip(predictions, expected, strict=True):
        assert isinstance(other, Prediction)
        assert prediction.fields == other.fields
        assert prediction.meta.name == other.meta.name


def _decoding_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("decode")}


def test_decoding_threads_are_reused_and_end_with_the_predictor(
    predictor: Predictor, pictures: list[Path]
) -> None:
    others = _decoding_threads()
    own = Predictor(predictor.input, predictor.runtime, predictor.task, predictor.post)
    first = own.predict(pictures)
    started = _decoding_threads() - others
    assert len(started) > 0
    own.predict(pictures[:2])
    assert len(_decoding_threads() - others) <= DECODE_THREADS
    assert started <= _decoding_threads()
    copy = pickle.loads(pickle.dumps(own))  # what another process gets: no threads
    assert len(copy.predict(pictures)) == len(first)
    own.close()
    assert not started & _decoding_threads()
    assert len(own.predict(pictures)) == len(first)  # starts new threads
    started = _decoding_threads() - others
    del own, copy
    gc.collect()
    for thread in started:
        thread.join(timeout=10)
    assert not started & _decoding_threads()


def test_a_stream_that_is_closed_reads_no_more_files(
    predictor: Predictor, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, names = predictor.input.decode, []

    def counting(source: Source) -> DecodedSample:
        names.append(source.name)
        return decode(source)

    monkeypatch.setattr(predictor.input, "decode", counting)
    stream = predictor.stream_predictions(pictures * 20, batch_size=1)
    next(stream)
    assert isinstance(stream, Generator)
    stream.close()
    after = len(names)
    assert after < 10
    assert len(predictor.predict(pictures)) == len(pictures)
    assert len(names) == after + len(pictures)


def test_a_bug_is_not_taken_for_a_bad_file(
    predictor: Predictor, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(source: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(predictor.input, "decode", broken)
    with pytest.raises(ZeroDivisionError):
        predictor.predict(pictures)


def test_of_very_many_rows_some_are_asked_for_calibration(
    predictor: Predictor, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of each may be large: pixels of masks."""
    manifest = _manifest(pictures, [CLASSES[n % 3] for n in range(len(pictures))])
    asked: list[list[str]] = []
    monkeypatch.setattr(
        predictor,
        "collect_calibration_sample",
        lambda rows: ({}, asked.append(rows.column_values("path")) or []),
    )
    for most in (100, 3):
        monkeypatch.setattr(predictor.task, "max_calibration_rows", most)
        assert predictor.fit_postprocessing(manifest) == {}
    every = manifest.column_values("path")
    assert asked == [every, [every[0], every[5], every[10]]]


def _manifest(pictures: list[Path], targets: list[str]) -> Manifest:
    manifest = Manifest(
        build_table(
            {
                "path": [path.name for path in pictures],
                "target": targets,
                "group": [f"g{at // 2}" for at in range(len(pictures))],
            },
            pa.string(),
        ),
        root=pictures[0].parent,
        reader="test",
        input="image",
        task="classify",
        schema={"classes": sorted(set(targets))},
    )
    return manifest.take_rows(list(reversed(range(len(pictures)))))


def test_evaluation_matches_labels_by_name_and_counts_the_others(
    predictor: Predictor, pictures: list[Path]
) -> None:
    labels = [answer.fields["label"] for answer in predictor.predict(pictures)]  # type: ignore[union-attr]
    targets = list(labels)
    wrong = next(name for name in CLASSES if name != labels[2])
    targets[2], targets[4], targets[5] = wrong, "queen", "queen"
    manifest = _manifest(pictures, targets)
    heard: list[events.Event] = []
    with events.use_listener(heard.append):
        found = predictor.evaluate(manifest, batch_size=4)
    ids = manifest.column_values("id")
    assert [ids[row] for row in found.rows] == [10, 9, 8, 7, 6, 3, 2, 1, 0]
    assert [record["id"] for record in found.records] == [ids[row] for row in found.rows]
    assert [record["correct"] for record in found.records] == [
        record["id"] != 2 for record in found.records
    ]
    assert found.groups == [manifest.column_values("group")[row] for row in found.rows]
    assert found.unknown_labels == {"queen": 2}
    notes = [event.text for event in heard if isinstance(event, events.Note)]
    assert notes == [
        "2 of 11 rows have labels that the model does not know, and are not scored: queen (2)"
    ]
    assert sum(event.amount for event in heard if isinstance(event, events.StageAdvanced)) == 9


def test_evaluation_goes_on_past_a_bad_file(
    predictor: Predictor, pictures: list[Path], tmp_path: Path
) -> None:
    copies = []
    for path in pictures[:5]:
        copies.append(tmp_path / path.name)
        copies[-1].write_bytes(path.read_bytes() if path.stem != "3" else b"broken")
    manifest = _manifest(copies, [CLASSES[0]] * 5)
    found = predictor.evaluate(manifest, batch_size=2)
    assert len(found.records) == 4
    assert [failure.index for failure in found.failures] == [1]  # its position; it has id 3
