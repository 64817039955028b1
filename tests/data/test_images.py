import cv2
import numpy as np
import pytest
from PIL import Image

from ofa_det.data.images import image_sizes, read_image, reduction, stretch

LEFT, RIGHT = (250, 10, 10), (10, 10, 250)


@pytest.fixture
def two_sided() -> Image.Image:
    """32 x 16 px, red on the left, blue on the right."""
    pixels = np.empty((16, 32, 3), np.uint8)
    pixels[:, :16], pixels[:, 16:] = LEFT, RIGHT
    return Image.fromarray(pixels)


def near(pixel, colour) -> bool:
    return np.abs(pixel.astype(int) - colour).max() < 12


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA"])
def test_every_png_mode_becomes_rgb(mode, two_sided, tmp_path):
    two_sided.convert(mode).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == (16, 32, 3)
    assert image.dtype == np.uint8
    if mode in ("RGB", "P", "RGBA"):
        assert near(image[8, 4], LEFT)
    else:
        assert (image == image[..., :1]).all()


def test_cmyk_jpeg_keeps_its_colours(two_sided, tmp_path):
    two_sided.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert near(image[8, 4], LEFT)
    assert near(image[8, 28], RIGHT)


def test_sixteen_bit_samples_keep_their_high_byte(tmp_path):
    values = np.array([[0x0000, 0x80FF], [0xFF00, 0x1234]], np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png")[..., 1].tolist() == [[0x00, 0x80], [0xFF, 0x12]]
    cv2.imwrite(str(tmp_path / "colour.png"), np.full((4, 4, 3), (0x1000, 0x2000, 0x3000), np.uint16))
    assert read_image(tmp_path / "colour.png")[0, 0].tolist() == [0x30, 0x20, 0x10]


def test_transparent_palette_needs_no_warning(two_sided, tmp_path):
    two_sided.convert("P").save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert read_image(tmp_path / "a.png").shape == (16, 32, 3)


@pytest.fixture
def turned(two_sided, tmp_path):
    """Stored 32 wide x 16 high, to be viewed 16 wide x 32 high with the left side on top."""
    exif = Image.Exif()
    exif[0x0112] = 6
    two_sided.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    return tmp_path / "turned.jpg"


def test_exif_orientation_is_applied(turned):
    image = read_image(turned)
    assert image.shape == (32, 16, 3)
    assert near(image[4, 8], LEFT)
    assert read_image(turned, (32, 16)).shape == (32, 16, 3)


def test_annotations_in_the_stored_frame_get_the_stored_frame(turned):
    assert read_image(turned, (16, 32)).shape == (16, 32, 3)
    assert image_sizes(turned) == ((16, 32), (32, 16))


def test_half_turn_is_applied_whatever_the_size(two_sided, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    two_sided.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert near(read_image(tmp_path / "a.jpg", (16, 32))[8, 4], RIGHT)
    assert image_sizes(tmp_path / "a.jpg") == ((16, 32),)


def test_damaged_files_are_named(two_sided, tmp_path):
    path = tmp_path / "a.jpg"
    two_sided.resize((320, 160)).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    assert image_sizes(path) == ((160, 320),)
    with pytest.raises(
        ValueError, match=r"expected a readable image in .*a\.jpg, found image file is truncated .*; replace it"
    ):
        read_image(path)
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.jpg"):
        image_sizes(path)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "missing.jpg")


def test_stretch_is_opencv_bilinear_without_letterbox():
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    assert np.array_equal(stretch(image, (20, 40)), cv2.resize(image, (40, 20), interpolation=cv2.INTER_LINEAR))
    assert stretch(image, (30, 50)) is image


def test_a_jpeg_is_decoded_at_the_smallest_size_that_keeps_its_shorter_side(two_sided, tmp_path):
    two_sided.resize((330, 162)).save(tmp_path / "a.jpg", quality=95)
    two_sided.resize((330, 162)).save(tmp_path / "a.png")
    for min_side, shape in ((163, (162, 330)), (82, (162, 330)), (81, (81, 165)), (41, (81, 165)), (20, (21, 42))):
        image = read_image(tmp_path / "a.jpg", min_side=min_side)
        assert image.shape == (*shape, 3)
        assert near(image[shape[0] // 2, shape[1] // 8], LEFT)
        factors = reduction(np.array([[162, 330], [330, 162]]), min_side)
        assert (-(-np.array([162, 330]) // factors[0])).tolist() == list(shape)
        assert factors[1] == factors[0]
        assert read_image(tmp_path / "a.png", min_side=min_side).shape == (162, 330, 3)


def test_a_reduced_image_is_turned_and_compared_by_its_full_size(two_sided, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    two_sided.resize((320, 160)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert read_image(tmp_path / "a.jpg", min_side=40).shape == (80, 40, 3)
    assert read_image(tmp_path / "a.jpg", (160, 320), min_side=40).shape == (40, 80, 3)
