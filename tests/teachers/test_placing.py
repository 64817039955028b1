import numpy as np
import pytest

from ofa_det.teachers.decoder import InputFormat
from ofa_det.teachers.placing import normalised, place


@pytest.mark.parametrize(("where", "top"), [("top_left", 0), ("centre", 16)])
def test_a_letterbox_keeps_the_shape_and_pads(where: str, top: int) -> None:
    image = np.full((50, 100, 3), 7, np.uint8)
    canvas, placement = place(image, (64, 64), InputFormat(channels="rgb", resize="letterbox", place=where))
    assert canvas.shape == (64, 64, 3)
    assert (canvas[top : top + 32] == 7).all()
    assert (np.delete(canvas, np.s_[top : top + 32], axis=0) == 114).all()
    boxes = placement.to_image(np.array([[0, top, 64, top + 32], [16, top + 8, 32, top + 24]], np.float32))
    assert boxes == pytest.approx(np.array([[0, 0, 1, 1], [0.25, 0.25, 0.5, 0.75]]))


def test_a_stretch_fills_the_input() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    canvas, placement = place(image, (2, 4), InputFormat(channels="bgr", resize="stretch"))
    assert np.array_equal(canvas, image[:, :, ::-1])
    assert placement.to_image(np.array([[1, 1, 4, 2]], np.float32)).tolist() == [[0.25, 0.5, 1, 1]]
    assert place(image, (8, 8), InputFormat(channels="bgr", resize="stretch"))[0].shape == (8, 8, 3)


def test_bytes_are_normalised_in_the_order_of_the_channels() -> None:
    form = InputFormat(channels="bgr", resize="letterbox", mean=(3, 2, 1), std=(1, 2, 4), padding=None)
    canvas, _ = place(np.full((1, 2, 3), (21, 12, 3), np.uint8), (2, 2), form)
    values = normalised(canvas[None], form, np.float32)
    assert values.shape == (1, 3, 2, 2)
    assert values[0, :, 0, 0].tolist() == [0, 5, 5]
    assert values[0, :, 1, 0].tolist() == [0, 0, 0]  # The mean, beyond the image.
    plain = InputFormat(channels="rgb", resize="stretch", layout="nhwc")
    assert normalised(canvas[None], plain, np.uint8) is not None
    assert np.array_equal(normalised(canvas[None], plain, np.uint8), canvas[None])


@pytest.mark.parametrize("wrong", [{"std": (1, 0, 1)}, {"padding": 300}, {"size": (0, 5)}])
def test_formats_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        InputFormat(channels="rgb", resize="stretch", **wrong)
