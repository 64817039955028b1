from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.model_file import description_header, read_description
from ofa_det.models.network import DetectionNetwork, Detector
from ofa_det.models.run_folder import load_detector, load_supernet, save_model
from ofa_det.models.supernet import Supernet

CATEGORIES = tuple(Category(id=id_, name=f"name {id_}") for id_ in (3, 17, 18))


def description(config: DetectorConfig, subnet: SubnetConfig | None) -> ModelDescription:
    return ModelDescription(
        detector=config,
        subnet=subnet,
        categories=CATEGORIES,
        postprocess=PostProcessConfig(max_detections=7),
        holdout_fraction=0.1,
    )


def outputs(network: DetectionNetwork, subnet: SubnetConfig) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return network(torch.randn((1, 3, 64, 64), generator=generator), subnet).logits


def test_a_detector_comes_back_the_same(config: DetectorConfig, tmp_path: Path) -> None:
    subnet = config.space.largest(64)
    detector = Detector(config, subnet, resolutions=(64, 96)).eval()
    save_model(tmp_path / "run", description(config, subnet), detector)
    loaded = load_detector(tmp_path / "run")
    assert not loaded.network.training
    assert loaded.network.subnet == subnet
    assert loaded.network.subnets.resolutions == (64,)
    assert torch.equal(outputs(loaded.network, subnet), outputs(detector, subnet))
    assert loaded.description == read_description(tmp_path / "run") == description(config, subnet)
    with pytest.raises(ValueError, match=r"expected a supernet in .*run, found a detector of one subnet"):
        load_supernet(tmp_path / "run")


def test_a_supernet_comes_back_the_same(supernet: Supernet, tmp_path: Path) -> None:
    config = supernet.eval().config
    save_model(tmp_path, description(config, None), supernet)
    loaded = load_supernet(tmp_path)
    assert not loaded.network.training
    for subnet in (config.space.smallest(64), config.space.largest(64)):
        assert torch.equal(outputs(loaded.network, subnet), outputs(supernet, subnet))
    assert loaded.description == description(config, None)
    with pytest.raises(ValueError, match=r"expected a detector in .* search a subnet"):
        load_detector(tmp_path)


def test_weight_keys_begin_with_the_names_of_layers(supernet: Supernet, tmp_path: Path) -> None:
    save_model(tmp_path, description(supernet.config, None), supernet)
    keys = load_file(tmp_path / "model.safetensors").keys()
    for subnet in supernet.config.space.covering():
        for layer in supernet.plan(subnet).layers:
            assert (f"{layer.name}.weight" in keys) == (layer.has_weights and layer.weights_of is None)


def test_what_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run folder with model\.safetensors, found none"):
        load_detector(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="expected weights"):
        load_supernet(tmp_path)


def test_weights_that_do_not_fit_are_named(config: DetectorConfig, tmp_path: Path) -> None:
    subnet = config.space.smallest(64)
    whole = Detector(config, subnet).state_dict()
    key = "backbone.stem.weight"
    shape = ", ".join(map(str, whole[key].shape))
    changes = {
        rf"expected {key} of shape \({shape}\) in .*, found none; train it anew": {key: None},
        rf"expected {key} of shape \({shape}\) in .*, found \(1,\)": {key: torch.zeros(1)},
        r"expected a\.weight of shape none in .*, found \(2,\)": {"a.weight": torch.zeros(2), key: None},
    }
    for message, change in changes.items():
        state = {name: value.contiguous() for name, value in (whole | change).items() if value is not None}
        save_file(state, tmp_path / "model.safetensors", description_header(description(config, subnet)))
        with pytest.raises(ValueError, match=message) as error:
            load_detector(tmp_path)
        assert "\n" not in str(error.value)
