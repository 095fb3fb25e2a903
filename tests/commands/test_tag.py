"""`muq-hf tag`: labels and names of strangers in its output."""

import csv

import pytest

from muq_hf.cli import main


LABELS = ["=HYPERLINK(1)", "+1", "-1", "@x", "clear\x1b[2J", "piano"]


@pytest.fixture
def tag(write_song, tmp_path, capsys):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS), "utf-8")
    song = write_song("a.wav", 1.0)

    def run(form: str) -> str:
        assert main(["tag", str(song), "--labels", str(labels), "--top-k", "0", "--format", form, "--quiet"]) == 0
        return capsys.readouterr().out

    return run


def test_no_label_is_a_formula_or_holds_control_codes_in_csv(tag):
    rows = list(csv.DictReader(tag("csv").splitlines()))
    assert len(rows) == len(LABELS)
    assert not any(row["label"].startswith(("=", "+", "-", "@")) or "\x1b" in row["label"] for row in rows)
    assert "piano" in {row["label"] for row in rows}
    assert all(-1 <= float(row["cosine"]) <= 1 for row in rows), "negative numbers stay numbers"


def test_no_label_reaches_the_terminal_with_control_codes(tag):
    out = tag("table")
    assert "\x1b" not in out and r"clear\x1b[2J" in out
