"""The processes of a `torchrun`, called ranks, and what they tell each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ofa_det.models.launch import launch

ValueT = TypeVar("ValueT")

_PATIENCE = timedelta(days=1)
"""While one rank decides or measures something large, the others wait."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Processes that work together, and which of them this one is; by default it is alone, and asks nobody.

    Every method but `share` is a meeting: all ranks call it, in the same order, with values of the same shapes.

    Args:
        index: of this process, from 0.
        count: of the processes.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"expected a rank of 0 .. {self.count - 1}, found {self.index}")

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and shows progress."""
        return self.index == 0

    def share(self, length: int) -> range:
        """This rank's positions of 0 .. length - 1: the shares are contiguous, in the order of the ranks."""
        return range(self.index * length // self.count, (self.index + 1) * length // self.count)

    def add_up(self, tensor: Tensor) -> None:
        """Replaces a tensor by its sum over the ranks, bit for bit the same on each; no gradient passes."""
        if self.count > 1:
            dist.all_reduce(tensor)

    def gather(self, tensor: Tensor) -> Tensor:
        """(ranks, ...) the tensors of all ranks; gradients of all ranks flow back to each."""
        if self.count == 1:
            return tensor.unsqueeze(0)
        gathered: Tensor = _Gather.apply(tensor, self)
        return gathered

    def gather_lists(self, values: list[ValueT]) -> list[ValueT]:
        """The values of all ranks, one rank's after another's; they are pickled on the way."""
        if self.count == 1:
            return values
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, values)
        return [value for part in parts for value in part]

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites tensors by those of the first rank."""
        if self.count > 1:
            for tensor in tensors:
                flat = tensor.contiguous()  # Backends do not all take channels-last memory.
                dist.broadcast(flat, src=0)
                tensor.copy_(flat)


ALONE = Ranks()


@contextmanager
def launched_ranks() -> Iterator[Ranks]:
    """The ranks of the `torchrun` that started this process, who can talk while this is open; else one that is alone.

    They exchange Python objects, not gradients, over gloo.
    """
    if (launched := launch()) is None:
        yield ALONE
        return
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Ranks(index=launched.rank, count=launched.num_ranks)
    finally:
        dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    """Stacks the tensors of all ranks; the losses of all ranks depend on each of them, so their gradients add up."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        """(ranks, ...)."""
        ctx.ranks = ranks
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(ranks.count)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """This rank's row of the sum over the ranks."""
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[ctx.ranks.index], None
