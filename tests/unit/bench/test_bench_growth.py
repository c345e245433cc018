from xml.etree import ElementTree as ET

from bench import growth

SVG = "{http://www.w3.org/2000/svg}"


def picture(title: str, line: list[tuple[float, float]]) -> ET.Element:
    return ET.fromstring(growth.svg(title, {"whole": line}))  # noqa: S314 - our own text


def test_each_line_goes_through_its_points_on_logarithmic_axes() -> None:
    root = picture("Time <by> hosts", [(10, 0.1), (100, 1), (1000, 10)])
    assert root.findtext(f"{SVG}title") == "Time <by> hosts"
    (line,) = root.iter(f"{SVG}polyline")
    places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
    (x1, y1), (x2, y2), (x3, y3) = places
    assert x2 - x1 == x3 - x2 > 0
    assert y1 - y2 == y2 - y3 > 0
    assert [text.text for text in root.iter(f"{SVG}text")][-1] == "whole"


def test_a_single_value_has_a_scale_too() -> None:
    root = picture("One", [(10, 1.0), (20, 1.0)])
    assert len(list(root.iter(f"{SVG}polyline"))) == 1
