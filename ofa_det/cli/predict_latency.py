"""`ofa-det predict-latency`: phone latency of a network from published figures."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.files import read_json
from ofa_det.arch.layer_plan import Layer, detector_plan
from ofa_det.arch.ofa_formats import read_ofa_classifier
from ofa_det.arch.search_space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.cli.command import command
from ofa_det.data.class_columns import as_exported
from ofa_det.latency.model import DEFAULT_RUNTIME, LatencyPrediction, pixel2_model
from ofa_det.latency.precision import Precision
from ofa_det.latency.tflite_file import read_tflite

COCO_CLASSES = 80
LISTED_LAYERS = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PredictLatencyConfig:
    """What to predict.

    Args:
        model: run folder, subnet.json of a search, once-for-all net.config with its run.config beside it, or any
            .tflite file. A run folder of a supernet gives its smallest and largest subnet.
        device: phone, one thread on a large core.
        precision: of the network; by default that of a .tflite file, and uint8 of anything else.
        runtime: version of TensorFlow Lite: tflite-2019-v3 (of the MobileNetV3 authors), tflite-2019, tflite-2018, or
            xnnpack-2020 (float32 only).
        supernet: run folder with the classes, anchors and widths that a subnet.json belongs to; by default a detector
            of 80 classes.
        json: print a JSON object instead of text.
    """

    model: str
    device: Literal["pixel2"] = "pixel2"
    precision: Precision | None = None
    runtime: str = DEFAULT_RUNTIME
    supernet: str | None = None
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class _Network:
    """A network to predict; `title` is empty unless there are several."""

    layers: tuple[Layer, ...]
    precision: Precision = "uint8"
    title: str = ""
    uncounted: str = ""


def run(config: PredictLatencyConfig) -> None:
    """Prints the latency of each network that the path stands for."""
    predictions = {}
    for network in _networks(config):
        precision = config.precision or network.precision
        prediction = pixel2_model(precision, config.runtime).predict(network.layers)
        predictions[network.title] = prediction
        if not config.json:
            print("\n".join(_lines(prediction, network)))
    if config.json:
        values = {title: prediction.to_json() for title, prediction in predictions.items()}
        print(json.dumps(values.get("", values), indent=2))


def _networks(config: PredictLatencyConfig) -> tuple[_Network, ...]:
    path = Path(config.model)
    if not path.exists():
        raise FileNotFoundError(f"expected a run folder, subnet.json, net.config or .tflite file, found none at {path}")
    if config.supernet is not None and (path.is_dir() or path.suffix != ".json"):
        raise ValueError(f"expected --supernet with a subnet.json alone, found it with {path}")
    if path.is_dir():
        return _of_run_folder(path)
    if path.suffix == ".tflite":
        return (_of_tflite(path, config.precision),)
    if path.suffix == ".config":
        return (_Network(layers=read_ofa_classifier(path).plan.layers),)
    if path.suffix == ".json":
        return (_of_subnet(path, config.supernet),)
    raise ValueError(f"expected a run folder, subnet.json, net.config or .tflite file, found {path}")


def _of_run_folder(path: Path) -> tuple[_Network, ...]:
    from ofa_det.models.run_folder import read_description  # torch takes seconds, and other models need none

    description = read_description(path)
    architecture = description.architecture
    detector = as_exported(description.detector, description.categories)
    if isinstance(architecture, SearchSpace):
        return tuple(
            _Network(layers=detector_plan(detector, subnet).layers, title=title)
            for title, subnet in (("smallest", architecture.smallest()), ("largest", architecture.largest()))
        )
    return (_Network(layers=detector_plan(detector, architecture).layers),)


def _of_subnet(path: Path, supernet: str | None) -> _Network:
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"expected a subnet in {path}, found {type(value).__name__}")
    subnet = SubnetConfig.from_json(value)
    if supernet is None:
        logger.warning("assuming a detector of %d classes; --supernet RUN_FOLDER gives the real one", COCO_CLASSES)
        detector = DetectorConfig(num_classes=COCO_CLASSES)
    else:
        from ofa_det.models.run_folder import read_description

        description = read_description(supernet)
        detector = as_exported(description.detector, description.categories)
    return _Network(layers=detector_plan(detector, subnet).layers)


def _of_tflite(path: Path, precision: Precision | None) -> _Network:
    network = read_tflite(path)
    if precision not in (None, network.precision):
        logger.warning("%s is a %s network; predicting it as %s", path, network.precision, precision)
    uncounted = ", ".join(f"{count} {name}" for name, count in sorted(network.uncounted_ops.items()))
    return _Network(layers=network.layers, precision=network.precision, uncounted=uncounted)


def _lines(prediction: LatencyPrediction, network: _Network) -> list[str]:
    error = prediction.leave_one_out
    costly = sorted(prediction.layers, key=lambda layer: -layer.latency_ms)[:LISTED_LAYERS]
    threads = f"{prediction.threads} thread{'s' if prediction.threads > 1 else ''}"
    lines = [
        f"{prediction} ({network.title} subnet)" if network.title else str(prediction),
        f"device {prediction.device}, runtime {prediction.runtime}, precision {prediction.precision}, {threads}",
        f"{prediction.macs / 1e6:.1f} M multiply-accumulates, {prediction.parameters / 1e6:.2f} M parameters",
        f"leave-one-out error over {error.networks} published networks: network {error.network_mean:.1%} mean, "
        f"{error.network_worst:.1%} worst; family {error.family_mean:.1%} mean, {error.family_worst:.1%} worst, "
        f"{error.family_rms:.1%} root mean square (the ±)",
        f"not counted: {prediction.excluded}",
    ]
    if network.uncounted:
        lines.append(f"not counted in this file: {network.uncounted}")
    lines.append(f"most expensive of {len(prediction.layers)} layers:")
    for layer in costly:
        name = layer.name.split(";")[0]  # A .tflite names all the ops that were fused into one.
        share = layer.latency_ms / prediction.mean_ms
        lines.append(f"  {layer.latency_ms:6.2f} ms  {share:6.1%}  {layer.kind:<15}  {name}")
    return lines


main = command("predict-latency", "Phone latency of a network, with its error.", PredictLatencyConfig, run)
