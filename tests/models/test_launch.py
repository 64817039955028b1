import pytest
import torch

from ofa_det.models.accelerator import checked_accelerator
from ofa_det.models.launch import Launch, is_first_rank, launch


def test_how_torchrun_started_it(torchrun: pytest.MonkeyPatch) -> None:
    launched = launch()
    assert launched == Launch(num_nodes=2, ranks_per_node=3, rank=5, local_rank=2)
    assert launched.num_ranks == 6
    torchrun.setenv("WORLD_SIZE", "1")
    assert launch() is None
    torchrun.setenv("WORLD_SIZE", "6")
    torchrun.delenv("TORCHELASTIC_RUN_ID")
    assert launch() is None


def test_one_rank_is_the_first_and_so_is_a_process_alone(torchrun: pytest.MonkeyPatch) -> None:
    assert not is_first_rank()
    torchrun.setenv("RANK", "0")
    assert is_first_rank()
    torchrun.setenv("RANK", "5")
    torchrun.delenv("TORCHELASTIC_RUN_ID")
    assert is_first_rank()


def test_each_rank_has_its_own_gpu(torchrun: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    torchrun.setattr(torch, "empty", lambda size, device: asked.append(device))
    assert checked_accelerator("cuda") == torch.device("cuda:2")
    assert checked_accelerator("cpu") == torch.device("cpu")
    assert asked == ["cuda:2", "cpu"]
