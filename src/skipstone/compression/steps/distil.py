"""The step `distil`: train a smaller network, the student, on the answers of the original model.

    teacher, the plan's original:  images -> logits (N, K) ─┐
    student, fresh or pretrained:  images -> logits (N, K) ─┴─> loss of training

The student learns from the labels and from the teacher's probabilities, which also say how likely
the wrong classes are (Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2). With `loss=dist`
it learns their correlations instead, among the classes of an image and among the images of a batch:
a strong teacher is then easier to follow (Huang et al. 2022, arXiv:2205.10536, section 4).

The student takes the same input and has the same head. It is trained by the loop and with the
augmentation of the run.
"""

from __future__ import annotations

from typing import Any

import torch

from skipstone.bundle.architecture import Arch, ComponentConfig, require_single_network
from skipstone.bundle.format import Bundle
from skipstone.compression.options import DistilOptions
from skipstone.compression.recover import describe_recovery, save_step_output, train_recovery
from skipstone.compression.shrink_plan import StepContext
from skipstone.core import events
from skipstone.core.errors import Refusal
from skipstone.core.options import options_to_json
from skipstone.core.registry import BACKBONES, HEADS
from skipstone.core.rng import scoped_seed
from skipstone.inference.restore import restore_input, restore_single_network, restore_task
from skipstone.models.build import (
    build_network,
    check_backbone_accepts,
    check_head_needs,
    recommend_options,
)
from skipstone.models.profile import profile_network
from skipstone.models.weights import load_weights
from skipstone.training.network_choice import default_head
from skipstone.training.objective import DistDistillation, Distillation


def apply_distil(options: DistilOptions, work: StepContext) -> dict[str, Any]:
    """A bundle with the trained student in place of its network, its exports and goldens.

    Raises:
        UsageError: an unknown student, or one that takes other input.
        Refusal: the student is solved in closed form, has no such width or is not smaller; the
            bundle has no training recipe; outputs of this kind cannot be distilled.
    """
    bundle = Bundle.load(work.source)
    input, network = restore_input(bundle), restore_single_network(bundle, "the step distil")
    arch = choose_student(bundle, options)
    with scoped_seed(work.seed):
        student = build_network(arch, input)
    before, after = (profile_network(each, input.make_example(1)) for each in (network, student))
    if after.parameters >= before.parameters and after.macs >= before.macs:
        raise Refusal(
            f"distil: {arch.name} has {after.parameters:,} parameters and {after.macs:,} "
            f"multiply-accumulates, this model {before.parameters:,} and {before.macs:,}; a student "
            "is smaller.",
            hint="Name a smaller student, or a width: distil(width=0.5). See: skipstone models",
        )
    weights = choose_weights(arch)
    load_weights(
        student,
        name=arch.name,
        weights=weights,
        example={name: torch.from_numpy(array) for name, array in input.make_example(2).items()},
    )
    events.emit_note(
        f"The student, {arch.name}, has {after.macs / before.macs:.0%} of the "
        f"multiply-accumulates and {after.parameters / before.parameters:.0%} of the parameters; it "
        f"starts from {'its pretrained' if weights != 'none' else 'random'} weights."
    )
    distillation = DistDistillation if options.loss == "dist" else Distillation
    result = train_recovery(
        student,
        bundle,
        work,
        epochs=options.epochs,
        teacher=options.teacher,
        distillation=distillation,
    )
    save_step_output(bundle, arch, input, student, work)
    return {
        "student": arch.to_json(),
        "weights": weights,
        "macs": [before.macs, after.macs],
        "parameters": [before.parameters, after.parameters],
        "recovery": describe_recovery(result, options.epochs),
    }


def choose_student(bundle: Bundle, options: DistilOptions) -> Arch:
    """The architecture of the student: by default the model's own backbone at half its width.

    Raises:
        UsageError: an unknown name, or one that takes other input.
        Refusal: it is solved in closed form, or has no option width where that is needed.
    """
    arch = require_single_network(bundle.arch, "the step distil")
    name, kind = options.student or arch.name, restore_input(bundle).feature_spec().kind
    entry = BACKBONES[name]
    check_backbone_accepts(entry, name, kind)
    if entry.is_closed_form:
        raise Refusal(
            f"distil: {name} is solved in closed form, so it cannot learn from a teacher.",
            hint="Name a student that is trained by gradient. See: skipstone models",
        )
    values = {} if options.student else dict(arch.backbone.args.get("options", {}))
    if options.width is not None or not options.student:
        kind_of_options = entry.options_type()
        known = {} if kind_of_options is None else kind_of_options.__dataclass_fields__
        if "width" not in known:
            raise Refusal(
                f"distil: {name} has no option width; it has {', '.join(known) or 'none'}.",
                hint="Name a smaller student: distil(student=NAME). See: skipstone models",
            )
        values["width"] = options.width or values.get("width", 1.0) / 2
    head = arch.head
    if BACKBONES[arch.name].head is not None or entry.head is not None:
        head = default_head(restore_task(bundle), entry)
    check_head_needs(HEADS[head.name], entry, name)
    chosen = options_to_json(recommend_options(entry, name, HEADS[head.name], values))
    shape = {key: value for key, value in arch.backbone.args.items() if key == "shape"}
    return Arch(ComponentConfig(name, {"options": chosen, **shape}), head)


def choose_weights(student: Arch) -> str:
    """ "pretrained" where the installed package has weights of this very network, else "none"."""
    entry = BACKBONES[student.name]
    published = recommend_options(entry, student.name, HEADS[student.head.name], {})
    is_published = student.backbone.args["options"] == options_to_json(published)
    return "pretrained" if entry.pretrained == "package" and is_published else "none"
