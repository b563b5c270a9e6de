"""Files beside the data stay what they were, or a run does not go on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from skipstone.core.errors import Refusal
from skipstone.training.plan import check_input_hashes
from skipstone.training.run_directory import RunFolder


@dataclass
class Files:
    hashes: dict[str, str]

    def hash_files(self) -> dict[str, str]:
        return self.hashes


def test_a_file_that_changed_stops_a_resumed_run(tmp_path: Path) -> None:
    before, after = Files({"/v.txt": "a" * 64}), Files({"/v.txt": "b" * 64})
    with RunFolder(tmp_path / "001", {"seed": 0}) as run:
        check_input_hashes(before, run)  # type: ignore[arg-type]
    with RunFolder(tmp_path / "001", {"seed": 0}) as run:
        check_input_hashes(before, run)  # type: ignore[arg-type]
        with pytest.raises(
            Refusal, match=r"/v\.txt has changed since .*not aaaaaaaaaaaa\), so this run"
        ) as caught:
            check_input_hashes(after, run)  # type: ignore[arg-type]
        assert "--out DIR" in str(caught.value)
        with pytest.raises(Refusal, match="has changed"):
            check_input_hashes(Files({"/other": "a"}), run)  # type: ignore[arg-type]
