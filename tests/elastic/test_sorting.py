from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from ofa_det.arch.layers import ElasticLayer, Layer
from ofa_det.arch.plan import LayerPlan, PlanBuilder
from ofa_det.arch.subnet import BlockKind
from ofa_det.elastic.layers import ElasticConvolution, convolve
from ofa_det.elastic.sorting import sort_channels

Modules = dict[str, ElasticConvolution]
BLOCK = "stages.0.0"
ACTIVATIONS = {
    "none": lambda x: x,
    "relu": nn.functional.relu,
    "relu6": nn.functional.relu6,
    "hsigmoid": nn.functional.hardsigmoid,
}


def plan(expanded: int, squeezed: int = 0, kind: BlockKind = "inverted") -> LayerPlan:
    """A block on 4 channels, without an expansion where it widens nothing; one head reads it, one its inside."""
    builder = PlanBuilder(8, in_channels=3)
    builder.append("stem", "conv", 4, kernel_size=3, batch_norm=True)
    builder.residual_block(
        BLOCK,
        5,
        kernel_size=3,
        stride=1,
        expanded=expanded,
        activation="relu6",
        squeezed=squeezed,
        expand=expanded > 4,
        kind=kind,
    )
    inside = f"{BLOCK}.{'depthwise' if kind == 'inverted' else 'fused'}"
    builder.append("head.depthwise", "depthwise", inputs=(inside,), kernel_size=3, activation="relu6", batch_norm=True)
    builder.append("head.box.project", "conv", 3, inputs=("head.depthwise",))
    builder.append("head.mix", "conv", 6, inputs=(f"{BLOCK}.project",), batch_norm=True)
    return LayerPlan(resolution=8, layers=builder.layers)


def elastic(layer: Layer) -> ElasticConvolution:
    """Of the layer's own width, every tensor at random."""
    module = ElasticConvolution(
        ElasticLayer(
            name=layer.name,
            kind=layer.kind,
            in_channels=layer.in_channels,
            out_channels=layer.out_channels,
            kernel_sizes=(layer.kernel_size,),
            batch_norm=layer.batch_norm,
            weights_of=None,
        )
    )
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape) + 0.1 - (0.6 if tensor.ndim == 4 else 0))
    return module.eval()


def modules(plans: list[LayerPlan]) -> Modules:
    """Of the layers in the first plan that has them."""
    torch.manual_seed(0)
    layers: dict[str, Layer] = {}
    for layer in (layer for plan in plans for layer in plan.layers if layer.has_weights):
        layers.setdefault(layer.name, layer)
    return {name: elastic(layer) for name, layer in layers.items()}


def tensors(modules: Modules) -> dict[str, Tensor]:
    return {f"{n}.{key}": value.clone() for n, module in modules.items() for key, value in module.state_dict().items()}


@torch.no_grad()
def run(plan: LayerPlan, modules: Modules) -> dict[str, Tensor]:
    """What each layer gives for the same two images."""
    values = {"images": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))}
    for layer in plan.layers:
        inputs = [values[name] for name in layer.inputs]
        if layer.kind == "pool":
            found = inputs[0].mean(dim=(2, 3), keepdim=True)
        elif layer.kind == "multiply":
            found = inputs[0] * inputs[1]
        else:
            norm = modules[layer.name].norm
            found = convolve(inputs[0], *modules[layer.name].weights(layer), layer)
            found = found if norm is None else norm(found)
        values[layer.name] = ACTIVATIONS[layer.activation](found)
    return values


SPACES = {
    "narrower": [plan(24), plan(16)],
    "gated": [plan(24, 16), plan(16, 8)],
    "without an expansion": [plan(24, 16), plan(4, 8)],
    "fused": [plan(24, 16, "fused"), plan(16, 8, "fused")],
    "both kinds": [plan(24, 16, "fused"), plan(16, 8, "fused"), plan(24, 16), plan(16, 8)],
}


@pytest.fixture(params=SPACES.values(), ids=SPACES.keys())
def plans(request: pytest.FixtureRequest) -> list[LayerPlan]:
    return request.param


def test_the_largest_subnet_computes_what_it_did(plans: list[LayerPlan]) -> None:
    network = modules(plans)
    largest = [each for each in plans if each[f"{BLOCK}.project"].in_channels == 24]
    before = [run(each, network) for each in largest]
    sort_channels(plans, network)
    for each, old in zip(largest, before, strict=True):
        new = run(each, network)
        for name in ("stem", f"{BLOCK}.project", "head.box.project", "head.mix"):
            torch.testing.assert_close(new[name], old[name], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(new["head.depthwise"], old["head.depthwise"])


def test_the_channels_are_in_order_of_what_the_block_makes_of_them(plans: list[LayerPlan]) -> None:
    network = modules(plans)
    sort_channels(plans, network)
    for reader in {f"{BLOCK}.project", f"{BLOCK}.excite"} & network.keys():
        norms = network[reader].weight.abs().sum(dim=(0, 2, 3)).tolist()
        assert all(a >= b for a, b in pairwise(norms))


def test_sorting_is_a_permutation_and_the_second_changes_nothing(plans: list[LayerPlan]) -> None:
    network = modules(plans)
    before = tensors(network)
    sort_channels(plans, network)
    once = tensors(network)
    for key, value in before.items():
        assert torch.equal(value.flatten().sort().values, once[key].flatten().sort().values), key
    sort_channels(plans, network)
    assert all(torch.equal(once[key], value) for key, value in tensors(network).items())


def test_each_tensor_by_hand() -> None:
    plans = [plan(8), plan(6)]
    network = modules(plans)
    project = network[f"{BLOCK}.project"].weight
    with torch.no_grad():
        for channel, value in enumerate((0.1, -0.8, 0.3, 0.4, -0.5, 0.6, 0.7, -0.2)):
            project[:, channel] = value
    before = tensors(network)
    sort_channels(plans, network)
    after = tensors(network)
    order = [1, 6, 5, 4, 3, 2, 7, 0]
    moved = {}
    for layer in (f"{BLOCK}.expand", f"{BLOCK}.depthwise", "head.depthwise"):
        keys = ("weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
        moved |= {f"{layer}.{key}": before[f"{layer}.{key}"][order] for key in keys}
    for layer in (f"{BLOCK}.project", "head.box.project"):
        moved[f"{layer}.weight"] = before[f"{layer}.weight"][:, order]
    for key, value in (before | moved).items():
        assert torch.equal(after[key], value), key


def test_a_width_without_choice_stays(plans: list[LayerPlan]) -> None:
    network = modules(plans[:1])
    before = tensors(network)
    sort_channels(plans[:1], network)
    assert all(torch.equal(before[key], value) for key, value in tensors(network).items())
