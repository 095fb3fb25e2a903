"""`muq-hf data check`: hours, rates, silence, duplicates, broken files, and a manifest of the rest."""

import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import soxr
from checks import EXAMPLE_AUDIO
from training_runs import RATE, melody, write_music

from muq_hf.cli import main
from muq_hf.training.data_check import check_data, duplicates, report, sound_tracks
from muq_hf.training.tracks import find_tracks


@pytest.fixture
def folder(tmp_path):
    music = write_music(tmp_path / "music", 2, 3.0)
    samples, _ = soundfile.read(music / "song0.wav")
    soundfile.write(music / "same.flac", samples, RATE)  # another file, the same music
    soundfile.write(music / "silence.wav", np.zeros(2 * RATE), RATE)
    soundfile.write(music / "stereo.wav", np.stack([melody(2.0, 5), melody(2.0, 6)], 1), 48_000)
    (music / "broken.wav").write_bytes(b"RIFF")
    return music


def test_findings(folder):
    checked, skipped = check_data(folder)
    assert {item.track.path.rsplit("/", 1)[1]: item.silence for item in checked}["silence.wav"] == 1.0
    assert [sorted(i.track.path.rsplit("/", 1)[1] for i in group) for group in duplicates(checked)] == [
        ["same.flac", "song0.wav"]
    ]
    assert [item.reason for item in skipped] == ["unreadable"]


def test_report_has_hours_and_rates(folder):
    text = report(*check_data(folder))
    assert "5 tracks" in text and "4 of 24000 Hz, 1 channel" in text and "1 of 48000 Hz, 2 channels" in text
    assert "1 broken, 1 silent, 1 groups of duplicates" in text


def test_manifest_trains_without_what_is_wrong(folder, tmp_path, capsys):
    assert main(["data", "check", str(folder), "--manifest", str(tmp_path / "music.jsonl")]) == 1
    tracks, skipped = find_tracks(tmp_path / "music.jsonl")
    assert len(tracks) == 3 and not skipped


def test_sound_music_is_kept_whole(tmp_path):
    checked, skipped = check_data(write_music(tmp_path, 3, 2.0))
    assert len(sound_tracks(checked)) == 3 and not skipped


def test_a_recording_that_was_encoded_again_is_named_and_kept_once(tmp_path, capsys):
    """As another file: quieter, with half a second of silence before, at another rate, in Vorbis."""
    song, rate = soundfile.read(EXAMPLE_AUDIO / "folk_celtic_pride.ogg", dtype="float32")
    other, _ = soundfile.read(EXAMPLE_AUDIO / "bach_brandenburg.ogg", dtype="float32")
    soundfile.write(tmp_path / "a.flac", song, rate)
    soundfile.write(tmp_path / "b.flac", other, rate)
    late = np.concatenate([np.zeros((rate // 2, song.shape[1]), np.float32), 0.3 * song])
    soundfile.write(tmp_path / "copy.ogg", soxr.resample(late, rate, 44_100), 44_100)
    assert main(["data", "check", str(tmp_path), "--manifest", str(tmp_path / "m.jsonl")]) == 0
    out = capsys.readouterr().out
    copy, original = tmp_path / "copy.ogg", tmp_path / "a.flac"
    assert f"same recording, encoded otherwise: {original}, {copy}" in out
    assert "0 groups of duplicates, 1 copies encoded otherwise" in out
    kept = [json.loads(line)["path"] for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert kept == [str(original), str(tmp_path / "b.flac")]


def test_overlapping_stretches_of_one_file_are_no_copies(tmp_path):
    lines = [{"path": str(EXAMPLE_AUDIO / "bach_brandenburg.ogg"), "start": start, "end": start + 6} for start in (0, 2, 4)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    checked, _ = check_data(tmp_path / "in.jsonl")
    assert len(sound_tracks(checked)) == 3


def test_cut_off_file_is_found(tmp_path):
    write_music(tmp_path, 1, 4.0)
    path = shutil.copy(tmp_path / "song0.wav", tmp_path / "cut.wav")
    with open(path, "r+b") as file:
        file.truncate(50_000)
    assert [item.reason for item in check_data(tmp_path)[1]] == ["unreadable"]


def checked_manifest(lines, tmp_path):
    """→ what `muq-hf data check` makes of the lines of a manifest, and its exit code."""
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code = main(["data", "check", str(tmp_path / "in.jsonl"), "--manifest", str(tmp_path / "out.jsonl")])
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()], code


def test_a_track_of_several_captions_stays_with_all_of_them(tmp_path):
    write_music(tmp_path, 2, 2.0)
    lines = [
        {"path": "song0.wav", "text": "a slow song"},
        {"path": "song0.wav", "text": "a song", "tags": ["slow"]},
        {"path": "song1.wav", "text": "another", "start": 0.5, "end": 1.5},
    ]
    kept, code = checked_manifest(lines, tmp_path)
    times = {"duration", "start", "end"}
    said = [
        {name: value for name, value in line.items() if name not in times} | {"path": os.path.basename(line["path"])}
        for line in kept
    ]
    assert code == 0 and said == [{name: value for name, value in line.items() if name not in times} for line in lines]
    assert (kept[2]["start"], kept[2]["end"]) == (0.5, 1.5)


def test_a_duration_that_is_not_there_is_reported_and_not_written(tmp_path, capsys):
    write_music(tmp_path, 1, 2.0)
    (line,), _ = checked_manifest([{"path": "song0.wav", "duration": 100.0}], tmp_path)
    assert line["duration"] == 2.0 and "2.0 s of music, not 100.0 s" in capsys.readouterr().out


@pytest.mark.parametrize("fields", [{"start": -1.0}, {"start": float("nan")}, {"duration": "1.0"}, {"end": True}])
def test_times_that_are_no_seconds_are_named_by_line_and_left_out(fields, tmp_path, capsys):
    write_music(tmp_path, 1, 2.0)
    lines, code = checked_manifest([{"path": "song0.wav", **fields}, {"path": "song0.wav"}], tmp_path)
    assert code == 1 and len(lines) == 1
    assert f"bad line: {tmp_path / 'in.jsonl'}, line 1: `{next(iter(fields))}` must be" in capsys.readouterr().out


def test_null_is_no_time(tmp_path):
    write_music(tmp_path, 1, 2.0)
    (line,), code = checked_manifest([{"path": "song0.wav", "start": None, "end": None, "duration": None}], tmp_path)
    assert code == 0 and line["duration"] == 2.0


def test_a_file_name_that_is_no_text_is_kept(tmp_path):
    music = write_music(tmp_path / "music", 1, 2.0)
    name = os.fsdecode(b"caf\xe9.wav")
    os.rename(music / "song0.wav", music / name)
    assert main(["data", "check", str(music), "--manifest", str(tmp_path / "out.jsonl")]) == 0
    (track,), _ = find_tracks(tmp_path / "out.jsonl")
    assert os.path.basename(track.path) == name


def test_a_manifest_that_cannot_be_written_is_refused_before_anything_is_decoded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("muq_hf.training.data_check.check_data", lambda *arguments: pytest.fail("decoded"))
    music = write_music(tmp_path / "music", 1, 2.0)
    assert main(["data", "check", str(music), "--manifest", str(tmp_path / "nowhere" / "out.jsonl")]) == 2
    assert "does not exist" in capsys.readouterr().err
    (music / "dataset_info.json").write_text("{}")
    assert main(["data", "check", str(music), "--manifest", str(tmp_path / "out.jsonl")]) == 2
    assert "saved dataset" in capsys.readouterr().err


def test_a_list_in_another_encoding_is_refused_by_name(tmp_path, capsys):
    (tmp_path / "in.jsonl").write_bytes('{"path": "a.wav", "text": "café"}\n'.encode("latin-1"))
    assert main(["data", "check", str(tmp_path / "in.jsonl")]) == 2
    assert "in.jsonl, line 1: its text is not UTF-8" in capsys.readouterr().err
