"""The page as a reader's browser gets it."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

from ofa_det.artefacts.build_record import BUILD_FILE, read_build
from ofa_det.artefacts.records import read_record, write_record
from ofa_det.cli.report_det import main
from ofa_det.report.errors import DetectorErrors
from ofa_det.report.run import ReportConfig, report

VOID = {"meta", "img", "line", "circle", "polyline", "br"}


class Page(HTMLParser):
    """Checks that every element is closed, and collects texts and what is referred to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.references: list[str] = []
        self.titles: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag not in {"script", "link", "iframe", "object"}
        self.references += [value for name, value in attrs if name in {"src", "href", "xlink:href", "srcset"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)
            if self.open[-1] == "h2":
                self.titles.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def test_the_page_needs_nothing_from_elsewhere_and_tells_everything(built, titles):
    path = report(ReportConfig(build=str(built.root)))
    assert path == built.root / "report.html"
    html = path.read_text()
    page = Page(html)
    assert len(page.references) >= 2 + 2  # Contact sheets and pictures of errors.
    assert all(reference.startswith("data:image/jpeg;base64,") for reference in page.references)
    assert not re.search(r"url\(|@import|https?://", html)
    assert 'name="viewport" content="width=device-width' in html
    assert "@media print" in html
    assert page.titles == list(titles)
    for told in (
        "Detectors under 20 ms and 37.5 ms",
        "1.5 ms measured on the building machine",
        "Under 20ms the chosen subnet had AP 28.0 ± 2.0 on 10 held-out images, the largest 20.0 ± 2.0: +8.0 ± 3.0, "
        "which does not tell them apart.",
        "Under 37.5ms the chosen subnet had AP 28.0 ± 2.0 on 10 held-out images, the largest 20.0 ± 2.0: +8.0 ± 3.0, "
        "more than 2 standard errors.",
        "20ms and 37.5ms got one and the same network.",
        "decoding and resizing the image",
        "3 subnets scored in the search",
        "adb push",
        "ofa-det train --config <c>",
        "recipe general: because",
        "10.0 min on a machine of 2 cores",
        "random subnet 1",
        "supernet: 2 images are <broken>",
        "inspection: there are 3 validation images; with fewer than 50 AP changes",
    ):
        assert told in page.text


def test_a_search_has_a_page_of_its_own_and_shows_its_networks_on_that_of_the_build(built, searched, capsys):
    hidden = (searched / "pareto.png").rename(searched / "hidden")
    assert main([str(searched)]) == 2
    assert "pareto.png" in capsys.readouterr().err
    hidden.rename(searched / "pareto.png")
    assert main([str(searched)]) == 0
    html = (searched / "report.html").read_text()
    page = Page(html)
    assert len(page.references) == 4
    assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
    assert not re.search(r"url\(|@import|https?://", html)
    for told in (
        "Subnets under 20ms and 37.5ms",
        "28.0  ± 2.0 AP",
        "which does not tell them apart.",
        "smallest 15.0 1 2.00 10.0 -",
        "chosen under 20 ms 19.0 3 4.00 30.0 28.0 ± 2.0",
        "The ± of the latency rests on 9 networks. Not counted: decoding.",
        "3 subnets scored, 1 of them by linas; the choice was made in float32.",
        "on training images that it held out: 20 in the search, 10 in the choice",
    ):
        assert told in page.text
    assert "17.0" not in page.text  # Neither a baseline nor chosen.
    of_build = Page(report(ReportConfig(build=str(built.root))).read_text())
    assert sum(reference.startswith("data:image/png;base64,") for reference in of_build.references) == 1


def test_the_same_artefacts_give_the_same_page_without_the_data(built, tmp_path, capsys):
    first = report(ReportConfig(build=str(built.root))).read_bytes()
    shutil.rmtree(tmp_path / "data")
    assert main([str(built.root)]) == 0
    assert (built.root / "report.html").read_bytes() == first
    assert capsys.readouterr().out == f"wrote {built.root / 'report.html'}\n"
    assert main([str(built.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(built.root / "report.html")}
    errors = read_record(built.root / "report/errors_20ms.json", DetectorErrors)
    assert errors.pictures
    shutil.rmtree(built.root / "report")
    page = Page(report(ReportConfig(build=str(built.root))).read_text())
    assert "The pictures need the data set, which is not at" in page.text


def test_a_training_of_two_caps_is_shown_once(built):
    record = read_build(built.root)
    first, second = record.detectors
    shared = replace(record, detectors=(first, replace(second, trained_for_ms=first.latency_cap_ms)))
    write_record(built.root / BUILD_FILE, shared)
    shutil.rmtree(built.detector(37.5))
    text = Page(report(ReportConfig(build=str(built.root))).read_text()).text
    assert "Detector under 20 ms and 37.5 ms" in text
    assert "Detector under 37.5 ms" not in text
    assert "cap 37.5 ms" in text


def test_errors_are_found_anew_when_the_detections_are_others(built):
    report(ReportConfig(build=str(built.root)))
    (built.evaluation(20.0, "int8") / "detections.json").write_text("[]")
    report(ReportConfig(build=str(built.root)))
    errors = read_record(built.root / "report/errors_20ms.json", DetectorErrors)
    assert errors.recall == 0
    assert all(row[-1] == sum(row) for row in errors.confusion)


def test_a_build_without_an_artefact_is_one_line(built, capsys):
    for missing in ("build.json", "detector_20ms/metrics.jsonl", "export_37.5ms/model.tflite"):
        path = built.root / missing
        content = path.read_bytes()
        path.unlink()
        assert main([str(built.root)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert path.name in line
        path.write_bytes(content)
