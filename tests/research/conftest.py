"""The scripts of research/checkpoints import each other, and those of research/corpus, as they do when they are run."""

import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest


RESEARCH = Path(__file__).parents[2] / "research"
sys.path[:0] = [str(RESEARCH / "checkpoints"), str(RESEARCH / "corpus")]  # before installed packages of the same names
RATE = 24_000  # Hz


class SineSynth:
    """Stands in for tinysoundfont: every note is a sine of its pitch that dies away, drums are short noise."""

    def __init__(self, samplerate, gain):
        self.notes = {}
        self.drums = set()
        self.fonts = []

    def sfload(self, path):
        self.fonts.append(Path(path).name)
        return len(self.fonts)

    def sounds_off(self):
        self.notes.clear()

    def program_select(self, channel, font, bank, preset, drums):
        (self.drums.add if drums else self.drums.discard)(channel)

    def noteon(self, channel, pitch, velocity):
        self.notes[channel, pitch] = (0, velocity / 127)

    def noteoff(self, channel, pitch):
        self.notes.pop((channel, pitch), None)

    def generate_simple(self, count, buffer=None):
        out = np.zeros(count)
        for (channel, pitch), (age, force) in list(self.notes.items()):
            time = (age + np.arange(count)) / RATE
            if channel in self.drums:
                wave = np.random.default_rng(pitch).standard_normal(count) * np.exp(-60 * time)
            else:
                wave = np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time) * np.exp(-4 * time)
            out += 0.2 * force * wave
            self.notes[channel, pitch] = (age + count, force)
        if buffer is not None:
            np.frombuffer(buffer, np.float32).reshape(-1, 2)[:] = out[:, None]


@pytest.fixture
def generate_music(monkeypatch):
    """The command's module, with sines in place of soundfonts."""
    monkeypatch.setitem(sys.modules, "tinysoundfont", types.SimpleNamespace(Synth=SineSynth))
    for name in ("synth", "render_scores", "generate_music"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import generate_music
    import render_scores

    monkeypatch.setattr(render_scores, "ProcessPoolExecutor", ThreadPoolExecutor)
    monkeypatch.setattr(generate_music, "get_fonts", lambda folder, downloads, names: None)
    yield generate_music
    for name in ("synth", "render_scores", "generate_music"):
        sys.modules.pop(name, None)
