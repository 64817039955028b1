"""Which maps of an ONNX detector its predictions are made from, and what is in them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ofa_det.teachers.classes import find_classes
from ofa_det.teachers.decoder import Decoder, GridOutput, InputFormat
from ofa_det.teachers.onnx_features import feature_maps, with_feature_maps
from ofa_det.teachers.onnx_teacher import OnnxTeacher


def conv(source: str, target: str, *, stride: int = 1, factor: float = 1.0, channels: tuple[int, int] = (3, 3)):
    """A 1x1 convolution whose outputs are the sum of its inputs, times a factor."""
    weight = helper.make_tensor(
        f"{target}.weight", TensorProto.FLOAT, (channels[1], channels[0], 1, 1), [factor] * channels[0] * channels[1]
    )
    return weight, helper.make_node("Conv", [source, weight.name], [target], strides=[stride, stride], name=target)


def detector_file(folder: Path, *, batch: int | str = 1, layers: Sequence | None = None) -> Path:
    """Two levels of stride 2 and 4: the first has a tower before its two predictions, the second has them at once."""
    layers = layers or [
        conv("images", "fine", stride=2),
        conv("fine", "coarse", stride=2, factor=0.5),
        conv("fine", "stem", factor=2.0),
        conv("stem", "class_tower"),
        conv("class_tower", "fine_classes"),
        conv("stem", "fine_boxes", channels=(3, 4)),
        conv("coarse", "coarse_classes"),
        conv("coarse", "coarse_boxes", channels=(3, 4)),
    ]
    ends = ["fine_classes", "fine_boxes", "coarse_classes", "coarse_boxes"]
    if {node.output[0] for _, node in layers}.isdisjoint(ends):
        ends = [layers[-1][1].output[0]]
    graph = helper.make_graph(
        [node for _, node in layers],
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (batch, 3, 8, 8))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ends],
        [weight for weight, _ in layers if weight is not None],
    )
    path = folder / "detector.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_a_map_is_the_last_that_all_predictions_of_its_side_are_made_from(tmp_path):
    path = detector_file(tmp_path)
    assert feature_maps(onnx.shape_inference.infer_shapes(onnx.load(path))) == {4: "stem", 2: "coarse"}


def stated(path: Path) -> None:
    """Writes the shapes of all layers into the file."""
    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(path)), path)


def with_weights_apart(path: Path) -> None:
    """Writes the weights into another file."""
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)


@pytest.mark.parametrize("change", [lambda path: None, stated, with_weights_apart])
@pytest.mark.parametrize("batch", [1, 2, "free"])
def test_maps_are_of_the_images_as_the_file_takes_them(tmp_path, batch, change):
    path = detector_file(tmp_path, batch=batch)
    change(path)
    (tmp_path / "labels.txt").write_text("cat\n")
    decoder = Decoder(
        input=InputFormat(channels="bgr", mean=(0.0, 0.0, 10.0), resize="letterbox", padding=114),
        grid=GridOutput(strides=(2, 4), columns=("box", "classes"), box="offsets"),
    )
    classes = find_classes(path, count=1, labels=None)
    teacher = OnnxTeacher(path, decoder=decoder, classes=classes, threads=2)
    images = np.zeros((3, 16, 16, 3), np.uint8)
    images[:] = np.arange(1, 4)[:, None, None, None] * np.array([10, 20, 30])
    maps = teacher.features(images)
    assert {side: values.shape for side, values in maps.items()} == {4: (3, 3, 4, 4), 2: (3, 3, 2, 2)}
    # Red loses its mean of 10; a convolution adds up three channels.
    for image, colours in enumerate([50.0, 110.0, 170.0]):
        assert maps[4][image] == pytest.approx(np.full((3, 4, 4), 2 * 3 * colours))
        assert maps[2][image] == pytest.approx(np.full((3, 2, 2), 0.5 * 3 * colours))


def test_a_graph_of_too_many_nodes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ofa_det.teachers.onnx_features.MOST_NODES", 7)
    with pytest.raises(ValueError, match=r"expected shapes of the layers in .*, found 8 nodes, more than 7"):
        with_feature_maps(detector_file(tmp_path), (1, 3, 8, 8))


def test_a_file_without_maps_is_refused(tmp_path):
    identity = (None, helper.make_node("Identity", ["images"], ["found"]))
    with pytest.raises(ValueError, match=r"expected convolutions with square outputs in .*, found none"):
        with_feature_maps(detector_file(tmp_path, layers=[identity]), (1, 3, 8, 8))


def test_a_convolution_of_unknown_shape_could_be_behind_any_other(tmp_path):
    sized = helper.make_node("Resize", ["fine", "", "", "wanted"], ["large"])
    given = helper.make_node("Cast", ["seen"], ["wanted"], to=TensorProto.INT64)
    counted = helper.make_node("NonZero", ["fine"], ["seen"])
    layers = [
        conv("images", "fine", stride=2),
        (None, counted),
        (None, given),
        (None, sized),
        conv("large", "found"),
    ]
    with pytest.raises(
        ValueError, match=r"expected a known shape of every convolution, found none of 'found' of .*onnx"
    ):
        with_feature_maps(detector_file(tmp_path, layers=layers), (1, 3, 8, 8))
