"""What one part of skipstone declares about itself for the others: one frozen dataclass per kind.

A spec says where the code is, and what it can do, without importing torch. Other packages read its
fields instead of branching on a name. A field for a function holds "package.module:attribute",
which `resolve_target` imports on first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from skipstone.core.errors import UsageError, did_you_mean
from skipstone.core.options import check_types


def resolve_target(target: str) -> Any:
    """Import the object that "package.module:attribute" names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True, slots=True)
class Spec:
    """One name in a registry.

    Args:
        name: what users type.
        target: "package.module:attribute", imported on first use.
        options: "package.module:Dataclass" of frozen, JSON-able options in a module free of torch,
            or None without options. Command-line flags are derived from it.
        summary: one line for listings.
        source: the paper or project it comes from.
        distribution: the installed package that adds it; None for a built-in spec.
    """

    name: str
    target: str
    options: str | None = None
    summary: str = ""
    source: str = ""
    distribution: str | None = None

    def load(self) -> Any:
        """Import and return the object that `target` names."""
        return resolve_target(self.target)

    def options_type(self) -> type[Any] | None:
        """The options dataclass, or None."""
        return None if self.options is None else resolve_target(self.options)

    def make_options(self, values: Mapping[str, Any] | None = None) -> Any:
        """The options with `values`. UsageError for an unknown name or a wrong value."""
        kind = self.options_type()
        values = dict(values or {})
        known = [] if kind is None else list(kind.__dataclass_fields__)
        for key in values:
            if key not in known:
                raise UsageError(
                    f"{self.name!r} has no option {key!r}.", hint=did_you_mean(key, known)
                )
        if kind is None:
            return None
        check_types(self.name, kind, values)
        try:
            return kind(**values)
        except UsageError:
            raise
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.name!r}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSpec(Spec):
    """A layout of data.

    Args:
        own_options: fields of `ReadOptions` that belong to this layout. They are rejected when
            another layout is read. Fields that no reader owns (`task`, `exclude`) apply to all.
        audit: function(manifest) -> ([Finding], counts): the problems that only this layout can
            have (data/findings.py).
    """

    own_options: tuple[str, ...] = ()
    audit: str | None = None


@dataclass(frozen=True, slots=True)
class AuditNouns:
    """An audit's words for rows of one input.

    Args:
        unit: a row.
        duplicate_title, near_duplicate_title: titles of exact and near duplicates.
        duplicate_verb, near_duplicate_verb: predicates of exact and near duplicates; `share` of
            the details agrees.
        near_duplicate_of_another: predicate of a near duplicate.
    """

    unit: str = "file"
    duplicate_title: str = "the same bytes"
    near_duplicate_title: str = "nearly the same"
    duplicate_verb: str = "hold the same bytes"
    near_duplicate_verb: str = "are nearly the same, their details agree to {share:.0f} %"
    near_duplicate_of_another: str = "are nearly the same as another, in other bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec(Spec):
    """A modality.

    Args:
        emits: kinds of features: "image", "tokens", ...
        display_array: name of the array (H, W, C) that is converted for display.
        row_content: whether a table's rows hold the sources in "cells", or name "files"; None if
            tables are not read for prediction.
        example_names: file names for printed commands.
        suffixes: endings of the names of its files, in lower case. Class folders and tables of
            paths are read for every input that has some; which input, the files decide.
        noun: one of its sources, in messages: "picture".
        formats: the files that it reads, for people; by default the suffixes.
        has_spans: whether a row of a table may be a part of a file, by columns of its begin and end
            in seconds.
        is_sidecar: whether such files may accompany those of other inputs (captions, notes). In
            folders they are read only where no other input has files.
        skip_reason: function(name, first 32 bytes) -> why the input cannot read a file, or None;
            by default the suffixes decide.
        predict_skip_reason: the same for prediction, where that reads other files.
        conversions: {a reason of `skip_reason`: how to convert such files}.
        is_blank: function(path) -> whether a file has no content: it is skipped and reported.
        reject_layout: function(root, [(label, path)], reader) that raises UsageError for files in
            class folders that are not samples (masks); without class folders, labels are "" and
            reader is None.
        inspect: function(bytes or array) -> InspectionResult.
        is_inspectable: whether the fitted input is `Inspectable`.
        find_near_duplicates: function([content of each row, or None]) -> [Link].
        audit: function(AuditContext) -> ([Finding], counts) of modality-specific checks.
        nouns: the words of audit messages.
        preview: function(bytes or array, side) -> image to display, (H, W, 3) uint8, or None.
        diff_texts: function([bytes]) -> each text as substrings, and those that differ from the
            first.
        choose_model: function that chooses a model; None: the user has to name one.
        adapt_to_spatial_targets: function(choice) -> the choice for targets with coordinates.
        baseline: the model that every result is compared with.
        demo: what `skipstone demo` trains on.
        augment: options dataclass of its augmentation.
    """

    emits: tuple[str, ...] = ()
    display_array: str | None = None
    row_content: Literal["cells", "files"] | None = None
    example_names: tuple[str, ...] = ("FILE",)
    suffixes: tuple[str, ...] = ()
    noun: str = "file"
    formats: str = ""
    has_spans: bool = False
    is_sidecar: bool = False
    skip_reason: str | None = None
    predict_skip_reason: str | None = None
    conversions: str | None = None
    is_blank: str | None = None
    reject_layout: str | None = None
    inspect: str | None = None
    is_inspectable: bool = False
    find_near_duplicates: str | None = None
    audit: str | None = None
    nouns: AuditNouns = AuditNouns()
    preview: str | None = None
    diff_texts: str | None = None
    choose_model: str | None = None
    adapt_to_spatial_targets: str | None = None
    baseline: str | None = None
    demo: str | None = None
    augment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSpec(Spec):
    """A model without its head.

    Args:
        accepts: kinds of input features that it takes.
        input_size: side in pixels of the images that it was designed for; None for other inputs
            and for a family.
        family: under which a listing shows it; "" for a family of its own.
        least_side: side in pixels of the smallest images that it takes.
        has_exact_maps: whether its maps have the size that their strides say; without padding
            they are a few pixels smaller.
        pretrained: source of its weights: "package" (installed with skipstone), "hub" (downloaded
            on request), or None.
        package_weights: function(name) -> the tensors of the installed package, by published name.
        hub: the name of those weights on timm's hub, or in ``torchvision/``; None if it is the
            same as `name`.
        normalize: normalisation of the pixels for those weights (an `ImageOptions.normalize`).
        parameters: of the backbone as published, with three channels.
        macs: multiply-accumulates of one image of that size.
        solver: the function that fits its parameters in closed form; None: they are trained by
            gradient.
        grid: {option: values} of the grid search over options that the user leaves unset; the
            validation rows decide.
        head: the only head that it works with, where the task has no choice.
        input_options: options that the input needs for it.
        train_recipe: values of `TrainOptions` that suit training from scratch.
        finetune_recipe: values of `TrainOptions` that suit fine-tuning.
        embedding: the option that sets the size of its word vectors, and the module that holds
            them.
        resolve_family: function(name, weights) -> `ModelChoice` of one model of a family.
        count_costs: function(name) -> fields of this spec for one model of a family: parameters,
            macs and the like.
        provides: what some heads and augmentations need. "pooling indices": each map but the
            deepest is the input of a 2x2 max pooling. "token embeddings": it is a
            `SequenceBackbone`. "class logits": its deepest features are one number per class.
    """

    accepts: tuple[str, ...] = ()
    input_size: int | None = None
    family: str = ""
    least_side: int = 1
    has_exact_maps: bool = True
    pretrained: Literal["package", "hub"] | None = None
    package_weights: str | None = None
    hub: str | None = None
    normalize: str | None = None
    parameters: int | None = None
    macs: int | None = None
    solver: str | None = None
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    head: str | None = None
    input_options: Mapping[str, Any] = field(default_factory=dict)
    train_recipe: Mapping[str, Any] = field(default_factory=dict)
    finetune_recipe: Mapping[str, Any] = field(default_factory=dict)
    embedding: str | None = None
    resolve_family: str | None = None
    count_costs: str | None = None
    provides: tuple[str, ...] = ()

    @property
    def is_closed_form(self) -> bool:
        """Whether its parameters are solved for instead of trained by gradient."""
        return self.solver is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec(Spec):
    """What turns features into outputs.

    Args:
        output_level: one output per "sample", per "pixel" or per "box"; None for others. A head can be
            replaced by another of the same level (`--head`).
        recommended_backbone_options: such as the stride of the deepest map, where a later stage
            can dilate instead, and which map that is (a map widened for a classifier is expensive
            for a decoder, with little gain).
        discontinuous: whether rounding can change the output much (as the position of a maximum).
        decodes_boxes: whether its outputs are coordinates. What follows its last layers with weights
            is then computed in float32, whatever the precision of a program.
        train_recipe: values of `TrainOptions` that suit training it from scratch.
        finetune_recipe: the same on a pretrained backbone.
        requires: what the backbone has to provide (`BackboneSpec.provides`).
        fit_shape: function(options, sides of the training part's boxes as shares of the input
            (n, 2)) -> keywords for the head, JSON-able; they are stored in the architecture.
        regions: how many regions of a sample it classifies by default, which the input has to find;
            0 for a head that takes none.
    """

    output_level: Literal["sample", "pixel", "box"] | None = None
    recommended_backbone_options: Mapping[str, Any] = field(default_factory=dict)
    discontinuous: bool = False
    decodes_boxes: bool = False
    train_recipe: Mapping[str, Any] = field(default_factory=dict)
    finetune_recipe: Mapping[str, Any] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    fit_shape: str | None = None
    regions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec(Spec):
    """What is predicted.

    Args:
        labels: "one": a target is a label; "many": a list of labels; None for other targets, which
            need a reader of their own.
        head: the usual head.
        target_kind: what a reader of annotations has to give; None for labels.
        input_options: values of the input's options that suit it.
        spatial_targets: whether targets have coordinates in the input, which should then keep its
            shape.
        standalone: the function that decodes outputs in the exported script.
        demo: what `skipstone demo --task` shows (a `Demonstration`).
    """

    labels: Literal["one", "many"] | None = None
    head: str | None = None
    target_kind: Literal["masks", "boxes"] | None = None
    input_options: Mapping[str, Any] = field(default_factory=dict)
    spatial_targets: bool = False
    standalone: str | None = None
    demo: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec(Spec):
    """A step of shrinking.

    Args:
        followed_by: names of the steps that may come after this one, because others would discard
            its output; None: any step.
    """

    followed_by: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSpec(Spec):
    """A library that runs networks or exported programs.

    Args:
        precisions: that it can run in, such as "f32".
        needs_program: whether it runs an exported program; False: the network itself.
        export_format: the value of `skipstone export --to` that makes its programs.
    """

    precisions: tuple[str, ...]
    needs_program: bool
    export_format: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A model and how to start it.

    Args:
        model: a name in BACKBONES.
        options: its options, where they are not the defaults.
        shape: further arguments of its builder.
        weights: initial weights: "pretrained", "none", or a file.
        input: options of the input (`ImageOptions`) that suit it.
        input_limits: the greatest values of the input's options that it supports.
        reason: one sentence.
        others: where the choice is automatic, models that cross-validation compares with this one,
            each alone and all together.
    """

    model: str
    weights: str
    input: Mapping[str, Any]
    reason: str
    others: tuple[ModelChoice, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    shape: Mapping[str, Any] = field(default_factory=dict)
    input_limits: Mapping[str, int] = field(default_factory=dict)
