"""Which layers cost what, by one or several latencies side by side: as text, CSV and picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.postprocess_op import POSTPROCESS_OP
from ofa_det.latency.latencies import LatencyPrediction, MeasuredLatency

CSV_FILE = "ops.csv"
PICTURE_FILE = "ops.png"
SHOWN_BARS = 25
"""Bars of the picture; the other ops are summed up in one."""


@dataclass(frozen=True, kw_only=True)
class OpRow:
    """One layer or op.

    Args:
        name: of it.
        kind: of it.
        times_ms: by column; None where a column has no figure.
    """

    name: str
    kind: str
    times_ms: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class OpTable:
    """Times of the layers and ops of one network.

    Args:
        columns: what each time is, in words: device, runtime, precision.
        rows: in the network's order.
    """

    columns: tuple[str, ...]
    rows: tuple[OpRow, ...]

    def totals_ms(self) -> tuple[float, ...]:
        """Sum of each column."""
        return tuple(sum(row.times_ms[i] or 0.0 for row in self.rows) for i in range(len(self.columns)))

    def lines(self, most: int | None = None) -> list[str]:
        """The costliest rows by the first column, or all in order, with their shares."""
        totals = self.totals_ms()
        rows = self.rows if most is None else sorted(self.rows, key=_first, reverse=True)[:most]
        found = [f"  columns: {'; '.join(self.columns)}"] if len(self.columns) > 1 else []
        for row in rows:
            cells = "  ".join(
                f"{'-':>10}  {'':>6}" if ms is None else f"{ms:7.3f} ms  {ms / (total or 1):6.1%}"
                for ms, total in zip(row.times_ms, totals, strict=True)
            )
            # A .tflite names all the ops that were fused into one.
            found.append(f"  {cells}  {row.kind:<15}  {row.name.split(';')[0]}")
        return found

    def csv(self) -> str:
        """A line for each row; no figure is an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["name", "kind", *(f"{column}, ms" for column in self.columns)])
        for row in self.rows:
            writer.writerow([row.name, row.kind, *("" if ms is None else f"{ms:.6g}" for ms in row.times_ms)])
        return text.getvalue()

    def picture(self) -> bytes:
        """A bar for each of the costliest rows and one for all others, as PNG."""
        costly = sorted(self.rows, key=_first, reverse=True)
        shown = costly[:SHOWN_BARS]
        rest = OpTable(columns=self.columns, rows=tuple(costly[SHOWN_BARS:]))
        labels = [f"{_short(row.name)} ({row.kind})" for row in shown]
        values = [[row.times_ms[i] or 0.0 for row in shown] for i in range(len(self.columns))]
        if rest.rows:
            labels.append(f"{len(rest.rows)} others")
            for column, total in zip(values, rest.totals_ms(), strict=True):
                column.append(total)
        # A figure of its own canvas: pyplot would keep global state and look for a display.
        figure = Figure(figsize=(10, 2 + 0.28 * len(labels)), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        height = 0.8 / len(self.columns)
        for i, (what, times, total) in enumerate(zip(self.columns, values, self.totals_ms(), strict=True)):
            axes.barh([y + i * height for y in range(len(labels))], times, height, label=f"{what}: {total:.2f} ms")
        axes.set_yticks([y + 0.4 - height / 2 for y in range(len(labels))], labels, fontsize=7)
        axes.invert_yaxis()
        axes.set_xlabel("ms for one image")
        axes.grid(visible=True, axis="x", alpha=0.3)
        axes.margins(y=0.01)
        figure.legend(loc="outside upper center", fontsize=8)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
        return stream.getvalue()

    def write(self, folder: Path) -> None:
        """Writes `ops.csv` and `ops.png`."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / CSV_FILE, self.csv())
        write_atomically(folder / PICTURE_FILE, self.picture())


def predicted_table(prediction: LatencyPrediction) -> OpTable:
    """The parts of a prediction."""
    column = f"{prediction.device} predicted ({prediction.runtime}, {prediction.precision})"
    rows = [OpRow(name=part.name, kind=part.kind, times_ms=(part.latency_ms,)) for part in prediction.layers]
    return OpTable(columns=(column,), rows=tuple(rows))


def measured_table(measured: MeasuredLatency) -> OpTable:
    """The ops of a measurement."""
    rows = [OpRow(name=op.name, kind=op.kind, times_ms=(op.latency_ms,)) for op in measured.ops]
    return OpTable(columns=(_measured_column(measured),), rows=tuple(rows))


def compared_table(
    prediction: LatencyPrediction, layer_of_op: Sequence[int | None], measured: Sequence[MeasuredLatency]
) -> OpTable:
    """A file's prediction beside what was measured of it, layer by layer.

    Args:
        prediction: of the file.
        layer_of_op: for each op of the file, the index of the layer that it is (a part of), or None.
        measured: of the file, with the times of its ops.
    """
    # Behind the layers stand the ops over lists, under the names of their outputs.
    parts = [(part.name, part.kind) for part in prediction.layers]
    by_name = {name: i for i, (name, _) in enumerate(parts)}
    times: list[dict[int, float]] = [dict(enumerate(part.latency_ms for part in prediction.layers))]
    unpredicted: dict[int | None, int] = {}
    for measurement in measured:
        column: dict[int, float] = {}
        for op in measurement.ops:
            known = op.index is not None and op.index < len(layer_of_op)
            place = layer_of_op[op.index] if known and op.index is not None else None
            if place is None:
                place = by_name.get(POSTPROCESS_OP if op.kind == POSTPROCESS_OP else op.name)
            if place is None:
                place = unpredicted.setdefault(op.index, len(parts))
                parts += [(op.name, op.kind)] * (place == len(parts))
            column[place] = column.get(place, 0.0) + op.latency_ms
        times.append(column)
    rows = [
        OpRow(name=name, kind=kind, times_ms=tuple(column.get(i) for column in times))
        for i, (name, kind) in enumerate(parts)
    ]
    columns = (*predicted_table(prediction).columns, *map(_measured_column, measured))
    return OpTable(columns=columns, rows=tuple(rows))


def _measured_column(measured: MeasuredLatency) -> str:
    threads = f"{measured.threads} thread{'s' if measured.threads > 1 else ''}"
    return f"{measured.device} measured ({measured.runtime}, {threads})"


def _first(row: OpRow) -> float:
    return next((ms for ms in row.times_ms if ms is not None), 0.0)


def _short(name: str) -> str:
    first = name.split(";")[0]
    return first if len(first) <= 48 else f"…{first[-47:]}"
