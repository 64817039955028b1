import pytest
import torch

from ofa_det.models.accelerator import checked_accelerator
from ofa_det.models.ranks import ALONE, Launch, Ranks, launch


@pytest.mark.parametrize(("length", "count"), [(10, 3), (2, 4), (0, 2), (7, 1)])
def test_shares_are_contiguous_and_nobody_has_two_more_than_another(length: int, count: int) -> None:
    shares = [Ranks(index=index, count=count).share(length) for index in range(count)]
    assert [position for share in shares for position in share] == list(range(length))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_alone_asks_nobody() -> None:
    tensor = torch.tensor([1.0, 2.0])
    ALONE.add_up(tensor)
    ALONE.copy_first([tensor])
    assert ALONE.first
    assert ALONE.gather(tensor).tolist() == [[1.0, 2.0]]
    assert ALONE.gather_lists(["a"]) == ["a"]


def test_there_is_no_rank_beyond_the_count() -> None:
    with pytest.raises(ValueError, match=r"expected a rank of 0 \.\. 1, found 2"):
        Ranks(index=2, count=2)


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in {"RUN_ID": "x", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv("TORCHELASTIC_RUN_ID" if name == "RUN_ID" else name, value)
    return monkeypatch


def test_how_torchrun_started_it(torchrun: pytest.MonkeyPatch) -> None:
    assert launch() == Launch(num_nodes=2, ranks_per_node=3, local_rank=2)
    torchrun.setenv("WORLD_SIZE", "1")
    assert launch() is None
    torchrun.setenv("WORLD_SIZE", "6")
    torchrun.delenv("TORCHELASTIC_RUN_ID")
    assert launch() is None


def test_each_rank_has_its_own_gpu(torchrun: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    torchrun.setattr(torch, "empty", lambda size, device: asked.append(device))
    assert checked_accelerator("cuda") == torch.device("cuda:2")
    assert checked_accelerator("cpu") == torch.device("cpu")
    assert asked == ["cuda:2", "cpu"]
