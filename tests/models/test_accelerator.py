import pytest
import torch

from ofa_det.models.accelerator import checked_accelerator


def test_what_torch_has_here() -> None:
    assert checked_accelerator("cpu") == torch.device("cpu")


def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked_accelerator("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert checked_accelerator("auto") == torch.device("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_by_its_number() -> None:
    assert checked_accelerator("auto") == checked_accelerator("cuda") == torch.device("cuda")
    assert checked_accelerator("cuda:0") == torch.device("cuda:0")


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "cuda:999999", "cuda:", "cpu:0", "meta", "mps", ""])
def test_what_it_has_not_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=rf"torch has here, of auto, cpu, cuda and cuda:N, found '{name}'") as error:
        checked_accelerator(name)
    assert "\n" not in str(error.value)
