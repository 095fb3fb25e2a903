"""Names and labels of strangers: what a terminal, a spreadsheet and a page of Markdown would obey is escaped."""

import pytest

from muq_hf.storage.safe_text import csv_cell, markdown_text, printable


@pytest.mark.parametrize("text", ["=1+1", "+49", "-2+3", "@SUM(A1)", " =1"])
def test_cells_that_a_spreadsheet_would_compute_begin_with_an_apostrophe(text):
    assert csv_cell(text).startswith("'")


@pytest.mark.parametrize("text", ["piano", "/music/a-b.mp3", "10 = ten", "钢琴, été", ""])
def test_other_text_stays(text):
    assert csv_cell(text) == printable(text) == text


def test_control_codes_are_written_out():
    assert printable("a\x1b[2Jb\nc\x9b\u202e") == r"a\x1b[2Jb\nc\x9b\u202e"
    assert csv_cell("a\x07") == r"a\x07" and csv_cell("\t=1") == r"\t=1"


def test_markdown_shows_text_as_it_is():
    assert markdown_text("[x](http://y) <b>&*") == r"\[x\](http://y) \<b\>&amp;\*"
