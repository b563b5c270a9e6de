"""The Input protocol: what every kind of input (image, text, audio) implements.

Preprocessing has two halves, so that the result of the first can be cached:

    source --decode--> Raw (the record: one decode, one resize) -encode-> arrays -front()-> network

`decode` and `encode` need no torch: the same functions run when ONNX Runtime or OpenVINO serves a
bundle. `front` is a module of the graph (normalisation, log-mel), exported with the network.

Optional abilities are the runtime-checkable protocols below, asked with `isinstance`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from skipstone.core.options import options_to_json
from skipstone.data.sources import Source
from skipstone.inputs.inspection import InspectionResult

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray

#: The array of regions (R, 4) in pixels that a head classifies; rows of zeros are padding.
REGIONS = "regions"
#: Ids in arrays of tokens: padding, out of vocabulary, the first entry of the vocabulary.
PAD, UNKNOWN, FIRST = 0, 1, 2


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What the preprocessing module passes to a backbone.

    Args:
        kind: "image", "tokens", "bag", ...
        channels: number of channels, or of features.
        requires_float32: whether values need float32 up to and through the backbone's first layer, whatever
            precision the rest of the network uses.
        regions: rows of the array REGIONS; 0 for an input without.
    """

    kind: str
    channels: int
    requires_float32: bool = False
    regions: int = 0


class DynamicAxis(NamedTuple):
    """An array axis of variable size, for export.

    Args:
        name: of the size, in the exported graph.
        multiple: the size is a multiple of this.
        max_size: largest size; None for no limit.
    """

    name: str
    multiple: int = 1
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class DecodedSample:
    """A decoded source.

    Args:
        value: the record, e.g. uint8 (H, W, C) pixels.
        size: (height, width) of the upright source, or (letters,) of a text.
        to_source: affine from record coordinates to the source's, or None.
        is_augmented: whether random augmentation made it, so that caching it is useless.
    """

    value: Array
    size: tuple[int, ...]
    to_source: tuple[float, float, float, float, float, float] | None = None
    is_augmented: bool = False


@dataclass(frozen=True, slots=True)
class KnownWords:
    """The words of an input's vocabulary.

    Args:
        words: as the training texts write them.
        ids: int64 (W,), the id of each word in the input's arrays.
        unknown_id: the id of out-of-vocabulary words, or None.
    """

    words: list[str]
    ids: Array
    unknown_id: int | None


class Input(Protocol):
    """One kind of input with its frozen options and its fitted state.

    A class registered in INPUTS is constructed as `Class(options, state=None, arrays=None)`. It
    subclasses `Input` for the defaults of the properties below.
    """

    options: Any

    def fit(self, sources: Sequence[Source]) -> Input:
        """An input with state (mean, vocabulary, channels) of `sources`, the training rows."""

    def feature_spec(self) -> FeatureSpec: ...

    def decode(self, source: Source) -> DecodedSample:
        """Read and decode. Raises DataError with the file's name and the reason."""

    def encode(self, raw: DecodedSample) -> dict[str, Array]:
        """The graph's inputs for one sample, without the batch dimension."""

    def preprocessing_module(self) -> nn.Module:
        """dict of batched arrays -> the tensor a backbone takes; exported with the network."""

    def make_example(self, batch: int) -> dict[str, Array]:
        """Arrays of the right shapes and types, for tracing, timing and shape checks."""

    def make_golden_files(self, count: int) -> list[tuple[str, bytes]]:
        """`count` generated files (name, bytes) that exercise decoding; deterministic."""

    def get_state(self) -> tuple[dict[str, Any], Mapping[str, Array]]:
        """JSON-able state and arrays; `Class(options, *state)` restores the input."""

    @property
    def ragged_arrays(self) -> frozenset[str]:
        """Names of arrays (L, ...) of variable length L, which batches pad with zeros."""
        return frozenset()

    @property
    def dynamic_axes(self) -> Mapping[str, Mapping[int, DynamicAxis]]:
        """Axes of variable size besides the batch axis: {array: {axis: FreeAxis}}."""
        return {}

    @property
    def decode_spec(self) -> dict[str, Any] | None:
        """JSON-able settings of the decode function; None where it needs more than that."""
        return None

    @property
    def standalone_decoder(self) -> str | None:
        """The function that decodes in the exported script, "module:name"; None without one."""
        return None

    @property
    def fit_notes(self) -> Sequence[str]:
        """What fitting should tell the user, one sentence each."""
        return ()


@runtime_checkable
class Surveyable(Protocol):
    """What an input answers that a model is chosen by (image size, channels), before it is fitted
    with the options that suit that model."""

    def survey(self, sources: Sequence[Source]) -> Mapping[str, Any]:
        """Facts of the training data for the chooser, as `state` names them."""


@runtime_checkable
class DescribesSize(Protocol):
    """An input that states the size of its arrays, which the user may have chosen."""

    def describe_size(self) -> str: ...


@runtime_checkable
class Vocabulary(Protocol):
    """An input whose arrays hold ids of a vocabulary, so that shrink can remove entries.

    Attributes:
        unknown_id: the id of anything outside the vocabulary.
    """

    @property
    def unknown_id(self) -> int: ...

    def removable_ids(self) -> range:
        """The removable ids. Raises Refusal if entries depend on each other."""

    def restrict_vocabulary(self, kept_ids: Array) -> Input:
        """The input with the entries `kept_ids` only (ids, ascending), renumbered from the first.

        Removed entries become out-of-vocabulary.
        """


@runtime_checkable
class Resizable(Protocol):
    """An input whose arrays have a resolution that shrink can lower."""

    def get_resolution(self) -> int:
        """The side of all arrays. Raises Refusal if they have different shapes."""

    def with_resolution(self, side: int) -> Input:
        """The input with arrays of this side and the same fitted state."""

    def upsampling_module(self) -> nn.Module:
        """`front` for arrays of any side, resized to this input's side first."""


@runtime_checkable
class Inspectable(Protocol):
    """An input that can inspect a source for the audit and decode it in the same pass."""

    def inspect_and_decode(
        self, data: bytes | Array
    ) -> tuple[InspectionResult, DecodedSample | None]:
        """The inspection and the record; None for the record if `decode` has to make it."""


@runtime_checkable
class TokenSplitter(Protocol):
    """An input of texts that can split one for display."""

    def split_tokens(self, source: Source) -> tuple[list[str], list[int]]:
        """Substrings that make up the text, and the indices of those that are tokens."""


class SourceWindow(NamedTuple):
    """A part of a source, predicted by itself; `begin` and `end` in seconds."""

    source: Source
    begin: float
    end: float


@runtime_checkable
class Windowed(Protocol):
    """An input that takes a window of a longer source."""

    def list_windows(self, source: Source) -> list[SourceWindow]:
        """Overlapping windows of a source that is longer than one; [] for a shorter source.

        Raises:
            DataError: it cannot be read.
        """


@runtime_checkable
class FullSize(Protocol):
    """An input of pictures that can be read at their own size."""

    def read_full_size(self, source: Source) -> Array:
        """The upright pixels (H, W, C), an array that `decode` takes as a source.

        Raises:
            DataError: it cannot be read.
        """


@runtime_checkable
class Playable(Protocol):
    """An input of recordings, which a report shows as pictures with players."""

    def draw_record(self, record: Array) -> Array:
        """A picture (H, W, 1) uint8 of a record."""

    def encode_wav(self, record: Array) -> bytes:
        """A record as a WAV file."""


@runtime_checkable
class WordVocabulary(Protocol):
    """An input whose vocabulary may be words, which pretrained word vectors need."""

    def find_known_words(self, sources: Sequence[Source]) -> KnownWords:
        """The vocabulary as `sources`, its training rows, write it.

        Raises:
            UsageError: the vocabulary does not hold words.
        """


@runtime_checkable
class SparseFeatures(Protocol):
    """An input with a sparse feature matrix, which closed-form models need.

    Attributes:
        feature_groups: column ranges of the matrix, one per kind of feature.
    """

    @property
    def feature_groups(self) -> tuple[slice, ...]: ...

    def make_feature_matrix(self, sources: Sequence[Source]) -> tuple[Any, list[int]]:
        """scipy.sparse.csr_array (rows, features), and the indices of the readable sources."""


#: Positions of rows -> the input fitted on them, and the feature matrix of all rows by it.
FitPart = Callable[[Array], tuple["Input", Any]]


@runtime_checkable
class FoldFeatures(SparseFeatures, Protocol):
    """An input whose features are cheap to compute for many parts of the same rows."""

    def prepare_folds(self, sources: Sequence[Source], shared: dict[str, Any]) -> FitPart | None:
        """What fits the input on a part of the rows `sources`, as `fit` does; None where that is not
        cheaper.

        Args:
            shared: filled by the first input and read by others on the same rows.
        """


def inputs_are_equal(one: Input, other: Input) -> bool:
    """Whether two inputs of one kind have equal options and equal fitted state."""
    (state, arrays), (other_state, other_arrays) = one.get_state(), other.get_state()
    if (one.options, state, arrays.keys()) != (other.options, other_state, other_arrays.keys()):
        return False
    return all(np.array_equal(value, other_arrays[name]) for name, value in arrays.items())


def make_input_record(name: str, input: Input) -> dict[str, Any]:
    """What a bundle stores of an input besides its arrays, JSON-able.

    Args:
        name: of the input's registry entry.
    """
    state, _ = input.get_state()
    return {"name": name, "options": options_to_json(input.options), "state": state}
