"""The table of `make bench`: goals, numbers, JSON and the page of figures."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.__main__ import show
from tests.benchmarks.report import Row, Section, as_markdown, as_text, from_json, number, reached, to_json
from tests.support.pages import FIGURES, between

ROWS = (
    Row("6.3 M voxels", 412.34, "ns CPU/voxel", "<= 250", 2.46, "2.3 s"),
    Row("dendrogram", 1_234_567.0, "edges/s", ">= 1,000,000"),
    Row("start-up", 1.5, "s CPU"),
)
SECTION = Section("speed", "2026-11-22T17:28+00:00", "a machine", ROWS)


def test_a_goal_is_compared_with_the_figure():
    """At most, at least, thousands with commas; a row without a goal is neither reached nor missed."""
    assert [reached(row) for row in ROWS] == [False, True, None]
    assert reached(Row("", 0.9, "", ">= 0.9"))
    with pytest.raises(ValueError, match="must be like"):
        reached(Row("", 1, "", "about 5"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.00161, "0.0016"),
        (0.5, "0.5"),
        (1.042, "1.04"),
        (47.26, "47.3"),
        (412.3, "412"),
        (1e6, "1,000,000"),
    ],
)
def test_numbers_have_about_three_digits(value, shown):
    """Small numbers keep two digits, large ones all before the point."""
    assert number(value) == shown


def test_a_section_survives_json():
    """What was written is what is read."""
    assert from_json(json.loads(json.dumps(to_json([SECTION])))) == [SECTION]


def test_tables_show_every_row_and_what_was_missed():
    """Text and Markdown have a line a row, the missed goal is said, and the date and machine stand above."""
    text, markdown = as_text([SECTION]).splitlines(), as_markdown([SECTION]).splitlines()
    assert text[0] == markdown[0] == "2026-11-22, a machine."
    assert len(text) == 2 + len(ROWS)
    assert markdown[4] == "| speed | 6.3 M voxels | 412 ns CPU/voxel | <= 250 (missed) | 2.46 | 2.3 s |"
    assert markdown[5] == "|  | dendrogram | 1,234,567 edges/s | >= 1,000,000 |  |  |"
    assert sum("(missed)" in line for line in text) == 1


def test_sections_of_several_days_say_which():
    """A section measured on another day keeps its own date."""
    later = Section("memory", "2026-11-23T09:00+00:00", "a machine", ROWS[2:])
    lines = as_text([SECTION, later]).splitlines()
    assert lines[:2] == ["speed: 2026-11-22, a machine.", "memory: 2026-11-23, a machine."]


@pytest.mark.parametrize("mark", ["bench", "peers"])
def test_the_page_has_a_place_for_the_figures(mark):
    """Both tables can be written into the page of figures, and the rest of it stays as it is."""
    page = FIGURES.read_text(encoding="utf-8")
    written = between(page, mark, "new")
    assert f"<!-- {mark} -->\nnew\n<!-- /{mark} -->" in written
    assert written.partition(f"<!-- {mark} -->")[0] == page.partition(f"<!-- {mark} -->")[0]


def test_the_last_figures_are_written_into_their_page(tmp_path, monkeypatch):
    """`--readme` measures nothing: it puts what the file holds between the marks of the page of figures."""
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- bench -->\nold\n<!-- /bench -->\nbelow\n")
    figures = tmp_path / "bench.json"
    figures.write_text(json.dumps({"sections": to_json([SECTION])}))
    monkeypatch.setattr("tests.benchmarks.__main__.FIGURES", page)
    assert show(figures, into_page=True) == 0
    assert page.read_text() == between(page.read_text(), "bench", as_markdown([SECTION]))
    assert page.read_text().startswith("above\n<!-- bench -->\n2026-11-22, a machine.")
