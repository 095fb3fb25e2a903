"""`muq-hf data check`: hours, rates, silence, duplicates, broken files, and a manifest of the rest."""

import shutil

import numpy as np
import pytest
import soundfile
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


def test_cut_off_file_is_found(tmp_path):
    write_music(tmp_path, 1, 4.0)
    path = shutil.copy(tmp_path / "song0.wav", tmp_path / "cut.wav")
    with open(path, "r+b") as file:
        file.truncate(50_000)
    assert [item.reason for item in check_data(tmp_path)[1]] == ["unreadable"]
