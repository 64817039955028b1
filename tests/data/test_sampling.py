import numpy as np
import pytest

from ofa_det.data.sampling import SamplingConfig, repeat_factors


def test_an_image_repeats_as_its_rarest_class(coco):
    """Of four images one shows `late` (f = 1/4) and two show `early` (f = 1/2); the threshold is 0.36."""
    for image_id in range(4):
        coco.add_image(image_id)
    coco.add_box(0, [1, 1, 5, 5], category_id=3)
    coco.add_box(0, [1, 1, 5, 5], category_id=7)
    coco.add_box(0, [5, 5, 5, 5], category_id=7)
    coco.add_box(1, [1, 1, 5, 5], category_id=3)
    coco.add_box(2, [1, 1, 5, 5], category_id=7, iscrowd=1)
    dataset = coco.open()
    np.testing.assert_allclose(repeat_factors(dataset, 0.36), [1.2, 1, 1, 1])
    np.testing.assert_allclose(repeat_factors(dataset, 1.0), [2, 2**0.5, 1, 1])
    np.testing.assert_allclose(repeat_factors(dataset.subset(np.array([2, 1])), 1.0), [1, 2**0.5])
    assert repeat_factors(dataset.subset(np.array([2, 3])), 1.0).tolist() == [1, 1]


def test_config_is_validated():
    assert SamplingConfig().repeat_threshold == 0
    with pytest.raises(ValueError, match="expected 0 <= repeat_threshold <= 1, found 2"):
        SamplingConfig(repeat_threshold=2)
