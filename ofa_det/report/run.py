"""The page of a build or of a search, from its artefacts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ofa_det.artefacts.build_record import REPORT_FILE
from ofa_det.artefacts.files import write_atomically
from ofa_det.report.misses import detector_errors
from ofa_det.report.page import page
from ofa_det.report.search_page import search_page
from ofa_det.report.sources import read_sources
from ofa_det.search.report import SEARCH_FILE


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Writing of a page.

    Args:
        build: folder of a finished build, or of a search. The data set of a build is needed the first time, for
            pictures of errors, which are kept in the folder.
    """

    build: str


def report(config: ReportConfig) -> Path:
    """Writes `report.html`, one file that needs no network; the same artefacts give the same page.

    Args:
        config: of which build or search.

    Returns:
        The page.

    Raises:
        FileNotFoundError: no finished build or search, or one of its artefacts is missing.
        ValueError: an artefact is damaged.
    """
    folder = Path(config.build)
    if (folder / SEARCH_FILE).is_file():
        write_atomically(folder / REPORT_FILE, search_page(folder))
        return folder / REPORT_FILE
    sources = read_sources(folder)
    errors = [detector_errors(sources.folder, one.built.latency_cap_ms, sources.data) for one in sources.detectors]
    path = sources.folder.root / REPORT_FILE
    write_atomically(path, page(sources, errors))
    return path
