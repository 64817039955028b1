import pytest

from ofa_det.artefacts.tflite_content import builtin_name, op_name, open_interpreter, read_tables, write_tables


@pytest.fixture
def content(write_detector) -> bytes:
    return write_detector([[0.5, 0.5, 0.5, 0.5]], [[0.0, 0.5]]).read_bytes()


def test_what_was_read_is_written(content):
    model = read_tables(content, where="a.tflite")
    names = [op_name(model.operatorCodes[op.opcodeIndex]) for op in model.subgraphs[0].operators]
    assert names[-1] == "TFLite_Detection_PostProcess"
    assert builtin_name(model.operatorCodes[model.subgraphs[0].operators[-1].opcodeIndex]) == "CUSTOM"
    again = read_tables(write_tables(model), where="again")
    assert [tensor.name for tensor in again.subgraphs[0].tensors] == [t.name for t in model.subgraphs[0].tensors]


def test_what_is_no_whole_file_is_refused(content):
    for damaged in (b"", b"weights of something", content[4:]):
        with pytest.raises(ValueError, match=r"expected a TFLite model in a\.tflite, found no TFL3 identifier"):
            read_tables(damaged, where="a.tflite")
    with pytest.raises(ValueError, match=r"expected a whole TFLite model in a\.tflite, found a cut or damaged one"):
        read_tables(content[: len(content) // 4], where="a.tflite")


def test_an_interpreter_is_ready_or_refused(content):
    interpreter = open_interpreter(content, keep_all=True)
    interpreter.invoke()
    assert len(interpreter.get_output_details()) == 4
    with pytest.raises(ValueError, match="expected one thread at least, found 0"):
        open_interpreter(content, threads=0)
    with pytest.raises(
        ValueError, match=r"expected a TFLite model in a\.tflite, found no TFL3 identifier; copy or export it anew"
    ):
        open_interpreter(b"\0" * 64, where="a.tflite")
