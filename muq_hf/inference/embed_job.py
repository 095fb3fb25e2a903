"""What every kind of output needs of a run: the model, the settings, how to compute, and the bar on the screen."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tqdm.auto import tqdm

from ..storage.manifests import BAD_LINE
from .decoding_worker import FileFailure
from .embed_model import EmbeddingModel
from .embed_settings import EmbedSettings


@dataclass(frozen=True)
class EmbedReport:
    """What a run did. rows: in the output, or files in the manifest; the other numbers and the failures: of this run alone.

    `failures_file` lists the failures of earlier runs too whose files are still not in the output. Of an output folder all of
    its failures are reported, and `errors`, shards that could not be done: --resume tries them again.
    """

    output: Path | str
    rows: int
    files: int
    failures: list[FileFailure]
    failures_file: Path | str
    audio_seconds: float
    seconds: float
    errors: Sequence[str] = ()


@dataclass(frozen=True)
class EmbedJob:
    """model: ready to run; resume, overwrite: what to do with an output that is there.

    bad_lines: of the manifests, MANIFEST:NUMBER → what is wrong with the line. part: (3, 64) for part 3 of 64, from 0.
    engine: what hands out the shards of an output folder; None: a loop in this process.
    """

    model: EmbeddingModel
    settings: EmbedSettings
    batch_size: int
    workers: int
    resume: bool = False
    overwrite: bool = False
    progress: bool = True
    files_per_shard: int | None = None
    retry_failed: bool = False
    bad_lines: dict[str, str] = field(default_factory=dict)
    part: tuple[int, int] | None = None
    engine: "Engine | None" = None

    def line_failures(self) -> dict[str, FileFailure]:
        """Lines of manifests that could not be used, as failures."""
        return {place: FileFailure(place, BAD_LINE, message) for place, message in self.bad_lines.items()}


class Engine(Protocol):
    """What has shards done by somebody: (run, plan, numbers of the shards, job, progress) → errors of those not done."""

    def __call__(self, run, plan, numbers: list[int], job: EmbedJob, progress: "EmbedProgress") -> list[str]: ...


class EmbedProgress:
    """A bar of files with the speed, and the failures as they come."""

    def __init__(self, total: int, done: int, show: bool):
        self.failures: dict[str, FileFailure] = {}  # by path
        self.audio_seconds = 0.0
        self._show = show
        self._clock = time.monotonic()
        self._bar = tqdm(total=total, initial=done, unit="file", disable=not show, dynamic_ncols=True)

    def __enter__(self) -> "EmbedProgress":
        return self

    def __exit__(self, *exception) -> None:
        self._bar.close()

    def on_batch(self, audio_seconds: float) -> None:
        self.audio_seconds += audio_seconds
        self._bar.set_postfix_str(f"{self.audio_seconds / (time.monotonic() - self._clock):.1f} audio-s/s")

    def on_file(self, failure: FileFailure | None) -> None:
        if failure is not None:
            self.failures[failure.path] = failure
            if self._show:
                tqdm.write(f"{failure.reason}: {failure.message}", file=sys.stderr)
        self._bar.update()

    def on_shard(self, files: int, audio_seconds: float) -> None:
        """A whole shard that was done elsewhere."""
        self.on_batch(audio_seconds)
        self._bar.update(files)
