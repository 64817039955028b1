import re
from xml.etree import ElementTree

import pytest

from ofa_det.report.charts import Marker, Series, chart


def drawn(*series, **options):
    svg = chart(list(series), x_label="x", y_label="y", title="t", **options)
    return ElementTree.fromstring(svg)


def test_points_lie_where_the_axes_say():
    """0 to 10 over 398 px from 62 on, 0 to 10 over 240 px from 250 up."""
    tree = drawn(Series(name="a", xs=[0, 5, 10], ys=[0, 10, 5], mark="dots"))
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in tree.iter("circle")]
    assert circles == [(62.0, 250.0), (261.0, 10.0), (460.0, 130.0)]
    assert [text.text for text in tree.iter("text")][:6] == ["0", "2", "4", "6", "8", "10"]


def test_error_bars_are_as_long_as_the_error_and_within_the_axes():
    tree = drawn(Series(name="a", xs=[5], ys=[5], x_errors=[5]), Series(name="", xs=[0, 10], ys=[0, 10], mark="dots"))
    group = next(tree.iter("g"))
    assert next((line.get("x1"), line.get("x2")) for line in group.iter("line")) == ("62.0", "460.0")


def test_markers_widen_the_axis_and_names_are_escaped():
    svg = chart(
        [Series(name="<b>", xs=[1], ys=[1])],
        x_label="a & b",
        y_label="y",
        title="t",
        markers=[Marker(x=40, name="cap<")],
    )
    assert "&lt;b&gt;" in svg
    assert "a &amp; b" in svg
    assert "cap&lt;" in svg
    assert float(re.search(r'class="marker" x1="([\d.]+)"', svg)[1]) == 460.0


def test_an_axis_can_begin_at_zero():
    tree = drawn(Series(name="", xs=[2400], ys=[18]), zero="xy")
    assert next(text.text for text in tree.iter("text")) == "0"
    (circle,) = tree.iter("circle")  # A single point is seen, though it is no line.
    assert float(circle.get("cx")) > 400


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="expected points"):
        chart([], x_label="x", y_label="y", title="t")
