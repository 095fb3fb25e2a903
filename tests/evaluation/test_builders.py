"""Manifests from miniature trees with the published layouts."""

import json
from collections import Counter

import pytest

from muq_hf.evaluation.builders import BUILDERS, GTZAN_SPLIT, _numbers, read_labelled


GTZAN_COUNTS = {"train": 443, "valid": 197, "test": 290}  # Kereliuk, Sturm and Larsen 2015


@pytest.mark.parametrize("parent, suffix", [("", ".au"), ("genres", ".wav"), ("genres_original", ".wav")])
def test_gtzan(tmp_path, parent, suffix):
    for genre, number in (("blues", 29), ("rock", 38), ("jazz", 99), ("pop", 67)):  # pop 67 is in no split
        file = tmp_path / parent / genre / f"{genre}.{number:05d}{suffix}"
        file.parent.mkdir(parents=True)
        file.touch()
    clips = BUILDERS["gtzan"](tmp_path)
    assert {(clip.path.name, clip.split, clip.labels["label"]) for clip in clips} == {
        (f"blues.00029{suffix}", "train", "blues"),
        (f"rock.00038{suffix}", "valid", "rock"),
        (f"jazz.00099{suffix}", "test", "jazz"),
    }


def test_gtzan_split_is_the_published_one():
    numbers = {split: [(g, n) for g, r in of.items() for n in _numbers(r)] for split, of in GTZAN_SPLIT.items()}
    assert {split: len(items) for split, items in numbers.items()} == GTZAN_COUNTS
    together = [item for items in numbers.values() for item in items]
    assert len(set(together)) == 930 and all(0 <= number <= 99 for _, number in together)
    assert len(GTZAN_SPLIT["test"]) == 10


def test_magnatagatune(tmp_path):
    tags = [f"tag{n}" for n in range(60)]
    lines = ["\t".join(['"clip_id"', *(f'"{tag}"' for tag in tags), '"mp3_path"'])]
    for number, folder in enumerate("0cf"):
        (tmp_path / folder).mkdir()
        for part in (0, 1):
            name = f"{folder}/band-album-{number}-song-{29 * part}-{29 * part + 29}.mp3"
            (tmp_path / name).touch()
            flags = ["1" if n < 50 - number else "0" for n in range(60)]
            lines.append("\t".join(f'"{field}"' for field in [str(number), *flags, name]))
    rare = "0/band-album-9-rare-0-29.mp3"
    (tmp_path / rare).touch()
    lines.append("\t".join(f'"{field}"' for field in ["9", *("1" if n == 59 else "0" for n in range(60)), rare]))
    (tmp_path / "annotations_final.csv").write_text("\n".join(lines) + "\n")
    clips = BUILDERS["magnatagatune"](tmp_path)
    assert Counter(clip.split for clip in clips) == {"train": 2, "valid": 2, "test": 2}  # without the clip of a rare tag
    assert len({tag for clip in clips for tag in clip.labels["label"]}) == 50
    assert len({clip.group for clip in clips}) == 3  # both clips of a song stay together


def test_nsynth(tmp_path):
    for split in ("train", "valid", "test"):
        audio = tmp_path / f"nsynth-{split}" / "audio"
        audio.mkdir(parents=True)
        note = "bass_synthetic_033-022-050"
        (audio / f"{note}.wav").touch()
        about = {"note": 1, "instrument_str": "bass_synthetic_033", "instrument_family_str": "bass", "pitch": 22}
        (audio.parent / "examples.json").write_text(json.dumps({note: about}))
    clips = BUILDERS["nsynth"](tmp_path)
    assert [clip.split for clip in clips] == ["train", "valid", "test"]
    assert clips[0].labels == {"instrument": "bass", "pitch": 22}


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_other_folders_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="is no "):
        BUILDERS[name](tmp_path)


def test_incomplete_set_is_refused(tmp_path):
    (tmp_path / "blues").mkdir()
    (tmp_path / "blues" / "blues.00029.wav").touch()
    with pytest.raises(ValueError, match="no audio of split valid, test"):
        read_labelled(f"gtzan:{tmp_path}")


def test_unknown_source_is_refused():
    with pytest.raises(ValueError, match="gtzan, magnatagatune, nsynth:FOLDER"):
        read_labelled("gtzam:x")
