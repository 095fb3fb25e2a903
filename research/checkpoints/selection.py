"""Which tracks shipped weights may learn from: free licences only, and nothing that the benchmark tests on."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from catalogue import TRAINABLE_LICENCES

from muq_hf.storage.json_lines import read_json_lines


BENCHMARK_CLIPS = ("clips.jsonl", "tempo.jsonl")  # beside a corpus's manifest; a test clip names its track as "group"
ATTRIBUTION = ("id", "title", "artist", "author", "licence", "release", "package", "deb", "source", "duration", "sha256")


def select(manifest: Path) -> tuple[list[dict], Counter[str]]:
    """Rows of a manifest of `build_corpus.py` or `generate_music.py` to train on, their paths absolute, and why others are not.

    A track is left out with all copies of its recording. Raises ValueError for a row that lacks its licence or split.
    """
    rows = read_json_lines(manifest)
    for row in rows:
        missing = [name for name in ("id", "path", "duration", "licence", "split") if row.get(name) is None]
        if missing:
            raise ValueError(f"{manifest}: {row.get('id', row)} has no {', '.join(missing)}; build the corpus with this version.")
    tested = tested_recordings(rows, manifest.parent)
    kept, left_out = [], Counter()
    for row in rows:
        reason = why_not(row, tested)
        if reason:
            left_out[reason] += 1
        else:
            kept.append(row | {"path": str((manifest.parent / row["path"]).resolve())})
    check(kept, tested)
    return kept, left_out


def tested_recordings(rows: list[dict], folder: Path) -> set[str]:
    """Ids of the recordings (of copies: of the original) that any benchmark task tests on."""
    original = {row["id"]: recording(row) for row in rows}
    tested = {recording(row) for row in rows if "test" in (row["split"], row.get("album_split"))}
    for name in BENCHMARK_CLIPS:
        if (folder / name).exists():
            groups = {clip["group"] for clip in read_json_lines(folder / name) if clip["split"] == "test"}
            tested |= {original.get(group, group) for group in groups}
    return tested


def why_not(row: dict, tested: set[str]) -> str | None:
    for licence in (row["licence"], row.get("font_licence", "MIT")):
        if licence not in TRAINABLE_LICENCES:
            return f"licence {licence}"
    if recording(row) in tested:
        return "a benchmark tests on it"
    return "a copy of another track" if row.get("duplicate_of") else None


def check(kept: list[dict], tested: set[str]) -> None:
    """The rule once more, written the other way round. Raises ValueError."""
    for row in kept:
        licences = {row["licence"], row.get("font_licence", row["licence"])}
        if (
            not licences <= TRAINABLE_LICENCES
            or row["split"] == "test"
            or row.get("album_split") == "test"
            or row["id"] in tested
        ):
            raise ValueError(f"{row['id']} must not be trained on: {row['licence']}, {row['split']}, {row.get('album_split')}.")


def recording(row: dict) -> str:
    return row.get("duplicate_of") or row["id"]


def attribution(rows: Iterable[dict]) -> list[dict]:
    """Title, author, source and licence of every recording, without the places where the files lie."""
    return [{name: row[name] for name in ATTRIBUTION if row.get(name) is not None} for row in rows]


def generated_attribution(rows: list[dict], manifest: Path) -> dict:
    """All pieces of one generated collection in one row."""
    settings = json.loads((manifest.parent / "settings.json").read_text(encoding="utf-8"))
    fonts = sorted({f"{row['font']} ({row['font_licence']})" for row in rows})
    return {
        "id": f"generated/{settings['seed']}",
        "title": f"{len(rows)} pieces generated with seed {settings['seed']}",
        "author": rows[0]["author"],
        "licence": rows[0]["licence"],
        "source": "research/checkpoints/generate_music.py; soundfonts: " + ", ".join(fonts),
        "duration": round(sum(row["duration"] for row in rows), 1),
    }
