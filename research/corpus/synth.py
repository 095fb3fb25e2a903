"""Events → audio with tinysoundfont, through a loop of our own (its Sequencer is 15 times slower)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tinysoundfont
from arrange import DRUM_CHANNEL, Event
from catalogue import Package
from recordings import SAMPLING_RATE


TAIL_SECONDS = 0.6  # after the last note ends, for its release
SILENCING_SECONDS = 0.1  # sounds_off() takes about 20 ms


@dataclass(frozen=True)
class SoundFont:
    package: str
    file: str
    licence: str
    split: str  # "train": for training and validation items; "test": for test items only


# The held-out font is the GPL one: what is rendered for training is free of its terms.
FONTS = {
    "csound": SoundFont("csound-soundfont", "sf_GMbank.sf2", "public-domain", "train"),
    "fluidr3mono": SoundFont("fluidr3mono-gm-soundfont", "FluidR3Mono_GM.sf3", "MIT", "train"),
    "timgm6mb": SoundFont("timgm6mb-soundfont", "TimGM6mb.sf2", "GPL-2.0-only", "test"),
}


def font_package(name: str) -> Package:
    """What `unpack` needs to get the font's file out of its package."""
    font = FONTS[name]
    return Package(font.package, "", font.licence, "", (), music=(f"*/{font.file}",))


class Renderer:
    """A font is loaded when it is first played; the same events always give the same samples."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._synth = tinysoundfont.Synth(samplerate=SAMPLING_RATE, gain=-12)
        self._fonts: dict[str, int] = {}

    def render(self, events: list[Event], font: str, programs: dict[int, int]) -> np.ndarray:
        """float32 [S] mono at 24 kHz. `programs`: channel → General MIDI program; drums are on DRUM_CHANNEL."""
        if font not in self._fonts:
            self._fonts[font] = self._synth.sfload(str(self._folder / FONTS[font].file))
        self._synth.sounds_off()
        self._synth.generate_simple(_sample(SILENCING_SECONDS))  # voices of the piece before end here
        for channel in {event.channel for event in events}:
            drums = channel == DRUM_CHANNEL
            self._synth.program_select(channel, self._fonts[font], 0, programs.get(channel, 0), drums)
        switches = [(_sample(event.onset), 1, event) for event in events]
        switches += [(_sample(event.onset + event.duration), 0, event) for event in events]
        switches.sort(key=lambda switch: switch[:2])  # at one sample, notes end before notes begin
        samples = np.zeros((switches[-1][0] + _sample(TAIL_SECONDS), 2), np.float32)
        position = 0
        for sample, on, event in switches:
            if sample > position:
                self._synth.generate_simple(sample - position, memoryview(samples[position:sample]).cast("B"))
                position = sample
            if on:
                self._synth.noteon(event.channel, event.pitch, event.velocity)
            else:
                self._synth.noteoff(event.channel, event.pitch)
        self._synth.generate_simple(len(samples) - position, memoryview(samples[position:]).cast("B"))
        return (samples[:, 0] + samples[:, 1]) * np.float32(0.5)  # mean(axis=1) takes six times as long


def _sample(seconds: float) -> int:
    return round(seconds * SAMPLING_RATE)
