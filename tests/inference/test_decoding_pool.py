import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from muq_hf import MuQConfig
from muq_hf.audio import load_audio
from muq_hf.inference import decoding_pool as decoding
from muq_hf.inference.decoding_pool import DecodingPool
from muq_hf.inference.decoding_worker import DecodeTask, FileEnd, FileFailure, FileWindow
from muq_hf.inference.segments import WindowPlan


ROOT = Path(decoding.__file__).parents[2]
PLAN = WindowPlan.from_seconds(MuQConfig.from_preset("tiny"), None, 1.0, 0.0)


def windows_of(messages, path) -> list[FileWindow]:
    return [message for message in messages if isinstance(message, FileWindow) and message.path == str(path)]


@pytest.mark.parametrize("workers", [0, 2])
def test_windows_of_a_file_come_in_order_and_join_to_its_audio(write_song, workers):
    paths = [write_song("a.wav", 2.5, 1), write_song("b.wav", 0.7, 2), write_song("c.wav", 3.0, 3, rate=16_000)]
    with DecodingPool([DecodeTask(str(path), PLAN) for path in paths], workers, max_waiting=2) as pool:
        messages = list(pool)
    for path, count in zip(paths, (3, 1, 3), strict=True):
        windows = windows_of(messages, path)
        assert len(windows) == count and FileEnd(str(path), count) in messages
        assert np.array_equal(np.concatenate([window.audio for window in windows]), load_audio(path))


def test_a_worker_that_dies_costs_its_file_only(write_song, monkeypatch):
    """The worker is told to kill itself when it is asked for a file of a certain name."""
    killer = "import muq_hf.inference.decoding_worker as w, os; decode = w.decode_file; "
    killer += "w.decode_file = lambda task: os._exit(9) if 'bad' in task.path else decode(task); w.main()"
    monkeypatch.setattr(decoding, "BOOT", decoding.BOOT.replace("main()", killer))
    paths = [write_song("bad.wav", 1.0), write_song("good.wav", 1.0)]
    with DecodingPool([DecodeTask(str(path), PLAN) for path in paths], 1, max_waiting=2) as pool:
        messages = list(pool)
    assert messages[0] == FileFailure(str(paths[0]), "unreadable", "the decoder died of this file, 2 times (exit code 9)")
    assert messages[-1] == FileEnd(str(paths[1]), 1)


@pytest.mark.parametrize("when", ["starting", "decoding"])
def test_a_worker_that_others_kill_costs_nothing(write_song, monkeypatch, tmp_path, when):
    """The first one kills itself, in the middle of a file or before it is ready; the next one does the work."""
    mark = tmp_path / "killed"
    killer = "import muq_hf.inference.decoding_worker as w, os, pathlib; mark = pathlib.Path({mark!r})\n"
    killer += "def kill_once():\n    if not mark.exists():\n        mark.touch(); os.kill(os.getpid(), 9)\n"
    if when == "starting":
        killer += "kill_once()\n"
    else:
        killer += "send = w._send\ndef _send(file, message):\n    send(file, message)\n"
        killer += "    if getattr(message, 'start', 0):\n        kill_once()\nw._send = _send\n"
    boot = decoding.BOOT.replace("from muq_hf.inference.decoding_worker import main; main()", "exec({code!r})")
    monkeypatch.setattr(decoding, "BOOT", boot.format(code=killer.format(mark=str(mark)) + "w.main()"))
    path = write_song("a.wav", 4.5)
    with DecodingPool([DecodeTask(str(path), PLAN)], 1, max_waiting=9) as pool:
        messages = list(pool)
    assert mark.exists() and messages[-1] == FileEnd(str(path), 5)
    assert np.array_equal(np.concatenate([window.audio for window in windows_of(messages, path)]), load_audio(path))


def test_a_worker_that_cannot_start_is_an_error_with_its_last_words(monkeypatch):
    monkeypatch.setattr(decoding, "BOOT", "import no_such_module_here")
    with pytest.raises(RuntimeError, match="could not start.*no_such_module_here"):
        with DecodingPool([DecodeTask("a.wav", PLAN)], 1, max_waiting=2) as pool:
            list(pool)


@pytest.mark.parametrize("workers", [0, 1])
def test_leaving_early_ends_lanes_and_workers(write_song, workers):
    tasks = [DecodeTask(str(write_song("a.wav", 5.0)), PLAN)] * 20
    before = threading.active_count()
    with DecodingPool(tasks, workers, max_waiting=1) as pool:
        next(iter(pool))
        processes = [decoder._process for decoder in pool._decoders.values()] if workers else []
    assert threading.active_count() == before
    assert all(process.poll() is not None for process in processes)


def test_few_windows_wait_for_a_slow_consumer(write_song):
    tasks = [DecodeTask(str(write_song("a.wav", 5.0)), PLAN)] * 20
    with DecodingPool(tasks, 0, max_waiting=3) as pool:
        iterator = iter(pool)
        next(iterator)
        time.sleep(0.3)
        assert pool._messages.qsize() == 3


def test_a_worker_ends_when_its_parent_is_gone():
    """It sees the end of its stdin; nothing else tells it."""
    command = [sys.executable, "-c", "import muq_hf.inference.decoding_worker as w; w.main()"]
    worker = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60, cwd=ROOT)
    assert worker.returncode == 0


def test_workers_do_not_import_torch():
    code = "import muq_hf.inference.decoding_worker, sys; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_silent_and_tiny_files_fail_with_the_reason(tmp_path, write_song):
    soundfile.write(tmp_path / "silent.wav", np.zeros(48_000), 24_000)
    soundfile.write(tmp_path / "tiny.wav", 0.1 * np.ones(1000), 24_000)
    names = ("silent.wav", "tiny.wav", "none.wav")
    with DecodingPool([DecodeTask(str(tmp_path / name), PLAN) for name in names], 0, max_waiting=9) as pool:
        failures = {message.path: message.reason for message in pool if isinstance(message, FileFailure)}
    assert failures == {
        str(tmp_path / "silent.wav"): "silent",
        str(tmp_path / "tiny.wav"): "too short",
        str(tmp_path / "none.wav"): "missing",
    }
