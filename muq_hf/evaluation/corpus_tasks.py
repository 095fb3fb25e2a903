"""The benchmark's tasks over the corpus that `research/corpus` builds."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .clip import Clip
from .tasks import Task


HELD_OUT_LICENCE = "GPL"  # music that shipped weights are never trained on


@dataclass(frozen=True)
class CorpusTask:
    """A task whose clips lie in the corpus.

    manifest: file below a folder of the corpus. small: clips of the small suite, None: all. whole_groups: the small suite takes
    groups with all of their clips. tests: another manifest, which holds the test clips.
    """

    task: Task
    manifest: str
    small: int | None = None
    whole_groups: bool = False
    tests: str | None = None

    @property
    def name(self) -> str:
        return self.task.name


def _rendered(manifest: str, small: int, name: str, label: str, kind: str, primary: str, summary: str, **source) -> CorpusTask:
    """Of rendered scores, whose validation music is drawn anew for every seed."""
    return CorpusTask(Task(name, label, kind, primary, redraw=True, summary=summary, real=False), manifest, small, **source)


def _recorded(manifest: str, small: int, name: str, label: str, kind: str, primary: str, summary: str) -> CorpusTask:
    """Of recordings, whose loudness and bandwidth tell about the recording and not about the music."""
    task = Task(name, label, kind, primary, redraw=True, summary=summary, equalised=True)
    return CorpusTask(task, manifest, small, whole_groups=True)


NOTES, KEYS, TEMPI = "tasks/notes.jsonl", "tasks/key.jsonl", "tasks/tempo.jsonl"
CORPUS_TASKS = (
    _rendered(NOTES, 1000, "instrument", "family", "class", "accuracy", "instrument family of a note, unseen soundfont"),
    _rendered(NOTES, 1000, "pitch", "pitch", "pitch", "accuracy", "MIDI note of a note, unseen soundfont"),
    _rendered(KEYS, 240, "key", "key", "key", "weighted_score", "key of 15 s of a piece, unseen soundfont"),
    _rendered(TEMPI, 200, "tempo", "tempo", "tempo", "acc1", "beats per minute within 4 %"),
    _rendered(TEMPI, 200, "song tempo", "tempo", "tempo", "acc1", "the same of 8 recorded songs", tests="tempo.jsonl"),
    _rendered(TEMPI, 48, "beat", "beats", "events", "f_measure", "beats within 70 ms"),
    _rendered("tasks/dance.jsonl", 240, "dance", "dance", "class", "macro_f1", "dance type of a tune, by title"),
    _rendered("tasks/chord.jsonl", 72, "chord", "chords", "chord", "weighted_majmin", "root and mode of chords, by piece"),
    _recorded("clips.jsonl", 450, "album", "album", "class", "macro_f1", "album of 10 s of a recording, by track"),
    _recorded("clips.jsonl", 450, "retrieval", "track", "retrieval", "r_at_1", "another clip of the same track first among all"),
)


def find_tasks(names: Sequence[str] | None) -> list[CorpusTask]:
    """The tasks called `names`, or all. Raises ValueError for others."""
    known = {task.name: task for task in CORPUS_TASKS}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"unknown tasks {', '.join(unknown)}; valid: {', '.join(known)}.")
    return [known[name] for name in names or known]


def load_task(source: CorpusTask, folders: Sequence[Path], small: bool, held_out: bool) -> Task:
    """The task with its clips, from the first of the folders that has its manifest.

    held_out: recordings only of albums that shipped weights are never trained on. Raises ValueError if no folder has it.
    """
    from .labelled_clips import read_clips, read_manifest, with_label  # not above: scikit-learn is not needed to list tasks

    label = source.task.label
    clips = with_label(read_manifest(_find(source, source.manifest, folders)), label)
    if held_out and source.task.real:
        clips = [clip for clip in clips if str(clip.labels.get("licence", "")).startswith(HELD_OUT_LICENCE)]
    if small and source.small:
        clips = subset(clips, source.small, source.whole_groups)
    if source.tests:
        tests = with_label(read_clips(_find(source, source.tests, folders)), label)
        clips = [clip for clip in clips if clip.split != "test"] + tests
    return replace(source.task, clips=clips)


def _find(source: CorpusTask, manifest: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        if (folder / manifest).is_file():
            return folder / manifest
    places = ", ".join(map(str, folders))
    raise ValueError(
        f"the task {source.name} needs {manifest} in one of: {places}. Build the corpus with research/corpus, or choose other "
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
