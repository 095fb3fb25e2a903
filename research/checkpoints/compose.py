"""A number → one piece of music with its exact labels: chords, then a part for each role, then events.

Times are in beats until the last step. Everything follows from the seed and the number of the piece; no score is read.
"""

import random
from dataclasses import dataclass

import splits
from abc_tunes import beat_length
from arrange import DRUM_CHANNEL, MAX_NOTES_PER_SECOND, Event, Item, generator, key_name
from musical_material import CRASH, DRUM_PATTERNS, HIGH_TOM, INSTRUMENTS, LOW_TOM, MODES, PENTATONIC, PROGRESSIONS, SNARE, TOM
from scores import CHORD_QUALITIES, PITCH_CLASSES
from styles import STYLES, Style


PIECE_SECONDS = (20.0, 32.0)
FASTEST_CHANGE = 1.6  # s; where bars are shorter, a chord lasts two of them
CHANNELS = {"melody": 0, "chords": 1, "bass": 2, "second voice": 3, "drums": DRUM_CHANNEL}
LOUDNESS = {"melody": 92, "chords": 70, "bass": 86, "second voice": 74, "drums": 84}  # MIDI velocity
TEXTURES = {  # who plays, and how often relative to the other textures that a style has the instruments for
    "band": (("melody", "chords", "bass", "drums"), 6.0),
    "band without drums": (("melody", "chords", "bass"), 2.0),
    "accompanied": (("melody", "chords"), 2.5),
    "duet": (("melody", "second voice"), 1.0),
    "solo": (("melody",), 2.0),
    "backing": (("chords", "bass", "drums"), 1.5),
    "rhythm section": (("bass", "drums"), 0.5),
    "drums alone": (("drums",), 0.5),
    "chords alone": (("chords",), 1.0),
}
FORMS = ("abac", "aabc", "abab", "aaba", "abcb")  # which bars of a phrase share a motif
SIMPLE_CELLS = {  # notes in a beat → where they begin
    1: ((0,), (0,), (0,), (0.5,)), 2: ((0, 0.5), (0, 0.5), (0, 0.75)), 3: ((0, 0.5, 0.75), (0, 0.25, 0.5), (0, 1 / 3, 2 / 3)),
    4: ((0, 0.25, 0.5, 0.75),),
}  # fmt: skip
COMPOUND_CELLS = {1: ((0,),), 2: ((0, 2 / 3),), 3: ((0, 1 / 3, 2 / 3),), 4: ((0, 1 / 3, 1 / 2, 2 / 3),)}

Note = tuple[float, float, int, float]  # onset and duration in beats, pitch, velocity as a factor


@dataclass(frozen=True)
class Chord:
    scale: tuple[int, ...]  # pitch classes
    tones: tuple[int, ...]  # pitch classes, the root first
    quality: str


@dataclass(frozen=True)
class Plan:
    """A piece before its notes."""

    style: Style
    style_name: str
    texture: str
    tempo: float  # beats a minute
    meter: tuple[int, int]
    beats: int  # in a bar
    division: int  # of a beat: 3 in compound meters, else 2
    tonic: int  # pitch class
    mode: str
    pentatonic: bool
    chords: list[Chord]  # one a bar

    @property
    def roles(self) -> tuple[str, ...]:
        return TEXTURES[self.texture][0]


def compose(number: int, seed: int, fonts: list[str]) -> Item:
    """Piece `number` of the endless collection that `seed` names."""
    rng = generator(seed, f"generated/{number:06d}")
    plan = draw_plan(rng)
    programs = draw_programs(plan, rng)
    parts = {role: PARTS[role](plan, programs.get(role), rng) for role in plan.roles if role != "second voice"}
    if "second voice" in plan.roles:
        parts["second voice"] = second_voice(plan, parts["melody"], programs["second voice"])
    lead = rng.uniform(0.05, 0.5)  # s
    events = perform(plan, parts, lead, rng)
    name = f"{seed}/{number:06d}"
    channels = {CHANNELS[role]: program for role, program in programs.items()}
    labels = describe(plan, programs, lead)
    return Item(name, "generated", name, splits.by_hash(name), rng.choice(fonts), channels, events, labels)


def draw_plan(rng: random.Random) -> Plan:
    name = rng.choice(sorted(STYLES))
    style = STYLES[name]
    tempo, meter, mode = rng.uniform(*style.tempo), rng.choice(style.meters), rng.choice(style.modes)
    quarters_a_beat = beat_length(meter)
    beats = int(4 * meter[0] / meter[1] / quarters_a_beat)
    division = 3 if quarters_a_beat.denominator == 2 else 2
    instruments = {"melody": style.leads, "second voice": style.leads, "chords": style.chords, "bass": style.basses}
    instruments["drums"] = fitting_patterns(style, beats, division)
    possible = [texture for texture, (roles, _) in TEXTURES.items() if all(instruments[role] for role in roles)]
    texture = rng.choices(possible, [TEXTURES[texture][1] for texture in possible])[0]
    tonic = rng.randrange(12)
    bar_seconds = beats * 60 / tempo
    bars = max(4, round(rng.uniform(*PIECE_SECONDS) / bar_seconds))
    chords = draw_chords(tonic, mode, bars, 2 if bar_seconds < FASTEST_CHANGE else 1, rng.random() < style.sevenths, rng)
    pentatonic = rng.random() < style.pentatonic
    return Plan(style, name, texture, tempo, meter, beats, division, tonic, mode, pentatonic, chords)


def draw_chords(tonic: int, mode: str, bars: int, bars_a_chord: int, sevenths: bool, rng: random.Random) -> list[Chord]:
    """A chord for every bar; the first and the last are the tonic's."""
    raised = mode == "minor" and rng.random() < 0.6  # the dominant of the harmonic minor
    degrees: list[int] = []
    progressions = rng.choices(PROGRESSIONS[mode], k=2)
    while len(degrees) < bars:
        chosen = progressions[len(degrees) >= bars // 2]
        degrees += [degree for degree in chosen for _ in range(bars_a_chord)]
    return [chord(tonic, mode, degree, sevenths, raised) for degree in [*degrees[: bars - 1], 0]]


def chord(tonic: int, mode: str, degree: int, seventh: bool, raised: bool) -> Chord:
    """Thirds on a degree of the mode, three or four notes; `raised`: degree 4 of the minor has the leading note."""
    steps = MODES[mode]
    if raised and degree == 4:
        steps = (*steps[:-1], 11)
    for size in (4, 3) if seventh else (3,):
        above = [steps[(degree + 2 * third) % 7] for third in range(size)]
        quality = CHORD_QUALITIES.get(tuple((step - above[0]) % 12 for step in above))
        if quality:
            break
    return Chord(tuple((tonic + step) % 12 for step in steps), tuple((tonic + step) % 12 for step in above), quality)


def draw_programs(plan: Plan, rng: random.Random) -> dict[str, int]:
    style = plan.style
    choices = {"melody": style.leads, "second voice": style.leads, "chords": style.chords, "bass": style.basses}
    return {role: rng.choice(choices[role]) for role in plan.roles if role != "drums"}


def melody(plan: Plan, program: int, rng: random.Random) -> list[Note]:
    """Motifs of a bar, repeated by a form of four bars; strong beats like the notes of the chord."""
    window = melody_window(program, rng)
    density = min(rng.uniform(*plan.style.density), 60 * MAX_NOTES_PER_SECOND / plan.tempo)
    form = rng.choice(FORMS)
    motifs = {letter: motif(plan, density, rng) for letter in set(form)}
    pitch = (window[0] + window[-1]) // 2
    notes: list[Note] = []
    for bar, harmony in enumerate(plan.chords):
        start = bar * plan.beats
        allowed = [p for p in window if p % 12 in melody_scale(plan, harmony)]
        if bar == len(plan.chords) - 1:
            notes.append((start, plan.beats * 0.95, nearest([p for p in window if p % 12 == plan.tonic], pitch), 1.0))
            break
        tones = [p for p in window if p % 12 in harmony.tones]
        for place, (onset, duration, step) in enumerate(motifs[form[bar % 4]]):
            if place == 0 or (onset == int(onset) and rng.random() < 0.5):
                pitch = nearest(tones, pitch + 2 * step)
            else:
                pitch = stepped(allowed, pitch, step)
            notes.append((start + onset, duration, pitch, 1.0 if onset == int(onset) else 0.9))
    return notes


def melody_window(program: int, rng: random.Random) -> range:
    """The pitches that one melody uses: at most an octave and a half of the instrument's range."""
    _, lowest, highest = INSTRUMENTS[program]
    size = min(19, highest - lowest + 1)
    first = rng.randint(lowest, highest + 1 - size)
    return range(first, first + size)


def melody_scale(plan: Plan, harmony: Chord) -> set[int]:
    if not plan.pentatonic:
        return set(harmony.scale)
    return {harmony.scale[degree] for degree in PENTATONIC[plan.mode]}


def motif(plan: Plan, density: float, rng: random.Random) -> list[tuple[float, float, int]]:
    """One bar: (onset, duration, scale steps from the note before)."""
    cells = COMPOUND_CELLS if plan.division == 3 else SIMPLE_CELLS
    onsets = []
    for beat in range(plan.beats):
        count = int(density) + (rng.random() < density % 1)
        if count:
            onsets += [beat + place for place in rng.choice(cells[min(count, 4)])]
    onsets = onsets or [0.0]
    shorter = rng.choice((0.95, 0.95, 0.95, 0.6))
    ends = [*onsets[1:], plan.beats]
    return [
        (onset, (end - onset) * shorter, rng.choice((-3, -2, -1, -1, 0, 1, 1, 2, 3)))
        for onset, end in zip(onsets, ends, strict=True)
    ]


def second_voice(plan: Plan, upper: list[Note], program: int) -> list[Note]:
    """Thirds below the melody, in octaves that the instrument has."""
    _, lowest, highest = INSTRUMENTS[program]
    notes = []
    for onset, duration, pitch, force in upper:
        scale = plan.chords[int(onset // plan.beats)].scale
        below = next(p for p in range(pitch - 3, pitch - 6, -1) if p % 12 in scale)
        octaves = [p for p in range(lowest, highest + 1) if p % 12 == below % 12]
        notes.append((onset, duration, nearest(octaves, below), force))
    return notes


def accompaniment(plan: Plan, program: int, rng: random.Random) -> list[Note]:
    """The chords in one figure, each in the inversion next to the last."""
    _, lowest, highest = INSTRUMENTS[program]
    figure = rng.choice(plan.style.comping)
    base = min(max(lowest, rng.randint(48, 60)), highest - 12)
    notes: list[Note] = []
    for bar, harmony in enumerate(plan.chords):
        start = bar * plan.beats
        tones = sorted(base + (tone - base) % 12 for tone in harmony.tones)
        if figure == "power":
            root = lowest + (harmony.tones[0] - lowest) % 12
            tones = [root, root + 7, root + 12]
        if bar == len(plan.chords) - 1:
            notes += [(start, plan.beats * 0.95, tone, 1.0) for tone in tones]
        elif figure in BROKEN_FIGURES:
            notes += broken(plan, start, tones, figure)
        else:
            for onset, duration in hits(plan, figure):
                notes += [(start + onset, duration, tone, 1.0) for tone in tones]
    return notes


BROKEN_FIGURES = {  # which chord notes follow each other, and how many of them a division of the beat holds
    "arpeggio": ((0, 1, 2, 3), 1), "broken": ((0, 2, 1, 2), 1), "alberti": ((0, 2, 1, 2), 2),
    "sixteenths": ((0, 1, 2, 3, 2, 1), 2),
}  # fmt: skip


def broken(plan: Plan, start: float, tones: list[int], figure: str) -> list[Note]:
    order, speed = BROKEN_FIGURES[figure]
    if speed == 2 and 60 / plan.tempo / plan.division / 2 < 1 / (1.5 * MAX_NOTES_PER_SECOND):
        speed = 1
    tones = [*tones, tones[0] + 12]
    length = 1 / (plan.division * speed)
    count = plan.beats * plan.division * speed
    return [(start + k * length, length * 0.95, tones[min(order[k % len(order)], len(tones) - 1)], 0.9) for k in range(count)]


def hits(plan: Plan, figure: str) -> list[tuple[float, float]]:
    """(onset, duration) of whole chords, or of bass notes, in one bar."""
    part = 1 / plan.division
    divisions = plan.beats * plan.division
    return {
        "sustained": lambda: [(0, plan.beats * 0.98)],
        "beats": lambda: [(beat, 0.8) for beat in range(plan.beats)],
        "afterbeats": lambda: [(beat, 0.5) for beat in range(1, plan.beats)],
        "offbeats": lambda: [(beat + 1 - part, part * 0.8) for beat in range(plan.beats)],
        "eighths": lambda: [(k * part, part * 0.8) for k in range(divisions)],
        "power": lambda: [(k * part, part * 0.95) for k in range(divisions)],
        "syncopated": lambda: [(k * part, part * 1.5) for k in range(divisions) if k % 8 in (0, 3, 6)],
    }[figure]()


def bass_line(plan: Plan, program: int, rng: random.Random) -> list[Note]:
    _, lowest, _ = INSTRUMENTS[program]
    figure = rng.choice(plan.style.bass_lines)
    notes: list[Note] = []
    roots = [lowest + (harmony.tones[0] - lowest) % 12 for harmony in plan.chords]
    for bar, (harmony, root) in enumerate(zip(plan.chords, roots, strict=True)):
        start = bar * plan.beats
        if bar == len(roots) - 1 or figure == "roots":
            notes.append((start, plan.beats * 0.95, root, 1.0))
        elif figure == "walking":
            notes += walking(plan, start, root, roots[bar + 1], harmony, rng)
        elif figure == "pedal":
            notes += [(start + beat, 0.9, lowest + (plan.tonic - lowest) % 12, 1.0) for beat in range(plan.beats)]
        elif figure == "root and fifth":
            fifth = root + (harmony.tones[2] - root) % 12
            notes += [(start + beat, 0.85, (root, fifth)[beat % 2], 1.0) for beat in range(plan.beats)]
        elif figure == "octaves":
            places = enumerate(hits(plan, "eighths"))
            notes += [(start + onset, duration, root + 12 * (k % 2), 1.0) for k, (onset, duration) in places]
        else:
            notes += [(start + onset, duration, root, 1.0) for onset, duration in hits(plan, figure)]
    return notes


def walking(plan: Plan, start: float, root: int, following: int, harmony: Chord, rng: random.Random) -> list[Note]:
    """A note a beat: the root, notes of the chord, and a step to the next root."""
    tones = [p for p in range(root - 5, root + 13) if p % 12 in harmony.tones]
    pitches = [root, *(rng.choice(tones) for _ in range(plan.beats - 2)), following + rng.choice((-2, -1, 1, 2))]
    return [(start + beat, 0.95, pitch, 1.0) for beat, pitch in enumerate(pitches[: plan.beats])]


def fitting_patterns(style: Style, beats: int, division: int) -> list[str]:
    """Drum patterns of a style whose bar has the beats of the meter and its way of dividing them."""
    steps = 3 if division == 3 or style.swing else 4
    return [
        name
        for name in style.drums
        if DRUM_PATTERNS[name][0] == steps and len(next(iter(DRUM_PATTERNS[name][1].values()))) == steps * beats
    ]


def drums(plan: Plan, program: None, rng: random.Random) -> list[Note]:
    """A pattern, with a fill at the end of every fourth bar in some pieces, and a crash after it."""
    steps, hits_of = DRUM_PATTERNS[rng.choice(fitting_patterns(plan.style, plan.beats, plan.division))]
    fills = rng.random() < 0.5
    notes: list[Note] = []
    for bar in range(len(plan.chords)):
        start = bar * plan.beats
        fill = fills and bar % 4 == 3
        for pitch, pattern in hits_of.items():
            for step, sign in enumerate(pattern):
                if sign != "." and not (fill and step >= len(pattern) - steps) and not (sign == "x" and rng.random() < 0.04):
                    notes.append((start + step / steps, 0.1, pitch, 1.1 if sign == "X" else 0.75))
        if fill:
            order = rng.choice(((SNARE, HIGH_TOM, TOM, LOW_TOM), (SNARE,) * 4))
            notes += [(start + plan.beats - 1 + k / steps, 0.1, order[k], 0.9) for k in range(steps)]
        elif fills and bar and bar % 4 == 0:
            notes.append((start, 0.1, CRASH, 1.0))
    return notes


PARTS = {"melody": melody, "chords": accompaniment, "bass": bass_line, "drums": drums}


def perform(plan: Plan, parts: dict[str, list[Note]], lead: float, rng: random.Random) -> list[Event]:
    """Beats → seconds, with swing, uneven timing of some milliseconds, and accents on the first beat."""
    beat_seconds, unevenness = 60 / plan.tempo, rng.uniform(0.0, 0.006)
    events = []
    for role, notes in parts.items():
        loudness = LOUDNESS[role] + rng.randint(-10, 10)
        swing = 0.0 if role == "drums" or plan.division == 3 else plan.style.swing
        for onset, duration, pitch, force in notes:
            begin, end = swung(onset, swing) * beat_seconds, swung(onset + duration, swing) * beat_seconds
            accent = 6 if onset % plan.beats == 0 else 0
            velocity = min(127, max(20, round(force * loudness) + accent + rng.randint(-5, 5)))
            onset_seconds = max(0.0, lead + begin + rng.gauss(0.0, unevenness))
            events.append(Event(onset_seconds, max(0.03, end - begin), CHANNELS[role], pitch, velocity))
    return events


def swung(beats: float, swing: float) -> float:
    """The first half of each beat takes (1 + swing) / 2 of it."""
    beat, part = divmod(beats, 1.0)
    return beat + (part * (1 + swing) if part < 0.5 else (1 + swing) / 2 + (part - 0.5) * (1 - swing))


def describe(plan: Plan, programs: dict[str, int], lead: float) -> dict:
    beat_seconds, bars = 60 / plan.tempo, len(plan.chords)
    beats = [round(lead + beat * beat_seconds, 4) for beat in range(plan.beats * bars)]
    pitched = plan.texture != "drums alone"
    players = {role: INSTRUMENTS[program][0] for role, program in programs.items()}
    names = list(dict.fromkeys([*players.values(), *(["drums"] if "drums" in plan.roles else [])]))
    bar_starts = [*beats[:: plan.beats], round(lead + plan.beats * bars * beat_seconds, 4)]
    chords = [
        (bar_starts[bar], bar_starts[bar + 1], f"{PITCH_CLASSES[harmony.tones[0]]}:{harmony.quality}")
        for bar, harmony in enumerate(plan.chords)
    ]
    return {
        "style": plan.style_name,
        "texture": plan.texture,
        "tempo": round(plan.tempo, 3),
        "meter": "{}/{}".format(*plan.meter),
        "swing": bool(plan.style.swing) and plan.division == 2,
        "key": key_name((plan.tonic, plan.mode), 0) if pitched else None,
        "mode": plan.mode if pitched else None,
        "instruments": names,
        "players": players,
        "beats": beats,
        "downbeats": beats[:: plan.beats],
        "harmony": chords if pitched else None,  # what the parts follow; not every note of each chord need sound
    }


def nearest(pitches: list[int], pitch: int) -> int:
    return min(pitches, key=lambda other: (abs(other - pitch), other))


def stepped(allowed: list[int], pitch: int, step: int) -> int:
    """`step` places further in the scale, reflected at the ends."""
    place = allowed.index(nearest(allowed, pitch)) + step
    last = len(allowed) - 1
    return allowed[min(last, abs(place) if place <= last else max(0, 2 * last - place))]
