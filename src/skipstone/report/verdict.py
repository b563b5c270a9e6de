"""The verdict on top of a report: three sentences without statistics, and whether it is good news."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from skipstone.evaluation.intervals import Estimate
from skipstone.evaluation.scores import Skill, judge_skill
from skipstone.report.report_schema import ReportData
from skipstone.report.text_format import capitalize_first, format_percent

Json = Mapping[str, Any]

#: Shares of wrong predictions: up to the first the verdict is good, above the second mistakes are
#: what to work on next.
GOOD_SHARE, HIGH_SHARE = 0.2, 0.1
#: A gain in the last fifth of the epochs that more epochs would probably continue.
RISING_GAIN = 0.02
_LABELS = {Skill.NOT_TRAINED: "Not trained", Skill.UNCLEAR: "Too few samples to tell"}


def build_verdict(story: ReportData) -> dict[str, Any]:
    """Fields of `HeadlineMetric`: state, label, sentences, command, majority."""
    errors = story.errors
    if errors is None:
        return {"state": "neutral"}
    by_name = {row["name"]: row for row in story.metrics}
    skill = judge_skill(_estimate(by_name.get(story.headline)), errors["majority"])
    correct = _estimate(by_name.get(errors["metric"]))
    wrong = None if correct is None else 1 - correct.value
    advice, command = _advise(story, skill, wrong)
    count = "" if correct is None else _count_errors(story, correct, skill)
    sentences = [count, _name_weakness(errors), advice]
    is_bad = skill is not Skill.TRAINED or not story.verification.get("ok")
    is_good = wrong is not None and wrong <= GOOD_SHARE
    return {
        "state": "bad" if is_bad else "good" if is_good else "neutral",
        "label": _LABELS.get(skill, ""),
        "sentences": [sentence for sentence in sentences if sentence],
        "command": story.commands[command] if command else "",
        "majority": [errors["majority_title"], errors["majority"]],
    }


def _estimate(row: Json | None) -> Estimate | None:
    if row is None or None in (row["value"], row["low"], row["high"]):
        return None
    return Estimate(row["value"], row["low"], row["high"], row["n"])


def _count_errors(story: ReportData, correct: Estimate, skill: Skill) -> str:
    """How many of 100 are wrong."""
    errors = story.errors or {}
    unit = errors["unit"] or f"{story.sample}s"
    wrong, low, high = 1 - correct.value, 1 - correct.high, 1 - correct.low
    if wrong == 0:
        return (
            f"None of the {correct.n:,} scored {story.sample}s has an error; of 100 others, up to "
            f"{100 * high:.0f} may have one (95 %)."
        )
    scale = 100 if wrong >= 0.01 else 1000
    text = (
        f"Of {scale:,} {unit}, about {scale * wrong:.0f} {errors['error']} (95 %: "
        f"{scale * low:.0f} to {scale * high:.0f})"
    )
    if skill is Skill.TRAINED:
        return f"{text}."
    reached = f"{errors['majority_title']} reaches {format_percent(errors['majority'])}"
    better = "hardly better than that" if skill is Skill.NOT_TRAINED else "not surely better"
    return f"{text}: {reached}, and this model is {better}."


def _name_weakness(errors: Json) -> str:
    """The weakest class and the most frequent mistake."""
    weakest, confused, unit = errors["weakest"], errors["confused"], errors["unit"]
    parts = []
    if weakest is not None:
        name, correct, total = weakest
        share = f"{format_percent(correct / total)} of its {unit} are found"
        count = f"{correct:,.0f} of {total:,.0f} are found"
        parts.append(f"The weakest class is “{name}”: {share if unit else count}")
    if confused is not None:
        truth, answer, times, total = confused
        count = f"{times:,.0f} of {total:,.0f}"
        amount = f"{format_percent(times)} of all {unit}" if unit else count
        parts.append(f"the most frequent mistake is “{truth}” predicted as “{answer}” ({amount})")
    text = "; ".join(parts)
    return f"{capitalize_first(text)}." if text else ""


def _advise(story: ReportData, skill: Skill, wrong: float | None) -> tuple[str, str]:
    """What to do next, and the name of the command for it, or ""."""
    errors, noun = story.errors or {}, story.sample
    if not story.verification.get("ok"):
        return "Next: do not use the exported programs; some do not predict as the model does.", ""
    if story.stopped_by == "budget" and (skill is not Skill.TRAINED or _is_rising(story)):
        return "Next: train for longer: the time budget ended this run; give a larger --budget.", ""
    if _is_rising(story):
        epochs = 2 * len(story.history)
        return f"Next: train for longer: the score was still rising; try --epochs {epochs}.", ""
    if skill is Skill.NOT_TRAINED:
        return f"Next: look for wrong labels and damaged {noun}s.", "audit"
    if skill is Skill.UNCLEAR:
        return f"Next: add {noun}s; the scored ones are too few for a decision.", ""
    weakest, confused = errors["weakest"], errors["confused"]
    rows = {item["name"]: item["train"] for item in story.classes}
    if weakest is not None and weakest[0] in rows:
        few, typical = rows[weakest[0]], statistics.median(rows.values())
        if few < typical / 2:
            add = f"add {noun}s of “{weakest[0]}”: it has {few:,} to learn from"
            return f"Next: {add}, a typical class {typical:,.0f}.", ""
    if wrong is not None and wrong > HIGH_SHARE and confused is not None and not errors["unit"]:
        pair = f"“{confused[0]}” predicted as “{confused[1]}”"
        return f"Next: look at {pair} below, because wrong labels show there first.", "audit"
    if story.receipts:
        return "Next: put it to use.", "export"
    return "Next: make it smaller and faster.", "shrink"


def _is_rising(story: ReportData) -> bool:
    """Whether the last fifth of the epochs still gained."""
    scores = [row["metrics"].get(story.headline) for row in story.history]
    early = scores[: -max(1, len(scores) // 5)]
    known = [score for score in early if score is not None]
    return bool(known) and scores[-1] is not None and scores[-1] > max(known) + RISING_GAIN
