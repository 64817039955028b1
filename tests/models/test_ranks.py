import pytest
import torch

from ofa_det.models.ranks import ALONE, Ranks


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
