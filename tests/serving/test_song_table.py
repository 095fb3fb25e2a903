import numpy as np
import pytest

from muq_hf.serving.song_table import place_of, read_song_table, stamp_of


def rows_of(*songs, size=8, parts=3):
    generator = np.random.default_rng(0)
    return [(song, 10.0 * part, 10.0 * part + 10, generator.standard_normal(size)) for song in songs for part in range(parts)]


def test_a_folder_of_fragments_reads_as_one_table(write_table, tmp_path):
    rows = rows_of("a.ogg", "b.ogg", "c.ogg")
    whole = read_song_table(write_table(tmp_path / "whole.parquet", rows))
    write_table(tmp_path / "parts" / "part-0.parquet", rows[:4])
    write_table(tmp_path / "parts" / "part-1.parquet", rows[4:])
    parts = read_song_table(tmp_path / "parts")
    assert parts.paths == whole.paths == ["a.ogg", "b.ogg", "c.ogg"]
    for name in ("first", "spans", "vectors"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_rows_of_a_song_are_brought_together(write_table, tmp_path):
    rows = rows_of("a.ogg", "b.ogg")
    mixed = [rows[index] for index in (3, 0, 4, 1, 5, 2)]
    table = read_song_table(write_table(tmp_path / "t.parquet", mixed))
    assert table.paths == ["b.ogg", "a.ogg"]
    assert table.spans[:, 0].tolist() == [0, 10, 20] * 2
    unit = rows[0][3] / np.linalg.norm(rows[0][3])
    np.testing.assert_allclose(table.vectors[table.first[1]], unit, atol=1e-3)


def test_tables_of_other_settings_or_models_are_refused(write_table, tmp_path):
    write_table(tmp_path / "parts" / "0.parquet", rows_of("a.ogg"))
    write_table(tmp_path / "parts" / "1.parquet", rows_of("b.ogg"), fingerprint="other")
    with pytest.raises(ValueError, match="other settings"):
        read_song_table(tmp_path / "parts")
    with pytest.raises(ValueError, match="for instance muq-mulan-tiny"):
        read_song_table(write_table(tmp_path / "t.parquet", rows_of("a.ogg"), pool="mean"))
    with pytest.raises(ValueError, match="no .parquet file"):
        (tmp_path / "empty").mkdir()
        read_song_table(tmp_path / "empty")


def test_relative_paths_start_at_the_table_and_odd_bytes_are_found(tmp_path):
    odd = tmp_path / b"caf\xe9.ogg".decode("utf-8", "surrogateescape")
    odd.touch()
    assert place_of("caf\\xe9.ogg", tmp_path / "t.parquet") == odd
    assert place_of("/music/a.ogg", tmp_path / "t.parquet").as_posix() == "/music/a.ogg"


def test_the_stamp_changes_with_the_table(write_table, tmp_path):
    path = write_table(tmp_path / "t.parquet", rows_of("a.ogg"))
    before = stamp_of(path)
    assert before == stamp_of(path)
    write_table(path, rows_of("a.ogg", "b.ogg"))
    assert before != stamp_of(path)
