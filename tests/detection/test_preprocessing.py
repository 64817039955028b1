import numpy as np
import pytest
import torch

from ofa_det.detection.preprocessing import check_images, normalise, normalise_array


def test_bytes_span_minus_one_to_one_and_are_not_changed() -> None:
    images = torch.tensor([0, 128, 192, 255], dtype=torch.uint8).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    normal = normalise(images)
    assert normal[0, 0].flatten().tolist() == [-1.0, 0.0, 0.5, 127 / 128]
    assert normal.is_contiguous(memory_format=torch.channels_last)
    assert images[0, 0, 0, 0] == 0


def test_arrays_are_normalised_as_tensors_are() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    found = normalise_array(images)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, normalise(torch.from_numpy(images)).numpy())


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 8, 6, 3), "uint8"), ((6, 8, 3), "uint8"), ((2, 6, 8, 1), "uint8"), ((2, 6, 8, 3), "float32")],
)
def test_images_of_another_size_or_type_are_refused(shape: tuple[int, ...], dtype: str) -> None:
    check_images(np.zeros((2, 6, 8, 3), np.uint8), (6, 8))
    with pytest.raises(ValueError, match=r"expected uint8 images \(B, 6, 8, 3\), found"):
        check_images(np.zeros(shape, dtype), (6, 8))
