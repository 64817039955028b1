import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.low_rank import LayerRank, largest_rank, pointwise_layers
from ofa_det.artefacts.model_file import description_header, read_description
from ofa_det.models.low_rank import factored, kept_energy
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import load_detector, save_model
from ofa_det.models.supernet import Supernet


def description(detector: Detector) -> ModelDescription:
    return ModelDescription(
        detector=detector.config,
        subnet=detector.subnet,
        categories=tuple(Category(id=id_, name=f"name {id_}") for id_ in (3, 17, 18)),
        postprocess=PostProcessConfig(),
    )


def orthogonal(size: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))[0]


@pytest.fixture
def detector(supernet: Supernet) -> Detector:
    return supernet.eval().extract(supernet.config.space.smallest(64)).eval()


def set_folded(detector: Detector, name: str, matrix: torch.Tensor) -> None:
    """Gives a layer these (O, C) weights behind the fold of its norm."""
    module = detector.convolutions[name]
    scale = module.norm.weight / torch.sqrt(module.norm.running_var + module.norm.eps)
    with torch.no_grad():
        module.weight.copy_((matrix / scale[:, None])[:, :, None, None])


def test_a_rank_that_the_weights_have_changes_nothing(detector: Detector) -> None:
    """Every layer that can have a rank has one, and weights of no higher."""
    ranks = []
    for layer in pointwise_layers(detector.plan(detector.subnet)):
        rank = largest_rank(layer)
        weight = detector.convolutions[layer.name].weight
        with torch.no_grad():
            low = torch.randn(layer.out_channels, rank) @ torch.randn(rank, layer.in_channels)
            weight.copy_(low[:, :, None, None] / (rank * layer.in_channels) ** 0.5)
        ranks.append(LayerRank(layer=layer.name, rank=rank))
    lower = factored(detector, ranks)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        wanted, found = (network(images, detector.subnet) for network in (detector, lower))
    assert wanted.logits.std() > 0.01
    torch.testing.assert_close(found.logits, wanted.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.box_codes, wanted.box_codes, atol=1e-5, rtol=1e-5)
    assert len(ranks) > 5
    assert not lower.training


def test_energy_is_that_of_the_weights_behind_the_fold(detector: Detector) -> None:
    layer = next(each for each in pointwise_layers(detector.plan(detector.subnet)) if each.batch_norm)
    size = min(layer.in_channels, layer.out_channels)
    values = torch.zeros(layer.out_channels, layer.in_channels, dtype=torch.float64)
    values[0, 0], values[1, 1], values[2, 2] = 4, 2, 1  # Squares 16, 4, 1 of 21.
    set_folded(detector, layer.name, orthogonal(layer.out_channels) @ values @ orthogonal(layer.in_channels))
    kept = kept_energy(detector)
    np.testing.assert_allclose(kept[layer.name], [16 / 21, 20 / 21] + [1.0] * (size - 2), atol=1e-6)
    assert {name: len(shares) for name, shares in kept.items()} == {
        each.name: min(each.in_channels, each.out_channels) for each in pointwise_layers(detector.plan(detector.subnet))
    }


def test_what_is_lost_is_the_rest_of_the_energy(detector: Detector) -> None:
    layer = next(each for each in pointwise_layers(detector.plan(detector.subnet)) if each.batch_norm)
    name = layer.name
    lower = factored(detector, [LayerRank(layer=name, rank=2)])
    module = lower.convolutions[name]
    assert module.norm.running_mean.equal(detector.convolutions[name].norm.running_mean)
    scale = module.norm.weight / torch.sqrt(module.norm.running_var + module.norm.eps)
    second, first = module.weight[:, :, 0, 0], lower.convolutions[f"{name}_reduced"].weight[:, :, 0, 0]
    before = scale[:, None] * detector.convolutions[name].weight[:, :, 0, 0]
    error = (before - scale[:, None] * second @ first).square().sum() / before.square().sum()
    assert error.item() == pytest.approx(1 - kept_energy(detector)[name][1], abs=1e-6)
    torch.testing.assert_close(first.norm(dim=1), (scale[:, None] * second).norm(dim=0))
    assert not lower.convolutions[f"{name}_reduced"].bias.any()


def test_a_channel_whose_norm_is_zero_stays_its_shift(detector: Detector) -> None:
    layer = next(each for each in pointwise_layers(detector.plan(detector.subnet)) if each.batch_norm)
    with torch.no_grad():
        detector.convolutions[layer.name].norm.weight[1] = 0.0
    lower = factored(detector, [LayerRank(layer=layer.name, rank=2)])
    assert not lower.convolutions[layer.name].weight[1].any()
    assert all(value.isfinite().all() for value in lower.state_dict().values())


def test_a_run_folder_comes_back_the_same(detector: Detector, tmp_path: Path) -> None:
    name = pointwise_layers(detector.plan(detector.subnet))[0].name
    lower = factored(detector, [LayerRank(layer=name, rank=3)])
    save_model(tmp_path, description(lower), lower)
    loaded = load_detector(tmp_path)
    assert loaded.description == read_description(tmp_path) == description(lower)
    assert loaded.description.detector.ranks == (LayerRank(layer=name, rank=3),)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.equal(loaded.network(images, lower.subnet).logits, lower(images, lower.subnet).logits)


def test_a_header_from_before_ranks_loads(detector: Detector, tmp_path: Path) -> None:
    save_model(tmp_path, description(detector), detector)
    path = tmp_path / "model.safetensors"
    (header,) = description_header(description(detector)).values()
    older = json.loads(header)
    del older["detector"]["ranks"]
    save_file(load_file(path), path, metadata={"ofa_det": json.dumps(older)})
    assert load_detector(tmp_path).description.detector.ranks == ()
