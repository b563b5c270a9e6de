"""From parsed arguments to one call of a verb, and from its result to what is printed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.cli import show
from skipstone.cli.flags import settings_from
from skipstone.cli.terminal import Terminal


@dataclass(frozen=True)
class VerbCall:
    run: Callable[[Namespace], Any]
    show: Callable[[Any, Terminal], None]


def _audit(given: Namespace) -> Any:
    from skipstone.verbs.audit import audit

    return audit(
        Path(given.data),
        out=given.out,
        model=given.model,
        seed=given.seed,
        settings=settings_from(given),
        command=["skipstone", *given.words],
    )


def _train(given: Namespace) -> Any:
    settings = settings_from(given)
    if given.show_augmented:
        from skipstone.verbs.augmented import show_augmented

        return show_augmented(
            Path(given.data),
            given.show_augmented,
            model=given.model,
            weights=given.weights,
            seed=given.seed,
            settings=settings,
            origin=given.origin,
            command=["skipstone", *given.words],
        )
    from skipstone.verbs.train import train

    return train(
        Path(given.data),
        out=given.out,
        model=given.model,
        weights=given.weights,
        seed=given.seed,
        settings=settings,
        origin=given.origin,
        command=["skipstone", *given.words],
    )


def _evaluate(given: Namespace) -> Any:
    from skipstone.verbs.answer import evaluate

    return evaluate(
        Path(given.model),
        Path(given.data),
        split=given.split,
        runtime=given.runtime,
        seed=given.seed,
        settings=settings_from(given),
    )


def _predict(given: Namespace) -> Any:
    from skipstone.verbs.answer import predict

    return predict(
        Path(given.model),
        given.sources,
        texts=given.texts,
        runtime=given.runtime,
        out=given.out,
        settings=settings_from(given),
    )


def _ensemble(given: Namespace) -> Any:
    from skipstone.verbs.ensemble import ensemble

    return ensemble(
        given.models,
        data=given.data,
        out=given.out,
        seed=given.seed,
        command=["skipstone", *given.words],
    )


def _shrink(given: Namespace) -> Any:
    from skipstone.verbs.shrink import shrink

    return shrink(
        Path(given.model),
        max_drop=given.max_drop,
        plan=given.plan,
        data=given.data,
        exclude=given.exclude,
        out=given.out,
        seed=given.seed,
    )


def _export(given: Namespace) -> Any:
    from skipstone.verbs.ship import export

    return export(Path(given.model), to=given.to, out=given.out, argmax=given.argmax)


def _verify(given: Namespace) -> Any:
    from skipstone.verbs.ship import verify

    return verify(Path(given.model))


def _compare(given: Namespace) -> Any:
    from skipstone.verbs.compare import compare

    return compare(given.models, data=given.data, seed=given.seed, settings=settings_from(given))


def _models(given: Namespace) -> Any:
    from skipstone.verbs.look import models

    return models(given.name)


def _demo(given: Namespace) -> Any:
    from skipstone.verbs.demo import demo

    return demo(out=given.out, seed=given.seed, task=given.task)


VERB_CALLS = {
    "audit": VerbCall(_audit, show.audit),
    "train": VerbCall(_train, show.train),
    "evaluate": VerbCall(_evaluate, show.evaluate),
    "predict": VerbCall(_predict, show.predict),
    "ensemble": VerbCall(_ensemble, show.ensemble),
    "shrink": VerbCall(_shrink, show.shrink),
    "export": VerbCall(_export, show.export),
    "verify": VerbCall(_verify, show.verify),
    "compare": VerbCall(_compare, show.compare),
    "models": VerbCall(_models, show.models),
    "demo": VerbCall(_demo, show.demo),
}
