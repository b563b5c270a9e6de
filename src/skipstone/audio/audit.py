"""The audit of recordings: lengths, rates, levels, and who speaks in which split."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from skipstone.audio.inspect_recording import MAX_OFFSET, RecordingContent
from skipstone.auditing.checks import AuditContext
from skipstone.core.formatting import join_limited, natural_sorted, pluralize
from skipstone.data.findings import Finding
from skipstone.datasets.splitting import get_labels

#: Share of samples from which clipping is reported.
_CLIPPED = 0.0005
#: The first word of names such as anna_3.wav or anna-yes-3.wav: a voice, if it recurs enough.
_VOICE = re.compile(r"([A-Za-z][A-Za-z0-9]*)[_\-. ]")
_MIN_PER_VOICE = 5

Rows = Sequence[tuple[int, RecordingContent]]


def audit_recordings(seen: AuditContext) -> tuple[list[Finding], dict[str, Any]]:
    """Findings and counts; `audit` of the spec of the input `audio`."""
    rows = [
        (row, scan.examined.content)
        for row, scan in enumerate(seen.scans)
        if scan.examined is not None and isinstance(scan.examined.content, RecordingContent)
    ]
    examined = [scan.examined for scan in seen.scans if scan.examined and not scan.examined.problem]
    seconds = np.array([content.seconds for _, content in rows])
    counts: dict[str, Any] = {
        "seconds": _spread(seconds),
        "rates": dict(Counter(f"{content.rate} Hz" for _, content in rows).most_common()),
        "formats": dict(Counter(item.format for item in examined).most_common()),
        "modes": dict(Counter(item.mode for item in examined).most_common()),
    }
    if len(seconds):
        counts["histograms"] = {"length in seconds": _histogram(seconds)}
    findings = [
        *_find_rows(seen, rows, "silent", lambda c: c.is_silent, "hold only silence", _level),
        *_find_rows(
            seen, rows, "clipped", lambda c: c.clipped > _CLIPPED, "are clipped", _clipped_share
        ),
        *_find_rows(
            seen,
            rows,
            "offset",
            lambda c: c.offset > MAX_OFFSET and not c.is_silent,
            "are not centred on zero",
            lambda c: f"mean {c.offset:.3f}",
        ),
        *_find_rates(seen, rows),
        *find_shared_voices(seen),
    ]
    return findings, counts


def _level(content: RecordingContent) -> str:
    decibels = 20 * np.log10(max(content.level, 1e-9))
    return f"{decibels:.0f} dB"


def _clipped_share(content: RecordingContent) -> str:
    return f"{content.clipped:.1%} of its samples"


def _find_rows(
    seen: AuditContext,
    rows: Rows,
    kind: str,
    applies: Callable[[RecordingContent], bool],
    predicate: str,
    describe: Callable[[RecordingContent], str],
) -> Iterable[Finding]:
    """One finding for all rows to which something applies."""
    matching = [(row, content) for row, content in rows if applies(content)]
    if matching:
        row, content = matching[0]
        count = pluralize(len(matching), seen.nouns.unit)
        if len(matching) == 1:
            predicate = predicate.replace("hold", "holds").replace("are", "is")
        yield seen.make_finding(
            kind,
            [row for row, _ in matching],
            f"{count} {predicate}, such as {seen.names[row]} ({describe(content)}).",
            [describe(content) for _, content in matching],
        )


def _find_rates(seen: AuditContext, rows: Rows) -> Iterable[Finding]:
    rates = Counter(content.rate for _, content in rows)
    if len(rates) < 2:
        return
    usual = rates.most_common(1)[0][0]
    others = [row for row, content in rows if content.rate != usual]
    names = join_limited([f"{rate} Hz ({count:,})" for rate, count in rates.most_common()])
    message = f"The recordings have several rates: {names}. All are resampled to the model's."
    yield seen.make_finding("mixed_rates", others, message)


def find_shared_voices(seen: AuditContext) -> Iterable[Finding]:
    """Voices, by a column of groups or by the names of files, that several splits have."""
    splits = [split or "train" for split in seen.manifest.column_values("split")]
    if len(set(splits)) < 2:
        return
    groups = seen.manifest.column_values("group")
    has_groups = any(name is not None for name in groups)
    voices = groups if has_groups else guess_voices(seen)
    by_voice: dict[str, set[str]] = defaultdict(set)
    for voice, split in zip(voices, splits, strict=True):
        if voice is not None:
            by_voice[voice].add(split)
    shared = natural_sorted(voice for voice, where in by_voice.items() if len(where) > 1)
    if not shared:
        return
    rows = [row for row, voice in enumerate(voices) if voice in shared and splits[row] != "train"]
    source = "the column of groups" if has_groups else "the names of the files"
    yield seen.make_finding(
        "voice_across_splits",
        rows,
        f"By {source}, {pluralize(len(shared), 'voice or source', 'voices or sources')} "
        f"({join_limited(shared)}) {'is' if len(shared) == 1 else 'are'} in several splits: the score "
        "says how well known voices are recognised, not new ones.",
    )


def guess_voices(seen: AuditContext) -> list[str | None]:
    """The voice in each row's name, such as anna in anna_3.wav; None if names do not show it.

    A first word counts as a voice only if it recurs, with several labels, and nearly all names have
    one: a label in a name recurs with one label.
    """
    targets = seen.manifest.column_values("target")
    labels: dict[str, set[Any]] = defaultdict(set)
    words: list[str | None] = []
    for name, target in zip(seen.names, targets, strict=True):
        match = _VOICE.match(PurePath(name).name)
        words.append(match[1] if match else None)
        if match:
            labels[match[1]].update(get_labels(target))
    counts = Counter(word for word in words if word is not None)
    voices = {w for w, n in counts.items() if n >= _MIN_PER_VOICE and len(labels[w]) > 1}
    has_voice = sum(word in voices for word in words)
    if len(voices) < 2 or has_voice < 0.9 * len(words):
        return [None] * len(words)
    return [word if word in voices else None for word in words]


def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    names = ("min", "lower_quartile", "median", "upper_quartile", "max")
    quantiles = np.percentile(values, (0, 25, 50, 75, 100))
    return {name: round(float(value), 3) for name, value in zip(names, quantiles, strict=True)}


def _histogram(seconds: np.ndarray) -> dict[str, int]:
    """{"0.5 to 1": count} in bins of doubling width."""
    exponents = np.ceil(np.log2(np.maximum(seconds, 1 / 64))).astype(int)
    return {
        f"{2.0 ** (e - 1):g} to {2.0**e:g}": int((exponents == e).sum())
        for e in range(int(exponents.min()), int(exponents.max()) + 1)
    }
