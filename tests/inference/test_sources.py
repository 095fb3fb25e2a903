import os
from pathlib import Path

import pytest

from muq_hf.inference.sources import collect_inputs, path_text


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_are_searched_and_files_taken_as_they_are(tmp_path):
    touch(tmp_path / "a" / "2.flac", tmp_path / "a" / "deep" / "1.WAV", tmp_path / "a" / "notes.pdf", tmp_path / "odd.xyz")
    found = collect_inputs([tmp_path / "odd.xyz", tmp_path / "a"])
    assert [os.path.relpath(path, tmp_path) for path in found] == ["odd.xyz", "a/2.flac", "a/deep/1.WAV"]


def test_a_file_given_in_several_ways_is_taken_once_at_its_first_place(tmp_path):
    touch(tmp_path / "a.wav", tmp_path / "b.wav")
    (tmp_path / "list.txt").write_text("b.wav\na.wav\n")
    found = collect_inputs([tmp_path / "a.wav", f"{tmp_path}/x/../a.wav", tmp_path, tmp_path / "list.txt"])
    assert found == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "# my songs\r\n\r\ná b.wav\r\nsub/c.mp3\r\n"),
        ("list.m3u8", "#EXTM3U\n#EXTINF:1,x\ná b.wav\nsub/c.mp3"),
        ("list.csv", 'title,path\n"x, y",á b.wav\nz,sub/c.mp3\n'),
        ("list.tsv", "file_name\tgenre\ná b.wav\trock\nsub/c.mp3\tjazz\n"),
        ("list.jsonl", '{"audio": "á b.wav"}\n\n{"audio": "sub/c.mp3"}\n'),
    ],
)
def test_manifests_name_files_from_their_own_folder(tmp_path, name, text):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode("utf-8"))
    assert collect_inputs(tmp_path / name) == [str(tmp_path / "á b.wav"), str(tmp_path / "sub" / "c.mp3")]


def test_absolute_paths_of_a_manifest_stay(tmp_path):
    (tmp_path / "list.txt").write_text("/music/a.wav\n")
    assert collect_inputs([tmp_path / "list.txt"]) == ["/music/a.wav"]


def test_lines_that_cannot_be_used_are_handed_over_and_the_others_taken(tmp_path):
    (tmp_path / "list.jsonl").write_text('{"path": "a.wav"}\n{broken\n{"path": "b.wav"}\n')
    bad_lines = []
    assert collect_inputs([tmp_path / "list.jsonl"], bad_lines.append) == [str(tmp_path / name) for name in ("a.wav", "b.wav")]
    assert [line.number for line in bad_lines] == [2]


def test_a_manifest_without_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "list.txt").write_text("# nothing\n")
    with pytest.raises(ValueError, match="no audio file in .*list.txt"):
        collect_inputs([tmp_path / "list.txt"])


def test_a_missing_manifest_is_refused_and_a_missing_file_kept_for_the_report(tmp_path):
    with pytest.raises(ValueError, match="manifest .*none.txt cannot be read: No such file"):
        collect_inputs([tmp_path / "none.txt"])
    assert collect_inputs([tmp_path / "none.wav"]) == [str(tmp_path / "none.wav")]


@pytest.mark.parametrize(("name", "text"), [("list.txt", "{}"), ("list.csv", "path\n{}\n"), ("list.jsonl", '{{"path": "{}"}}')])
def test_names_in_a_manifest_that_are_not_utf8_are_taken_byte_by_byte(tmp_path, name, text):
    odd = b"caf\xe9.wav"
    (tmp_path / name).write_bytes(os.fsencode(text.format(os.fsdecode(odd))))
    assert collect_inputs(tmp_path / name) == [os.fsdecode(os.fsencode(tmp_path) + b"/" + odd)]


def test_names_that_are_not_utf8_become_text():
    assert path_text(os.fsdecode(b"caf\xe9 \xc3\xa9.wav")) == "caf\\xe9 é.wav"
