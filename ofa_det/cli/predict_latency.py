"""`ofa-det predict-latency`: phone latency of a network from published figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa_det.cli.command import Printed, command
from ofa_det.latency.measure import MeasureLatencyConfig, measure_latencies
from ofa_det.latency.op_table import OpTable, compared_table, predicted_table
from ofa_det.latency.predict import NamedPrediction, PredictLatencyConfig, predict_latency

LISTED_LAYERS = 8
HOST_RUNS = 20


@dataclass(frozen=True, kw_only=True)
class PredictLatencyOptions(PredictLatencyConfig):
    """What to predict, and what to measure and write beside it.

    Args:
        output: folder for ops.csv and ops.png, a bar chart of which layers cost what.
        measure_host: also time each op of a .tflite file on this computer, beside its prediction.
        image: image file for that measurement, since post-processing depends on what is seen; by default noise.
    """

    output: str | None = None
    measure_host: bool = False
    image: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.measure_host and Path(self.model).suffix != ".tflite":
            raise ValueError(f"expected a .tflite file with --measure_host, found {self.model}; export it first")
        if self.image is not None and not self.measure_host:
            raise ValueError("expected --measure_host true with --image, found it off")


def run(config: PredictLatencyOptions) -> Printed:
    """Gives the latency of each network that the path stands for."""
    predictions = predict_latency(config)
    tables = [_table(named, config) for named in predictions]
    if config.output is not None:
        for named, table in zip(predictions, tables, strict=True):
            table.write(Path(config.output) / named.name)
    pairs = zip(predictions, tables, strict=True)
    lines = [line for named, table in pairs for line in _lines(named, table, config.safety)]
    values = {named.name: _plain(named, config.safety) for named in predictions}
    return Printed(text="\n".join(lines), values=values.get("", values))


def _table(named: NamedPrediction, config: PredictLatencyOptions) -> OpTable:
    if not config.measure_host:
        return predicted_table(named.prediction)
    measured = measure_latencies(
        MeasureLatencyConfig(model=config.model, per_op=True, both_kernels=True, runs=HOST_RUNS, image=config.image)
    )
    return compared_table(named.prediction, named.layer_of_op, measured)


def _plain(named: NamedPrediction, safety: float) -> dict[str, Any]:
    bound = {"safety": safety, "at_most_ms": named.at_most_ms(safety)}
    return {**named.prediction.to_json(), **bound, "uncounted_ops": dict(named.uncounted_ops)}


def _lines(named: NamedPrediction, table: OpTable, safety: float) -> list[str]:
    prediction = named.prediction
    threads = f"{prediction.threads} thread{'s' if prediction.threads > 1 else ''}"
    lines = [
        f"{prediction} ({named.name} subnet)" if named.name else str(prediction),
        f"device {prediction.device}, runtime {prediction.runtime}, precision {prediction.precision}, {threads}",
        f"at most {named.at_most_ms(safety):.1f} ms, {safety:g} standard error{'' if safety == 1 else 's'} above",
        f"± rests on {prediction.rests_on}",
        prediction.error_source,
        *(f"extrapolated: {note}" for note in prediction.extrapolated),
        f"{prediction.macs / 1e6:.1f} M multiply-accumulates, {prediction.parameters / 1e6:.2f} M parameters",
    ]
    if prediction.postprocessing_ms:
        share = prediction.postprocessing_ms / prediction.mean_ms
        lines.append(f"post-processing {prediction.postprocessing_ms:.1f} ms of it ({share:.0%})")
    lines.append(f"not counted: {prediction.excluded}")
    lines.append(f"most expensive of {len(table.rows)} layers and ops:")
    return lines + table.lines(LISTED_LAYERS)


main = command("predict-latency", "Phone latency of a network, with its error.", PredictLatencyOptions, run)
