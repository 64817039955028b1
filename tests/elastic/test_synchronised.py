import pytest
import torch
from torch import Tensor, nn

from ofa_det.elastic.layers import ElasticBatchNorm2d
from ofa_det.elastic.synchronised import SynchronisedBatchNorm2d, synchronise_batch_norm


def alone(statistics: Tensor) -> Tensor:
    return statistics.unsqueeze(0)


@pytest.fixture
def norm() -> ElasticBatchNorm2d:
    torch.manual_seed(0)
    norm = ElasticBatchNorm2d(6)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    return norm


def by_parts(norm: ElasticBatchNorm2d, parts: tuple[Tensor, ...]) -> Tensor:
    """What processes that have a part each compute, in one graph."""
    statistics: list[Tensor] = []
    for part in parts:
        SynchronisedBatchNorm2d(norm, lambda own: alone(statistics.append(own) or own))(part)
    return torch.cat([SynchronisedBatchNorm2d(norm, lambda own: torch.stack(statistics))(part) for part in parts])


def test_parts_are_normalised_as_the_whole(norm: ElasticBatchNorm2d) -> None:
    """Outputs, and the gradients of features and parameters; four of six channels, about a mean far from zero."""
    wanted = (torch.randn(6, 4, 5, 3) + torch.tensor([100.0, 3.0, 0.0, -7.0])[:, None, None]).requires_grad_()
    found = wanted.detach().clone().requires_grad_()
    outputs = {"whole": norm(wanted), "parts": by_parts(norm, found.chunk(3))}
    torch.testing.assert_close(outputs["parts"], outputs["whole"], rtol=1e-4, atol=1e-4)
    gradient, gradients = torch.randn(6, 4, 5, 3), {}
    for name, features in (("whole", wanted), ("parts", found)):
        norm.zero_grad()
        outputs[name].backward(gradient)
        gradients[name] = [features.grad, norm.weight.grad.clone(), norm.bias.grad.clone()]
    torch.testing.assert_close(gradients["parts"], gradients["whole"], rtol=1e-4, atol=1e-4)


def test_it_is_the_same_norm_in_eval_mode(norm: ElasticBatchNorm2d) -> None:
    features = torch.randn(2, 4, 5, 3)
    network = nn.Sequential(norm)
    wanted, before = norm.eval()(features), network.state_dict(keep_vars=True)
    synchronise_batch_norm(network, alone)
    assert isinstance(network[0], SynchronisedBatchNorm2d)
    after = network.state_dict(keep_vars=True)
    assert list(before) == list(after)
    assert all(after[name] is value for name, value in before.items())
    assert torch.equal(network(features), wanted)


def test_statistics_are_of_full_precision_and_none_are_kept(norm: ElasticBatchNorm2d) -> None:
    kept = norm.running_mean.clone()
    synchronised = SynchronisedBatchNorm2d(norm, alone)
    with torch.autocast("cpu", torch.bfloat16):
        found = synchronised(torch.randn(4, 6, 8, 8).bfloat16())
    assert found.dtype == torch.bfloat16
    assert torch.equal(norm.running_mean, kept)
    torch.testing.assert_close(found.float().mean((0, 2, 3)), norm.bias, rtol=0, atol=0.01)
