"""Predicted latency of whatever stands for a network: a run folder, a subnet, a published network, a file."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ofa_det.arch.classes import ClassNumbering, check_numbering
from ofa_det.arch.description import ModelDescription
from ofa_det.arch.layers import Layer
from ofa_det.arch.space import check_subnet
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.evaluations import read_subnet
from ofa_det.artefacts.manifest import Manifest
from ofa_det.artefacts.model_file import read_description
from ofa_det.artefacts.ofa_files import read_ofa_classifier
from ofa_det.latency.latencies import LatencyPrediction, Precision, checked_safety
from ofa_det.latency.model import latency_model, shipped_work
from ofa_det.latency.postprocessing import DetectionTail
from ofa_det.latency.tflite_file import read_tflite

COCO_CLASSES: Final = 80
_SUBNET_TEXT: Final = re.compile(r"r\d+\s")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PredictLatencyConfig:
    """What to predict.

    Args:
        model: run folder, subnet.json of a search, subnet written out ("r320 k3e1 k3e6.k5e4 ..."), once-for-all
            net.config with its run.config beside it, or any .tflite file. A run folder of a supernet gives its smallest
            and largest subnet.
        device: phone whose latency is meant: pixel2 (one thread on a large core), a latency_table.json of
            calibrate_latency, or a folder of once-for-all lookup tables (<px>_lookup_table.yaml).
        precision: of the network; by default that of a .tflite file, and uint8 of anything else.
        runtime: software on the device, by default the device's usual one. Of pixel2 a version of TensorFlow Lite:
            tflite-2019-v3 (of the MobileNetV3 authors, the default), tflite-2019, tflite-2018, or xnnpack-2020 (float32
            only).
        supernet: run folder with the classes, anchors and widths that a subnet belongs to; by default a detector of 80
            classes is assumed.
        space: search space of a subnet without --supernet, a YAML file or the name of one that is shipped.
        classes: of the score columns, as export takes them: competition, a column for every category id up to the
            greatest, or compact, one for every category. A .tflite file has its own.
        candidates: scores above the threshold in an image, over all classes, which decide what regular NMS costs;
            by default two for each anchor are assumed.
        safety: standard errors to stay above the expected latency, for the bound that is printed beside it.
    """

    model: str
    device: str = "pixel2"
    precision: Precision | None = None
    runtime: str | None = None
    supernet: str | None = None
    space: str = "ssdlite_mbv3"
    classes: ClassNumbering = "competition"
    candidates: float | None = None
    safety: float = 1.0

    def __post_init__(self) -> None:
        checked_safety(self.safety)
        check_numbering(self.classes)
        if self.candidates is not None and not self.candidates >= 0:
            raise ValueError(f"expected candidates >= 0, found {self.candidates}")


@dataclass(frozen=True, kw_only=True)
class NamedPrediction:
    """The predicted latency of one network.

    Args:
        name: which of several it is: the "smallest" or "largest" subnet of a supernet; else empty.
        prediction: its latency; what it does not count includes those ops.
        uncounted_ops: number of ops in a `.tflite` file that the prediction leaves out, by name.
        layer_of_op: for each op of a `.tflite` file, the index of the layer that it is (a part of), or None.
    """

    name: str
    prediction: LatencyPrediction
    uncounted_ops: Mapping[str, int]
    layer_of_op: tuple[int | None, ...] = ()

    def at_most_ms(self, safety: float) -> float:
        """What the network does not exceed, so many standard errors above the expected latency."""
        return self.prediction.at_most_ms(safety)


@dataclass(frozen=True, kw_only=True)
class _Network:
    layers: tuple[Layer, ...]
    tail: DetectionTail = field(default_factory=DetectionTail)
    precision: Precision = "uint8"
    name: str = ""
    uncounted_ops: Mapping[str, int] = field(default_factory=dict)
    layer_of_op: tuple[int | None, ...] = ()


def predict_latency(config: PredictLatencyConfig) -> tuple[NamedPrediction, ...]:
    """Predicts the latency of each network that `config.model` stands for; reads no weights.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: not such a file, or an unknown device, precision or runtime.
    """
    return tuple(_predict(config, network) for network in _networks(config))


def predict_file(model: Path, manifest: Manifest | None) -> LatencyPrediction:
    """Of a `.tflite` file, on the device and runtime that the export in its manifest named, or the default ones.

    Raises:
        FileNotFoundError: there is no such file, or no more the table of its device.
        ValueError: not such a file.
    """
    config = PredictLatencyConfig(model=str(model))
    if manifest is not None and manifest.latency is not None:
        # A table is named by its path, which the device in the prediction does not tell.
        device = str(manifest.export.get("device", manifest.latency.device))
        config = replace(config, device=device, runtime=manifest.latency.runtime)
    (named,) = predict_latency(config)
    return named.prediction


def _predict(config: PredictLatencyConfig, network: _Network) -> NamedPrediction:
    model = latency_model(config.device, precision=config.precision or network.precision, runtime=config.runtime)
    tail = network.tail if config.candidates is None else network.tail.with_candidates(config.candidates)
    prediction = model.predict(network.layers, tail)
    uncounted = (f"{count} {name}" for name, count in sorted(network.uncounted_ops.items()))
    return NamedPrediction(
        name=network.name,
        prediction=replace(prediction, excluded=", ".join([prediction.excluded, *uncounted])),
        uncounted_ops=network.uncounted_ops,
        layer_of_op=network.layer_of_op,
    )


def _networks(config: PredictLatencyConfig) -> tuple[_Network, ...]:
    path = Path(config.model)
    written_out = _SUBNET_TEXT.match(config.model) is not None
    kinds = "expected a run folder, a subnet (subnet.json or 'r320 k3e1 ...'), a net.config or a .tflite file"
    if not written_out and not path.exists():
        raise FileNotFoundError(f"{kinds}, found none at {path}")
    if written_out or path.suffix == ".json":
        return (_of_subnet(read_subnet(config.model), config),)
    if config.supernet is not None:
        raise ValueError(f"expected --supernet with a subnet alone, found it with {path}; leave it out")
    if path.is_dir():
        return _of_run_folder(path, config)
    if path.suffix == ".tflite":
        return (_of_tflite(path, config.precision),)
    if path.suffix == ".config":
        return (_Network(layers=read_ofa_classifier(path).plan.layers),)
    raise ValueError(f"{kinds}, found {path}")


def _of_run_folder(path: Path, config: PredictLatencyConfig) -> tuple[_Network, ...]:
    description = read_description(path)
    if description.subnet is not None:
        return (_of_description(description, description.subnet, config),)
    space = description.detector.space
    return tuple(
        replace(_of_description(description, subnet, config), name=name)
        for name, subnet in (("smallest", space.smallest()), ("largest", space.largest()))
    )


def _of_description(description: ModelDescription, subnet: SubnetConfig, config: PredictLatencyConfig) -> _Network:
    """The file that a subnet becomes; its ops behind the layers differ with the precision."""
    plan, tail = shipped_work(description, subnet, precision=config.precision or "uint8", numbering=config.classes)
    return _Network(layers=plan.layers, tail=tail)


def _of_subnet(subnet: SubnetConfig, config: PredictLatencyConfig) -> _Network:
    if config.supernet is not None:
        description = read_description(config.supernet)
        check_subnet(subnet, description.detector.space, of=config.supernet)
        return _of_description(description, subnet, config)
    logger.warning(
        "assuming a detector of %d classes in the space %s; --supernet RUN_FOLDER gives the real one",
        COCO_CLASSES,
        config.space,
    )
    space = read_space(config.space)
    check_subnet(subnet, space, of=config.space)
    description = ModelDescription.assumed(space, num_classes=COCO_CLASSES, subnet=subnet)
    return _of_description(description, subnet, config)


def _of_tflite(path: Path, precision: Precision | None) -> _Network:
    network = read_tflite(path)
    if precision not in (None, network.precision):
        logger.warning("%s is a %s network; predicting it as %s", path, network.precision, precision)
    return _Network(
        layers=network.layers,
        tail=network.tail,
        precision=network.precision,
        uncounted_ops=network.uncounted_ops,
        layer_of_op=network.layer_of_op,
    )
