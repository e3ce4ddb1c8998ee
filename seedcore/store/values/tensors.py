"""Tensors of torch as numpy arrays. The package is not imported before a tensor is there."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from seedcore.errors import InvalidValueError

# What a tensor must not be -> what to do. Each is known to torch alone, or to the process or the device it is on.
REFUSED: Final[tuple[tuple[Callable[[Any], bool], str, str], ...]] = (
    (lambda tensor: str(tensor.layout) != "torch.strided" or tensor.is_nested, "is not dense", "to_dense()"),
    (lambda tensor: tensor.is_quantized, "is quantized", "dequantize()"),
    (lambda tensor: tensor.device.type != "cpu", "is on another device than the CPU", "cpu()"),
    (lambda tensor: tensor.requires_grad, "is part of a computation of gradients", "detach()"),
    (lambda tensor: bool(vars(tensor)), "has attributes", "clone()"),
)


def to_data(tensor: Any) -> list[Any]:
    """A dense tensor on the CPU: the name of its dtype, its shape and its bytes."""
    for applies, problem, remedy in REFUSED:
        if applies(tensor):
            raise InvalidValueError(f"cannot keep a torch.Tensor that {problem}: keep tensor.{remedy}")
    torch = import_module("torch")
    flat = tensor.resolve_conj().resolve_neg().reshape(-1)
    if flat.stride() != (1,):
        flat = flat.clone(memory_format=torch.contiguous_format)
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), flat.view(torch.uint8).numpy()]


def from_data(data: list[Any]) -> Any:
    """The tensor, which refers to the array."""
    dtype, shape, content = data
    torch = import_module("torch")
    if not content.size:  # of whose bytes torch makes no view
        return torch.empty(shape, dtype=getattr(torch, dtype))
    return torch.from_numpy(content).view(getattr(torch, dtype)).reshape(shape)
