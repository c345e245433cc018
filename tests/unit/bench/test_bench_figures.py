import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import chart, report
from bench.cases import CASES, OURS
from bench.figures import Client, Figures

DOCS = Path(__file__).resolve().parents[3] / "docs"
SVG = "{http://www.w3.org/2000/svg}"

FIGURES = Figures(
    at="2026-01-02T03:04:05+00:00",
    commit="abc",
    machine={"CPU": "one", "cores": "2"},
    titles={"gitops": "gitops serve", "swarm": "Docker Swarm", "ping": "ansible <ping>"},
    seconds={
        "a": {"gitops": [1.0, 4.0, 3.0], "swarm": [10.0, 5.0, 10.0]},
        "d": {"gitops": [0.25, 0.05, 0.04], "ping": [1.0, 1.0, 1.0]},
    },
    clients={"a": {"gitops": Client(requests=300, failed=1, p99_ms=12.3)}},
)


def test_a_ratio_compares_within_a_round_and_then_takes_the_median() -> None:
    assert FIGURES.ratio("a", "gitops", "swarm") == pytest.approx(0.3)  # of 0.1, 0.8, 0.3
    assert FIGURES.median("a", "gitops") == 3.0
    assert FIGURES.median("a", "swarm") == 10.0


def test_what_was_not_measured_has_neither_median_nor_ratio() -> None:
    assert FIGURES.median("c", "gitops") is None
    assert FIGURES.median("a", "ping") is None
    assert FIGURES.ratio("a", "gitops", "ping") is None


def test_a_target_is_missed_by_the_least_bit_more() -> None:
    verdicts = {(each.case, each.peer): each for each in FIGURES.verdicts()}
    assert set(verdicts) == {("a", "swarm"), ("d", "ping")}
    assert verdicts["a", "swarm"].met
    assert verdicts["d", "ping"].met
    slower = replace(verdicts["d", "ping"], reached=0.0501)
    assert not slower.met


def test_a_whole_round_trip_through_json() -> None:
    text = FIGURES.to_json()
    assert Figures.from_json(text) == FIGURES
    assert Figures.from_json(text).to_json() == text
    assert json.loads(text)["medians"]["a"] == {"gitops": 3.0, "swarm": 10.0}


def test_the_report_has_medians_targets_and_what_the_client_saw() -> None:
    lines = report.markdown(FIGURES).splitlines()
    assert "Measured 2026-01-02 at commit `abc`, 3 rounds." in lines
    assert "| (a) 4 replicas, one at a time | 3.00 | 10.0 |  |" in lines
    assert "| (a) 4 replicas, one at a time | Docker Swarm | 0.35 | 0.300 | yes |" in lines
    assert "| (a) | gitops serve | 300 | 1 | 12 ms |" in lines
    missed = replace(FIGURES, seconds={"a": {"gitops": [4.0], "swarm": [10.0]}})
    assert "| 0.400 | **no** |" in report.markdown(missed)


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    for table in report.markdown(FIGURES).split("\n\n")[1:]:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_refreshing_a_page_changes_only_what_is_between_the_marks() -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    fresh = report.refresh(page, FIGURES)
    assert fresh.startswith("before\n")
    assert fresh.endswith("\nafter\n")
    assert "old" not in fresh
    assert report.refresh(fresh, FIGURES) == fresh
    with pytest.raises(ValueError, match="no <!-- figures"):
        report.refresh("a page without marks", FIGURES)


def picture(figures: Figures) -> ET.Element:
    return ET.fromstring(chart.svg(figures))  # noqa: S314 - our own text


def test_the_chart_is_xml_with_a_bar_for_each_median() -> None:
    root = picture(FIGURES)
    bars = root.findall(f"{SVG}rect")
    widths = [float(bar.attrib["width"]) for bar in bars]
    texts = [text.text for text in root.findall(f"{SVG}text")]
    assert len(bars) == 4
    assert widths[0] / widths[1] == pytest.approx(0.3, abs=0.001)
    assert [bar.attrib["class"] for bar in bars] == ["ours", "bar", "ours", "bar"]
    assert {"(a) 4 replicas, one at a time", "ansible <ping>", "3.00", "10.0", "seconds"} <= set(texts)


def test_no_bar_leaves_the_picture() -> None:
    for longest in (0.03, 0.9, 9.99, 10.0, 123.4):
        figures = replace(FIGURES, seconds={"a": {"gitops": [0.01], "swarm": [longest]}})
        root = picture(figures)
        width = float(root.attrib["viewBox"].split()[2])
        for bar in root.findall(f"{SVG}rect"):
            assert float(bar.attrib["x"]) + float(bar.attrib["width"]) < width


def test_every_target_is_one_of_ours_against_a_peer() -> None:
    for case in CASES.values():
        assert case.targets
        assert not set(OURS) & set(case.targets)


def test_the_page_and_the_chart_are_those_of_the_figures() -> None:
    page, data, picture = (DOCS / f"performance.{kind}" for kind in ("md", "json", "svg"))
    if data.exists():
        figures = Figures.from_json(data.read_text())
        assert report.refresh(page.read_text(), figures) == page.read_text()
        assert picture.read_text() == chart.svg(figures)
    else:
        assert f"{report.BEGIN}\n{report.UNMEASURED}{report.END}\n" in page.read_text()
        assert not picture.exists()
