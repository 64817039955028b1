"""`ofa-det predict-latency`: phone latency of a network from published figures."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ofa_det.cli.command import command
from ofa_det.latency.predict import NamedPrediction, PredictLatencyConfig, predict_latency

LISTED_LAYERS = 8


@dataclass(frozen=True, kw_only=True)
class PredictLatencyOptions(PredictLatencyConfig):
    """What to predict, and how to print it.

    Args:
        json: print a JSON object instead of text.
    """

    json: bool = False


def run(config: PredictLatencyOptions) -> None:
    """Prints the latency of each network that the path stands for."""
    predictions = predict_latency(config)
    if config.json:
        values = {named.name: named.prediction.to_json() for named in predictions}
        print(json.dumps(values.get("", values), indent=2))
    else:
        print("\n".join(line for named in predictions for line in _lines(named)))


def _lines(named: NamedPrediction) -> list[str]:
    prediction = named.prediction
    threads = f"{prediction.threads} thread{'s' if prediction.threads > 1 else ''}"
    lines = [
        f"{prediction} ({named.name} subnet)" if named.name else str(prediction),
        f"device {prediction.device}, runtime {prediction.runtime}, precision {prediction.precision}, {threads}",
        f"{prediction.macs / 1e6:.1f} M multiply-accumulates, {prediction.parameters / 1e6:.2f} M parameters",
        prediction.error_source,
        f"not counted: {prediction.excluded}",
    ]
    if named.uncounted_ops:
        uncounted = ", ".join(f"{count} {name}" for name, count in sorted(named.uncounted_ops.items()))
        lines.append(f"not counted in this file: {uncounted}")
    lines.append(f"most expensive of {len(prediction.layers)} layers:")
    for layer in sorted(prediction.layers, key=lambda layer: -layer.latency_ms)[:LISTED_LAYERS]:
        name = layer.name.split(";")[0]  # A .tflite names all the ops that were fused into one.
        share = layer.latency_ms / prediction.mean_ms
        lines.append(f"  {layer.latency_ms:6.2f} ms  {share:6.1%}  {layer.kind:<15}  {name}")
    return lines


main = command("predict-latency", "Phone latency of a network, with its error.", PredictLatencyOptions, run)
