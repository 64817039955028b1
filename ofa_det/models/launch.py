"""How `torchrun` started this process; without torch, so that a command can ask before it loads anything."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One of several processes that `torchrun` started, called ranks.

    Args:
        num_nodes: machines.
        ranks_per_node: processes on each.
        rank: of this process, from 0.
        local_rank: of this process on its machine.
    """

    num_nodes: int
    ranks_per_node: int
    rank: int
    local_rank: int

    @property
    def num_ranks(self) -> int:
        """Processes on all machines."""
        return self.num_nodes * self.ranks_per_node


def launch() -> Launch | None:
    """How this process was started by `torchrun`; none if it was not, or is its only process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["WORLD_SIZE"] == "1":
        return None
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return Launch(
        num_nodes=int(os.environ["WORLD_SIZE"]) // local,
        ranks_per_node=local,
        rank=int(os.environ["RANK"]),
        local_rank=int(os.environ["LOCAL_RANK"]),
    )


def is_first_rank() -> bool:
    """Whether this process is the one that writes and tells what goes on; one alone is."""
    launched = launch()
    return launched is None or launched.rank == 0
