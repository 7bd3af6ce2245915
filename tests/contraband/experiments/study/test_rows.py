"""Which rows a study has, in which order, and the file that keeps them."""

from __future__ import annotations

import itertools

import pytest

from blockwise.errors import BadInput
from contraband.experiments.study.rows import FIELDS, Row, RowFile, seed_of, wanted_rows
from contraband.experiments.study.settings import StudySettings
from tests.contraband.experiments.study.test_settings import plain

ROW = Row("main", "discs", "end to end", 16, 2, 1)


def test_a_draw_is_complete_before_the_next_begins():
    """Rows come once each, those without labels first; of a seed and a budget all arms of a draw precede the next."""
    settings = StudySettings.parse(plain(), "study")
    rows = wanted_rows(settings)
    assert len(set(rows)) == len(rows) == 2 + 2 * 3 * 2 * 2
    assert [row.arm for row in rows[:2]] == ["none", "Otsu"]
    groups = [key for key, _ in itertools.groupby(rows[2:], lambda row: (row.seed, row.k, row.draw))]
    assert groups == list(itertools.product((0, 1), (6, 12), (0, 1, 2)))
    for _, group in itertools.groupby(rows[2:], lambda row: (row.seed, row.k, row.draw)):
        assert [row.arm for row in group] == ["forest", "end to end"]


def test_first_seeds_of_all_rounds_come_before_second_ones():
    """A study that is cut off lacks seeds, or the larger budgets, rather than a round."""
    last = {"data": ["discs"], "budgets": [6], "draws": [8, 9], "seeds": [5], "arms": ["Otsu", "end to end"]}
    rows = wanted_rows(StudySettings.parse(plain(rounds__last=last), "study"))
    order = [key for key, _ in itertools.groupby(rows, lambda row: (row.k, row.round, row.seed))]
    first = [(0, "main", 0), (0, "last", 0), (6, "main", 0), (6, "last", 5), (12, "main", 0)]
    assert order == [*first, (6, "main", 1), (12, "main", 1)]


def test_rows_are_read_as_they_were_written(tmp_path):
    """What is appended is there, digit by digit, with empty cells where nothing was measured."""
    table = RowFile(tmp_path / "rows.csv", FIELDS)
    assert table.read() == {}
    table.append(ROW, {"f1": 0.1 + 0.2, "step": 20})
    table.append(Row("main", "discs", 'a "new", arm', 4, 0, 0), {})
    found = table.read()
    assert list(found) == [ROW, Row("main", "discs", 'a "new", arm', 4, 0, 0)]
    assert float(found[ROW]["f1"]) == 0.1 + 0.2
    assert (found[ROW]["step"], found[ROW]["ap"]) == ("20", "")


def test_rows_of_all_labels_are_read_back_and_have_seeds_of_their_own(tmp_path):
    """`all` stays a word, and draws of it differ in their seeds, which those of a few labels do not."""
    table = RowFile(tmp_path / "rows.csv", FIELDS)
    rows = [Row("main", "discs", "end to end", "all", draw, 1) for draw in (0, 2)]
    table.append(rows[0], {"f1": 0.5})
    assert list(table.read()) == rows[:1]
    assert [seed_of(row) for row in rows] == [1, 201]
    assert seed_of(ROW) == 1


def test_a_torn_line_is_not_a_row(tmp_path):
    """Of a line, or a header, that was half written when the process died nothing is read, and the next goes on."""
    whole = RowFile(tmp_path / "whole.csv", FIELDS)
    whole.append(ROW, {"f1": 0.5})
    written = whole.path.read_bytes()
    torn = RowFile(tmp_path / "torn.csv", FIELDS)
    for left in (1, 30, written.index(b"\n"), written.index(b"\n") + 1, len(written) - 1):
        torn.path.write_bytes(written[:left])
        assert torn.read() == {}
        torn.append(ROW, {"f1": 0.5})
        assert torn.path.read_bytes() == written
        assert list(torn.read()) == [ROW]


def test_a_file_of_other_columns_is_refused(tmp_path):
    """A CSV of another version is not appended to."""
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match="other columns"):
        RowFile(tmp_path / "rows.csv", FIELDS).read()


def test_names_of_rows_differ():
    """Arms whose names differ in signs only have files of their own."""
    names = {Row("main", "discs", arm, 4, 0, 0).name for arm in ("a + b", "a - b", "a b")}
    assert len(names) == 3
    assert ROW.name.startswith("discs-end-to-end-")
