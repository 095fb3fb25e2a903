"""Pieces → performances: random instruments, tempo, transposition and velocity, and what that makes of the labels.

Every choice comes from a generator seeded with the seed and the item's name: the same seed gives the same corpus,
whatever else is rendered.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from abc_tunes import beat_length
from scores import PITCH_CLASSES, Piece


PERFORMANCE_SECONDS = 20.0
CHORD_CLIP_SECONDS = 15.0
TEMPO_RANGE = (60.0, 180.0)  # beats a minute
MAX_NOTES_PER_SECOND = 9.0
DRUM_SHARE = 0.5  # of the tunes with trusted beats
KICK, SNARE, HIHAT = 36, 38, 42
DRUM_CHANNEL = 9

# General MIDI program: name, lowest and highest pitch that a melody may have on it
MELODY = {
    0: ("piano", 36, 96), 6: ("harpsichord", 41, 86), 11: ("vibraphone", 53, 89), 12: ("marimba", 45, 91),
    16: ("organ", 40, 91), 21: ("accordion", 53, 89), 22: ("harmonica", 60, 89), 24: ("guitar", 40, 81),
    25: ("steel guitar", 40, 81), 40: ("violin", 55, 96), 41: ("viola", 48, 84), 42: ("cello", 36, 74),
    46: ("harp", 36, 91), 56: ("trumpet", 54, 82), 60: ("horn", 41, 76), 65: ("saxophone", 49, 80),
    68: ("oboe", 58, 88), 71: ("clarinet", 50, 89), 73: ("flute", 60, 96), 74: ("recorder", 60, 91),
    75: ("pan flute", 60, 91), 105: ("banjo", 48, 84), 109: ("bagpipe", 58, 82), 110: ("fiddle", 55, 91),
}  # fmt: skip
ENSEMBLES = {  # from the highest part to the lowest; the last program serves all parts below
    "organ": (19,), "strings": (40, 40, 41, 42), "string ensemble": (48,), "choir": (52,), "piano": (0,),
    "harpsichord": (6,), "brass": (56, 56, 60, 57), "winds": (73, 68, 71, 70), "accordion": (21,), "guitars": (24,),
}  # fmt: skip
# for single notes: family → programs
FAMILIES = {
    "piano": (0, 1, 3), "chromatic percussion": (9, 11, 12, 13), "organ": (16, 19, 20), "guitar": (24, 25, 26),
    "bass": (32, 33, 35), "strings": (40, 41, 42), "ensemble": (48, 50, 52), "brass": (56, 57, 58, 60),
    "reed": (65, 68, 70, 71), "pipe": (72, 73, 75),
}  # fmt: skip
NOTE_PITCHES = range(48, 85)
NOTES_PER_PROGRAM = 40  # all 37 pitches and three more


@dataclass(frozen=True)
class Event:
    """A note on one of the 16 MIDI channels; times in seconds."""

    onset: float
    duration: float
    channel: int
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Item:
    """One file to render."""

    id: str
    kind: str  # "tune", "chorale", "chords" or "note"
    group: str
    split: str
    font: str
    programs: dict[int, int]  # channel → General MIDI program
    events: list[Event]
    labels: dict


def generator(seed: int, name: str) -> random.Random:
    return random.Random(f"{seed}/{name}")


def perform(piece: Piece, split: str, fonts: list[str], seed: int) -> Item:
    """The first 20 s of a tune or a chorale."""
    rng = generator(seed, piece.id)
    beat = float((beat_length(tuple(piece.meter)) if piece.meter else None) or 1)  # quarters
    tempo = draw_tempo(piece, beat, rng)
    quarter = 60 / tempo / beat  # seconds
    transposition = rng.randint(-5, 6)
    if piece.kind == "tune":
        program = rng.choice(sorted(MELODY))
        programs, instruments = [program], [MELODY[program][0]]
        shift = transposition + octave_shift(piece.parts[0], transposition, *MELODY[program][1:])
    else:
        instruments = [rng.choice(sorted(ENSEMBLES))]
        programs, shift = spread(ENSEMBLES[instruments[0]], len(piece.parts)), transposition
    lead = rng.uniform(0.05, 0.5)
    end = (PERFORMANCE_SECONDS - lead) / quarter
    events = play(piece.parts, 0.0, end, quarter, lead, shift, rng)
    beats = [(onset, down) for onset, down in piece.beats or () if onset < min(end, piece.quarters)]
    if beats and piece.kind == "tune" and rng.random() < DRUM_SHARE:
        events += drums(beats, beat, quarter, lead, rng)
        instruments = [*instruments, "drums"]
    labels = {
        "title": piece.title,
        "instruments": instruments,
        "transposition": transposition,
        "meter": "{}/{}".format(*piece.meter) if piece.meter else None,
        "dance": piece.dance,
        "key": key_name(piece.key, transposition),
        "tempo": round(tempo, 3) if beats else None,
        "beats": [round(lead + onset * quarter, 4) for onset, _ in beats] or None,
        "downbeats": [round(lead + onset * quarter, 4) for onset, down in beats if down] or None,
        "ends_on_tonic": ends_on_tonic(piece),
    }
    channels = dict(enumerate(programs))
    return Item(piece.id, piece.kind, piece.group, split, rng.choice(fonts), channels, events, labels)


def chord_clips(piece: Piece, split: str, fonts: list[str], seed: int) -> Iterator[Item]:
    """Twelve clips of 15 s from one analysed piece, one in each key."""
    for transposition in range(-6, 6):
        name = f"{piece.id}{transposition:+d}"
        rng = generator(seed, name)
        quarter = 60 / rng.uniform(70, 130)
        length = CHORD_CLIP_SECONDS / quarter
        start = rng.uniform(0, max(0.0, piece.quarters - length))
        ensemble = rng.choice(sorted(ENSEMBLES))
        programs = spread(ENSEMBLES[ensemble], len(piece.parts))
        chords = []
        for onset, end, root, quality in piece.chords:
            onset, end = max(onset, start), min(end, start + length)
            if end > onset:
                name_of_root = PITCH_CLASSES[(root + transposition) % 12]
                times = (round((time - start) * quarter, 4) for time in (onset, end))
                chords.append([*times, f"{name_of_root}:{quality}"])
        events = play(piece.parts, start, start + length, quarter, 0.0, transposition, rng)
        labels = {"title": piece.title, "instruments": [ensemble], "transposition": transposition, "chords": chords}
        yield Item(name, "chords", piece.group, split, rng.choice(fonts), dict(enumerate(programs)), events, labels)


def single_notes(fonts: dict[str, str], seed: int) -> Iterator[Item]:
    """33 instruments × 40 notes × every font. `fonts`: font → its split; a tenth of the training notes validate."""
    for font, font_split in fonts.items():
        for family, programs in FAMILIES.items():
            for program in programs:
                rng = generator(seed, f"{font}/{program}")
                pitches = [*NOTE_PITCHES, *rng.sample(NOTE_PITCHES, NOTES_PER_PROGRAM - len(NOTE_PITCHES))]
                for number, pitch in enumerate(pitches):
                    note = Event(rng.uniform(0.0, 0.1), rng.uniform(0.8, 1.3), 0, pitch, rng.randint(50, 120))
                    split = "validation" if font_split == "train" and rng.random() < 0.1 else font_split
                    labels = {"family": family, "program": program, "pitch": pitch, "pitch_class": pitch % 12}
                    name = f"notes/{font}-{program:03d}-{number:02d}"
                    yield Item(name, "note", font, split, font, {0: program}, [note], labels)


def draw_tempo(piece: Piece, beat: float, rng: random.Random) -> float:
    """Beats a minute; slower where the notes would run too fast to be played."""
    notes_per_quarter = max(len(part) for part in piece.parts) / piece.quarters
    fastest = min(TEMPO_RANGE[1], max(TEMPO_RANGE[0], 60 * MAX_NOTES_PER_SECOND / notes_per_quarter / beat))
    return rng.uniform(TEMPO_RANGE[0], fastest)


def play(
    parts: list[list[tuple[float, float, int]]],
    start: float,
    end: float,
    quarter: float,
    lead: float,
    shift: int,
    rng: random.Random,
) -> list[Event]:
    """The notes between two times (in quarters); `quarter` and `lead` in seconds. One channel a part."""
    events = []
    loudness = rng.randint(65, 100)
    for channel, notes in enumerate(parts):
        for onset, duration, pitch in notes:
            begin, stop = max(onset, start), min(onset + duration, end)
            if stop > begin:
                velocity = min(127, max(20, loudness + rng.randint(-10, 10)))
                held = (stop - begin) * quarter * 0.95
                events.append(Event(lead + (begin - start) * quarter, held, channel, pitch + shift, velocity))
    return events


def drums(beats: list[tuple[float, bool]], beat: float, quarter: float, lead: float, rng: random.Random) -> Iterable[Event]:
    """Kick on downbeats, snare or kick on the others, hi-hat on the beats and within them; as loud as it happens."""
    division = rng.choice((1, 3 if Fraction(beat).denominator == 2 else 2))
    loudness = rng.randint(50, 100)
    for onset, down in beats:
        hits = [(onset, KICK if down else rng.choice((KICK, SNARE)))]
        hits += [(onset + beat * part / division, HIHAT) for part in range(division)]
        for time, pitch in hits:
            yield Event(lead + time * quarter, 0.1, DRUM_CHANNEL, pitch, loudness + rng.randint(-8, 8))


def octave_shift(notes: list[tuple[float, float, int]], transposition: int, lowest: int, highest: int) -> int:
    """Octaves (in semitones) that bring a transposed melody into an instrument's range as far as possible."""
    pitches = [pitch + transposition for _, _, pitch in notes]

    def outside(shift: int) -> tuple[int, int]:
        return sum(not lowest <= pitch + shift <= highest for pitch in pitches), abs(shift)

    return min((-24, -12, 0, 12, 24), key=outside)


def spread(programs: tuple[int, ...], num_parts: int) -> list[int]:
    return [programs[min(part, len(programs) - 1)] for part in range(num_parts)]


def key_name(key: tuple[int, str] | None, transposition: int) -> str | None:
    """`D minor`, as mir_eval reads it."""
    return f"{PITCH_CLASSES[(key[0] + transposition) % 12]} {key[1]}" if key else None


def ends_on_tonic(piece: Piece) -> bool:
    return bool(piece.key) and piece.parts[-1][-1][2] % 12 == piece.key[0]
