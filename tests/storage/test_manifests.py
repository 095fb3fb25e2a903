"""One reader of manifests: what each format says, and what is said of lines that cannot be used."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muq_hf.storage.manifests import BadLine, manifest_rows


WRITERS = {
    "csv": lambda rows: ",".join(rows[0]) + "\n" + "".join(",".join(row.values()) + "\n" for row in rows),
    "tsv": lambda rows: "\t".join(rows[0]) + "\n" + "".join("\t".join(row.values()) + "\n" for row in rows),
    "jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows),
}


def write(folder, suffix, rows):
    path = folder / f"list.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(WRITERS[suffix](rows), encoding="utf-8")
    return path


def read_with_bad_lines(path):
    bad_lines = []
    return list(manifest_rows(path, bad_lines.append)), bad_lines


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("key", ["path", "file_name", "audio", "file"])
def test_every_format_knows_every_key_of_a_path(tmp_path, suffix, key):
    manifest = write(tmp_path, suffix, [{key: "a.wav", "label": "x"}, {key: "sub/b.wav", "label": "y"}])
    rows = list(manifest_rows(manifest))
    assert [row.path for row in rows] == [str(tmp_path / "a.wav"), str(tmp_path / "sub/b.wav")]
    assert [row.fields for row in rows] == [{"label": "x"}, {"label": "y"}]


def test_addresses_are_not_joined_to_the_folder(tmp_path):
    assert next(manifest_rows(write(tmp_path, "jsonl", [{"path": "s3://music/a.wav"}]))).path == "s3://music/a.wav"


def test_numbers_are_those_of_an_editor(tmp_path):
    """With empty lines and a quoted field over two lines."""
    (tmp_path / "list.csv").write_text('path,title\n\na.wav,"x\ny"\nb.wav,z\n')
    assert [(row.number, row.fields["title"]) for row in manifest_rows(tmp_path / "list.csv")] == [(3, "x\ny"), (5, "z")]


@pytest.mark.parametrize(
    ("name", "content", "number", "problem"),
    [
        ("list.csv", b'path,title\na.wav,x\nb.wav,"y\nc.wav,z\n', 3, "quotation mark must end"),
        ("list.csv", b'path,title\na.wav,x\nb.wav,"y\n' + 6000 * b"a/long/enough/path/of/a/song.wav,y\n", 3, "no row of a table"),
        ("list.tsv", b'path\ttitle\na.wav\tx\nb.wav\t"Heroes" live\nc.wav\tz\n', 3, "written twice"),
        ("list.csv", b"path,title\na.wav,x\nb.wav,y,z\nc.wav,z\n", 3, "3 fields are more than the header's 2"),
        ("list.csv", b"path,title\na.wav,x\n,y\nc.wav,z\n", 3, "a path is expected"),
        ("list.jsonl", b'{"path": "a.wav"}\n{broken\n{"path": "c.wav"}', 2, "no JSON"),
        ("list.jsonl", b'{"path": "a.wav"}\n["b.wav"]\n{"path": "c.wav"}', 2, "one JSON object per line"),
        ("list.jsonl", b'{"path": "a.wav"}\n{"path": 3}\n{"path": "c.wav"}', 2, "`path` holds '3'"),
        ("list.jsonl", b'{"path": "a.wav"}\n{"path": ["b.wav"]}\n{"path": "c.wav"}', 2, "a path is expected"),
        ("list.jsonl", b'{"path": "a.wav"}\n' + 100_000 * b"[" + b'\n{"path": "c.wav"}', 2, "nested too deeply"),
        ("list.jsonl", b'{"path": "a.wav"}\n{"n": ' + 5000 * b"9" + b'}\n{"path": "c.wav"}', 2, "no JSON"),
        ("list.jsonl", b'{"path": "a.wav"}\n{"path": "b.wav", "text": "caf\xe9"}\n{"path": "c.wav"}', 2, "not UTF-8"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_the_others_are_read(tmp_path, name, content, number, problem):
    (tmp_path / name).write_bytes(content)
    rows, bad_lines = read_with_bad_lines(tmp_path / name)
    assert [(line.manifest, line.number) for line in bad_lines] == [(str(tmp_path / name), number)]
    assert problem in str(bad_lines[0]) and f"{name}, line {number}: " in str(bad_lines[0])
    assert rows[0].path == str(tmp_path / "a.wav") and rows[-1].path.endswith((".wav", "song.wav")) and len(rows) >= 2
    with pytest.raises(BadLine, match=f"line {number}: "):
        list(manifest_rows(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", b"title,genre\nx,rock\n", "has no column path, file_name, audio, file; its columns are title, genre"),
        ("list.txt", b"ID3\0\0\0", "is not a text file"),
        ("list.jsonl", '{"path": "a.wav"}'.encode("utf-16"), "is not a text file"),
        ("list.parquet", b"PAR1", "cannot be read as Parquet"),
        ("list.xml", b"<list/>", "its suffix must be one of .txt"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_by_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        list(manifest_rows(tmp_path / name))
    assert name in str(error.value)


@pytest.mark.parametrize("value", [-1, "1", True, [1], {}, float("nan"), float("inf")])
def test_a_time_is_a_number_of_seconds(tmp_path, value):
    row = next(manifest_rows(write(tmp_path, "jsonl", [{"path": "a.wav", "start": value}])))
    with pytest.raises(BadLine, match="line 1: `start` must be a number of seconds"):
        row.seconds("start")


def test_a_time_in_a_table_is_a_number_too(tmp_path):
    row = next(manifest_rows(write(tmp_path, "csv", [{"path": "a.wav", "start": "1.5", "end": ""}])))
    assert (row.seconds("start"), row.seconds("end"), row.seconds("duration")) == (1.5, None, None)


def test_only_paths_are_read_from_a_wide_table(tmp_path):
    manifest = write(tmp_path, "parquet", [{"path": "a.wav", "embedding": [0.0] * 8}])
    assert next(manifest_rows(manifest, only_paths=True)).fields == {}
