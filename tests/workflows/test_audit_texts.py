"""The audit of texts: planted defects are named with file and row, and the data stays as it is."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from skipstone.core.errors import DataError
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.datasets.options import SplitOptions
from skipstone.datasets.splitting import assign_roles
from skipstone.workflows.audit_data import AuditResult, audit
from tests.cli.conftest import Run, run
from tests.small_texts import write_small_text
from tests.text_data import WORDS, rows, write_csv, write_folders

__all__ = ["run"]

DISHES = "soup bread curry salad cake stew pasta risotto omelette dumpling pancake pudding".split()  # noqa: SIM905


def _rows() -> list[tuple[str, str, str]]:
    """(text, label, split): 48 texts, none like another, and what is planted from row 48 on."""
    rows = []
    for number in range(48):
        dish, day = DISHES[number % 12], ("Monday", "Tuesday", "Friday", "Sunday")[number // 12]
        text = f"On {day} the {dish} at table {number} came late and was far too salty for us"
        if number % 2:
            text = f"Nobody cooks {dish} like grandmother did for the {day} market of year {number}"
        rows.append((text, ("food", "market")[number % 2], "train" if number < 40 else "test"))
    first = [text for text, _, _ in rows]
    rows += [
        (first[0].replace(" ", "  "), "food", "train"),  # 48: the same
        (first[2], "market", "train"),  # 49: the same under another label
        (first[40], "food", "train"),  # 50: the same in two splits
        (first[4].upper() + "!!", "food", "train"),  # 51: near
        (first[6].replace("salty", "slaty"), "market", "train"),  # 52: near, another label
        (first[42].replace("came", "often came"), "food", "train"),  # 53: near, two splits
        ("", "food", "train"),  # 54
        ("a text without a label", "", "train"),  # 55
        ("word " * 600, "food", "train"),  # 56
        ("<b>some</b> letters were l\ufffdst here", "food", "train"),  # 57
    ]
    return rows


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AuditResult]:
    root = tmp_path_factory.mktemp("texts")
    table = write_csv(root / "mail.csv", _rows(), header="text,label,split")  # type: ignore[arg-type]
    before = (table.read_bytes(), table.stat().st_mtime_ns)
    result = audit(table, out=root / "audit")
    assert (table.read_bytes(), table.stat().st_mtime_ns) == before
    return table, result


def _found(result: AuditResult) -> dict[str, list[str]]:
    return {finding.kind: list(finding.paths) for finding in result.audit.findings}


def test_everything_that_was_planted_is_found(messy: tuple[Path, AuditResult]) -> None:
    found = _found(messy[1])
    rows = {
        "duplicate": (0, 48),
        "duplicate_with_other_label": (2, 49),
        "duplicate_across_splits": (40, 50),
        "near_duplicate": (4, 51),
        "near_duplicate_with_other_label": (6, 52),
        "near_duplicate_across_splits": (42, 53),
        "empty_text": (54,),
        "row_without_label": (55,),
        "long_text": (56,),
        "damaged": (57,),
    }
    for kind, numbers in rows.items():
        assert found.pop(kind) == [f"mail.csv#{number}" for number in numbers], kind
    assert not found


def test_lengths_are_counted(messy: tuple[Path, AuditResult]) -> None:
    counts = messy[1].audit.counts
    assert counts["tokens"]["max"] == 600
    assert counts["tokens"]["min"] <= counts["tokens"]["median"] <= 20
    classes = counts["histograms"]["tokens"]
    assert sum(classes.values()) == counts["rows"] == 56
    assert classes["513-1,024"] == counts["texts_over_512_tokens"] == 1
    assert "turned_by_exif" not in counts


def test_the_page_shows_texts_with_what_differs(messy: tuple[Path, AuditResult]) -> None:
    page = messy[1].files["page"].read_text(encoding="utf-8")
    marks = re.findall(r'<mark class="against s2">([^<]*)</mark>', page)
    assert {"salty", "slaty", "often"} <= set(marks)
    assert "&lt;b&gt;some&lt;/b&gt;" in page
    assert "<b>some" not in page
    assert "Nearly the same text under two labels" in page
    assert "Rows by tokens" in page
    assert "no picture" not in page


def test_the_list_leaves_rows_out(messy: tuple[Path, AuditResult], run: Run) -> None:
    table, result = messy
    listed = result.files["exclude"].read_text(encoding="utf-8").splitlines()
    plain = {line for line in listed if line and not line.startswith("#")}
    assert plain == {f"mail.csv#{row}" for row in (48, 2, 49, 50, 53, 57)}
    manifest = read_manifest(table, ReadOptions(exclude=str(result.files["exclude"])))
    assert len(manifest) == 50
    assert {2, 48, 49, 50, 53, 57}.isdisjoint(manifest.column_values("member"))
    code, out, _ = run("audit", table, "--exclude", result.files["exclude"], "--json")
    kinds = {finding["kind"] for finding in json.loads(out)["findings"]}
    assert code == 0
    assert kinds == {"near_duplicate", "near_duplicate_with_other_label", "empty_text", "long_text"}


def test_the_terminal_speaks_of_texts(messy: tuple[Path, AuditResult], run: Run) -> None:
    _, out, _ = run("audit", messy[0])
    assert "The same text under two labels: 2 texts" in out
    assert re.search(r"2 texts are nearly the same, \d+ % of their letters agree", out)
    assert "picture" not in out
    assert "lower_quartile" in out


def test_the_next_commands_read_the_data_in_the_same_way(tmp_path: Path, run: Run) -> None:
    """As they are printed: with the flags of the audit, and quoted."""
    table = write_csv(
        tmp_path / "my texts.csv",
        [*rows(12), rows(12)[0]],  # a copy, so that there is a finding
        "text,my kind",
    )
    lines = table.read_text(encoding="utf-8").splitlines()
    lines = [f"{line},{'other' if number else 'x y'}" for number, line in enumerate(lines)]
    table.write_text("\n".join(lines), encoding="utf-8")
    flags = ("--label-column", "my kind")
    words = shlex.split(run("audit", table, *flags).out.splitlines()[-1])
    assert words[:3] == ["Details:", "skipstone", "audit"]
    words[-1] = str(tmp_path / "my audit")
    words = shlex.split(run(*words[2:]).out.splitlines()[-1])
    assert words[:3] == ["Next:", "skipstone", "train"]
    assert run("audit", *words[3:]).code == 0


@pytest.mark.parametrize("name", ["mail.csv", "mail.jsonl"])
def test_bad_bytes_are_named_by_row(tmp_path: Path, name: str) -> None:
    table = tmp_path / name
    lines = [(f"the letter number {n} arrived at home", "ab"[n % 2]) for n in range(30)]
    if name.endswith(".csv"):
        write_csv(table, lines)
    else:
        table.write_text("".join(json.dumps({"text": t, "label": la}) + "\n" for t, la in lines))
    data = table.read_bytes()
    data = data.replace(b"number 3 arr", b"n\xfcmber 3 arr").replace(
        b"number 7 arr", b"n\xff 7 arr"
    )
    data = data.replace(b"number 9 arr", rb"n\ud83d 9 arr")  # half an emoji, where JSON escapes
    table.write_bytes(data)
    with pytest.raises(DataError, match=r"0xfc"):
        read_manifest(table)
    found = {f.kind: f for f in audit(table).audit.findings}
    bad = (3, 7, 9) if name.endswith("jsonl") else (3, 7)
    assert found["bad_bytes"].paths == tuple(f"{name}#{row}" for row in bad)
    assert "0xfc is not UTF-8" in found["bad_bytes"].notes[0]


def test_files_of_texts_are_looked_at_alike(tmp_path: Path) -> None:
    texts = [(text, label) for text, label, _ in _rows()[:40]]
    folder = write_folders(tmp_path / "mail", texts)
    (folder / "food/100.txt").write_text(texts[1][0].lower())
    (folder / "food/empty.txt").write_text("")
    (folder / "food/spaces.txt").write_text(" \n\n")
    (folder / "food/bad.txt").write_bytes(b"fa\xff is no letter")
    found = _found(audit(folder))
    assert found == {
        "near_duplicate_with_other_label": ["food/100.txt", "market/1.txt"],
        "empty_text": ["food/empty.txt", "food/spaces.txt"],
        "bad_bytes": ["food/bad.txt"],
    }


def test_splits_part_no_near_duplicates(tmp_path: Path) -> None:
    rows = [(text, label) for text, label, _ in _rows()[:48]]
    table = write_csv(tmp_path / "t.csv", [*rows, *((text.upper(), label) for text, label in rows)])
    manifest = read_manifest(table)
    together = assign_roles(manifest, SplitOptions(seed=3))
    roles = together.column_values("role")
    assert roles[:48] == roles[48:]
    assert len(set(roles)) == 3
    assert any("96 training rows are nearly the same text as another" in n for n in together.notes)
    apart = assign_roles(manifest, SplitOptions(seed=3, dedup="exact")).column_values("role")
    assert apart[:48] != apart[48:]


DOUBTED = "suspicious_label"


@pytest.mark.parametrize("classes", [2, 3])
def test_a_solved_model_doubts_labels_that_were_exchanged(tmp_path: Path, classes: int) -> None:
    """It was fitted to labels; what judges one has not seen it."""
    names = sorted(WORDS)[:classes]
    found = [(text, label) for text, label in rows(600) if label in names][:300]
    flipped = set(range(0, 300, 30))
    for row in flipped:
        text, label = found[row]
        found[row] = (text, names[names.index(label) - 1])
    table = write_csv(tmp_path / "t.csv", found)
    model = write_small_text(tmp_path / "bundle", goldens=False)
    doubted = {int(p.rpartition("#")[2]) for p in _found(audit(table, model=model))[DOUBTED]}
    assert doubted <= flipped
    assert len(doubted) >= 4
