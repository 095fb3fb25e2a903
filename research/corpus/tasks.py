"""Rendered items → task manifests: one JSON line per clip, {path, start, end, split, group, labels}."""

import hashlib
from collections.abc import Callable, Iterable


MAX_MAJOR_KEY_TUNES = 1_000  # minor ones are rare, all of them are taken
MAX_TEMPO_TUNES = 2_000
KEY_SECONDS = 15.0


def music(items: list[dict]) -> Iterable[dict]:
    """Everything but the single notes, with all labels: music to train on."""
    return (clip(item, item["labels"]) for item in items if item["kind"] != "note")


def notes(items: list[dict]) -> Iterable[dict]:
    """Instrument family (10 classes) and pitch (48-84) of single notes; the test font is heard in no other split."""
    return (clip(item, item["labels"]) for item in items if item["kind"] == "note")


def key(items: list[dict]) -> Iterable[dict]:
    """One of 24 keys, 15 s: chorales and tunes that end on their tonic."""
    tunes = [item for item in items if item["kind"] == "tune" and item["labels"]["ends_on_tonic"]]
    minor = [item for item in tunes if item["labels"]["key"].endswith("minor")]
    major = [item for item in tunes if item["labels"]["key"].endswith("major")]
    chorales = [item for item in items if item["kind"] == "chorale" and item["labels"]["key"]]
    for item in [*chorales, *minor, *draw(major, MAX_MAJOR_KEY_TUNES)]:
        tonic, mode = item["labels"]["key"].split()
        yield clip(item, {"key": item["labels"]["key"], "tonic": tonic, "mode": mode}, KEY_SECONDS)


def tempo(items: list[dict]) -> Iterable[dict]:
    """Tempo (beats a minute), beats and downbeats (seconds) of tunes, half of them with drums."""
    tunes = [item for item in items if item["kind"] == "tune" and item["labels"]["tempo"]]
    for item in draw(tunes, MAX_TEMPO_TUNES):
        yield clip(item, {name: item["labels"][name] for name in ("tempo", "beats", "downbeats", "meter")})


def dance(items: list[dict]) -> Iterable[dict]:
    """Dance type (reel, jig, hornpipe, slip jig) and meter."""
    for item in items:
        if item["labels"].get("dance") and item["labels"]["meter"]:
            yield clip(item, {"dance": item["labels"]["dance"], "meter": item["labels"]["meter"]})


def chord(items: list[dict]) -> Iterable[dict]:
    """[start, end, label] of every chord, in Harte's notation as mir_eval reads it; gaps are unlabelled."""
    return (clip(item, {"chords": item["labels"]["chords"]}) for item in items if item["kind"] == "chords")


TASKS: dict[str, Callable[[list[dict]], Iterable[dict]]] = {
    "music": music, "notes": notes, "key": key, "tempo": tempo, "dance": dance, "chord": chord,
}  # fmt: skip


def clip(item: dict, labels: dict, seconds: float | None = None) -> dict:
    end = min(item["duration"], seconds or item["duration"])
    return {
        "path": item["path"],
        "start": 0.0,
        "end": end,
        "split": item["split"],
        "group": item["group"],
        "labels": {**labels, "font": item["font"]},
    }


def draw(items: list[dict], count: int) -> list[dict]:
    """The first `count` in the order of a hash of their ids."""
    return sorted(items, key=lambda item: hashlib.sha256(item["id"].encode()).digest())[:count]
