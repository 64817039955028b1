"""The page of a search, from the files in its folder; and what the page of a build takes from it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from html import escape
from pathlib import Path

from ofa_det.artefacts.build_record import cap_name
from ofa_det.artefacts.records import read_record
from ofa_det.report.html import document, facts, listed, paragraph, picture, section, table
from ofa_det.search.report import (
    ARCHITECTURES_FILE,
    CURVE_FILE,
    FIT_FILE,
    FRONT_FILE,
    GAP_FILE,
    SEARCH_FILE,
    TABLE_FILE,
    CapReport,
    SearchReport,
)


def search_page(folder: Path) -> str:
    """The whole page as HTML, with style and pictures within.

    Args:
        folder: of a finished search.

    Raises:
        FileNotFoundError: no search, or one of its files is missing.
        ValueError: one is damaged.
    """
    found = read_record(folder / SEARCH_FILE, SearchReport)
    caps = " and ".join(cap_name(cap.cap_ms) for cap in found.caps)
    return document(f"Subnets under {caps}", *_parts(folder, found))


def verdicts(found: SearchReport) -> Iterator[str]:
    """Of every cap, whether the search found more than the largest subnet under it; and caps that got one network."""
    caps_of: dict[str, list[str]] = {}
    for cap in found.caps:
        caps_of.setdefault(cap.subnet, []).append(cap_name(cap.cap_ms))
        if cap.subnet == cap.control:
            yield f"Under {cap_name(cap.cap_ms)} the search found nothing better than the largest subnet."
            continue
        yield (
            f"Under {cap_name(cap.cap_ms)} the chosen subnet had AP {100 * cap.ap:.1f} ± {100 * cap.ap_error:.1f} on "
            f"{found.rescore_images} held-out images, the largest {100 * cap.control_ap:.1f} ± "
            f"{100 * cap.control_ap_error:.1f}: {100 * cap.difference:+.1f} ± {100 * cap.difference_error:.1f}, "
            + (
                "which does not tell them apart."
                if cap.within_noise
                else f"more than {found.noise_standard_errors:g} standard errors."
            )
        )
    for caps in caps_of.values():
        if len(caps) > 1:
            yield f"{' and '.join(caps)} got one and the same network."


def architectures_figure(image: bytes) -> str:
    """The picture of the chosen subnets."""
    shows = "blocks of the chosen subnets and of the largest under the same caps"
    return picture(image, shows=shows, caption="Blocks, and predicted milliseconds of each stage.", wide=True)


def _parts(folder: Path, found: SearchReport) -> Iterator[str]:
    yield f'<div class="cards">{"".join(_card(cap, number, found) for number, cap in enumerate(found.caps))}</div>'
    yield section(
        "Accuracy against latency",
        _figure(folder / FRONT_FILE, "AP against predicted latency of all subnets scored"),
        listed(verdicts(found)),
        "<h3>Architectures</h3>",
        architectures_figure((folder / ARCHITECTURES_FILE).read_bytes()),
    )
    yield section("Baselines and what was chosen", _baselines(folder))
    figures = [_figure(folder / CURVE_FILE, "best AP against subnets measured")]
    for name, shows in ((FIT_FILE, "AP predicted and measured"), (GAP_FILE, "loss to int8 predicted and measured")):
        if (folder / name).is_file():
            figures.append(_figure(folder / name, shows))
    yield section("How the search went", *figures, listed(_about(found)))
    rests = [f"The ± of the latency rests on {found.latency_rests_on}.", f"Not counted: {found.not_counted}."]
    yield section(
        "What the numbers rest on",
        listed([*rests, *(f"Extrapolated: {note}" for note in found.extrapolated)]),
        paragraph(
            f"AP is that of the supernet's weights, before fine-tuning, on training images that it held out: "
            f"{found.holdout_images} in the search, {found.rescore_images} in the choice."
        ),
    )


def _figure(path: Path, shows: str) -> str:
    return picture(path.read_bytes(), shows=shows, wide=True)


def _card(cap: CapReport, number: int, found: SearchReport) -> str:
    rows = facts(
        [
            ("predicted", f"{cap.latency_ms:.1f} ms"),
            ("at most", f"{cap.at_most_ms:.1f} ms ({found.safety:g} standard error above)"),
            ("AP in the search", f"{100 * cap.search_ap:.1f}"),
            ("subnet", cap.subnet),
        ]
    )
    above = " — ABOVE it" if cap.at_most_ms > cap.cap_ms else ""
    return (
        f'<div class="card" style="border-top-color:var(--c{number % 6})"><div class="cap">cap '
        f'{cap_name(cap.cap_ms)}{above}</div><div class="ap">{100 * cap.ap:.1f} <small>± {100 * cap.ap_error:.1f} '
        f"AP</small></div>{rows}</div>"
    )


def _about(found: SearchReport) -> Iterator[str]:
    simulated = ", simulated" if found.scored_as == "int8" else ""
    yield (
        f"{found.evaluations} subnets scored, {found.evaluations - found.baselines} of them by {found.strategy}; the "
        f"choice was made in {found.scored_as}{simulated}."
    )
    if found.gap is not None:
        yield found.gap.told


def _baselines(folder: Path) -> str:
    """Rows of the table that have a role or were chosen."""
    rows = []
    for row in csv.DictReader((folder / TABLE_FILE).read_text().splitlines()):
        chosen = f"chosen under {row['chosen_under_ms']} ms" if row["chosen_under_ms"] else ""
        if what := ", ".join(filter(None, (row["role"], chosen))):
            again = f"{100 * float(row['rescored_ap']):.1f}" if row["rescored_ap"] else "-"
            error = f" ± {100 * float(row['rescored_error']):.1f}" if row["rescored_error"] else ""
            rows.append(
                [
                    f'<td class="name">{escape(what)}</td>',
                    f"{float(row['latency_ms']):.1f}",
                    f"{float(row['macs']) / 1e6:.0f}",
                    f"{float(row['file_bytes']) / 1e6:.2f}",
                    f"{100 * float(row['ap']):.1f}",
                    again + error,
                ]
            )
    return table(["", "ms", "MMACs", "MB", "AP in the search", "AP in the choice"], rows)
