"""One-voice tunes in ABC notation → notes, bars and beats.

Reads what the folk collections use (abc 2.1: https://abcnotation.com/wiki/abc:standard:v2.1) and refuses the rest:
a tune with an unknown sign raises `AbcError`, for a guess would be a wrong label.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction


class AbcError(ValueError):
    """The tune uses something this reader does not know."""


# semitones above C, and the key signature of each mode in fifths relative to the major key on the same tonic
LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
FIFTHS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
MODES = {"maj": 0, "ion": 0, "": 0, "mix": -1, "dor": -2, "min": -3, "m": -3, "aeo": -3, "phr": -4, "loc": -5, "lyd": 1}
MODE_NAMES = {
    "maj": "major", "ion": "major", "": "major", "min": "minor", "m": "minor", "aeo": "minor",
    "mix": "mixolydian", "dor": "dorian", "phr": "phrygian", "loc": "locrian", "lyd": "lydian",
}  # fmt: skip
ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}

LENGTH = r"(\d*(?:/+\d*)?)"
NOTE = r"(\^\^|\^|__|_|=)?([A-Ga-g])([,']*)" + LENGTH
TOKENS = re.compile(
    "|".join(
        [
            r"(?P<field>\[[A-Za-z]:[^\]]*\])",
            r"(?P<bar>(?:\[\|(?!\])|[|:]+\]?)(?:\s*\[?\d[\d,-]*)?|\[\d[\d,-]*)",
            r"(?P<tuplet>\(\d(?::\d?){0,2})",
            r"(?P<chord>\[(?:" + NOTE + r"-?)+\]" + LENGTH + ")",
            r"(?P<note>" + NOTE + ")",
            r"(?P<rest>[zx]" + LENGTH + ")",
            r"(?P<broken>>+|<+)",
            r"(?P<tie>-)",
            r"(?P<nothing>[\s`\\)]+|\((?!\d)|\"[^\"]*\"|\{[^}]*\}|![^!|]*!|\+[^+|]*\+|[~.!H-Wh-w]|\[\|\]|y\d*)",
        ]
    )
)
FIELD_LINE = re.compile(r"([A-Za-z]):(?![|:])\s*(.*)")


@dataclass
class Bar:
    """Notes as (onset in the bar, duration, MIDI pitch), in quarters."""

    notes: list[tuple[Fraction, Fraction, int]] = field(default_factory=list)
    length: Fraction = Fraction(0)
    endings: frozenset[int] | None = None  # the passes that play this bar; None: all
    opens_repeat: bool = False
    closes_repeat: bool = False
    closes_section: bool = False
    tied: bool = False  # the last note goes on in the next bar


@dataclass
class Tune:
    """A tune as it is played, repeats written out; times in quarters."""

    fields: dict[str, str]  # the first value of each header field
    meter: tuple[int, int] | None  # None where it changes
    key: tuple[int, str] | None  # tonic 0-11 and mode; None where it changes or the encoder doubts it
    notes: list[tuple[Fraction, Fraction, int]]  # onset, duration, MIDI pitch
    beats: list[tuple[Fraction, bool]] | None  # onset, whether a downbeat; None where bars do not fill the meter


def split_book(text: str) -> list[str]:
    """The tunes of one file."""
    return [tune for tune in re.split(r"^(?=X:)", text, flags=re.MULTILINE) if tune.startswith("X:")]


def parse_tune(text: str) -> Tune:
    reader = _Reader()
    for line in text.splitlines():
        line = line.rstrip()
        if found := FIELD_LINE.match(line):
            reader.read_field(found[1], found[2])
        elif line and not line.startswith("%") and reader.in_body:
            reader.read_music(line.split("%")[0])
    bars = unroll(reader.finish())
    notes, onset, tied = [], Fraction(0), False
    for bar in bars:
        for start, duration, pitch in bar.notes:
            if tied and start == 0 and notes and notes[-1][2] == pitch:
                notes[-1] = (notes[-1][0], notes[-1][1] + duration, pitch)
            else:
                notes.append((onset + start, duration, pitch))
        tied = bar.tied
        onset += bar.length
    if not notes:
        raise AbcError("no notes")
    meter = reader.meters[0] if len(set(reader.meters)) == 1 else None
    key = reader.keys[0] if len(set(reader.keys)) == 1 else None
    return Tune(reader.fields, meter, key, notes, beat_grid(bars, meter) if meter else None)


def unroll(bars: list[Bar]) -> list[Bar]:
    """Write out the repeats: `A :|`, `|: A :|`, `|: A |1 B :|2 C`."""
    played, index, start, opened, turn = [], 0, 0, False, 1
    while index < len(bars):
        bar = bars[index]
        if bar.opens_repeat and not (turn == 2 and index == start):
            start, opened, turn = index, True, 1
        if bar.endings is None or turn in bar.endings:
            played.append(bar)
        follows = bars[index + 1].endings if index + 1 < len(bars) else None
        if bar.closes_repeat and turn == 1:
            index, turn = start, 2
            continue
        if bar.closes_repeat or bar.closes_section:
            within = bar.closes_section and not bar.closes_repeat and bar.endings is None and (opened or turn == 2)
            if not within and not (turn == 2 and follows and 2 in follows):
                start, opened, turn = index + 1, False, 1
        index += 1
    return played


def beat_grid(bars: list[Bar], meter: tuple[int, int]) -> list[tuple[Fraction, bool]] | None:
    """Beats of the played bars; None unless every bar, or short bars together, fill the meter.

    A short first bar is an upbeat; a short bar later must be completed by the next one (a phrase that ends before
    an upbeat).
    """
    full, beat = Fraction(4 * meter[0], meter[1]), beat_length(meter)
    if beat is None or not bars:
        return None
    beats, onset = [], Fraction(0)
    filled = full - bars[0].length if bars[0].length < full else Fraction(0)
    for bar in bars:
        if filled + bar.length > full:
            return None
        first = -(-filled // beat)  # the first beat at or after the start of this bar
        beats += [
            (onset + number * beat - filled, number == 0)
            for number in range(int(first), int(full / beat))
            if number * beat < filled + bar.length
        ]
        onset += bar.length
        filled = (filled + bar.length) % full
    return beats


def beat_length(meter: tuple[int, int]) -> Fraction | None:
    """Quarters a beat: a dotted quarter in 6/8, 9/8, 12/8, a quarter in C, C|, 2/4, 3/4, 4/4; None elsewhere.

    Cut time counts four, for the collections write the same dances in C and in C|.
    """
    if meter in ((6, 8), (9, 8), (12, 8)):
        return Fraction(3, 2)
    if meter in ((2, 4), (3, 4), (4, 4)):
        return Fraction(1)
    return Fraction(1) if meter == (2, 2) else None


def parse_key(text: str) -> tuple[tuple[int, str] | None, dict[str, int]]:
    """`K:` field → ((tonic, mode) or None, signature {letter: semitones}). Doubt in a comment makes the key None."""
    value, _, comment = text.partition("%")
    found = re.fullmatch(r"\s*([A-G])([#b]?)\s*([A-Za-z]*)\s*((?:[\^_=][A-Ga-g]\s*)*)", value)
    if not found or (mode := found[3].lower()[:3]) not in MODES:
        raise AbcError(f"key {text!r}")
    sharp = {"#": 1, "b": -1, "": 0}[found[2]]
    fifths = FIFTHS[found[1]] + 7 * sharp + MODES[mode]
    signature = {letter: (fifths - place + 5) // 7 for letter, place in FIFTHS.items()}
    for sign, letter in re.findall(r"([\^_=])([A-Ga-g])", found[4]):
        signature[letter.upper()] = ACCIDENTALS[sign]
    tonic = (LETTERS[found[1]] + sharp) % 12
    return (None if comment.strip() or found[4] else (tonic, MODE_NAMES[mode])), signature


def parse_meter(text: str) -> tuple[int, int]:
    value = text.split("%")[0].strip()
    value = {"C": "4/4", "C|": "2/2"}.get(value, value)
    if not (found := re.fullmatch(r"(\d+)/(\d+)", value)):
        raise AbcError(f"meter {text!r}")
    return int(found[1]), int(found[2])


def parse_length(text: str) -> Fraction:
    """A length multiplier: "" 1, "2" 2, "/" 1/2, "3/2" 3/2, "//" 1/4."""
    number, slashes, divisor = re.fullmatch(r"(\d*)(/*)(\d*)", text).groups()
    value = Fraction(int(number or 1))
    if divisor:
        return value / int(divisor)
    return value / 2 ** len(slashes)


class _Reader:
    """Fields and music in the order of the text → bars."""

    def __init__(self):
        self.fields: dict[str, str] = {}
        self.meters: list[tuple[int, int]] = []
        self.keys: list[tuple[int, str] | None] = []
        self.in_body = False
        self._signature: dict[str, int] = {}
        self._accidentals: dict[str, int] = {}  # of the running bar
        self._unit: Fraction | None = None  # quarters
        self._bars: list[Bar] = []
        self._bar = Bar()
        self._scale, self._tuplet_left = Fraction(1), 0
        self._next_scale = Fraction(1)  # what `>` or `<` leaves to the next note
        self._last: list[int] = []  # indices of the notes that `>`, `<` and `-` speak of
        self._last_length = Fraction(0)

    def read_field(self, name: str, value: str) -> None:
        self.fields.setdefault(name, value.strip())
        if name == "M":
            self.meters.append(parse_meter(value))
        elif name == "L":
            unit = value.split("%")[0].strip()
            self._unit = Fraction(unit) * 4
        elif name == "K":
            key, self._signature = parse_key(value)
            self.keys.append(key)
            self.in_body = True
        elif name == "V" and self.fields["V"] != value.strip():
            raise AbcError("more than one voice")

    def read_music(self, line: str) -> None:
        if self._unit is None:
            if not self.meters:
                raise AbcError("neither M: nor L:")
            self._unit = Fraction(1, 4) if Fraction(*self.meters[0]) < Fraction(3, 4) else Fraction(1, 2)
        position = 0
        while position < len(line):
            token = TOKENS.match(line, position)
            if not token:
                raise AbcError(f"{line[position : position + 8]!r}")
            position = token.end()
            kind, text = token.lastgroup, token[token.lastgroup] if token.lastgroup else ""
            if kind != "nothing":
                getattr(self, f"_read_{kind}")(text)

    def finish(self) -> list[Bar]:
        self._close_bar()
        return self._bars

    def _read_field(self, text: str) -> None:
        self.read_field(text[1], text[3:-1])

    def _read_note(self, text: str) -> None:
        accidental, letter, octaves, length = re.fullmatch(NOTE, text).groups()
        self._add([self._pitch(accidental, letter, octaves)], parse_length(length))

    def _read_chord(self, text: str) -> None:
        inside, outer = re.fullmatch(r"\[(.*)\]" + LENGTH, text).groups()
        notes = re.findall(NOTE, inside)
        pitches = [self._pitch(*note[:3]) for note in notes]
        self._add(pitches, parse_length(notes[0][3]) * parse_length(outer))

    def _read_rest(self, text: str) -> None:
        self._add([], parse_length(text[1:]))

    def _add(self, pitches: list[int], length: Fraction) -> None:
        duration = length * self._unit * self._next_scale
        self._next_scale = Fraction(1)
        if self._tuplet_left:
            duration *= self._scale
            self._tuplet_left -= 1
        notes = self._bar.notes
        if self._bar.tied and pitches and notes and [notes[index][2] for index in self._last] == pitches:
            for index in self._last:
                notes[index] = (notes[index][0], notes[index][1] + duration, notes[index][2])
        else:
            self._last = list(range(len(notes), len(notes) + len(pitches)))
            notes += [(self._bar.length, duration, pitch) for pitch in pitches]
        self._bar.length += duration
        self._bar.tied = False
        self._last_length = duration

    def _pitch(self, accidental: str | None, letter: str, octaves: str) -> int:
        name = letter.upper()
        if accidental:
            self._accidentals[name] = ACCIDENTALS[accidental]
        alteration = self._accidentals.get(name, self._signature[name])
        octave = (letter.islower()) + octaves.count("'") - octaves.count(",")
        return 60 + LETTERS[name] + alteration + 12 * octave

    def _read_broken(self, text: str) -> None:
        """`a>b` dots the first and halves the second, `a<b` the other way round."""
        short = Fraction(1, 2 ** len(text))
        first, self._next_scale = (2 - short, short) if text[0] == ">" else (short, 2 - short)
        change = self._last_length * (first - 1)
        for index in self._last:
            onset, duration, pitch = self._bar.notes[index]
            self._bar.notes[index] = (onset, duration + change, pitch)
        self._bar.length += change

    def _read_tuplet(self, text: str) -> None:
        """`(p:q:r`: p notes in the time of q, for the next r notes."""
        count, *rest = (int(number) if number else 0 for number in text[1:].split(":"))
        compound = bool(self.meters) and self.meters[-1] in ((6, 8), (9, 8), (12, 8))
        usual = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}.get(count, 3 if compound else 2)
        in_time_of = rest[0] if rest and rest[0] else usual
        self._scale = Fraction(in_time_of, count)
        self._tuplet_left = rest[1] if len(rest) > 1 and rest[1] else count

    def _read_tie(self, text: str) -> None:
        self._bar.tied = True

    def _read_bar(self, text: str) -> None:
        signs, ending = re.fullmatch(r"([|:\[\]]*?)\s*\[?(\d[\d,-]*)?", text).groups()
        closes_repeat = signs.startswith(":")
        closes_section = "||" in signs or signs.endswith("]")
        self._close_bar(closes_repeat, closes_section)
        if signs.endswith(":"):
            self._bar.opens_repeat, self._bar.endings = True, None
        if ending:
            self._bar.endings = frozenset(int(number) for number in re.findall(r"\d", ending))

    def _close_bar(self, closes_repeat: bool = False, closes_section: bool = False) -> None:
        """End the running bar; a second sign with nothing before it only adds to the bar before."""
        bar = self._bar
        self._accidentals = {}
        if bar.length:
            self._bars.append(bar)
            self._last = []
            self._bar = Bar(endings=bar.endings)
        if self._bars:
            self._bars[-1].closes_repeat |= closes_repeat
            self._bars[-1].closes_section |= closes_section
            if closes_repeat or closes_section:
                self._bar.endings = None
