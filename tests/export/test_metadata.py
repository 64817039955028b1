import io
import zipfile

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from export.metadata_reader import root
from flatbuffers import number_types

from ofa_det.export.metadata import DETECTION_SIGNATURE, FileMetadata, with_metadata


def described(content: bytes, **changes) -> bytes:
    values = {
        "name": "ducks",
        "description": "Finds ducks.",
        "labels": "duck\n???\ngoose\n",
        "kind": "detections",
        "signature_outputs": DETECTION_SIGNATURE,
        "score_threshold": 0.25,
        "quantized_input": True,
    }
    return with_metadata(content, FileMetadata(**{**values, **changes}))


@pytest.fixture
def content(write_detector) -> bytes:
    return write_detector([[0.5, 0.5, 0.5, 0.5]], [[0.6, 0.1, 0.3]]).read_bytes()


def metadata_of(content: bytes):
    model = schema.ModelT.InitFromPackedBuf(bytearray(content))
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    buffer = bytes(model.buffers[entry.buffer].data)
    assert buffer[4:8] == b"M001"
    return root(buffer)


def test_detections_are_described_tensor_by_tensor(content):
    model = metadata_of(described(content))
    assert (model.text(0), model.text(1), model.text(7)) == ("ducks", "Finds ducks.", "1.2.0")
    (graph,) = model.tables(3)
    (image,) = graph.tables(2)
    location, category, score, number = graph.tables(3)

    assert (image.text(0), image.table(3).number(0)) == ("image", 2)  # ImageProperties
    assert image.table(3).table(1).number(0) == 1  # RGB
    (unit,) = image.tables(4)
    assert (unit.number(0), unit.table(1).numbers(0), unit.table(1).numbers(1)) == (1, [128.0], [128.0])
    assert (image.table(5).numbers(0), image.table(5).numbers(1)) == ([255.0], [0.0])

    assert [tensor.text(0) for tensor in (location, category, score, number)] == [
        "location",
        "category",
        "score",
        "number of detections",
    ]
    boxes = location.table(3)
    assert boxes.number(0) == 3  # BoundingBoxProperties
    assert boxes.table(1).numbers(0, number_types.Uint32Flags) == [1, 0, 3, 2]
    assert (boxes.table(1).number(1), boxes.table(1).number(2)) == (1, 0)  # boundaries, as ratios
    for tensor in (location, category, score):
        of_each = tensor.table(3).table(2)
        assert (of_each.number(0, number_types.Int32Flags), of_each.number(1, number_types.Int32Flags)) == (2, 2)
    (labels,) = category.tables(6)
    assert (labels.text(0), labels.number(2)) == ("labels.txt", 3)  # TENSOR_VALUE_LABELS
    (threshold,) = score.tables(4)
    assert (threshold.number(0), threshold.table(1).number(0, number_types.Float32Flags)) == (3, 0.25)
    (group,) = graph.tables(8)
    assert (group.text(0), group.texts(1)) == ("detection_result", ["location", "category", "score"])


def test_a_float_input_states_the_range_of_its_values(content):
    (graph,) = metadata_of(described(content, quantized_input=False)).tables(3)
    (image,) = graph.tables(2)
    assert (image.table(5).numbers(0), image.table(5).numbers(1)) == ([127 / 128], [-1.0])


@pytest.mark.parametrize(
    ("kind", "names", "last"),
    [("raw", ("box_codes", "scores"), ["box codes", "scores"]), ("probabilities", ("probabilities",), ["probability"])],
)
def test_what_has_a_column_a_class_names_the_columns(content, kind, names, last):
    model = schema.ModelT.InitFromPackedBuf(bytearray(content))
    model.subgraphs[0].outputs = list(model.subgraphs[0].outputs[: len(names)])
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    (graph,) = metadata_of(described(bytes(builder.Output()), kind=kind, signature_outputs=names)).tables(3)
    outputs = graph.tables(3)
    assert [tensor.text(0) for tensor in outputs] == last
    (labels,) = outputs[-1].tables(6)
    assert labels.number(2) == 2  # TENSOR_AXIS_LABELS
    assert not graph.has(8)


def test_labels_are_packed_and_the_file_runs_as_before_by_its_signature(content):
    found = described(content)
    with zipfile.ZipFile(io.BytesIO(found)) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt") == b"duck\n???\ngoose\n"
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED
    assert described(content) == found
    images = np.zeros((1, 6, 8, 3), np.uint8)
    outputs = Interpreter(model_content=found).get_signature_runner("serving_default")(images=images)
    assert sorted(outputs) == sorted(DETECTION_SIGNATURE)
    before = Interpreter(model_content=content)
    before.allocate_tensors()
    before.set_tensor(before.get_input_details()[0]["index"], images)
    before.invoke()
    for name, entry in zip(DETECTION_SIGNATURE, before.get_output_details(), strict=True):
        np.testing.assert_array_equal(outputs[name], before.get_tensor(entry["index"]))


def test_described_anew_it_is_described_once(content):
    again = described(content, name="geese")
    twice = with_metadata(
        again,
        FileMetadata(
            name="ducks",
            description="",
            labels="",
            kind="detections",
            signature_outputs=DETECTION_SIGNATURE,
            quantized_input=True,
        ),
    )
    assert metadata_of(twice).text(0) == "ducks"


def test_a_file_of_other_outputs_is_refused(content):
    with pytest.raises(ValueError, match="expected one input and 2 outputs, found 1 and 4"):
        described(content, signature_outputs=("a", "b"))
