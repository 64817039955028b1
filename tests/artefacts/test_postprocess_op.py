"""The attributes as the kernel reads them: `tensorflow/lite/kernels/detection_postprocess.cc`."""

from types import SimpleNamespace

import pytest
from flatbuffers import flexbuffers

from ofa_det.arch.description import PostProcessConfig
from ofa_det.artefacts.postprocess_op import ATTRIBUTES, op_attributes, read_attributes, write_attributes

CONFIG = PostProcessConfig(score_threshold=0.0, iou_threshold=0.5, max_detections=7, detections_per_class=3)
WRITTEN = op_attributes(CONFIG, num_classes=90, box_scales=(10, 9, 5, 4), max_classes_per_detection=2)


def test_attributes_are_those_of_the_config() -> None:
    assert {name: WRITTEN[attribute] for name, attribute in ATTRIBUTES.items()} == vars(CONFIG)
    assert (WRITTEN["num_classes"], WRITTEN["max_classes_per_detection"]) == (90, 2)
    assert [WRITTEN[f"{side}_scale"] for side in "yxhw"] == [10.0, 9.0, 5.0, 4.0]


def test_they_come_back_from_the_file_of_their_types() -> None:
    content = write_attributes(WRITTEN)
    found = read_attributes(SimpleNamespace(customOptions=content))
    assert found == WRITTEN
    kinds = {name: type(value) for name, value in found.items()}
    assert kinds == {name: type(value) for name, value in WRITTEN.items()}
    assert flexbuffers.GetRoot(bytearray(content)).AsMap["use_regular_nms"].IsBool
    assert read_attributes(SimpleNamespace(customOptions=write_attributes(found))) == WRITTEN


def test_an_op_without_attributes_has_none_to_read() -> None:
    with pytest.raises(TypeError):
        read_attributes(SimpleNamespace(customOptions=None))
