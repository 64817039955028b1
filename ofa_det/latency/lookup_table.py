"""Lookup tables of once-for-all and ProxylessNAS: the measured time of each block that a network may be made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import hypot
from pathlib import Path
from typing import Any, Final

from ofa_det.arch.layers import Layer, Shape
from ofa_det.artefacts.records import read_yaml
from ofa_det.latency.fitted_model import NO_TAIL
from ofa_det.latency.latencies import Estimate, LatencyPrediction, LayerLatency, Precision
from ofa_det.latency.postprocessing import DetectionTail

TABLE_NAME: Final = "{resolution}_lookup_table.yaml"
SUM_ERROR: Final = 0.03
"""Relative standard error of a sum of blocks: the Note10 tables are within 3 % of the networks named by them."""


@dataclass(frozen=True, kw_only=True)
class TableEntry:
    """Measured time of one block: mean and standard deviation in ms, of so many runs."""

    mean: float
    std: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of a network that has one entry.

    Args:
        key: of the entry, as once-for-all writes it.
        name: of the last of its layers.
        layers: how many layers it is.
    """

    key: str
    name: str
    layers: int


@dataclass(frozen=True, kw_only=True)
class LookupTableModel:
    """Latency as a sum over blocks; implements `LatencyModel`.

    Args:
        folder: with a table for each resolution.
        device: name of the phone: the folder's.
        runtime: as the folder says nothing, what it is a table of.
        precision, threads: of all entries.
    """

    folder: Path
    device: str
    runtime: str = "lookup table"
    precision: Precision = "float32"
    threads: int = 1

    def predict(self, layers: Iterable[Layer], tail: DetectionTail = NO_TAIL) -> LatencyPrediction:
        """Predicts the latency of one image.

        Args:
            layers: of a classifier.
            tail: none; a table has no entry for post-processing.

        Raises:
            ValueError: a resolution, block or post-processing without entry; the message names what is missing.
        """
        layers = tuple(layers)
        if tail != NO_TAIL:
            raise ValueError(
                f"expected a classifier, found a detector; {self.folder} has no entries for heads and post-processing: "
                "measure a table of the space with calibrate-latency"
            )
        parts, stds = [], []
        table = self._table(layers)
        for block in blocks(layers):
            entry = table.get(block.key)
            if entry is None:
                raise ValueError(
                    f"expected networks of the blocks in {self.folder}, found no entry {block.key} among {len(table)}; "
                    "a lookup table predicts the space that it was measured for"
                )
            parts.append(LayerLatency(name=block.name, kind=block.key.partition("-")[0], latency_ms=entry.mean))
            stds.append(entry.std)
        mean_ms = sum(part.latency_ms for part in parts)
        return LatencyPrediction(
            mean_ms=mean_ms,
            error_ms=hypot(SUM_ERROR * mean_ms, *stds),
            error_source=f"{SUM_ERROR:.0%} for a sum of blocks, and the entries' standard deviations",
            rests_on=f"{len(parts)} of {len(table)} blocks in {self.folder.name}, each measured alone",
            extrapolated=(),
            postprocessing_ms=0.0,
            device=self.device,
            runtime=self.runtime,
            precision=self.precision,
            threads=self.threads,
            macs=sum(layer.macs for layer in layers),
            parameters=sum(layer.parameters for layer in layers),
            layers=tuple(parts),
            excluded="decoding and resizing the image",
        )

    def estimate(self, layers: Iterable[Layer], tail: DetectionTail = NO_TAIL) -> Estimate:
        """Mean and standard error of `predict`."""
        prediction = self.predict(layers, tail)
        return Estimate(prediction.mean_ms, prediction.error_ms)

    def _table(self, layers: tuple[Layer, ...]) -> Mapping[str, TableEntry]:
        if not layers:
            raise ValueError("expected layers, found none")
        resolution = layers[0].input_shapes[0].height
        path = self.folder / TABLE_NAME.format(resolution=resolution)
        if not path.is_file():
            raise ValueError(f"expected a table {path.name} in {self.folder} for {resolution} px, found none")
        return read_entries(path)


def read_lookup_tables(folder: Path) -> LookupTableModel:
    """The tables of a folder, `<resolution>_lookup_table.yaml`.

    Raises:
        FileNotFoundError: there is none.
    """
    if not any(folder.glob(TABLE_NAME.format(resolution="*"))):
        raise FileNotFoundError(f"expected tables {TABLE_NAME.format(resolution='<px>')} in {folder}, found none")
    return LookupTableModel(folder=folder, device=folder.resolve().name)


@lru_cache(maxsize=32)
def read_entries(path: Path) -> Mapping[str, TableEntry]:
    """The entries of one table.

    Raises:
        ValueError: not such a table.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"expected a lookup table in {path}, found {type(content).__name__}")
    return {str(key): _entry(path, key, value) for key, value in content.items()}


def blocks(layers: Iterable[Layer]) -> Iterator[Block]:
    """The blocks of a once-for-all classifier, found by the order of kinds.

    Raises:
        ValueError: layers that are not such a network's.
    """
    rest = list(layers)
    while rest:
        length = _block_length(rest)
        block, rest = rest[:length], rest[length:]
        yield Block(key=_key(block), name=block[-1].name, layers=length)


def _block_length(rest: list[Layer]) -> int:
    """Layers of the block that begins here: [expand], depthwise, [pool, squeeze, excite, gate], project, [add]."""
    kinds = [layer.kind for layer in rest[:8]]
    at = 0 if kinds[0] == "depthwise" else 1
    if (rest[0].kind == "conv" and rest[0].kernel_size > 1) or kinds[at : at + 1] != ["depthwise"]:
        return 1
    at += 1
    if kinds[at : at + 4] == ["pool", "conv", "conv", "multiply"]:
        at += 4
    at += 1  # project
    return at + 1 if kinds[at : at + 1] == ["add"] else at


def _key(block: list[Layer]) -> str:
    first, last = block[0], block[-1]
    ends = f"input:{_text(first.input_shapes[0])}-output:{_text(last.output_shape)}"
    spatial = next((layer for layer in block if layer.kind == "depthwise"), None)
    if spatial is not None:
        skip, gated = (int(any(layer.kind == kind for layer in block)) for kind in ("add", "multiply"))
        smooth = int(spatial.activation == "hswish")
        return (
            f"expanded_conv-{ends}-expand:{spatial.in_channels}-kernel:{spatial.kernel_size}-stride:{spatial.stride}"
            f"-idskip:{skip}-se:{gated}-hs:{smooth}"
        )
    if first.kind == "fully_connected" or (first.activation == "none" and first.output_shape[1:] == (1, 1)):
        if first.has_weights:
            return f"Logits-input:{_text(first.input_shapes[0])}-output:{first.out_channels}"
        return f"AvgPool2D-{ends}"
    if first.kernel_size > 1:
        return f"Conv-{ends}"
    return f"Conv_2-{ends}" if first.output_shape[1:] == (1, 1) else f"Conv_1-{ends}"


def _text(shape: Shape) -> str:
    return f"{shape.height}x{shape.width}x{shape.channels}"


def _entry(path: Path, key: Any, value: Any) -> TableEntry:
    try:
        return TableEntry(mean=float(value["mean"]), std=float(value["std"]), count=int(value["count"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"expected count, mean and std of {key} in {path}, found {value!r}") from error
