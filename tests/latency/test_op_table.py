import csv
import io

import pytest

from ofa_det.artefacts.postprocess_op import POSTPROCESS_OP
from ofa_det.latency.latencies import LatencyPrediction, LayerLatency, MeasuredLatency, OpTiming
from ofa_det.latency.op_table import SHOWN_BARS, compared_table, measured_table, predicted_table


def _prediction(count=2):
    layers = [LayerLatency(name=f"layer{i};fused", kind="conv", latency_ms=1.0 + i) for i in range(count)]
    layers.append(LayerLatency(name="scores", kind="LOGISTIC", latency_ms=0.5))
    layers.append(LayerLatency(name=POSTPROCESS_OP, kind="regular NMS", latency_ms=4.0))
    return LatencyPrediction(
        mean_ms=sum(layer.latency_ms for layer in layers),
        error_ms=1.0,
        error_source="",
        device="phone",
        runtime="one",
        precision="uint8",
        threads=1,
        macs=1,
        parameters=1,
        layers=tuple(layers),
        excluded="",
    )


def _measured(*ops):
    timings = [OpTiming(name=name, kind=kind, latency_ms=ms, index=index) for index, (name, kind, ms) in enumerate(ops)]
    return MeasuredLatency(
        mean_ms=9.0, std_ms=None, median_ms=None, runs=1, device="host", runtime="two", threads=1, ops=tuple(timings)
    )


def test_ops_find_the_layers_that_they_are_parts_of():
    measured = _measured(
        ("conv", "CONV_2D", 0.1),
        ("activated", "HARD_SWISH", 0.2),  # of the same layer
        ("second", "CONV_2D", 0.3),
        ("scores", "LOGISTIC", 0.4),
        ("new", "GELU", 0.5),  # of no layer: it is not predicted
        ("detections", POSTPROCESS_OP, 0.6),
    )
    table = compared_table(_prediction(), (0, 0, 1, None, None, None), (measured, measured))
    assert table.columns == (
        "phone predicted (one, uint8)",
        "host measured (two, 1 thread)",
        "host measured (two, 1 thread)",
    )
    assert [row.times_ms[:2] for row in table.rows] == [
        (1.0, pytest.approx(0.3)),
        (2.0, 0.3),
        (0.5, 0.4),
        (4.0, 0.6),
        (None, 0.5),
    ]
    assert table.rows[-1].name == "new"
    assert table.totals_ms() == pytest.approx((7.5, 2.1, 2.1))


def test_a_csv_has_every_row_and_an_empty_cell_where_there_is_no_figure():
    table = compared_table(_prediction(), (None,), (_measured(("new", "GELU", 0.5)),))
    header, *rows = csv.reader(io.StringIO(table.csv()))
    assert header[:2] == ["name", "kind"]
    assert len(rows) == 5
    assert rows[0] == ["layer0;fused", "conv", "1", ""]
    assert rows[-1] == ["new", "GELU", "", "0.5"]


def test_text_shows_the_costliest_and_their_shares():
    lines = predicted_table(_prediction()).lines(2)
    assert [line.split() for line in lines] == [
        ["4.000", "ms", "53.3%", "regular", "NMS", POSTPROCESS_OP],
        ["2.000", "ms", "26.7%", "conv", "layer1"],
    ]
    both = compared_table(_prediction(), (None,), (_measured(("new", "GELU", 0.5)),)).lines()
    assert both[0].startswith("  columns: phone predicted")
    assert len(both) == 6


@pytest.mark.parametrize("count", [1, SHOWN_BARS + 5])
def test_files_are_written(count, tmp_path):
    predicted_table(_prediction(count)).write(tmp_path / "new")
    assert (tmp_path / "new/ops.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "new/ops.csv").read_text().splitlines()) == 1 + count + 2


def test_a_measurement_alone_is_a_table():
    table = measured_table(_measured(("a", "CONV_2D", 1.0), ("b", "ADD", 0.5)))
    assert [(row.name, row.times_ms) for row in table.rows] == [("a", (1.0,)), ("b", (0.5,))]
