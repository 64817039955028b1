import onnx
import pytest

from ofa_det.evaluation.onnx import OnnxDetector


def test_files_that_are_not_ours_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="found nothing at"):
        OnnxDetector(tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="expected an ONNX model"):
        OnnxDetector(tmp_path / "broken.onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    opset = [onnx.helper.make_opsetid("", 18)]
    graph = onnx.helper.make_graph([node], "g", [value], [result])
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    for metadata, message in {
        None: r"expected metadata 'ofa_det' in .*, found none; export the detector",
        '{"schema_version": 0}': r"metadata 'ofa_det' of .*other\.onnx of schema_version 1, found 0",
        '{"schema_version": 1, "class_names": []}': r"'ofa_det' of .*: expected 'class_category_ids', found none",
    }.items():
        if metadata is not None:
            onnx.helper.set_model_props(model, {"ofa_det": metadata})
        onnx.save_model(model, tmp_path / "other.onnx")
        with pytest.raises(ValueError, match=message):
            OnnxDetector(tmp_path / "other.onnx")
