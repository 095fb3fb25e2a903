"""Decoded windows of many files → batches → the model → whoever collects what it gives."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np

from ..storage.remote import StorageError
from .decoding_pool import DecodingPool
from .decoding_worker import OUTAGE, DecodeTask, FileEnd, FileFailure, FileWindow, Message


LOOK_AHEAD = 4  # batches of decoded windows to choose neighbours in length from


class Collector(Protocol):
    """What becomes of the model's output."""

    def add(self, window: FileWindow, value: np.ndarray) -> None:
        """One window of a file, with its vectors [L, P] or its frames [n, D]; windows of a file come in any order."""

    def end(self, message: FileEnd | FileFailure) -> None:
        """The file has so many windows, of which some may still come; or it failed."""


def encode_files(
    tasks: Iterable[DecodeTask], encoder, collector: Collector, batch_size: int, workers: int
) -> Iterator[list[FileWindow]]:
    """Give `collector` all windows of all tasks, and yield each batch that was encoded.

    `tasks` is asked for more while earlier ones are encoded, so that decoding never waits for the end of a shard.
    Raises StorageError when a file cannot be fetched.
    """

    def end(message: FileEnd | FileFailure) -> None:
        if isinstance(message, FileFailure) and message.reason == OUTAGE:
            raise StorageError(message.message)
        collector.end(message)

    with DecodingPool(tasks, workers, max_waiting=2 * batch_size) as decoded:
        for batch in bucket_by_length(decoded, decoded.waiting, batch_size, end):
            for window, value in zip(batch, encoder(batch), strict=True):
                collector.add(window, value)
            yield batch


def not_finite(window: FileWindow, sampling_rate: int) -> FileFailure:
    """What is recorded of a file for which the model gave NaN or infinity."""
    seconds = window.start / sampling_rate
    message = f"{window.path}: the model's output is not finite at {seconds:.1f} s; try --dtype float32."
    return FileFailure(window.path, "not finite", message)


def changed(path: str) -> FileFailure:
    return FileFailure(path, "unreadable", f"{path} changed while it was read: run again with --resume.")


def bucket_by_length(
    messages: Iterable[Message],
    waiting: Callable[[], bool],
    batch_size: int,
    end_file: Callable[[FileEnd | FileFailure], None],
) -> Iterator[list[FileWindow]]:
    """Windows → batches of windows of similar length; other messages go to `end_file` as they come.

    Of the windows at hand a batch takes the oldest and those nearest to it in length, so none waits for ever. More windows
    than one batch are gathered only while `waiting()` says that they come at once, and LOOK_AHEAD batches at most.
    """
    held: list[FileWindow] = []
    for message in messages:
        if not isinstance(message, FileWindow):
            end_file(message)
            continue
        held.append(message)
        while len(held) >= LOOK_AHEAD * batch_size or (len(held) >= batch_size and not waiting()):
            yield _take_batch(held, batch_size)
    while held:
        yield _take_batch(held, batch_size)


def _take_batch(held: list[FileWindow], batch_size: int) -> list[FileWindow]:
    length = len(held[0].audio)
    nearest = sorted(range(len(held)), key=lambda index: abs(len(held[index].audio) - length))[:batch_size]
    batch = [held[index] for index in nearest]
    for index in sorted(nearest, reverse=True):
        del held[index]
    return batch
