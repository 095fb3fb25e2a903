"""Generated music: its labels are what sounds, and a seed decides everything."""

import json
from pathlib import Path

import compose
import numpy as np
import pytest
import soundfile
import splits
from arrange import DRUM_CHANNEL, Event
from captions import SENTENCES, captions, tags, write
from musical_material import INSTRUMENTS
from scores import CHORD_QUALITIES, PITCH_CLASSES
from styles import STYLES


RATE = 24_000
FONTS = ["csound", "fluidr3mono"]
PIECES = [compose.compose(number, 0, FONTS) for number in range(300)]
TONES = {quality: steps for steps, quality in CHORD_QUALITIES.items()}


def pieces(*textures, count=8):
    return [piece for piece in PIECES if piece.labels["texture"] in textures][:count]


def rendered(generate_music, piece):
    from synth import Renderer

    return Renderer(Path("fonts")).render(piece.events, piece.font, piece.programs)


def test_a_seed_decides_the_piece():
    assert compose.compose(7, 3, FONTS) == compose.compose(7, 3, FONTS)
    assert compose.compose(7, 3, FONTS).events != compose.compose(7, 4, FONTS).events
    assert compose.compose(7, 3, FONTS).events != compose.compose(8, 3, FONTS).events


def test_split_follows_the_name_of_the_piece():
    assert all(piece.split == splits.by_hash(piece.id) for piece in PIECES)
    assert {piece.split for piece in PIECES} == {"train", "validation", "test"}


def test_all_styles_and_textures_come_up():
    assert {piece.labels["style"] for piece in PIECES} == set(STYLES)
    assert {piece.labels["texture"] for piece in PIECES} == set(compose.TEXTURES)


def test_every_part_is_played_by_its_instrument_and_nothing_else_sounds():
    for piece in PIECES:
        sounding = {event.channel for event in piece.events}
        named = {compose.CHANNELS[role] for role in piece.labels["players"]}
        assert sounding == named | ({DRUM_CHANNEL} if "drums" in piece.labels["instruments"] else set())
        assert {INSTRUMENTS[program][0] for program in piece.programs.values()} == set(piece.labels["players"].values())


def test_melodies_keep_to_the_range_of_their_instrument():
    for piece in PIECES:
        for role in ("melody", "second voice", "chords"):
            if role in piece.labels["players"]:
                _, lowest, highest = INSTRUMENTS[piece.programs[compose.CHANNELS[role]]]
                pitches = [event.pitch for event in piece.events if event.channel == compose.CHANNELS[role]]
                assert lowest <= min(pitches) and max(pitches) <= highest + 12, (piece.labels["style"], role)


def test_harmony_starts_and_ends_on_the_tonic():
    for piece in PIECES:
        if piece.labels["key"]:
            tonic = piece.labels["key"].split()[0]
            assert {piece.labels["harmony"][end][2].split(":")[0] for end in (0, -1)} == {tonic}


def test_chords_that_sound_belong_to_the_harmony():
    for piece in pieces("chords alone", "accompanied", count=30):
        for start, end, label in piece.labels["harmony"]:
            root, quality = label.split(":")
            tones = {(PITCH_CLASSES.index(root) + step) % 12 for step in TONES[quality]}
            inside = [e for e in piece.events if e.channel == 1 and start + 0.1 < e.onset < end - 0.1]
            assert {event.pitch % 12 for event in inside} <= tones | {(PITCH_CLASSES.index(root) + 7) % 12}


def test_key_is_heard(generate_music):
    """The energy of the spectrum lies on the notes of the named key."""
    for piece in pieces("solo", "accompanied", count=4):
        tonic, mode = piece.labels["key"].split()
        scale = {(PITCH_CLASSES.index(tonic) + step) % 12 for step in compose.MODES[mode]} | {
            (PITCH_CLASSES.index(tonic) + 11) % 12
        }
        samples = rendered(generate_music, piece)[: 2**18]
        power = np.abs(np.fft.rfft(samples)) ** 2
        frequency = np.fft.rfftfreq(len(samples), 1 / RATE)
        audible = (frequency > 60) & (frequency < 4_000)
        classes = np.round(12 * np.log2(frequency[audible] / 440) + 69).astype(int) % 12
        assert power[audible][np.isin(classes, list(scale))].sum() > 0.9 * power[audible].sum()


def test_tempo_is_heard(generate_music):
    """The onsets repeat after a bar of the named tempo, and not an eighth of a beat before or after."""
    for piece in pieces("drums alone", "rhythm section", "backing", count=5):
        samples = rendered(generate_music, piece)
        energy = np.log1p(1e3 * np.square(samples[: len(samples) // 240 * 240].reshape(-1, 240)).mean(axis=1))  # 100 a second
        onsets = np.maximum(0, np.diff(energy))
        onsets -= onsets.mean()
        beats = len(piece.labels["beats"]) // len(piece.labels["downbeats"])

        def repeats(seconds, onsets=onsets):
            lag = round(100 * seconds)
            return max(np.dot(onsets[near:], onsets[:-near]) for near in range(lag - 1, lag + 2))

        beat = 60 / piece.labels["tempo"]
        between = max(repeats(beats * beat - beat / 8), repeats(beats * beat + beat / 8))
        assert repeats(beats * beat) > 1.3 * between, piece.labels


def test_a_note_is_rendered_at_its_time_and_pitch(generate_music):
    from synth import Renderer

    samples = Renderer(Path("fonts")).render([Event(0.5, 1.0, 0, 76, 100)], "csound", {0: 40})
    assert np.flatnonzero(samples)[0] == pytest.approx(0.5 * RATE, abs=2)
    note = samples[RATE // 2 : RATE]
    peak = np.abs(np.fft.rfft(note)).argmax() * RATE / len(note)
    assert peak == pytest.approx(440 * 2 ** (7 / 12), abs=2)


def test_captions_name_what_plays_and_fill_every_place():
    for piece in PIECES:
        found = tags(piece.labels)
        assert piece.labels["style"] in found and set(piece.labels["instruments"]) <= set(found)
        rng = compose.generator(0, piece.id)
        texts = [write(piece.labels, pattern, rng) for pattern in SENTENCES]
        assert all(text.strip() and "{" not in text and "None" not in text and "  " not in text for text in texts)
    assert len(set(captions(PIECES[0].labels, compose.generator(0, "a")))) == 3


def run(generate_music, monkeypatch, output, hours, seed=0):
    arguments = ["generate_music.py", str(output), "--hours", str(hours), "--seed", str(seed), "--workers", "1"]
    monkeypatch.setattr("sys.argv", arguments)
    generate_music.main()
    return [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]


def test_command_writes_music_a_manifest_and_captions(generate_music, monkeypatch, tmp_path):
    from muq_hf.training.captions import read_words
    from muq_hf.training.tracks import find_tracks

    rows = run(generate_music, monkeypatch, tmp_path, 0.01)
    assert sum(row["duration"] for row in rows) >= 36
    for row in rows:
        assert soundfile.info(tmp_path / row["path"]).duration == pytest.approx(row["duration"], abs=0.01)
        assert row["licence"] == "CC0-1.0" and row["font_licence"] in ("public-domain", "MIT")
    tracks, skipped = find_tracks(tmp_path / "captions.jsonl")
    assert len(tracks) == len(rows) and not skipped
    assert all(words.texts and words.tags for words in read_words(tmp_path / "captions.jsonl").values())


def test_more_hours_add_to_the_same_music(generate_music, monkeypatch, tmp_path, capsys):
    few = run(generate_music, monkeypatch, tmp_path, 0.005)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "audio").rglob("*.ogg")}
    more = run(generate_music, monkeypatch, tmp_path, 0.012)
    assert more[: len(few)] == few and len(more) > len(few)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    run(generate_music, monkeypatch, tmp_path, 0.012)
    assert "nothing to do" in capsys.readouterr().out


def test_another_seed_in_the_same_folder_is_refused(generate_music, monkeypatch, tmp_path):
    run(generate_music, monkeypatch, tmp_path, 0.005)
    with pytest.raises(SystemExit, match="seed"):
        run(generate_music, monkeypatch, tmp_path, 0.005, seed=1)


def test_fonts_of_other_terms_are_never_played(generate_music):
    assert sorted(generate_music.FREE_FONTS) == FONTS
