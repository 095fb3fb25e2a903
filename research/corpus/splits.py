"""The fixed splits: by track (which tracks of each album) and by album (which whole albums are held out).

    python splits.py MANIFEST      # draws splits/tracks.json anew; only for a new edition of the table of packages

`splits/tracks.json` and `splits/albums.json` are {split: [names]}. A name that they do not know, because a package has
got a new track, is placed by a hash of its name.
"""

import hashlib
import json
import sys
from collections import defaultdict
from pathlib import Path


FOLDER = Path(__file__).parent / "splits"
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def load(name: str) -> dict[str, str]:
    """{track or album: split} from `splits/NAME.json`."""
    lists = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return {entry: split for split, entries in lists.items() for entry in entries}


def by_hash(name: str) -> str:
    """The split of a name that no list holds."""
    position = _hash(name)
    for split, share in SHARES.items():
        if position < share:
            return split
        position -= share
    return split


def draw(tracks: list[dict]) -> dict[str, list[str]]:
    """{split: [track ids]}: each album is shared out by SHARES, and all copies of a recording stay together.

    Songs of known tempo are all tests: they are too few to learn from.
    """
    albums: dict[str, list[str]] = defaultdict(list)
    for track in tracks:
        if track["duplicate_of"] is None:
            albums[track["album"]].append(track["id"])
    split_of = {}
    for names in albums.values():
        names.sort(key=_hash)
        num_test, num_validation = round(SHARES["test"] * len(names)), round(SHARES["validation"] * len(names))
        for place, name in enumerate(names):
            split_of[name] = "test" if place < num_test else "validation" if place < num_test + num_validation else "train"
    split_of |= {track["id"]: "test" for track in tracks if track["tempo"]}
    for track in tracks:
        if track["duplicate_of"] is not None:
            split_of[track["id"]] = split_of[track["duplicate_of"]]
    return {split: sorted(name for name in split_of if split_of[name] == split) for split in SHARES}


def _hash(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    lists = draw([json.loads(line) for line in lines])
    (FOLDER / "tracks.json").write_text(json.dumps(lists, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
