"""IDX files, as MNIST has them: grey pictures inside one file."""

from __future__ import annotations

from tests.pipelines.command import ask
from tests.pipelines.conftest import Trained


def test_train_and_evaluate(numbered: Trained) -> None:
    value = numbered.value
    assert value["verified"] is True
    assert value["split"] == "the test split of the data, scored once"
    assert value["metrics"]["accuracy"]["n"] == 18
    found = ask("evaluate", numbered.run, numbered.data, "--split", "test", "--seed", "3")
    assert found.value["metrics"]["accuracy"] == value["metrics"]["accuracy"]
    assert not numbered.touched
