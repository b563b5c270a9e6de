"""Gradients of depthwise convolutions on CPUs, round the kernels in which oneDNN is slow.

oneDNN has fast kernels for depthwise 3x3 convolutions. Two of its other gradients are slow in
bfloat16, and float32 is a faster way to the same numbers. Measured on a Sapphire Rapids Xeon (AMX,
AVX-512), torch 2.14, channels_last, one core's time of one call at the sizes of EfficientNet-Lite0:

- the gradient of the input at a stride above 1: 7 to 15 times faster in float32;
- the gradient of weights larger than 3x3: 3 to 6 times faster in float32.

So bfloat16 pays for networks with depthwise convolutions too, where torch's own way is slower than
float32: a training step of EfficientNet-Lite0 (160 px, one thread) took about half the time of
eager float32 NCHW. See `benchmarks/training_speed.py`. Other processors differ, so training times
both ways first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]


class FasterDepthwise(TorchFunctionMode):
    """Within it, depthwise convolutions on the CPU that learn get faster gradients.

    A context for the forward pass; the backward pass may come after it. Outputs are torch's own,
    gradients equal torch's to rounding, and the network itself is not touched. Everything else
    goes to torch as it is: other convolutions, dilation, paddings given by name, devices, data
    types, and calls that record no gradient. Gradients have gradients, as torch's own do.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def has_slow_depthwise(network: nn.Module, dtype: torch.dtype) -> bool:
    """Whether `FasterDepthwise` changes a layer of the network, computed in `dtype`."""
    return any(
        isinstance(layer, nn.Conv2d)
        and layer.groups == layer.in_channels == layer.out_channels > 1
        and set(layer.dilation) == {1}
        and (
            _slow_input(dtype, _pair(layer.stride)) or _slow_weight(dtype, _pair(layer.kernel_size))
        )
        for layer in network.modules()
    )


def _slow_input(dtype: torch.dtype, stride: Pair) -> bool:
    """Whether the gradient of the input is better computed in float32."""
    return dtype == torch.bfloat16 and max(stride) > 1


def _slow_weight(dtype: torch.dtype, kernel: Pair) -> bool:
    """Whether the gradient of the weight is better computed in float32."""
    return dtype == torch.bfloat16 and max(kernel) > 3


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """torch.conv2d, or the same with faster gradients where it has them."""
    if (
        torch.is_grad_enabled()
        and groups > 1
        and input.dim() == 4
        and groups == input.shape[1] == weight.shape[0]
        and input.device.type == weight.device.type == "cpu"
        and input.numel() > 0
        and not isinstance(padding, str)
        and _pair(dilation) == (1, 1)
    ):
        stride, tensors = _pair(stride), _as_autocast((input, weight, bias))
        dtypes = {tensor.dtype for tensor in tensors if tensor is not None}
        if len(dtypes) == 1 and dtypes <= {torch.float32, torch.bfloat16}:
            dtype, kernel = dtypes.pop(), (weight.shape[2], weight.shape[3])
            if (input.requires_grad and _slow_input(dtype, stride)) or (
                weight.requires_grad and _slow_weight(dtype, kernel)
            ):
                output: Tensor = _Depthwise.apply(*tensors, stride, _pair(padding))
                return output
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)


def _as_autocast(tensors: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """The tensors in the data type that autocast gives convolutions, where it is on."""
    if not torch.is_autocast_enabled("cpu"):
        return tensors
    dtype = torch.get_autocast_dtype("cpu")
    return tuple(None if tensor is None else tensor.to(dtype) for tensor in tensors)


def _pair(value: Any) -> Pair:
    if isinstance(value, int):
        return (value, value)
    return (int(value[0]), int(value[-1]))


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution: input (N, C, H, W), weight (C, 1, kh, kw), bias (C,) or None.

    All of one data type, float32 or bfloat16.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        for_x = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            dtype = torch.float32 if _slow_input(x.dtype, stride) else x.dtype
            for_x = _gradients(gradient, x, weight, stride, padding, dtype, "input")
        if ctx.needs_input_grad[1]:
            kernel = (weight.shape[2], weight.shape[3])
            dtype = torch.float32 if _slow_weight(x.dtype, kernel) else x.dtype
            for_weight = _gradients(gradient, x, weight, stride, padding, dtype, "weight")
        if ctx.needs_input_grad[2]:
            for_bias = gradient.sum((0, 2, 3))
        return for_x, for_weight, for_bias, None, None


def _gradients(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dtype: torch.dtype,
    of: str,
) -> Tensor:
    """oneDNN's gradient of the input or of the weight, computed in `dtype`."""
    found: Tensor = torch.ops.aten.convolution_backward(
        gradient.to(dtype),
        x.to(dtype),
        weight.to(dtype),
        None,
        stride,
        padding,
        (1, 1),
        False,
        (0, 0),
        weight.shape[0],
        (of == "input", of == "weight", False),
    )[0 if of == "input" else 1]
    return found.to(x.dtype)
