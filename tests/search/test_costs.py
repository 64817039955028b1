import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.latency.pixel2 import pixel2_model
from ofa_det.search.costs import Costs, CostTable, exact_costs
from ofa_det.search.genes import GeneCoding


def exact(space: SearchSpace) -> tuple[SearchSpace, Callable[[SubnetConfig], Costs]]:
    """A space with anchors, and the costs of its subnets on a Pixel 2."""
    detector = DetectorConfig.of(space, num_classes=1, anchor_sizes=space.own_anchors or space.stock_anchors())
    description = ModelDescription(
        detector=detector, subnet=None, categories=(Category(id=1, name="a"),), postprocess=PostProcessConfig()
    )
    return detector.space, exact_costs(description, pixel2_model("uint8"), safety=1.0)


def test_costs_are_of_the_file_that_ships() -> None:
    """An id of 90 makes 90 score columns in the competition's numbering, and one in a compact file."""
    space = read_space("ssdlite_mbv3_tiny")
    detector = DetectorConfig.of(space, num_classes=1, anchor_sizes=space.stock_anchors())
    far, near = (
        ModelDescription(
            detector=detector, subnet=None, categories=(Category(id=id_, name="a"),), postprocess=PostProcessConfig()
        )
        for id_ in (90, 1)
    )
    model, subnet = pixel2_model("uint8"), space.smallest()
    numbered = exact_costs(far, model, safety=1.0)(subnet)
    compact = exact_costs(far, model, safety=1.0, numbering="compact")(subnet)
    assert compact == exact_costs(near, model, safety=1.0)(subnet)
    assert all(more > less for more, less in zip(numbered, compact, strict=True))


# Levels on expanded features; kinds of blocks; coupled depth and expansion.
@pytest.mark.parametrize("name", ["ssdlite_mbv3_tiny", "mobiledet", "compofa_mbv3"])
def test_sums_over_blocks_are_the_costs_of_the_plan(name: str) -> None:
    space = read_space(name)
    space, of = exact(replace(space, resolutions=space.resolutions[:1]))
    coding, rng = GeneCoding(space), random.Random(0)
    subnets = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(12))]
    found, wanted = CostTable(coding, of)(coding.encode(subnets)), np.array([of(subnet) for subnet in subnets])
    np.testing.assert_allclose(found[:, 0], wanted[:, 0], rtol=1e-9)
    np.testing.assert_allclose(found[:, 1], wanted[:, 1], rtol=2e-3)
    assert (found[:, 1] >= wanted[:, 1] * (1 - 1e-9)).all()  # On the safe side of a cap.
    np.testing.assert_array_equal(found[:, 2:4], wanted[:, 2:4])
    np.testing.assert_allclose(found[:, 4], wanted[:, 4], atol=20)  # Bytes are rounded, block by block.


@pytest.mark.parametrize("name", ["ssdlite_mbv3", "mobiledet", "compofa_mbv3", "ofa_mbv3_w1.0"])
def test_genes_are_subnets(name: str) -> None:
    space, rng = read_space(name), random.Random(1)
    coding = GeneCoding(space)
    subnets = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(30))]
    genes = coding.encode(subnets)
    assert coding.decode(genes) == subnets
    np.testing.assert_array_equal(coding.canonical(genes), genes)
    drawn = coding.sample(np.random.default_rng(0), 200)
    assert all(subnet in space for subnet in coding.decode(drawn))
    np.testing.assert_array_equal(coding.encode(coding.decode(drawn)), drawn)


def test_features_tell_choices_apart_and_say_how_far_up_they_are() -> None:
    space = read_space("ssdlite_mbv3_tiny")
    coding = GeneCoding(space)
    smallest, largest, *neighbours = coding.features(
        coding.encode([space.smallest(), space.largest(), *space.larger_neighbours(space.smallest())])
    )
    assert set(smallest) == {0.0, 1.0} - ({1.0} if (smallest == 0).all() else set())
    assert (largest >= smallest).all()
    for neighbour in neighbours:
        assert (neighbour != smallest).any()
