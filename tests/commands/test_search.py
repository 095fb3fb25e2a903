"""`muq-hf search`: which results are shown, in which form, for one question or many."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile
from mulan_models import music, save_tiny

from muq_hf.cli import main
from muq_hf.commands.exit_codes import WRONG_USE
from muq_hf.storage.manifests import manifest_rows


QUIET = ["--workers", "0", "--quiet"]


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Two songs of 5 s in `calm` and one in `loud`, as 24 kHz FLAC."""
    place = tmp_path_factory.mktemp("songs")
    for seed, name in enumerate(("calm/a.flac", "calm/b, live.flac", "loud/c.flac")):
        (place / name).parent.mkdir(exist_ok=True)
        soundfile.write(place / name, music(5, seed).numpy(), 24_000, subtype="PCM_24")
    return place


@pytest.fixture(scope="module")
def index(songs, tmp_path_factory):
    """Rows of 2, 2 and 1 s of each song, of a MuQ-MuLan."""
    place = tmp_path_factory.mktemp("index")
    arguments = ["--model", str(save_tiny(place / "model")), "--output", str(place / "i.parquet"), "--chunk-length-s", "2"]
    assert main(["embed", str(songs), *arguments, *QUIET]) == 0
    return place / "i.parquet"


@pytest.fixture
def ask(index, capsys):
    """ask(*arguments) → (hits, stderr)."""

    def run(*arguments):
        assert main(["search", *arguments, "--index", str(index), "--format", "jsonl"]) == 0
        captured = capsys.readouterr()
        return [json.loads(line) for line in captured.out.splitlines()], captured.err

    return run


def test_parts_are_all_rows_and_songs_their_best_ones(ask):
    parts, _ = ask("calm piano", "--per", "part", "--top-k", "100")
    assert len(parts) == 9 and parts == sorted(parts, key=lambda hit: -hit["cosine"])
    songs, _ = ask("calm piano")
    assert songs == [next(hit for hit in parts if hit["path"] == song["path"]) for song in songs] and len(songs) == 3


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_as_many_songs_as_asked_for_however_many_parts_go_before(ask, top_k):
    songs, _ = ask("calm piano", "--top-k", str(top_k))
    assert len({hit["path"] for hit in songs}) == len(songs) == top_k


def test_a_folder_limits_what_is_found(ask, songs):
    hits, _ = ask("calm piano", "--folder", str(songs / "calm"))
    assert {hit["path"] for hit in hits} == {str(songs / "calm" / name) for name in ("a.flac", "b, live.flac")}


def test_a_folder_is_no_beginning_of_a_name(index, songs, capsys):
    assert main(["search", "calm piano", "--index", str(index), "--folder", str(songs / "ca")]) == WRONG_USE
    assert "has no music from" in capsys.readouterr().err


def test_the_playlist_holds_the_songs_found(ask, songs, tmp_path):
    hits, err = ask("calm piano", "--per", "part", "--top-k", "9", "--m3u", str(tmp_path / "list.m3u8"))
    assert "list.m3u8: 3 songs" in err
    listed = [row.path for row in manifest_rows(tmp_path / "list.m3u8", only_paths=True)]
    assert listed == list(dict.fromkeys(hit["path"] for hit in hits))


def test_many_questions_are_answered_as_each_alone(ask, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("calm piano\n\nloud drums\n"))
    together, _ = ask("-", "--top-k", "2")
    alone = [{"query": text, **hit} for text in ("calm piano", "loud drums") for hit in ask(text, "--top-k", "2")[0]]
    assert together == alone


def test_many_questions_in_a_table_of_values(index, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO('=cmd|"x"\ncalm, slow\n'))
    assert main(["search", "-", "--index", str(index), "--format", "csv", "--top-k", "1"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["query"] for row in rows] == ['\'=cmd|"x"', "calm, slow"]


@pytest.mark.parametrize("options", [["--pool", "mean"], ["--pool", "mean+std", "--layer", "1"], ["--chunk-length-s", "2"]])
def test_music_is_found_in_a_table_of_any_model(model_folder, songs, tmp_path, capsys, options):
    """The query is embedded as the rows were: the song itself is found, with a cosine of 1 where it is one row."""
    table = tmp_path / "muq.parquet"
    assert main(["embed", str(songs), "--model", str(model_folder), "--output", str(table), *options, *QUIET]) == 0
    capsys.readouterr()
    like = songs / "loud" / "c.flac"
    assert main(["search", "--like", str(like), "--index", str(table), "--format", "jsonl", "--top-k", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    hit = json.loads(line)
    assert hit["path"] == str(like)
    if "--chunk-length-s" not in options:
        assert hit["cosine"] == pytest.approx(1.0, abs=1e-3)


def test_words_in_a_table_of_a_muq_are_refused_with_the_way_out(model_folder, songs, tmp_path, capsys):
    table = tmp_path / "muq.parquet"
    assert main(["embed", str(songs), "--model", str(model_folder), "--output", str(table), *QUIET]) == 0
    assert main(["search", "calm piano", "--index", str(table)]) == WRONG_USE
    assert "knows no words: search it with --like FILE" in capsys.readouterr().err


def test_rows_that_are_not_finite_are_never_found(index, tmp_path, capsys):
    rows = pq.read_table(index)
    vectors = np.stack(rows["embedding"].to_pylist())
    vectors[0] = np.nan
    frame = rows.to_pandas().assign(embedding=list(vectors.astype(np.float32)))
    table = rows.schema.empty_table().from_pandas(pd.DataFrame(frame), schema=rows.schema, preserve_index=False)
    pq.write_table(table, tmp_path / "nan.parquet")
    assert main(["search", "calm piano", "--index", str(tmp_path / "nan.parquet"), "--per", "part", "--top-k", "9"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 8 and "nan" not in out and "inf" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["words", "--index", "nowhere.parquet"], "--index nowhere.parquet does not exist"),
        (["--like", "nowhere.mp3", "--index", "INDEX"], "--like nowhere.mp3 does not exist"),
        (["words", "--index", "INDEX", "--m3u", "list.txt"], "ends in .m3u or .m3u8, got 'list.txt'"),
        (["words", "--index", "INDEX", "--per", "album"], "'album' is not one of 'song', 'part'"),
        (["words", "--index", "INDEX", "--top-k", "0"], "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_model_is_loaded(index, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("muq_hf.loader.load", None)
    assert main(["search", *(str(index) if word == "INDEX" else word for word in arguments)]) == WRONG_USE
    assert message in capsys.readouterr().err
