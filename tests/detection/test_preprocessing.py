import torch

from ofa_det.detection.preprocessing import normalise


def test_bytes_span_minus_one_to_one_and_are_not_changed() -> None:
    images = torch.tensor([0, 128, 192, 255], dtype=torch.uint8).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    normal = normalise(images)
    assert normal[0, 0].flatten().tolist() == [-1.0, 0.0, 0.5, 127 / 128]
    assert normal.is_contiguous(memory_format=torch.channels_last)
    assert images[0, 0, 0, 0] == 0
