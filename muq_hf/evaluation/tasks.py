"""The benchmark's tasks over the corpus that `research/corpus` builds."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .labelled_clips import Clip, read_clips, read_manifest, with_label


HELD_OUT_LICENCE = "GPL"  # music that shipped weights are never trained on


@dataclass(frozen=True)
class Task:
    """One question to a representation.

    manifest: file below a folder of the corpus; label: key of the manifest's labels; kind: see targets.TARGETS, or "retrieval".
    primary: the metric that ranks. small: clips of the small suite, None: all. whole_groups: the small suite takes groups with
    all of their clips. equalised: clips are brought to one loudness and bandwidth. real: recordings, not rendered scores.
    redraw: the deviation over seeds holds the choice of validation groups. tests: another manifest, which holds the test clips.
    """

    name: str
    manifest: str
    label: str
    kind: str
    primary: str
    summary: str
    small: int | None = None
    whole_groups: bool = False
    equalised: bool = False
    real: bool = False
    redraw: bool = True
    tests: str | None = None


TASKS = (
    Task("instrument", "tasks/notes.jsonl", "family", "class", "accuracy", "instrument family of a note, unseen soundfont", 1000),
    Task("pitch", "tasks/notes.jsonl", "pitch", "pitch", "accuracy", "MIDI note of a note, unseen soundfont", 1000),
    Task("key", "tasks/key.jsonl", "key", "key", "weighted_score", "key of 15 s of a piece, unseen soundfont", 240),
    Task("tempo", "tasks/tempo.jsonl", "tempo", "tempo", "acc1", "beats per minute within 4 %", 200),
    Task("song tempo", "tasks/tempo.jsonl", "tempo", "tempo", "acc1", "the same of 8 recorded songs", 200, tests="tempo.jsonl"),
    Task("beat", "tasks/tempo.jsonl", "beats", "events", "f_measure", "beats within 70 ms", 48),
    Task("dance", "tasks/dance.jsonl", "dance", "class", "macro_f1", "dance type of a tune, by title", 240),
    Task("chord", "tasks/chord.jsonl", "chords", "chord", "weighted_majmin", "root and mode of chords, by piece", 72),
    Task(
        "album", "clips.jsonl", "album", "class", "macro_f1", "album of 10 s of a recording, by track", 450,
        whole_groups=True, equalised=True, real=True,
    ),
    Task(
        "retrieval", "clips.jsonl", "track", "retrieval", "r_at_1", "another clip of the same track first among all", 450,
        whole_groups=True, equalised=True, real=True,
    ),
)  # fmt: skip


def find_tasks(names: Sequence[str] | None) -> list[Task]:
    """The tasks called `names`, or all. Raises ValueError for others."""
    known = {task.name: task for task in TASKS}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"unknown tasks {', '.join(unknown)}; valid: {', '.join(known)}.")
    return [known[name] for name in names or known]


def load_task(task: Task, folders: Sequence[Path], small: bool, held_out: bool) -> list[Clip]:
    """The task's clips, from the first of the folders that has its manifest.

    held_out: recordings only of albums that shipped weights are never trained on. Raises ValueError if no folder has it.
    """
    clips = with_label(read_manifest(_find(task, task.manifest, folders)), task.label)
    if held_out and task.real:
        clips = [clip for clip in clips if str(clip.labels.get("licence", "")).startswith(HELD_OUT_LICENCE)]
    if small and task.small:
        clips = subset(clips, task.small, task.whole_groups)
    if task.tests:
        tests = with_label(read_clips(_find(task, task.tests, folders)), task.label)
        clips = [clip for clip in clips if clip.split != "test"] + tests
    return clips


def _find(task: Task, manifest: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        if (folder / manifest).is_file():
            return folder / manifest
    places = ", ".join(map(str, folders))
    raise ValueError(
        f"the task {task.name} needs {manifest} in one of: {places}. Build the corpus with research/corpus, or choose other "
        "--tasks."
    )


def subset(clips: Sequence[Clip], size: int, whole_groups: bool) -> list[Clip]:
    """About `size` clips, the same ones every time, with the same share of every split as before."""
    if len(clips) <= size:
        return list(clips)
    share = size / len(clips)
    kept = []
    for split in sorted({clip.split for clip in clips}):
        of_split = [clip for clip in clips if clip.split == split]
        names = sorted({_unit(clip, whole_groups) for clip in of_split}, key=lambda n: hashlib.sha256(n.encode()).digest())
        chosen = set(names[: max(1, round(share * len(names)))])
        kept += [clip for clip in of_split if _unit(clip, whole_groups) in chosen]
    return kept


def _unit(clip: Clip, whole_groups: bool) -> str:
    return clip.group if whole_groups else f"{clip.path.name} {clip.start}"
