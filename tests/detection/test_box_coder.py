import torch

from ofa_det.detection.box_coder import decode, encode, enlargement

ANCHORS = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.25, 0.75, 0.1, 0.1]])


def test_codes_by_hand() -> None:
    # Moved right by a quarter of the anchor's width, twice as wide, same centre and height otherwise.
    box = torch.tensor([[0.35, 0.3, 0.75, 0.7]])
    expected = torch.tensor([[0.05 / 0.2 * 10, 0.0, 5 * torch.log(torch.tensor(2.0)).item(), 0.0]])
    torch.testing.assert_close(encode(box, ANCHORS[:1]), expected)


def test_enlarged_boxes_are_so_many_times_as_large_about_their_anchor() -> None:
    boxes = torch.tensor([[0.1, 0.2, 0.35, 0.9], [0.0, 0.6, 0.5, 0.8]])
    factor, shift = map(torch.tensor, enlargement(1.5))
    centres = ANCHORS[:, :2].repeat(1, 2)
    expected = centres + 1.5 * (boxes - centres)
    torch.testing.assert_close(decode(encode(boxes, ANCHORS) * factor + shift, ANCHORS), expected)


def test_decode_inverts_encode() -> None:
    boxes = torch.tensor([[0.1, 0.2, 0.35, 0.9], [0.0, 0.6, 0.5, 0.8]])
    torch.testing.assert_close(decode(encode(boxes, ANCHORS), ANCHORS), boxes)


def test_zero_codes_are_the_anchors() -> None:
    boxes = decode(torch.zeros(2, 4), ANCHORS)
    torch.testing.assert_close(boxes, torch.tensor([[0.4, 0.3, 0.6, 0.7], [0.2, 0.7, 0.3, 0.8]]))


def test_huge_codes_stay_finite() -> None:
    assert decode(torch.full((2, 4), 1e6), ANCHORS).isfinite().all()
