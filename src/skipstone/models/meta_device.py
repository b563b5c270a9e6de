"""Building networks on torch's meta device: shapes without values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_INITIALIZERS = {
    *(Tensor.normal_, Tensor.uniform_, Tensor.bernoulli_, Tensor.random_),
    *(f for f in vars(nn.init).values() if isinstance(f, FunctionType)),
}


@contextmanager
def on_meta() -> Iterator[None]:
    """Build modules on the meta device: shapes without values, at almost no cost.

    Random initialisation is skipped. On the meta device it has no effect, but torch runs Python
    code for it that imports its compiler, which takes 2 seconds per process.
    """
    with torch.device("meta"), _SkipInitialization():
        yield


class _SkipInitialization(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _INITIALIZERS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)
