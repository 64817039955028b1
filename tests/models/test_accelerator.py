import pytest
import torch

from ofa_det.models.accelerator import checked_accelerator


def test_what_torch_has_here() -> None:
    assert checked_accelerator("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["abacus", "cuda:99", ""])
def test_what_it_has_not_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=rf"an accelerator that torch has here, such as cpu, found '{name}'"):
        checked_accelerator(name)
