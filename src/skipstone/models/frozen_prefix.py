"""A network cut where training starts.

    x --front--> frozen modules --> outputs that the rest reads --> modules that learn --> head
                 computed once      cached, "frozen 3.0" (N, ...)    run in each step

No backbone has to know of the cut. A module is frozen if it has parameters and none of them learns.
`find_prefix` records what the outermost frozen modules return, and asks the gradient which of these
tensors the rest of the network reads. `FrozenPrefix.compute_features` runs the same backbone with
each frozen module replaced by its recorded outputs.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from skipstone.core.errors import UsageError


class CutNetwork(Protocol):
    """What is needed of a `models.network.Network`."""

    front: Any
    backbone: Any
    head: Any


@dataclass(frozen=True)
class FrozenCall:
    """One call of a frozen module.

    Args:
        module: its path in the backbone; "" for the backbone.
        shapes: of the tensors that it returns, without the batch dimension.
        arrays: the name in a batch of each of these tensors; None where nothing reads it.
        is_tuple: whether it returns a tuple of tensors.
    """

    module: str
    shapes: tuple[tuple[int, ...], ...]
    arrays: tuple[str | None, ...]
    is_tuple: bool


@dataclass(frozen=True)
class FrozenPrefix:
    """Where a network is cut; it holds no tensor.

    Args:
        calls: of the outermost frozen modules, in the order of a forward pass.
        input_shape: of what the backbone takes, without the batch dimension.
        size: what the head is told.
    """

    calls: tuple[FrozenCall, ...]
    input_shape: tuple[int, ...]
    size: tuple[int, ...]

    @property
    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """{name of an array in a batch: its shape without the batch dimension}."""
        return {
            name: shape
            for call in self.calls
            for name, shape in zip(call.arrays, call.shapes, strict=True)
            if name is not None
        }

    def has_arrays(self, x: Mapping[str, Tensor]) -> bool:
        """Whether a batch holds this prefix's outputs instead of the network's inputs."""
        return all(name in x for name in self.array_shapes)

    def compute_features(self, backbone: nn.Module, x: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Feature maps from a batch of this prefix's outputs."""
        like = x[next(iter(self.array_shapes))]
        count = len(like)
        outputs = [
            (
                call.module,
                _join(
                    [
                        like.new_zeros(()).expand(count, *shape) if name is None else x[name]
                        for name, shape in zip(call.arrays, call.shapes, strict=True)
                    ],
                    is_tuple=call.is_tuple,
                ),
            )
            for call in self.calls
        ]
        with _replay_outputs(backbone, outputs):
            features: tuple[Tensor, ...] = backbone(
                like.new_zeros(()).expand(count, *self.input_shape)
            )
        return features


def find_prefix(network: CutNetwork, x: Mapping[str, Tensor], *, label: str) -> FrozenPrefix:
    """The prefix of a network whose frozen parameters do not require gradients.

    Args:
        x: an example batch of two or more.
        label: begins the names of its arrays.

    Raises:
        UsageError: nothing is frozen, or what is frozen does not give tensors with one entry per
            sample.
    """
    twin: Any = copy.deepcopy(network)
    twin.eval()
    arrays = twin.front(dict(x))
    if not isinstance(arrays, Tensor) or not arrays.is_floating_point():
        raise UsageError("--feature-cache needs an input of numbers, such as images or sound.")
    with torch.no_grad(), _Recorder(twin.backbone) as recorder:
        twin.backbone(arrays)
    values = [
        (name, [t.detach().requires_grad_() for t in _split(out)]) for name, out in recorder.calls
    ]
    leaves = [tensor for _, tensors in values for tensor in tensors]
    if not leaves or any(len(tensor) != len(arrays) for tensor in leaves):
        raise UsageError(
            "--feature-cache needs frozen stages whose outputs have one entry per sample, which "
            "this model does not have.",
            hint="Leave it out, or freeze more: --freeze 0.5",
        )
    joined = [
        (name, _join(tensors, is_tuple=not isinstance(out, Tensor)))
        for (name, tensors), (_, out) in zip(values, recorder.calls, strict=True)
    ]
    size = tuple(arrays.shape[2:])
    with torch.enable_grad(), _replay_outputs(twin.backbone, joined):
        outputs = twin.head.training_outputs(twin.backbone(arrays), size)
    losses = [value.float().sum() for value in outputs.values() if value.requires_grad]
    gradients = torch.autograd.grad(torch.stack(losses).sum(), leaves, allow_unused=True)
    numbers = iter(range(len(leaves)))
    is_read = iter(gradient is not None for gradient in gradients)
    calls = [
        FrozenCall(
            name,
            tuple(tuple(tensor.shape[1:]) for tensor in tensors),
            tuple(f"{label}.{next(numbers)}" if next(is_read) else None for _ in tensors),
            is_tuple=not isinstance(out, Tensor),
        )
        for (name, tensors), (_, out) in zip(values, recorder.calls, strict=True)
    ]
    return FrozenPrefix(tuple(calls), tuple(arrays.shape[1:]), size)


class PrefixModule(nn.Module):
    """The network's inputs, in order -> the arrays of all `prefixes`, in order.

    What is behind the last of them is not computed.
    """

    def __init__(
        self, network: nn.Module, prefixes: Sequence[FrozenPrefix], inputs: Sequence[str]
    ) -> None:
        super().__init__()
        self.network = network
        self.prefixes, self.inputs = prefixes, inputs

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        network: Any = self.network
        taken = network.front(dict(zip(self.inputs, arrays, strict=True)))
        with contextlib.ExitStack() as stack:
            recorders = [
                stack.enter_context(
                    _Recorder(network.backbone, {call.module for call in prefix.calls})
                )
                for prefix in self.prefixes
            ]
            needed = [_last_read(prefix) for prefix in self.prefixes]

            def stop_when_complete() -> None:
                if all(len(r.calls) >= n for r, n in zip(recorders, needed, strict=True)):
                    raise _PrefixCompleteError

            for recorder in recorders:
                recorder.after_call = stop_when_complete
            with contextlib.suppress(_PrefixCompleteError):
                network.backbone(taken)
        return tuple(
            tensor
            for prefix, recorder in zip(self.prefixes, recorders, strict=True)
            for call, (_, out) in zip(prefix.calls, recorder.calls, strict=False)
            for name, tensor in zip(call.arrays, _split(out), strict=True)
            if name is not None
        )


class _PrefixCompleteError(Exception):
    """Ends a forward pass whose rest nobody needs."""


class _Recorder:
    """Records, inside its block, what the outermost frozen modules of a backbone return.

    Args:
        names: their paths; by default all modules that have parameters of which none learns.
    """

    def __init__(self, backbone: nn.Module, names: set[str] | None = None) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.after_call: Callable[[], None] = lambda: None
        self._modules = {
            name: module
            for name, module in backbone.named_modules()
            if (name in names if names is not None else _is_frozen(module))
        }
        self._depth = 0
        self._handles: list[Any] = []

    def __enter__(self) -> _Recorder:
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_pre_hook(self._begin_call))
            self._handles.append(module.register_forward_hook(self._hook_for(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin_call(self, *_: object) -> None:
        self._depth += 1

    def _hook_for(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def end_call(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._depth -= 1
            if not self._depth:
                self.calls.append((name, output))
                self.after_call()

        return end_call


def _is_frozen(module: nn.Module) -> bool:
    learns = [parameter.requires_grad for parameter in module.parameters()]
    return bool(learns) and not any(learns)


def _last_read(prefix: FrozenPrefix) -> int:
    """The number of calls up to the last one whose output is read."""
    return 1 + max(at for at, call in enumerate(prefix.calls) if any(call.arrays))


@contextlib.contextmanager
def _replay_outputs(backbone: nn.Module, outputs: Sequence[tuple[str, Any]]) -> Iterator[None]:
    """In the block each named module returns its given outputs, one per call, and computes nothing."""
    queues: dict[str, list[Any]] = defaultdict(list)
    for name, output in outputs:
        queues[name].append(output)
    modules = [(backbone.get_submodule(name), iter(queue)) for name, queue in queues.items()]
    for module, queue in modules:
        vars(module)["forward"] = _give_next(queue)
    try:
        yield
    finally:
        for module, _ in modules:
            del vars(module)["forward"]


def _give_next(queue: Iterator[Any]) -> Callable[..., Any]:
    return lambda *_args, **_kwargs: next(queue)


def _split(output: Any) -> list[Tensor]:
    """The tensors that a module returned.

    Raises:
        UsageError: it returned something else.
    """
    tensors = [output] if isinstance(output, Tensor) else list(output)
    if not all(isinstance(t, Tensor) and t.is_floating_point() for t in tensors):
        raise UsageError(
            "--feature-cache needs stages that return tensors of numbers, and this model's do not.",
            hint="Leave it out.",
        )
    return tensors


def _join(tensors: list[Tensor], *, is_tuple: bool) -> Any:
    return tuple(tensors) if is_tuple else tensors[0]


def values_per_sample(prefixes: Sequence[FrozenPrefix]) -> int:
    """Numbers that the arrays of all prefixes hold for one sample."""
    return sum(math.prod(shape) for prefix in prefixes for shape in prefix.array_shapes.values())
