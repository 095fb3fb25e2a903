"""What a decoding worker does: a task comes through stdin, the file's windows go out through stdout. No torch here."""

import os
import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..audio import AudioError, check_audible, stream_audio
from .segments import WindowPlan, split_stream


@dataclass(frozen=True)
class DecodeTask:
    """One file, and how to cut it."""

    path: str
    plan: WindowPlan


@dataclass(frozen=True)
class FileWindow:
    """A window of a file: see `PlacedWindow`."""

    path: str
    segment: int
    start: int
    end: int
    kept: tuple[int, int]
    audio: np.ndarray


@dataclass(frozen=True)
class FileEnd:
    """The file was read to its end and has so many windows."""

    path: str
    windows: int


@dataclass(frozen=True)
class FileFailure:
    """The file cannot be embedded: one word why, and one sentence."""

    path: str
    reason: str
    message: str


Message = FileWindow | FileEnd | FileFailure


OUTAGE = "outage"  # the reason of a failure that is the store's: no file is to blame, and the run must stop


def decode_file(task: DecodeTask) -> Iterator[Message]:
    """Yield the windows of a file, then its end or its failure. Never raises for what a file contains."""
    if "://" not in task.path:
        yield from _decode(task, task.path)
        return
    from ..storage.remote import StorageError, local_copy

    try:
        with local_copy(task.path) as copy:
            for message in _decode(task, copy):
                if isinstance(message, FileFailure):
                    message = replace(message, message=message.message.replace(copy, task.path))
                yield message
    except FileNotFoundError:
        yield FileFailure(task.path, "missing", f"{task.path} does not exist.")
    except StorageError as error:
        yield FileFailure(task.path, OUTAGE, str(error))


def _decode(task: DecodeTask, path: str) -> Iterator[Message]:
    """The messages of the file that lies at `path`."""
    windows = 0
    try:
        for window in split_stream(_checked_blocks(path, task.plan), task.plan):
            windows += 1
            yield FileWindow(task.path, window.segment, window.start, window.end, window.kept, window.audio)
        yield FileEnd(task.path, windows)
    except AudioError as error:
        yield FileFailure(task.path, error.reason, str(error))
    except Exception as error:  # whatever a malformed file brings up in a decoder
        yield FileFailure(task.path, "unreadable", f"{type(error).__name__}: {error}")


def _checked_blocks(path: str, plan: WindowPlan) -> Iterator[np.ndarray]:
    """The file's audio. Raises AudioError at its end if all of it was too short for the model, or silent."""
    num_samples, peak = 0, 0.0
    for block in stream_audio(path, sampling_rate=plan.sampling_rate):
        num_samples += len(block)
        peak = max(peak, float(np.abs(block).max()))
        yield block
    check_audible(num_samples, peak, plan.window.min_samples, path)


def main() -> None:
    """Answer tasks until stdin ends. The pipes get numbers of their own: libraries and their children cannot touch them."""
    tasks = os.fdopen(os.dup(0), "rb")
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    _send(messages, "ready")
    while True:
        try:
            task = pickle.load(tasks)
        except EOFError:
            return
        try:
            for message in decode_file(task):
                _send(messages, message)
        except BrokenPipeError:  # the parent is gone
            sys.exit(1)


def _send(messages, message: Message | str) -> None:
    pickle.dump(message, messages, protocol=pickle.HIGHEST_PROTOCOL)
    messages.flush()
