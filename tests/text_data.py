"""Small labelled texts for the tests: colours against animals, learnt in a moment."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

WORDS = {
    "colour": ("red", "green", "blue", "grün", "青", "violet"),
    "animal": ("cat", "dog", "horse", "Vögel", "猫", "newt"),
    "number": ("one", "two", "three", "fünf", "七", "nine"),
}
FILLER = ("the", "a", "saw", "we", "today", "very", "it", "is", ".", "?")


def rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(text, label), each text with a word or two that tell."""
    dice = random.Random(seed)
    found = []
    for number in range(count):
        label = list(WORDS)[number % len(WORDS)]
        words = dice.choices(FILLER, k=dice.randint(2, 9)) + dice.choices(WORDS[label], k=2)
        dice.shuffle(words)
        found.append((" ".join(words) + f" {number}", label))
    return found


def write_csv(path: Path, given: list[tuple[str, str]], header: str = "text,label") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(given)
    return path


def write_jsonl(path: Path, given: list[tuple[str, str]]) -> Path:
    lines = [json.dumps({"text": text, "label": label}) for text, label in given]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_folders(root: Path, given: list[tuple[str, str]], split: str = "") -> Path:
    for number, (text, label) in enumerate(given):
        place = root / split / label
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.txt").write_text(text, encoding="utf-8")
    return root
