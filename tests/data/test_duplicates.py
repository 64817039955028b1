import cv2
import numpy as np
from PIL import Image

from ofa_det.data.duplicates import ImagePrint, duplicates, image_print
from ofa_det.data.images import read_image


def scene(seed, size=(120, 160)):
    """A smooth random picture."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (6, 8, 3)).astype(np.float32)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def prints(folder, pictures):
    """Of JPEG files of these (pixels, quality)."""
    found = []
    for number, (pixels, quality) in enumerate(pictures):
        path = folder / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, quality=quality)
        found.append(image_print(path, read_image(path)))
    return found


def test_copies_scaled_and_compressed_pictures_are_found_and_no_others(tmp_path):
    train = prints(tmp_path / "train", [(scene(seed), 92) for seed in range(30)])
    smaller = cv2.resize(scene(3), (80, 60), interpolation=cv2.INTER_AREA)
    val = prints(tmp_path / "val", [(scene(100), 92), (scene(7), 92), (smaller, 92), (scene(9), 40), (scene(101), 92)])
    assert duplicates(train, val) == [(7, 1, True), (3, 2, False), (9, 3, False)]


def test_plain_pictures_of_different_brightness_are_not_the_same(tmp_path):
    plain = [(np.full((40, 60, 3), value, np.uint8), 92) for value in (20, 120, 220)]
    train, val = prints(tmp_path / "train", plain[:2]), prints(tmp_path / "val", plain[2:])
    assert train[0].bits == val[0].bits
    assert duplicates(train, val) == []


def test_drawings_on_one_ground_are_the_same_only_where_every_place_is(tmp_path):
    def drawing(x):
        page = np.full((240, 320, 3), 255, np.uint8)
        cv2.rectangle(page, (10, 10), (120, 200), (60, 90, 160), -1)
        return cv2.circle(page, (x, 120), 9, (200, 60, 30), -1)

    train = prints(tmp_path / "train", [(drawing(x), 92) for x in (220, 260)])
    copy = cv2.resize(drawing(260), (160, 120), interpolation=cv2.INTER_AREA)
    val = prints(tmp_path / "val", [(drawing(240), 92), (copy, 60)])
    assert (train[0].bits ^ val[0].bits).bit_count() <= 3
    assert duplicates(train, val) == [(1, 1, False)]


def test_three_bits_may_differ_wherever_they_are_and_four_may_not():
    rng = np.random.default_rng(0)
    small = np.zeros((16, 16), np.uint8)
    known = [ImagePrint(file=b"%d" % n, bits=int(rng.integers(0, 2**63)), small=small) for n in range(50)]
    for flips, found in ((3, True), (4, False)):
        for trial in range(40):
            bits = known[trial].bits
            for position in rng.choice(64, flips, replace=False).tolist():
                bits ^= 1 << position
            pairs = duplicates(known, [ImagePrint(file=b"x", bits=bits, small=small)])
            assert pairs == ([(trial, 0, False)] if found else [])


def test_many_pictures_that_look_the_same_are_compared_with_few():
    class Counting(int):
        compared = 0

        def __xor__(self, other):
            type(self).compared += 1
            return int(self) ^ other

    small = np.zeros((16, 16), np.uint8)
    known = [ImagePrint(file=b"%d" % n, bits=Counting(0b1111 << 0 | n << 4), small=small) for n in range(2000)]
    duplicates(known, [ImagePrint(file=b"x", bits=(1 << 63) - 1 << 1, small=small)] * 100)
    assert Counting.compared <= 100 * 4 * 64
