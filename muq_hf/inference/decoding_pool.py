"""Decoding in worker processes, so that the model never waits for a file.

Each lane is a thread with one worker process of its own: it sends a task, reads the messages that answer it, and puts them
into one bounded queue. A worker that dies is replaced, and a file that kills two of them is a failure. Workers are plain child
processes that talk through their pipes: scripts need no `if __name__ == "__main__"`, and a worker whose parent was killed ends by
itself.
"""

import json
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator

from .decoding_worker import DecodeTask, FileEnd, FileFailure, Message, decode_file


BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from muq_hf.inference.decoding_worker import main; main()"
POLL_S = 0.1  # how often a lane that waits for room looks whether it should stop
SHUTDOWN_S = 5.0
ATTEMPTS = 2  # at one file, each with a worker of its own
START_ATTEMPTS = 3  # of a worker: one that is killed while it starts is started again


class DecoderProcess:
    """One worker process. `decode(task)` yields its messages; EOFError when the process died."""

    def __init__(self):
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-c", BOOT, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # Ctrl-C is the parent's business
        )
        try:
            pickle.load(self._process.stdout)  # "ready"
        except (EOFError, pickle.UnpicklingError) as error:
            raise RuntimeError(f"a decoding worker could not start: {self.stop()}") from error

    def decode(self, task: DecodeTask) -> Iterator[Message]:
        try:
            pickle.dump(task, self._process.stdin)
            self._process.stdin.flush()
        except OSError as error:
            raise EOFError from error
        while True:
            message = pickle.load(self._process.stdout)
            yield message
            if isinstance(message, FileEnd | FileFailure):
                return

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> str:
        """End the process → how it ended, and the last line that it wrote to stderr."""
        try:
            self._process.stdin.close()
        except OSError:  # it is dead already
            pass
        try:
            code = self._process.wait(SHUTDOWN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._process.stdout.close()
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        self._stderr.close()
        return f"exit code {code}" + (f", {lines[-1]}" if lines else "")


class InProcessDecoder:
    """The same in the lane's own thread: `workers=0`."""

    decode = staticmethod(decode_file)

    def kill(self) -> None: ...

    def stop(self) -> str:
        return ""


class DecodingPool:
    """Iterate once over the messages of all tasks: in order within a file, in any order among files.

    Args:
        tasks: what to decode.
        workers: worker processes; 0 decodes in a thread of this process.
        max_waiting: messages (windows of audio) that wait for the consumer at most; lanes pause beyond it.

    Use as a context manager: leaving it early, also by an exception, ends the workers.
    """

    def __init__(self, tasks: Iterable[DecodeTask], workers: int, max_waiting: int):
        self._tasks = iter(tasks)
        self._tasks_lock = threading.Lock()
        self._messages: queue.Queue = queue.Queue(max_waiting)
        self._stopped = threading.Event()
        self._decoder_class = DecoderProcess if workers else InProcessDecoder
        self._decoders: dict[int, DecoderProcess | InProcessDecoder] = {}
        self._lanes = [threading.Thread(target=self._run_lane, args=(i,), daemon=True) for i in range(max(workers, 1))]

    def __enter__(self) -> "DecodingPool":
        for lane in self._lanes:
            lane.start()
        return self

    def __exit__(self, *exception) -> None:
        self._stopped.set()
        for decoder in list(self._decoders.values()):
            decoder.kill()
        for lane in self._lanes:
            lane.join()

    def __iter__(self) -> Iterator[Message]:
        running = len(self._lanes)
        while running:
            message = self._messages.get()
            if message is None:
                running -= 1
            elif isinstance(message, BaseException):
                raise message
            else:
                yield message

    def waiting(self) -> bool:
        """True while a message can be had without waiting."""
        return not self._messages.empty()

    def _run_lane(self, index: int) -> None:
        try:
            while not self._stopped.is_set():
                with self._tasks_lock:
                    task = next(self._tasks, None)
                if task is None:
                    break
                self._decode(index, task)
        except Exception as error:  # no file's fault: the consumer shall see it
            self._put(error)
        finally:
            if decoder := self._decoders.pop(index, None):
                if self._stopped.is_set():  # it may be waiting for a reader
                    decoder.kill()
                decoder.stop()
            self._put(None)

    def _decode(self, index: int, task: DecodeTask) -> None:
        """Send the task's messages on. A worker that dies is replaced and its file tried once more: others may have killed it."""
        sent, end = 0, ""
        for _ in range(ATTEMPTS):
            decoder = self._decoder(index)
            if decoder is None:
                return
            try:
                for number, message in enumerate(decoder.decode(task)):
                    if number >= sent:  # a second attempt repeats what the first one sent
                        if not self._put(message):
                            return
                        sent += 1
                return
            except (EOFError, pickle.UnpicklingError):
                end = self._decoders.pop(index).stop()
        self._put(FileFailure(task.path, "unreadable", f"the decoder died of this file, {ATTEMPTS} times ({end})"))

    def _decoder(self, index: int) -> DecoderProcess | InProcessDecoder | None:
        """The lane's decoder, started if there is none; None once the pool is stopped. Raises RuntimeError if none starts."""
        for attempt in range(START_ATTEMPTS):
            if self._stopped.is_set():
                return None
            try:
                if index not in self._decoders:
                    self._decoders[index] = self._decoder_class()
                return self._decoders[index]
            except RuntimeError:
                if attempt + 1 == START_ATTEMPTS:
                    raise
        return None

    def _put(self, message: Message | BaseException | None) -> bool:
        """→ False when the pool was stopped before there was room."""
        while not self._stopped.is_set():
            try:
                self._messages.put(message, timeout=POLL_S)
                return True
            except queue.Full:
                continue
        return False
