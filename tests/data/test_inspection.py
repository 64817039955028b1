import json
import shutil

import numpy as np
import pytest
from PIL import Image

from ofa_det.artefacts.configs import read_space
from ofa_det.data.anchors import AnchorConfig, anchor_recall
from ofa_det.data.inspection import InspectConfig, examine
from ofa_det.data.splits import DataConfig, open_split


class Writer:
    """Writes data sets of 64 x 64 px images of noise, whose boxes are given by part, image and class."""

    def __init__(self, root):
        self.root = root
        self.seed = 0

    def part(self, name, images, *, categories=("cat", "dog")):
        """`images`: for each a list of (class, side)."""
        folder = self.root / f"{name}2017"
        folder.mkdir(parents=True)
        content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": i, "name": n} for i, n in enumerate(categories, 1)],
        }
        for number, boxes in enumerate(images, 1):
            self.seed += 1
            noise = np.random.default_rng(self.seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{name}{number}.png")
            content["images"].append({"id": number, "file_name": f"{name}{number}.png", "width": 64, "height": 64})
            for label, side in boxes:
                entry = {"id": len(content["annotations"]), "image_id": number, "category_id": label, "iscrowd": 0}
                content["annotations"].append({**entry, "bbox": [10, 10, side, side]})
        (self.root / "annotations").mkdir(exist_ok=True)
        (self.root / "annotations" / f"instances_{name}2017.json").write_text(json.dumps(content))

    def inspect(self, **options):
        config = InspectConfig(data=DataConfig(root=str(self.root)), space="ssdlite_mbv3_tiny", **options)
        return examine(config, progress=False).record


@pytest.fixture
def writer(tmp_path):
    return Writer(tmp_path / "data")


def test_counts_and_sizes(writer):
    writer.part("train", [[(1, 32), (2, 2)], [(1, 16)], []])
    writer.part("val", [[(2, 8)]])
    record = writer.inspect(resolution=128)
    train, val = record.splits["train"], record.splits["val"]
    assert (train.images, train.images_without_objects, train.objects, train.ignored) == (3, 1, 3, 0)
    assert train.image_sizes_px == ((64, 64),) * 3
    assert train.sizes == (1, 0, 2, 0)  # 4, 32 and 64 px at 128
    assert val.sizes == (0, 1, 0, 0)
    cat, dog = record.classes
    assert (cat.name, cat.images, cat.objects) == ("cat", {"train": 2, "val": 0}, {"train": 2, "val": 0})
    assert (dog.objects, dog.tiny, dog.side_px) == ({"train": 1, "val": 1}, 1, 4.0)
    assert cat.side_px == 48.0
    assert cat.recall is not None
    assert record.resolution == 128


def test_a_sound_data_set_has_no_warnings(writer):
    writer.part("train", [[(1, 32), (2, 20)] for _ in range(60)])
    writer.part("val", [[(1, 32), (2, 20)] for _ in range(50)])
    assert writer.inspect(anchors=AnchorConfig(count=6)).warnings == ()


@pytest.mark.parametrize(
    ("train", "val", "words"),
    [
        (
            [[(1, 32)]] * 3,
            [[(1, 32)]] * 2,
            ["'dog') without an object to train on", "'cat' 3) on fewer than 50", "there are 2 validation images"],
        ),
        (
            [[(1, 32)] * 7] * 12 + [[(2, 32)]] * 4,
            [[(1, 32)]],
            ["'cat' has 84 training objects, 'dog' 4, more than 20", "'dog') without an object in the validation part"],
        ),
        ([[(1, 1)] * 2 + [(1, 40)]] * 3, [[(1, 32)]], ["('cat' 67 %) with more than 10 % of the objects below 8 px"]),
    ],
)
def test_what_matters_is_warned_of(writer, train, val, words):
    writer.part("train", train)
    writer.part("val", val)
    text = "\n".join(writer.inspect(resolution=320).warnings)
    for found in words:
        assert found in text


def test_boxes_without_a_fitting_anchor_are_warned_of(writer):
    writer.part("train", [[(1, side), (2, 60)] for side in range(3, 60)])
    writer.part("val", [[(1, 30), (2, 60)]])
    record = writer.inspect(anchors=AnchorConfig(count=1))
    assert record.classes[0].recall < 0.9
    assert any("with an anchor above IoU 0.5 for less than 90 %" in warning for warning in record.warnings)


def test_the_anchors_are_those_that_a_training_takes(writer):
    writer.part("train", [[(1, side), (2, 60)] for side in range(3, 60)])
    fitted, stock = (writer.inspect(anchors=AnchorConfig(source=source, count=1)).recall for source in ("fit", "ssd"))
    space, dataset = read_space("ssdlite_mbv3_tiny"), open_split(DataConfig(root=str(writer.root)), "train")
    assert stock == round(anchor_recall(dataset, space, space.stock_anchors()).all_boxes.fraction, 4)
    assert stock != fitted


def test_duplicates_broken_files_and_faults_of_annotations(writer):
    writer.part("train", [[(1, 32)]] * 4)
    writer.part("val", [[(1, 32)]] * 3)
    train, val = writer.root / "train2017", writer.root / "val2017"
    shutil.copyfile(train / "train2.png", val / "val1.png")
    content = (train / "train3.png").read_bytes()
    (train / "train3.png").write_bytes(content[: len(content) // 2])
    file = writer.root / "annotations/instances_train2017.json"
    annotations = json.loads(file.read_text())
    annotations["annotations"][0]["bbox"] = [0, 0, -1, 5]
    file.write_text(json.dumps(annotations))
    record = writer.inspect()
    assert [(pair.first, pair.second, pair.kind) for pair in record.duplicates] == [("train2.png", "val1.png", "file")]
    assert [name.rsplit("/", 1)[1] for name in record.broken] == ["train3.png"]
    assert [str(problem) for problem in record.problems] == [
        "instances_train2017.json: 1 degenerate boxes skipped (annotation 0)"
    ]
    assert record.warnings[0].startswith("1 of 3 validation images are training images too")
    assert record.warnings[1].startswith("1 files cannot be decoded")


def test_an_image_that_is_missing_is_told_and_the_rest_is_inspected(writer):
    writer.part("train", [[(1, 32)], [(1, 16), (2, 20)], [(1, 32)]])
    writer.part("val", [[(1, 32)]] * 2)
    (writer.root / "train2017/train2.png").unlink()
    (writer.root / "train2017/train3.png").unlink()
    (writer.root / "train2017/train3.png").symlink_to(writer.root / "val2017/val1.png")
    record = writer.inspect()
    assert record.missing == tuple(str(writer.root / f"train2017/train{number}.png") for number in (2, 3))
    assert (record.splits["train"].images, record.splits["train"].objects) == (1, 1)
    assert record.warnings[0].startswith("2 files that annotations name are not in their folder")
    (writer.root / "train2017/train1.png").unlink()
    with pytest.raises(ValueError, match=r"expected readable images in .*train2017, found none of 3"):
        writer.inspect()


def test_no_validation_part_and_no_objects(writer):
    writer.part("train", [[], []])
    record = writer.inspect()
    assert (list(record.splits), record.recall, record.splits["train"].sizes) == (["train"], None, (0, 0, 0, 0))
    assert record.warnings[0].startswith("there is no validation part")


def test_parts_of_different_categories_are_refused(writer):
    writer.part("train", [[(1, 32)]])
    writer.part("val", [[(1, 32)]], categories=("dog", "cat"))
    with pytest.raises(ValueError, match="expected the categories of annotations/instances_train2017"):
        writer.inspect()


def test_options_out_of_range():
    for options, message in (({"resolution": 8}, "resolution >= 32"), ({"pictures": 0}, "pictures >= 1")):
        with pytest.raises(ValueError, match=message):
            InspectConfig(data=DataConfig(root="x"), **options)
