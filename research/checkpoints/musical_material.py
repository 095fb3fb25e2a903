"""What the generator makes music of: instruments, modes, chord progressions, drum patterns. Tables only."""

from arrange import MELODY


# General MIDI program: name, lowest and highest pitch it plays here; both soundfonts sound in the whole of each range
INSTRUMENTS = MELODY | {
    4: ("electric piano", 36, 90), 8: ("celesta", 60, 96), 9: ("glockenspiel", 67, 96), 10: ("music box", 60, 96),
    13: ("xylophone", 60, 96), 15: ("dulcimer", 50, 86), 18: ("rock organ", 40, 88), 19: ("church organ", 36, 90),
    26: ("jazz guitar", 40, 82), 27: ("clean electric guitar", 40, 84), 28: ("muted guitar", 40, 80),
    29: ("overdriven guitar", 40, 84), 30: ("distorted guitar", 38, 84), 32: ("double bass", 28, 60),
    33: ("bass guitar", 28, 60), 34: ("picked bass guitar", 28, 60), 35: ("fretless bass", 28, 60),
    36: ("slap bass", 28, 60), 38: ("synth bass", 26, 60), 39: ("deep synth bass", 26, 60), 43: ("bowed double bass", 28, 60),
    45: ("pizzicato strings", 40, 86), 48: ("strings", 40, 92), 50: ("synth strings", 40, 92), 52: ("choir", 45, 84),
    57: ("trombone", 40, 72), 58: ("tuba", 28, 60), 61: ("brass section", 43, 84), 62: ("synth brass", 40, 84),
    66: ("tenor saxophone", 44, 76), 70: ("bassoon", 34, 72), 72: ("piccolo", 74, 96), 79: ("ocarina", 60, 88),
    80: ("square synth", 40, 96), 81: ("saw synth", 40, 96), 85: ("voice synth", 48, 84), 88: ("bell pad", 40, 88),
    89: ("warm pad", 40, 88), 90: ("synth pad", 40, 88), 91: ("choir pad", 40, 88), 95: ("sweeping pad", 40, 88),
    104: ("sitar", 48, 80), 107: ("koto", 48, 84), 108: ("kalimba", 52, 86), 111: ("shanai", 58, 84),
    114: ("steel drums", 55, 86),
}  # fmt: skip

MODES = {  # semitones above the tonic
    "major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10), "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10), "phrygian": (0, 1, 3, 5, 7, 8, 10), "lydian": (0, 2, 4, 6, 7, 9, 11),
}  # fmt: skip
PENTATONIC = {  # degrees of the mode that a pentatonic melody keeps to
    "major": (0, 1, 2, 4, 5), "minor": (0, 2, 3, 4, 6), "dorian": (0, 2, 3, 4, 6), "mixolydian": (0, 1, 2, 4, 5),
    "phrygian": (0, 2, 3, 4, 6), "lydian": (0, 1, 2, 4, 5),
}  # fmt: skip
PROGRESSIONS = {  # degrees of the mode, a chord a bar; each starts on the tonic
    "major": (
        (0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 4), (0, 3, 0, 4), (0, 5, 1, 4), (0, 2, 3, 4), (0, 1, 4, 0), (0, 0, 3, 4),
        (0, 4, 0, 4), (0, 3, 5, 4), (0, 4, 5, 2, 3, 0, 3, 4), (0, 0, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4), (0, 3, 1, 4, 2, 5, 1, 4),
    ),
    "minor": (
        (0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 4), (0, 5, 3, 4), (0, 0, 3, 4), (0, 3, 6, 2), (0, 4, 0, 4), (0, 5, 6, 0),
        (0, 3, 6, 2, 5, 1, 4, 0), (0, 0, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4), (0, 6, 5, 6),
    ),
    "dorian": ((0, 3, 0, 3), (0, 0, 3, 6), (0, 6, 3, 0), (0, 2, 3, 0)),
    "mixolydian": ((0, 6, 3, 0), (0, 0, 6, 0), (0, 3, 6, 0), (0, 6, 0, 6)),
    "phrygian": ((0, 1, 0, 1), (0, 0, 1, 2), (0, 1, 2, 1), (0, 6, 1, 0)),
    "lydian": ((0, 1, 0, 1), (0, 0, 1, 4), (0, 1, 4, 0)),
}  # fmt: skip

KICK, RIM, SNARE, CLAP, CLOSED, OPEN, RIDE, CRASH = 36, 37, 38, 39, 42, 46, 51, 49
LOW_TOM, TOM, HIGH_TOM, TAMBOURINE, COWBELL, HIGH_CONGA, LOW_CONGA, SHAKER = 41, 45, 48, 54, 56, 63, 64, 70
DRUM_PATTERNS = {  # steps a beat; pitch → hits of one bar: X loud, x soft
    "rock": (4, {KICK: "X.......X.X.....", SNARE: "....X.......X...", CLOSED: "x.x.x.x.x.x.x.x."}),
    "ballad": (4, {KICK: "X.........x.....", RIM: "....x.......x...", CLOSED: "x...x...x...x..."}),
    "pop": (4, {KICK: "X..x....X.......", CLAP: "....X.......X...", CLOSED: "x.x.x.x.x.x.x.x."}),
    "metal": (4, {KICK: "XxxxXxxxXxxxXxxx", SNARE: "....X.......X...", CRASH: "X...............", RIDE: "x.x.x.x.x.x.x.x."}),
    "punk": (4, {KICK: "X...x...X...x...", SNARE: "..X...X...X...X.", OPEN: "x.x.x.x.x.x.x.x."}),
    "house": (4, {KICK: "X...X...X...X...", CLAP: "....X.......X...", OPEN: "..x...x...x...x."}),
    "techno": (4, {KICK: "X...X...X...X...", CLOSED: "xxXxxxXxxxXxxxXx", RIM: "......x....x...."}),
    "breakbeat": (4, {KICK: "X.X.......X.....", SNARE: "....X..x.x..X...", CLOSED: "x.x.x.x.x.x.x.x."}),
    "drum and bass": (4, {KICK: "X.........X.....", SNARE: "....X.......X..x", CLOSED: "x.xxx.xxx.xxx.xx"}),
    "hip hop": (4, {KICK: "X..x...x..X.....", SNARE: "....X.......X...", CLOSED: "x.x.x.x.x.x.x.xx"}),
    "funk": (4, {KICK: "X.x...x..xX.....", SNARE: "....X..x.x..X..x", CLOSED: "xxxxxxxxxxxxxxxx"}),
    "reggae": (4, {KICK: "........X.......", RIM: "........X.......", CLOSED: "x.x.x.x.x.x.x.x."}),
    "bossa": (4, {KICK: "X..xX..xX..xX..x", RIM: "X..X..X...X..X..", SHAKER: "x.x.x.x.x.x.x.x."}),
    "latin": (4, {COWBELL: "X...x.x.X...x.x.", HIGH_CONGA: "....x.......x...", LOW_CONGA: "......xx......xx"}),
    "march": (4, {KICK: "X.......X.......", SNARE: "X..xX..xX..xXxxx", CRASH: "X..............."}),
    "swing": (3, {RIDE: "X..X.xX..X.x", CLOSED: "...x.....x..", KICK: "x.....x....."}),
    "shuffle": (3, {KICK: "X.....X.x...", SNARE: "...X.....X..", CLOSED: "x.xx.xx.xx.x"}),
    "blues in twelve": (3, {KICK: "X.....X.....", SNARE: "...X.....X..", CLOSED: "xxxxxxxxxxxx"}),
    "waltz": (4, {KICK: "X...........", SNARE: "....x...x...", CLOSED: "x...x...x..."}),
    "jazz waltz": (4, {RIDE: "X...X.x.X...", CLOSED: "....x...x...", KICK: "x..........."}),
    "jig": (3, {KICK: "X.....", TAMBOURINE: "x.xX.x", SNARE: "...x.."}),
    "two-beat": (4, {KICK: "X.......", SNARE: "....X...", CLOSED: "x.x.x.x."}),
    "toms": (4, {LOW_TOM: "X.....x.X.......", TOM: "...x.......x..x.", HIGH_TOM: "....x.......x.xx"}),
}  # fmt: skip
