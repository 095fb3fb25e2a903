"""The real ffmpeg program: odd files at every door, rare FLAC, and a child that does not outlive its parent.

`make test` leaves these out: they need a program that pip does not install.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from audio_files import flac, music

from muq_hf.audio import AudioError, load_audio
from muq_hf.models import ffmpeg_muq


pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent


def test_odd_files_are_read_whole_or_refused_at_every_door():
    run = subprocess.run([sys.executable, "benchmarks/odd_files.py"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("bits", [12, 20])
def test_rare_widths_of_flac_are_read_through_ffmpeg(bits):
    samples = (music(1.0, channels=1) * (1 << bits - 1)).astype(np.int64)
    expected = samples[:, 0] / (1 << bits - 1)
    np.testing.assert_allclose(load_audio(flac(samples, bits), 44_100), expected, atol=1e-6)


def test_a_decoder_that_gives_nothing_is_stopped(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(ffmpeg_muq, "STALL_SECONDS", 0.3)
    started = time.monotonic()
    with pytest.raises(AudioError, match="decoded nothing for 0.3 s"):
        load_audio(b"\0\0\0\x0cftypM4A ")
    assert time.monotonic() - started < 10


PARENT = """
import sys
from muq_hf.models.decoding_muq import open_audio
with open_audio(sys.argv[1]) as reader:
    next(reader.blocks(0, 1000))
    print(reader._process.pid, flush=True)
    sys.stdin.read()
"""


def test_ffmpeg_ends_when_its_parent_is_killed(tmp_path):
    song = tmp_path / "song.m4a"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=600", song]
    subprocess.run(command, check=True)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PARENT, song], **pipes) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    for _ in range(100):
        status = Path(f"/proc/{child}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("ffmpeg is still there after 10 s")
