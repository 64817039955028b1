import torch

from ofa_det.arch.detector import DetectorConfig
from ofa_det.models.network import DetectionNetwork
from ofa_det.models.supernet import Supernet
from ofa_det.training.reordering import sort_for_phase
from ofa_det.training.state import WeightAverage


def with_state(network: DetectionNetwork) -> tuple[WeightAverage, torch.optim.Optimizer]:
    """An average that lags behind the weights, and an optimiser that has taken a step."""
    average, optimizer = WeightAverage(network), torch.optim.AdamW(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return average, optimizer


def test_a_phase_begins_from_the_sorted_average(shallow: DetectorConfig) -> None:
    torch.manual_seed(0)
    network = Supernet(shallow).eval()
    average, optimizer = with_state(network)
    images, largest, smallest = torch.randn(1, 3, 64, 64), shallow.space.largest(64), shallow.space.smallest(64)
    before = [average.applied_to(network)(images, subnet) for subnet in (largest, smallest)]
    project = average.values["backbone.stages.1.1.project.weight"].abs().sum(dim=(0, 2, 3))
    assert not torch.equal(project, project.sort(descending=True).values)

    sort_for_phase(network, average, optimizer)
    after = [network(images, subnet) for subnet in (largest, smallest)]
    for one, other in zip(before[0], after[0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before[1].box_codes, after[1].box_codes, rtol=1e-3)
    norms = network.get_parameter("backbone.stages.1.1.project.weight").detach().abs().sum(dim=(0, 2, 3))
    torch.testing.assert_close(norms, project.sort(descending=True).values)
    assert all(torch.equal(average.values[name], value) for name, value in network.named_parameters())
    assert not optimizer.state
