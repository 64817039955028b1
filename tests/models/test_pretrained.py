"""Networks of ours as weights to start from, and what is no such thing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.detection.detections import DetectorOutput
from ofa_det.models.network import DetectionNetwork, Detector
from ofa_det.models.pretrained import PretrainedReport, load_pretrained
from ofa_det.models.run_folder import save_model
from ofa_det.models.supernet import Supernet

PRIOR_BIAS = -math.log(99)


def categories(*ids: int) -> tuple[Category, ...]:
    return tuple(Category(id=id_, name=f"name {id_}") for id_ in ids)


def write(network: DetectionNetwork, folder: Path, classes: Sequence[Category] = categories(1, 2, 3)) -> str:
    subnet = network.subnet if isinstance(network, Detector) else None
    postprocess = PostProcessConfig()
    description = ModelDescription(
        detector=network.config, subnet=subnet, categories=tuple(classes), postprocess=postprocess
    )
    save_model(folder, description, network)
    return str(folder)


def copies(network: DetectionNetwork) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def outputs(network: DetectionNetwork, subnet: SubnetConfig) -> DetectorOutput:
    shape = (2, 3, subnet.resolution, subnet.resolution)
    with torch.no_grad():
        return network(torch.randn(shape, generator=torch.Generator().manual_seed(0)), subnet)


def logits(network: DetectionNetwork, resolution: int = 96) -> Tensor:
    return outputs(network, network.subnets.largest(resolution)).logits


def test_a_supernet_of_the_same_space_is_taken_whole(supernet: Supernet, tmp_path: Path) -> None:
    source = write(supernet.eval(), tmp_path)
    network = Supernet(supernet.config).eval()
    report = load_pretrained(network, source, categories=categories(1, 2, 3))
    assert report.left == report.unused == ()
    assert report.source == source
    assert str(report) == f"took {len(report.taken)} of {len(report.taken)} layers from {source}"
    expected = supernet.state_dict()
    assert all(torch.equal(expected[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("classes", [(1, 2, 4), (3, 2, 1)], ids=["others", "another order"])
def test_predictors_of_other_classes_keep_their_prior(
    supernet: Supernet, classes: tuple[int, ...], tmp_path: Path
) -> None:
    source = write(supernet, tmp_path)
    network = Supernet(supernet.config)
    before = copies(network)
    report = load_pretrained(network, source, categories=categories(*classes))
    owners = {key.removesuffix(".bias") for key in before if key.endswith("score.project.bias")}
    assert set(report.left) == owners
    assert sorted(report.unused) == sorted(f"{name}.{kind}" for name in owners for kind in ("weight", "bias"))
    for key, value in network.state_dict().items():
        of_classes = key.rpartition(".")[0] in owners
        assert torch.equal(value, before[key] if of_classes else supernet.state_dict()[key]), key
        if of_classes and key.endswith(".bias"):
            torch.testing.assert_close(value, torch.full_like(value, PRIOR_BIAS))


def test_of_other_classes_and_another_neck_what_fits_is_taken(supernet: Supernet, tmp_path: Path) -> None:
    source = write(supernet, tmp_path)
    space = supernet.config.space
    neck = tuple(replace(node, width=node.width + 8) if node.width else node for node in space.neck)
    network = Supernet(DetectorConfig(num_classes=5, space=replace(space, neck=neck)))
    before = copies(network)
    report = load_pretrained(network, source)
    for node in space.neck:
        assert not node.width or f"neck.{node.name}" in report.left
        assert not node.width or f"neck.{node.name}.weight" in report.unused
    assert not any(name.startswith("backbone.") for name in report.left)
    assert set(report.taken).isdisjoint(report.left)
    found, theirs = network.state_dict(), supernet.state_dict()
    for name in report.taken:
        keys = [key for key in found if key.startswith((f"{name}.norm.", f"{name}.transforms."))]
        assert all(torch.equal(found[key], theirs[key]) for key in keys)
    for name in report.left:
        keys = [key for key in found if key.startswith(f"{name}.norm.") or key in (f"{name}.weight", f"{name}.bias")]
        assert keys
        assert all(torch.equal(found[key], before[key]) for key in keys)


def of_level(network: DetectionNetwork, level: int) -> dict[str, Tensor]:
    """Weights of a level of the head, by what follows its position in their names."""
    prefix = f"head.levels.{level}."
    return {key.removeprefix(prefix): value for key, value in network.state_dict().items() if key.startswith(prefix)}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


def test_levels_of_the_head_are_paired_by_what_they_read(tiny_space: SearchSpace, tmp_path: Path) -> None:
    """The source left out its third and fourth level, the network its fifth: fourth and fifth read features alike."""
    square, none = ((0.2, 0.2),), ()
    torch.manual_seed(0)
    trained, network = (
        Supernet(DetectorConfig.of(tiny_space, num_classes=3, anchor_sizes=sizes))
        for sizes in (
            (square, square, none, none, square, square),
            (square, square, none, square, none, square),
        )
    )
    before = of_level(network, 2)
    assert of_level(trained, 2).keys() == before.keys()
    assert all(value.shape == before[key].shape for key, value in of_level(trained, 2).items())
    report = load_pretrained(network, write(trained, tmp_path))
    for level in (0, 1, 3):
        assert_equal(of_level(network, level), of_level(trained, level))
    assert_equal(of_level(network, 2), before)
    assert {name for name in report.left if name.startswith("head.")} == {
        f"head.levels.2.{branch}.{part}" for branch in ("box", "score") for part in ("0", "project")
    }
    assert {key for key in report.unused if key.startswith("head.")} == {f"head.levels.2.{key}" for key in before}


@pytest.mark.parametrize(
    ("theirs", "own", "norms_of"),
    [
        ((0, 1), (1,), (1,)),  # The first level is left out: the second carries the weights.
        ((1,), (0, 1), (0, 0)),  # A finer one is new: it begins with the source's only norms.
        ((0,), (0, 1), (0, None)),
    ],
    ids=["first left out", "first new", "second new"],
)
def test_the_weights_of_a_shared_head_stand_at_its_first_level_and_norms_at_each(
    theirs: tuple[int, ...],
    own: tuple[int, ...],
    norms_of: tuple[int | None, ...],
    open_space: SearchSpace,
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    trained, network = (
        Supernet(
            DetectorConfig(num_classes=3, space=replace(open_space, levels=tuple(open_space.levels[i] for i in kept)))
        )
        for kept in (theirs, own)
    )
    with torch.no_grad():
        for name, value in trained.named_parameters():
            if ".norm." in name:
                value.uniform_(0.5, 2.0)
    before = [of_level(network, level) for level in range(len(own))]
    load_pretrained(network, write(trained, tmp_path))
    for level, source in enumerate(norms_of):
        norms = before[level] if source is None else of_level(trained, source)
        expected = {key: value for key, value in norms.items() if ".norm." in key}
        if level == 0:
            expected |= {key: value for key, value in of_level(trained, 0).items() if ".norm." not in key}
        found = of_level(network, level)
        counted = {key for key in found if key.endswith(".num_batches_tracked")}
        assert_equal(
            {key: found[key] for key in found.keys() - counted}, {k: expected[k] for k in expected.keys() - counted}
        )


def test_of_a_shared_head_nothing_is_taken_for_one_that_is_not(open_space: SearchSpace, tmp_path: Path) -> None:
    trained, network = (
        Supernet(DetectorConfig(num_classes=3, space=replace(open_space, head=replace(open_space.head, shared=shared))))
        for shared in (True, False)
    )
    before = [of_level(network, level) for level in (0, 1)]
    report = load_pretrained(network, write(trained, tmp_path))
    for level in (0, 1):
        assert_equal(of_level(network, level), before[level])
    assert not any(name.startswith("head.") for name in report.taken)


def test_a_detector_gets_its_cut_of_a_supernet(supernet: Supernet, tmp_path: Path) -> None:
    source = write(supernet.eval(), tmp_path)
    subnet = supernet.config.space.smallest(96)
    detector = Detector(supernet.config, subnet, resolutions=(64, 96, 128)).eval()
    report = load_pretrained(detector, source)
    assert report.left == ()
    assert torch.equal(logits(detector), logits(supernet.extract(subnet)))


def test_a_detector_goes_on_from_a_detector(supernet: Supernet, tmp_path: Path) -> None:
    subnet = supernet.config.space.smallest(64)
    source = write(supernet.eval().extract(subnet), tmp_path)
    detector = Detector(supernet.config, replace(subnet, resolution=96)).eval()
    report = load_pretrained(detector, source, categories=categories(1, 2, 3))
    assert report.left == report.unused == ()
    assert torch.equal(logits(detector), logits(supernet.extract(replace(subnet, resolution=96))))


def test_boxes_keep_their_pixels_at_another_resolution(supernet: Supernet, tmp_path: Path) -> None:
    with torch.no_grad():
        for name, value in supernet.named_parameters():
            if ".box.project" in name:
                value.uniform_(-0.5, 0.5)
    space = supernet.eval().config.space
    assert len(space.resolutions) > 1
    low, high = space.smallest(space.resolutions[0]), space.smallest(space.resolutions[-1])
    sources = {"supernet": supernet, "low": supernet.extract(low), "high": supernet.extract(high)}
    for name, source in sources.items():
        folder = write(source, tmp_path / name)
        for subnet in (low, high):
            detector = Detector(supernet.config, subnet).eval()
            load_pretrained(detector, folder)
            found, wanted = outputs(detector, subnet), outputs(supernet, subnet)
            torch.testing.assert_close(found.box_codes, wanted.box_codes, atol=1e-4, rtol=1e-4)
    smaller = replace(supernet.config, space=replace(space, resolutions=space.resolutions[:1]))
    network = Supernet(smaller).eval()
    load_pretrained(network, str(tmp_path / "supernet"))
    torch.testing.assert_close(outputs(network, low).box_codes, outputs(supernet, low).box_codes, atol=1e-4, rtol=1e-4)


def test_a_supernet_begins_as_the_detector_that_is_its_largest_subnet(supernet: Supernet, tmp_path: Path) -> None:
    trained = supernet.eval().extract(supernet.config.space.largest(96))
    source = write(trained, tmp_path)
    network = Supernet(supernet.config).eval()
    report = load_pretrained(network, source)
    # Some layers of an open space are of no largest subnet.
    largest = {layer.name for layer in network.plan(trained.subnet).layers}
    assert set(report.left).isdisjoint(largest)
    torch.testing.assert_close(logits(network), logits(trained), atol=1e-5, rtol=1e-5)
    changed = [key for key, value in trained.state_dict().items() if not torch.equal(value, network.state_dict()[key])]
    assert changed  # Its channels are sorted.


def test_random_numbers_of_the_caller_stay(supernet: Supernet, tmp_path: Path) -> None:
    source = write(supernet, tmp_path)
    network = Detector(supernet.config, supernet.config.space.smallest())
    state = torch.get_rng_state()
    load_pretrained(network, source)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_of_which_nothing_fits_is_refused(
    tiny_space: SearchSpace, open_space: SearchSpace, tmp_path: Path
) -> None:
    source = write(Supernet(DetectorConfig(num_classes=3, space=open_space)), tmp_path)
    stages = tuple(replace(stage, width=stage.width + 40) for stage in tiny_space.stages)
    space = replace(tiny_space, backbone=replace(tiny_space.backbone, stages=stages))
    network = Supernet(DetectorConfig.of(space, num_classes=2, anchor_sizes=space.stock_anchors()))
    before = copies(network)
    with pytest.raises(ValueError, match=r"layers of this network's names and shapes in .*, found none; leave it out"):
        load_pretrained(network, source)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_a_report_says_how_much_was_left() -> None:
    report = PretrainedReport(source="run", taken=("a", "b"), left=("c", "d", "e", "f", "g"), unused=())
    assert str(report) == "took 2 of 7 layers from run, left c, d, e and 2 more as they were"


class Code:
    """What must not be unpickled."""


def test_what_holds_no_weights_to_start_from(supernet: Supernet, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(
        FileNotFoundError, match=r"a once-for-all checkpoint or a run folder to start from, found 'ofa'"
    ):
        load_pretrained(supernet, "ofa")
    with pytest.raises(FileNotFoundError, match=r"expected a run folder with model\.safetensors"):
        load_pretrained(supernet, str(tmp_path))
    for content, message in (
        ({"state_dict": Code()}, "expected a torch file of weights alone in .*file, found "),
        ({"state_dict": {"epoch": 3}}, "expected a state dict in .*file, found dict"),
        ([1], "expected a state dict in .*file, found list"),
        (
            {"conv1.weight": torch.zeros(1)},
            r"one of _conv_stem.weight, first_conv.conv.weight in .*, found conv1.weight",
        ),
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match=message) as error:
            load_pretrained(supernet, str(path))
        assert "\n" not in str(error.value)
    path.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="expected a torch file of weights alone"):
        load_pretrained(supernet, str(path))
