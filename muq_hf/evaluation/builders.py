"""Manifests from the folder layouts in which GTZAN, MagnaTagATune and NSynth are published."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from .labelled_clips import LABEL, Clip, read_manifest


# The fault-filtered split of GTZAN (Kereliuk, Sturm and Larsen 2015, arXiv 1507.04761): 443, 197 and 290 excerpts of 1,000;
# repetitions and distorted excerpts are out, and no artist is in two splits. Numbers of the excerpts of each genre.
GTZAN_SPLIT = {
    "train": {
        "blues": "29-49 73-97",
        "classical": "30-33 43-48 50-67 80-99",
        "country": "19-26 28-29 65-99",
        "disco": "5 15-20 22-37 39-45 47 49 53-54 56-57 59 61 70 73-74 89",
        "hiphop": "2-25 28-29 31-38 41-42 55-61 77-80",
        "jazz": "0-1 11-24 41 47-72",
        "metal": "2-3 5 21 24 35 46-57 59-66 69 71-72 79-80 84 86 89-99",
        "pop": "2-9 11-12 16-20 23-29 31-36 38-42 44 46 49-50 80 97-99",
        "reggae": "0-2 4 6 9 11-12 14-32 42-45 49-51 54-60 63 69",
        "rock": "0-9 16-26 57-70 91-99",
    },
    "valid": {
        "blues": "0-11 50-60",
        "classical": "0-10 68-76",
        "country": "0-7 9-18 27 41-42 45 49",
        "disco": "0 2-4 6-14 46 48 52 67-68 72 75 90 95",
        "hiphop": "81-98",
        "jazz": "2-10 25-32",
        "metal": "0-1 6-11 16-20 36-37 68 76-77 81-82",
        "pop": "10 53 55 58-62 81 83-86",
        "reggae": "61-62 70 72 74 76-78 85 92-99",
        "rock": "38 49-56 71-85",
    },
    "test": {
        "blues": "12-28 61-72 98-99",
        "classical": "11-29 34-41 49 77-79",
        "country": "30-40 43-44 46-48 50-51 53-64",
        "disco": "1 21 58 62-66 69 76-88 91-94 96-97 99",
        "hiphop": "0 26-27 30 40 43-45 51-54 62-75 99",
        "jazz": "73-99",
        "metal": "12-15 22-23 25-33 38-39 67 70 73-75 78 83 85 87-88",
        "pop": "0-1 13-14 43 63-66 69-79 82 88-96",
        "reggae": "34-40 46-48 52-53 64-68 71 79 82-84 87-90",
        "rock": "10-15 27-37 39-48 86-90",
    },
}
GTZAN_SUFFIXES = (".wav", ".au")

# MagnaTagATune's sixteen folders in the usual 12 : 1 : 3 split.
MTT_FOLDERS = {"train": "0123456789ab", "valid": "c", "test": "def"}
MTT_TAGS = 50  # the most frequent of 188
MTT_ANNOTATIONS = "annotations_final.csv"

NSYNTH_SPLITS = {"train": "nsynth-train", "valid": "nsynth-valid", "test": "nsynth-test"}


def gtzan(folder: str | Path) -> list[Clip]:
    """`genres/` or `genres_original/` with blues/blues.00000.wav (or .au) …; label: genre."""
    folder = Path(folder)
    genres = next((f for f in (folder, folder / "genres", folder / "genres_original") if (f / "blues").is_dir()), None)
    if genres is None:
        raise ValueError(f"{folder} is no GTZAN: it holds no folder `blues`, nor do `genres` or `genres_original` below it.")
    clips = []
    for split, numbers_of in GTZAN_SPLIT.items():
        for genre, ranges in numbers_of.items():
            for number in _numbers(ranges):
                name = f"{genre}/{genre}.{number:05d}"
                file = next((f for suffix in GTZAN_SUFFIXES if (f := genres / f"{name}{suffix}").exists()), None)
                if file is not None:
                    clips.append(Clip(file, split=split, group=name, labels={LABEL: genre}))
    return _complete(clips, folder)


def magnatagatune(folder: str | Path) -> list[Clip]:
    """`annotations_final.csv` (tab-separated) with folders 0 … f beside it or in `mp3/`; labels: the 50 most frequent tags.

    The clips of one song (all in one folder) share a group. Clips with none of these tags are left out, as in the literature.
    """
    folder = Path(folder)
    annotations = folder / MTT_ANNOTATIONS
    if not annotations.is_file():
        raise ValueError(f"{folder} is no MagnaTagATune: it holds no {MTT_ANNOTATIONS}.")
    with open(annotations, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    columns = [name for name in rows[0] if name not in ("clip_id", "mp3_path")]
    tags_of = {row["mp3_path"]: [tag for tag in columns if row[tag] == "1"] for row in rows}
    frequent = {tag for tag, _ in Counter(tag for tags in tags_of.values() for tag in tags).most_common(MTT_TAGS)}
    audio = folder / "mp3" if (folder / "mp3").is_dir() else folder
    split_of = {letter: split for split, letters in MTT_FOLDERS.items() for letter in letters}
    clips = []
    for mp3_path, tags in tags_of.items():
        kept = sorted(frequent.intersection(tags))
        file = audio / mp3_path
        if kept and file.exists():
            song = mp3_path.rsplit("-", 2)[0]  # …/artist-album-01-title-30-59.mp3
            clips.append(Clip(file, split=split_of[mp3_path[0]], group=song, labels={LABEL: kept}))
    return _complete(clips, folder)


def nsynth(folder: str | Path) -> list[Clip]:
    """`nsynth-train`, `nsynth-valid`, `nsynth-test`, each with examples.json and audio/; labels: instrument (family), pitch."""
    folder = Path(folder)
    clips = []
    for split, name in NSYNTH_SPLITS.items():
        examples = folder / name / "examples.json"
        if not examples.is_file():
            raise ValueError(f"{folder} is no NSynth: {examples} is missing.")
        for note, entry in json.loads(examples.read_text(encoding="utf-8")).items():
            labels = {"instrument": entry["instrument_family_str"], "pitch": entry["pitch"]}
            file = folder / name / "audio" / f"{note}.wav"
            # In NSynth the validation and test notes share instruments; only the training instruments are apart.
            clips.append(Clip(file, split=split, group=f"{split} {entry['instrument_str']}", labels=labels))
    return _complete([clip for clip in clips if clip.path.exists()], folder)


BUILDERS: dict[str, Callable[[str | Path], list[Clip]]] = {"gtzan": gtzan, "magnatagatune": magnatagatune, "nsynth": nsynth}


def read_labelled(source: str, read: Callable[[str], list[Clip]] = read_manifest) -> tuple[str, list[Clip]]:
    """A manifest file, read by `read`, or "BUILDER:FOLDER" → its name and its clips."""
    builder, separator, folder = source.partition(":")
    if separator and builder in BUILDERS:
        return builder, BUILDERS[builder](folder)
    if not Path(source).is_file():
        raise ValueError(f"there is no manifest {source!r}; give a JSONL or CSV file, or one of {', '.join(BUILDERS)}:FOLDER.")
    return Path(source).stem, read(source)


def _numbers(ranges: str) -> list[int]:
    """ "0-2 5" → [0, 1, 2, 5]."""
    numbers = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _complete(clips: list[Clip], folder: Path) -> list[Clip]:
    missing = [split for split in ("train", "valid", "test") if all(clip.split != split for clip in clips)]
    if missing:
        raise ValueError(f"{folder} holds no audio of split {', '.join(missing)}; is it unpacked completely?")
    return clips
