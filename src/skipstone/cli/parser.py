"""The verbs and their arguments. Nothing heavy is imported here: `skipstone --help` stays fast."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

from skipstone.cli.flags import Parser, add_settings, one_of, whole_number
from skipstone.data.options import ASKED
from skipstone.errors import UsageError, did_you_mean
from skipstone.registry import STEPS

#: Verbs in the order a user meets them.
VERBS = {
    "demo": "the whole way on real handwritten digits, in about two minutes",
    "audit": "what is in the data and what is wrong with it; nothing is changed",
    "train": "labelled data in; a run folder with model, proof and report out",
    "evaluate": "score a model on labelled data",
    "predict": "what a model says of files",
    "ensemble": "several models of the same data as one: their probabilities are averaged",
    "shrink": "a smaller, faster model within an accuracy budget, or an honest refusal",
    "export": "one ONNX file or OpenVINO IR, and a short script that needs nothing of ours",
    "verify": "from raw file bytes: does what ships answer as what was trained?",
    "compare": "models side by side: accuracy, size, latency",
    "models": "the models that can be trained",
}
_ALL_SETTINGS = {
    *("data", "split", "input", "augmentation", "task", "model", "vectors", "head", "training"),
    "loading",
}


def top_level_help() -> str:
    """The text of `skipstone --help`."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {what}" for name, what in VERBS.items())
    return (
        "usage: skipstone VERB ... [--json] [--debug]\n\n"
        "Labelled data in; a small, fast, proven model out.\n\n"
        f"{verbs}\n\n"
        "Start with:  skipstone train photos/      (one folder of photos a class)\n"
        "More:        skipstone VERB --help\n"
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    """The parsed command. UsageError carries one line and a suggestion."""
    verb = arguments[0]
    if verb not in VERBS:
        if verb.startswith("-"):
            raise UsageError(
                f"the verb comes before {verb}.", hint=f"Such as: skipstone train photos/ {verb}"
            )
        hint = did_you_mean(verb, VERBS)
        if "mean" not in hint and Path(verb).exists():
            hint = f"To train on it: {shlex.join(['skipstone', 'train', verb])}"
        raise UsageError(f"skipstone has no verb {verb!r}.", hint=hint or "See: skipstone --help")
    what = VERBS[verb]
    sentence = what[0].upper() + what[1:] + ("" if what.endswith("?") else ".")
    parser = Parser(prog=f"skipstone {verb}", description=sentence)
    _ARGUMENTS[verb](parser)
    common = parser.add_argument_group("every verb")
    common.add_argument("--json", action="store_true", help="one JSON object on standard output")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    namespace = parser.parse_strictly(arguments[1:])
    namespace.verb = verb
    namespace.words = list(arguments)  # as they were given: a run's report shows them
    return namespace


def _data(parser: Parser) -> None:
    parser.add_argument(
        "data", metavar="DATA", help="a folder of class folders, a CSV/TSV/Parquet table, IDX files"
    )


def _model(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a run folder (runs/001) or a bundle")


def _seed(parser: Parser) -> None:
    parser.add_argument(
        "--seed", type=whole_number, default=0, metavar="N", help="of everything random (default 0)"
    )


def _out(parser: Parser, what: str) -> None:
    parser.add_argument("--out", metavar="DIR", default=None, help=what)


def _runtime(parser: Parser) -> None:
    parser.add_argument(
        "--runtime",
        default="auto",
        help="torch, onnxruntime, openvino, or auto: what the bundle ships (default auto)",
    )


def _audit(parser: Parser) -> None:
    _data(parser)
    _out(parser, "also write there: audit.json, a page with the pictures, an exclude list")
    parser.add_argument(
        "--model", default=None, help="a run or bundle whose features judge the labels"
    )
    _seed(parser)
    add_settings(parser, {"data"})


def _train(parser: Parser) -> None:
    _data(parser)
    _out(parser, "folder of runs (default runs: this becomes runs/001)")
    _seed(parser)
    parser.add_argument(
        "--model", default="auto", help="a name from `skipstone models`, or auto (default)"
    )
    parser.add_argument(
        "--weights",
        default="auto",
        metavar="FILE",
        help="auto: pretrained where the model has them; none: from scratch; or a file",
    )
    parser.add_argument(
        "--from",
        dest="origin",
        default=None,
        metavar="RUN",
        help="go on from this model with new photos or new classes: its weights, input and recipe",
    )
    parser.add_argument(
        "--show-augmented",
        metavar="FILE",
        default=None,
        help="write what training will see and stop: a contact sheet of pictures (PNG), or a page "
        "of texts (HTML)",
    )
    add_settings(parser, _ALL_SETTINGS)


def _evaluate(parser: Parser) -> None:
    _model(parser)
    _data(parser)
    parser.add_argument("--split", default=None, help="only this split of DATA (train, test, ...)")
    _runtime(parser)
    _seed(parser)
    add_settings(parser, {"data"})


def _predict(parser: Parser) -> None:
    _model(parser)
    parser.add_argument(
        "sources",
        metavar="FILE",
        nargs="*",
        help="files, folders of files, tables; - for the lines of standard input",
    )
    parser.add_argument(
        "--text",
        dest="texts",
        action="append",
        default=[],
        metavar="TEXT",
        help="a text as it is, for a model that reads texts; may be given again",
    )
    _out(parser, "FILE.csv: a table of the answers; else a folder for masks and overlays")
    _runtime(parser)
    add_settings(parser, {"data"}, only=set(ASKED))


def _ensemble(parser: Parser) -> None:
    parser.add_argument("models", metavar="MODEL", nargs="+", help="runs (runs/001) or bundles")
    parser.add_argument("--data", default=None, help="where the data lies now, if it has moved")
    _out(parser, "folder of runs (default runs: this becomes the next of them)")
    _seed(parser)


def _shrink(parser: Parser) -> None:
    _model(parser)
    parser.add_argument(
        "--max-drop",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="points of the headline metric that may be lost (default 1.0)",
    )
    parser.add_argument(
        "--plan",
        default="int8",
        metavar="STEPS",
        help=f"in order, of {', '.join(entry.name for entry in STEPS)}, such as "
        '"resolution(size=160), prune(macs=0.7), int8" (default int8)',
    )
    parser.add_argument("--data", default=None, help="where the data lies now, if it has moved")
    parser.add_argument(
        "--exclude",
        default=None,
        metavar="FILE",
        help="a bundle away from its run: the list of rows that training left out",
    )
    _out(parser, "the shrunk bundle's folder (default: beside the model)")
    _seed(parser)


def _export(parser: Parser) -> None:
    _model(parser)
    parser.add_argument(
        "--to",
        type=one_of("onnx", "openvino"),
        metavar="{onnx,openvino}",
        default="onnx",
        help="the form (default onnx)",
    )
    _out(parser, "folder to write (default: export-onnx or export-openvino)")
    parser.add_argument(
        "--argmax",
        action="store_true",
        help="masks: the graph gives each pixel's class number instead of logits",
    )


def _verify(parser: Parser) -> None:
    _model(parser)


def _compare(parser: Parser) -> None:
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", help="runs, bundles, or names of untrained models"
    )
    parser.add_argument("--data", default=None, help="score all of them on this data")
    _seed(parser)
    add_settings(parser, {"data"})


def _models(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", default=None, help="one model in detail")


def _demo(parser: Parser) -> None:
    parser.add_argument(
        "--task",
        default="classify",
        help="classify (digits), segment (digits and their masks) or text (docstrings)",
    )
    _out(parser, "folder for the demo's data and run (default demo)")
    _seed(parser)


_ARGUMENTS: dict[str, Callable[[Parser], None]] = {
    "audit": _audit,
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "ensemble": _ensemble,
    "shrink": _shrink,
    "export": _export,
    "verify": _verify,
    "compare": _compare,
    "models": _models,
    "demo": _demo,
}
