from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.bundle.files import read_bundle_json
from skipstone.bundle.format import Bundle
from skipstone.compression.options import Int8Options, PruneOptions
from skipstone.compression.shrink_plan import ShrinkPlan, Step, StepContext, run_steps
from skipstone.core import events
from skipstone.core.errors import DamagedError, UsageError
from skipstone.core.registry import STEPS
from skipstone.data.manifest import Manifest
from tests.compression import example_steps as steps

INT8S = st.builds(
    Int8Options,
    samples=st.integers(1, 10_000),
    preset=st.sampled_from(["performance", "mixed"]),
    floats=st.sampled_from(["bf16", "f32"]),
)
PRUNES = st.builds(PruneOptions, multiple=st.integers(1, 64), batches=st.integers(1, 100))
PLANS = st.tuples(st.lists(PRUNES, max_size=2), INT8S).map(
    lambda found: ShrinkPlan((*(Step("prune", item) for item in found[0]), Step("int8", found[1])))
)


@given(PLANS)
def test_a_plan_can_be_printed_and_read_again(plan: ShrinkPlan) -> None:
    assert ShrinkPlan.from_text(str(plan)) == plan
    assert (
        ShrinkPlan.from_text(str(plan).replace(" ", "").replace("=", " = ").replace(",", " , "))
        == plan
    )


def test_a_plan_prints_only_what_was_chosen() -> None:
    assert str(ShrinkPlan.from_text("int8()")) == "int8"
    assert str(ShrinkPlan.from_text("int8(floats=f32,samples=300)")) == "int8(floats=f32)"
    assert ShrinkPlan.from_text("prune, int8(samples=5)").slug == "prune-int8"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int9", "Did you mean 'int8'"),
        ("int8(sample=5)", "Did you mean 'samples'"),
        ("int8(samples=few)", "not a whole number"),
        ("int8(samples=0)", "from 1"),
        ("int8(preset=fast)", "Allowed: mixed, performance"),
        ("int8(samples=5, samples=6)", "given twice"),
        ("int8(samples)", "needs a value"),
        ("int8(samples=5", "from '(samples=5' on"),
        ("int8 int8", "from 'int8' on"),
        ("int8,", "from '' on"),
        ("int8(samples=5), prune", '--plan "prune, int8(samples=5)"'),
        ("int8, prune, int8(samples=5)", '--plan "prune, int8(samples=5)"'),
        ("sparsify, prune, share", '--plan "prune, sparsify, share"'),
        ("share, sparsify", "share must be the last step"),
        ("share, int8", "Leave share out"),
        ("", "empty"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_way_out(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        ShrinkPlan.from_text(text)
    assert message in str(caught.value)


def test_steps_hand_over_bundles_and_leave_the_first_alone(
    run: Path, rows: Manifest, tmp_path: Path
) -> None:
    seen = steps.SEEN
    seen.clear()
    STEPS.register(steps.MARK)
    try:
        (tmp_path / "new").mkdir()
        work = StepContext(
            run / "bundle",
            tmp_path / "new",
            rows.rows_with_role("train"),
            rows.rows_with_role("val"),
        )
        facts = run_steps(ShrinkPlan.from_text("mark, mark, mark"), work)
    finally:
        STEPS.unregister("mark")
    assert [fact["facts"]["at"] for fact in facts] == [1, 2, 3]
    assert seen[0] == run / "bundle"
    assert len(set(seen)) == 3
    assert read_bundle_json(tmp_path / "new") == read_bundle_json(run / "bundle")
    Bundle.load(tmp_path / "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["new"]


def test_a_killed_plan_resumes_at_the_last_finished_step(
    tmp_path: Path, run: Path, rows: Manifest
) -> None:
    """With another plan, seed or model it starts again."""
    work = StepContext(
        run / "bundle",
        tmp_path / "new",
        rows.rows_with_role("train"),
        rows.rows_with_role("val"),
        unfinished=tmp_path / "new.unfinished",
    )
    STEPS.register(steps.MARK)
    steps.SEEN.clear()
    plan = ShrinkPlan.from_text("mark, mark, mark")
    notes: list[str] = []
    try:
        with events.use_listener(lambda event: notes.append(getattr(event, "text", ""))):
            whole = run_steps(plan, work)
            assert len(steps.SEEN) == 3
            (tmp_path / "new.unfinished" / "3.json").unlink()  # killed within the last step
            assert [row["name"] for row in run_steps(plan, work)] == ["mark"] * 3
            assert len(steps.SEEN) == 4
            assert "Resuming after step 2 of 3." in notes
            assert run_steps(plan, work)[:2] == whole[:2]
            assert len(steps.SEEN) == 4
            run_steps(plan, dataclasses.replace(work, seed=1))
            assert len(steps.SEEN) == 7
            (tmp_path / "new.unfinished" / "1.json").write_text("[]")
            with pytest.raises(DamagedError, match=r"1\.json is damaged"):
                run_steps(plan, dataclasses.replace(work, seed=1))
    finally:
        STEPS.unregister("mark")
    Bundle.load(tmp_path / "new")
