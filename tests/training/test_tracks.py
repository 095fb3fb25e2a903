"""Which music is trained on: sources, split, and what is left out."""

import json
import shutil

import pytest
import soundfile
from training_runs import RATE, melody, write_music

from muq_hf.storage.training_record import TRAINING_RECORD, write_record
from muq_hf.training.run_folder import training_files
from muq_hf.training.tracks import (
    Skipped,
    Track,
    check_failing_share,
    find_tracks,
    keep_long,
    read_tracks,
    split_tracks,
    write_tracks,
)


def test_folder_gives_each_file_with_its_duration(tmp_path):
    tracks, skipped = find_tracks(write_music(tmp_path, 3, 2.0))
    assert [(t.path.rsplit("/", 1)[1], t.duration) for t in tracks] == [(f"song{i}.wav", 2.0) for i in range(3)] and not skipped


def test_manifest_gives_excerpts_relative_to_itself(tmp_path):
    write_music(tmp_path / "music", 1, 4.0)
    lines = [{"path": "music/song0.wav", "start": 1.0, "end": 2.5}, {"path": "music/song0.wav", "duration": 4.0}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    path = str(tmp_path / "music/song0.wav")
    assert find_tracks(tmp_path / "list.jsonl")[0] == [Track(path, 1.5, 1.0), Track(path, 4.0)]


@pytest.mark.parametrize("line", ["not json", '["path"]', '{"name": "a.wav"}'])
def test_malformed_manifest_line_is_named(tmp_path, line):
    (tmp_path / "list.jsonl").write_text(line)
    with pytest.raises(ValueError, match="line 1"):
        find_tracks(tmp_path / "list.jsonl")


def test_saved_dataset_gives_its_audio(tmp_path):
    import datasets

    write_music(tmp_path / "music", 2, 2.0)
    paths = [str(tmp_path / f"music/song{i}.wav") for i in range(2)]
    dataset = datasets.Dataset.from_dict({"audio": paths}).cast_column("audio", datasets.Audio())
    dataset.save_to_disk(tmp_path / "saved")
    shutil.rmtree(tmp_path / "music")  # the bytes are in the dataset
    tracks, _ = find_tracks(tmp_path / "saved")
    assert [(track.row, track.duration) for track in tracks] == [(0, 2.0), (1, 2.0)]


def test_broken_files_are_skipped_with_their_reason(tmp_path):
    write_music(tmp_path, 2)
    (tmp_path / "noise.wav").write_bytes(b"RIFF, but not really")
    (tmp_path / "nothing.ogg").write_bytes(b"")
    tracks, skipped = find_tracks(tmp_path)
    assert len(tracks) == 2
    assert sorted(item.reason for item in skipped) == ["empty", "unreadable"]


@pytest.mark.parametrize("make", [lambda p: p, lambda p: p / "missing"])
def test_no_audio_is_an_error(tmp_path, make):
    with pytest.raises(ValueError, match="no audio|does not exist"):
        find_tracks(make(tmp_path))


def test_too_many_broken_files_stop_the_run():
    broken = [Skipped("a.wav", "unreadable", "a.wav is noise")]
    check_failing_share(1, 20, 0.05, broken)
    with pytest.raises(ValueError, match="2 of 20 .* unreadable .*a.wav is noise"):
        check_failing_share(2, 20, 0.05, broken)


def test_files_shorter_than_a_clip_are_left_out():
    kept, skipped = keep_long([Track("a", 1.0), Track("b", 31.0)], 30.0)
    assert [t.path for t in kept] == ["b"] and skipped[0].reason == "too short"


def test_one_second_files_alone_are_an_error():
    with pytest.raises(ValueError, match=r"no track is as long as one clip of 30 s .* 1\.0 s.*clip_seconds"):
        keep_long([Track("a", 1.0), Track("b", 1.0)], 30.0)


def test_split_keeps_parts_of_a_file_together():
    tracks = [Track(f"song{i}", 10.0, start) for i in range(50) for start in (0.0, 10.0)]
    train, evaluation = split_tracks(tracks, 0.2)
    assert not {t.path for t in train} & {t.path for t in evaluation}
    assert 3 <= len({t.path for t in evaluation}) <= 20


def test_split_of_a_track_does_not_depend_on_the_others():
    tracks = [Track(f"song{i}", 10.0) for i in range(100)]
    few = split_tracks(tracks[::2], 0.2)[1]
    assert set(few) == set(split_tracks(tracks, 0.2)[1]) & set(tracks[::2])


def test_two_files_give_one_to_each_side():
    train, evaluation = split_tracks([Track("a", 1.0), Track("b", 1.0)], 0.01)
    assert len(train) == len(evaluation) == 1


def test_tracks_survive_their_file(tmp_path):
    tracks = [Track("ä.wav", 1.25, 0.5), Track("data", 3.0, row=7)]
    write_tracks(tracks, tmp_path / "tracks.jsonl")
    assert read_tracks(tmp_path / "tracks.jsonl") == tracks


def test_headers_are_enough(tmp_path, monkeypatch):
    """Finding tracks decodes nothing where the header tells the length."""
    soundfile.write(tmp_path / "long.wav", melody(30.0, 0), RATE)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
    assert find_tracks(tmp_path)[0][0].duration == 30.0


def test_a_collection_that_moves_is_split_alike():
    here, there = ([Track(f"{root}/album/{number}.ogg", 10.0) for number in range(40)] for root in ("/music", "/mnt/other"))
    sides = [[track.path.rsplit("/", 1)[1] for track in split_tracks(tracks, 0.3)[1]] for tracks in (here, there)]
    assert sides[0] == sides[1]
    assert 3 < len(sides[0]) < 25


def test_names_with_unicode_line_ends_come_back(tmp_path):
    tracks = [Track("/music/wait\x85for\u2028it.wav", 3.0)]
    write_tracks(tracks, tmp_path / "tracks.jsonl")
    assert read_tracks(tmp_path / "tracks.jsonl") == tracks


def test_a_file_that_has_gone_is_listed_without_its_digest(tmp_path):
    tracks, _ = find_tracks(write_music(tmp_path, 2))
    (tmp_path / "song0.wav").unlink()
    gone, there = training_files(tracks, hash_files=True, earlier=[])
    assert gone["name"] == "song0.wav" and "sha256" not in gone and len(there["sha256"]) == 64


def test_the_music_of_a_model_from_the_hub_is_listed_too(tmp_path, monkeypatch):
    """Its record lies in the Hub's cache, not in a folder of that name."""
    record = tmp_path / "models--somebody--muq" / "snapshots" / "0" / TRAINING_RECORD
    record.parent.mkdir(parents=True)
    write_record(record.parent, [{"path": "album/song.flac", "name": "song.flac", "duration": 3.0}])
    (tmp_path / "models--somebody--muq" / "refs").mkdir()
    (tmp_path / "models--somebody--muq" / "refs" / "main").write_text("0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert [entry["path"] for entry in training_files([], hash_files=True, earlier=["somebody/muq"])] == ["album/song.flac"]


def test_a_teacher_whose_folder_has_gone_is_no_error_at_the_end_of_a_training(tmp_path):
    assert training_files([], hash_files=True, earlier=[tmp_path / "moved" / "final"]) == []


@pytest.mark.parametrize(
    "name, text", [("list.csv", "audio,end\nsong0.wav,1.5\n"), ("list.jsonl", '{"audio": "song0.wav", "end": 1.5}')]
)
def test_a_manifest_that_can_be_embedded_can_be_trained_on(tmp_path, name, text):
    write_music(tmp_path, 1, 2.0)
    (tmp_path / name).write_text(text)
    assert find_tracks(tmp_path / name)[0] == [Track(str(tmp_path / "song0.wav"), 1.5)]
