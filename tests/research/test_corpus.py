"""research/corpus: the builder of recordings and the score renderer, in miniature and offline."""

import io
import json
import os
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor, wait
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile


CORPUS = Path(__file__).parents[2] / "research" / "corpus"
sys.path.insert(0, str(CORPUS))  # the scripts import each other as they do when they are run

import abc_tunes  # noqa: E402
import arrange  # noqa: E402
import build_corpus  # noqa: E402
import catalogue  # noqa: E402
import recordings  # noqa: E402
import scores  # noqa: E402
import splits  # noqa: E402
import tasks  # noqa: E402
import tracks  # noqa: E402
import unpack  # noqa: E402

from muq_hf.training.acoustic_fingerprint import acoustic_fingerprint, find_duplicates  # noqa: E402


sys.path.remove(str(CORPUS))

RATE = recordings.SAMPLING_RATE
TABLE = [
    {
        "id": "game-music", "album": "Game", "licence": "GPL-2.0-only", "author": "A", "style": ["chip"],
        "music": ["*/game/data.pk3/music/*.ogg", "*/game/music/*.flac"], "leave_out": ["*ambient*"],
        "files": [{"match": ["free*"], "licence": "CC-BY-3.0", "author": "B"}],
    },
    {
        "id": "other-music", "album": "Other", "licence": "CC-BY-SA-3.0", "author": "C", "style": ["rock"],
        "music": ["*/other/*.flac"],
    },
]  # fmt: skip

TUNE = """X:1
T:The Test -- Reel
R:reel
M:2/4
L:1/8
K:Dm
(3ABc|:d2 e>f|1 B-B =Bz:|2 [DF]2 A-|]
A2 D2||
"""


def melody(seed, seconds=15.0):
    """float32 [S]: forty tones from 100 Hz to 4 kHz whose loudnesses change eight times a second."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    samples = np.zeros(len(time))
    for frequency in np.geomspace(100, 4_000, 40) * rng.uniform(0.98, 1.02, 40):
        loudness = rng.exponential(size=int(seconds * 8) + 1)[(time * 8).astype(int)]
        samples += loudness * np.sin(2 * np.pi * frequency * time)
    return (0.2 * samples / samples.std()).clip(-1, 1).astype(np.float32)


def encoded(samples, container="FLAC", subtype="PCM_16"):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format=container, subtype=subtype)
    return buffer.getvalue()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def package_tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo("./" + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def packages():
    """{package: content as a tar}: a track in a nested archive, a free one, ambience, a short one, and a copy."""
    song, free, copy = melody(1), melody(2), np.concatenate([np.zeros(RATE, np.float32), 0.5 * melody(1)])
    inner = {"music/song.ogg": encoded(song, "OGG", "VORBIS"), "sound/shot.ogg": encoded(free, "OGG", "VORBIS")}
    return {
        "game-music": package_tar(
            {
                "usr/share/doc/game-music/copyright": b"rights",
                "usr/share/game/data.pk3": zipped(inner),
                "usr/share/game/music/free.flac": encoded(free),
                "usr/share/game/music/ambient_wind.flac": encoded(free),
                "usr/share/game/music/jingle.flac": encoded(free[: RATE // 2]),
                "usr/share/game/unread.zip": b"no archive at all",
            }
        ),
        "other-music": package_tar({"usr/share/other/copy.flac": encoded(copy)}),
    }


@pytest.fixture
def build(packages, tmp_path, monkeypatch):
    """Runs the command on the miniature packages; returns its output folder."""
    (tmp_path / "table.json").write_text(json.dumps(TABLE))

    def fetch(package, downloads):
        if package.id not in packages:
            raise unpack.PackageGone("no such package")
        (downloads / f"{package.id}_1_all.deb").touch()
        return downloads / f"{package.id}_1_all.deb"

    def from_tar(package, deb, folder):
        return unpack.unpack_tar(package, io.BytesIO(packages[package.id]), folder)

    monkeypatch.setattr(build_corpus, "fetch", fetch)
    monkeypatch.setattr(tracks, "unpack", from_tar)
    monkeypatch.setattr(build_corpus, "ProcessPoolExecutor", ThreadPoolExecutor)

    def run(*options, table=tmp_path / "table.json"):
        output = str(tmp_path / "out")
        arguments = ["build_corpus.py", output, "--table", str(table), "--min-seconds", "1", *options]
        monkeypatch.setattr(sys, "argv", arguments)
        build_corpus.main()
        return tmp_path / "out"

    return run


def manifest(output):
    return {track["id"]: track for track in map(json.loads, (output / "manifest.jsonl").read_text().splitlines())}


def test_table_has_a_row_for_every_package_and_reaches_nested_archives():
    table = {package.id: package for package in catalogue.load_packages(CORPUS / "packages.json")}
    assert table["0ad-data"].is_archive("usr/share/games/0ad/mods/public/public.zip")
    assert not table["0ad-data"].is_archive("usr/share/games/0ad/mods/mod/mod.zip")
    assert table["0ad-data"].is_music("usr/share/games/0ad/mods/public/public.zip/audio/music/Sunrise.ogg")
    assert not table["fretsonfire-songs-sectoid"].is_music("usr/share/games/x/data/songs/sectoid/Feelings/guitar.ogg")


def test_rights_of_single_files_come_before_those_of_the_package():
    (ufo,) = (package for package in catalogue.load_packages(CORPUS / "packages.json") if package.id == "ufoai-music")
    assert ufo.rights("a/0music.pk3/music/van_theme.ogg")[0] == "CC-BY-3.0"
    assert ufo.rights("a/0music.pk3/music/PsymongN1.ogg")[0] == "GPL-2.0-only"


def test_unpacking_keeps_music_by_path_and_looks_into_archives(packages, tmp_path):
    game = catalogue.Package(**{k: tuple(v) if isinstance(v, list) else v for k, v in TABLE[0].items()})
    music = unpack.unpack_tar(game, io.BytesIO(packages["game-music"]), tmp_path)
    assert [item.source.removeprefix("usr/share/game/") for item in music] == [
        "data.pk3/music/song.ogg",
        "music/free.flac",
        "music/jingle.flac",
    ]
    assert (tmp_path / "copyright").read_bytes() == b"rights"
    assert soundfile.info(music[0].file).duration == pytest.approx(15.0)


def test_corpus_has_one_line_a_track_at_one_level(build):
    output = build()
    found = manifest(output)
    assert set(found) == {"game-music/data_pk3_music_song", "game-music/music_free", "other-music/copy"}
    for track in found.values():
        samples, rate = soundfile.read(output / track["path"])
        assert rate == RATE and samples.ndim == 1
        assert len(samples) / rate == pytest.approx(track["duration"], abs=0.01)
        assert recordings.rms_db(samples) == pytest.approx(-23.0, abs=0.5)
    assert found["game-music/music_free"]["licence"] == "CC-BY-3.0" and found["game-music/music_free"]["author"] == "B"


def test_copy_in_another_package_codec_and_level_is_found(build):
    found = manifest(build())
    assert found["other-music/copy"]["duplicate_of"] == "game-music/data_pk3_music_song"
    assert found["game-music/music_free"]["duplicate_of"] is None
    assert found["other-music/copy"]["split"] == found["game-music/data_pk3_music_song"]["split"]


def test_second_run_changes_nothing(build, capsys):
    output = build()
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    build()
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    assert "nothing to do" in capsys.readouterr().out


def test_an_interrupted_download_keeps_the_packages_that_are_done(build, tmp_path, monkeypatch):
    class AtOnce(ThreadPoolExecutor):
        def submit(self, function, *arguments):
            future = super().submit(function, *arguments)
            wait([future])
            return future

    fetch = build_corpus.fetch

    def interrupted(package, downloads):
        if package.id == "other-music":
            raise KeyboardInterrupt
        return fetch(package, downloads)

    monkeypatch.setattr(build_corpus, "ProcessPoolExecutor", AtOnce)
    monkeypatch.setattr(build_corpus, "fetch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build()
    assert (tmp_path / "out" / "state" / "game-music.json").exists()


def test_manifests_older_than_a_package_are_written_again(build):
    output = build()
    whole = manifest(output)
    (output / "manifest.jsonl").write_text("")
    os.utime(output / "manifest.jsonl", (0, 0))
    assert manifest(build()) == whole


def test_missing_package_is_reported_and_the_rest_is_built(build, tmp_path, capsys):
    (tmp_path / "longer.json").write_text(json.dumps([TABLE[0] | {"id": "gone-music"}, TABLE[1]]))
    assert set(manifest(build(table=tmp_path / "longer.json"))) == {"other-music/copy"}
    assert "not to be had: gone-music" in capsys.readouterr().out


def test_licences_cc_leaves_out_what_shipped_weights_may_not_use(build):
    assert set(manifest(build("--licences", "cc"))) == {"game-music/music_free", "other-music/copy"}


def test_other_settings_in_one_folder_are_refused(build):
    build()
    with pytest.raises(SystemExit, match="level_db"):
        build("--level-db", "-20")


def test_fingerprints_of_different_music_do_not_match():
    prints = {str(seed): acoustic_fingerprint(melody(seed), RATE) for seed in range(4)}
    assert find_duplicates(prints) == {}


def test_track_split_keeps_copies_together_and_shares_out_every_album():
    album = [{"id": f"a/{number}", "album": "a", "duplicate_of": None, "tempo": None} for number in range(20)]
    copies = [track | {"id": track["id"].replace("a/", "b/"), "duplicate_of": track["id"]} for track in album]
    lists = splits.draw(album + copies)
    assert [len(lists[split]) for split in ("train", "validation", "test")] == [28, 4, 8]
    assert all(name.replace("a/", "b/") in names for names in lists.values() for name in names)


def test_songs_of_known_tempo_are_tests():
    songs = [{"id": f"a/{number}", "album": "a", "duplicate_of": None, "tempo": 120.0} for number in range(20)]
    assert len(splits.draw(songs)["test"]) == 20


def test_every_listed_track_and_album_is_in_one_split():
    for name in ("tracks", "albums"):
        lists = json.loads((CORPUS / "splits" / f"{name}.json").read_text())
        entries = [entry for names in lists.values() for entry in names]
        assert set(lists) == {"train", "validation", "test"} and len(entries) == len(set(entries))


def test_held_out_albums_hold_no_music_that_shipped_weights_may_use():
    held_out = {album for album, split in splits.load("albums").items() if split != "train"}
    for package in catalogue.load_packages(CORPUS / "packages.json"):
        assert package.album not in held_out or not package.may_hold("cc"), package.id


def test_abc_tune_gives_the_notes_that_are_written():
    third, half = Fraction(1, 3), Fraction(1, 2)
    upbeat = [(0, third, 69), (third, third, 70), (2 * third, third, 72)]  # B is flat in D minor
    bar = [(0, 1, 74), (1, Fraction(3, 4), 76), (Fraction(7, 4), Fraction(1, 4), 77)]
    first_ending = [(0, 1, 70), (1, half, 71)]  # tied, then natural, then half a quarter of rest
    second_ending = [(0, 1, 62), (0, 1, 65), (1, Fraction(3, 2), 69)]  # the tie reaches into the last bar

    def at(start, notes):
        return [(start + onset, duration, pitch) for onset, duration, pitch in notes]

    expected = at(0, upbeat) + at(1, bar) + at(3, first_ending) + at(5, bar) + at(7, second_ending)
    tune = abc_tunes.parse_tune(TUNE.replace("A-|]\nA2 D2", "A-A|]\nA2 D2"))
    assert tune.notes == [*expected[:-1], (8, 1, 69), (9, 1, 69), (10, 1, 62)]
    assert abc_tunes.parse_tune(TUNE).notes == [*expected[:-1], (8, Fraction(3, 2), 69), (Fraction(19, 2), 1, 62)]


def test_abc_tune_has_its_key_meter_and_beats():
    tune = abc_tunes.parse_tune(TUNE.replace("A-|]\nA2 D2", "A2|]\nA2 D2"))
    assert tune.key == (2, "minor") and tune.meter == (2, 4) and tune.fields["R"] == "reel"
    assert tune.beats[:4] == [(0, False), (1, True), (2, False), (3, True)]  # the triplet is an upbeat of one beat
    assert [onset for onset, down in tune.beats if down] == [1, 3, 5, 7, 9]


def test_abc_bar_that_does_not_fill_the_meter_makes_beats_unknown():
    assert abc_tunes.parse_tune("X:1\nM:3/4\nL:1/4\nK:C\nCDE|CDEF|CDE|\n").beats is None


def test_abc_phrase_that_ends_before_an_upbeat_keeps_the_beats():
    tune = abc_tunes.parse_tune("X:1\nM:3/4\nL:1/4\nK:C\nG|CDE|C2:|G|CDE|C2:|\n")
    assert [onset for onset, down in tune.beats if down] == [1, 4, 7, 10, 13, 16, 19, 22]


@pytest.mark.parametrize("field", ["K:G % could as well be D", "K:G\nCDEF|\nK:D"])
def test_abc_key_that_changes_or_is_doubted_is_not_a_label(field):
    assert abc_tunes.parse_tune(f"X:1\nM:4/4\nL:1/4\n{field}\nCDEF|\n").key is None


def test_abc_sign_that_is_not_understood_is_refused():
    with pytest.raises(abc_tunes.AbcError):
        abc_tunes.parse_tune("X:1\nM:4/4\nL:1/4\nK:C\nCD&EF|\n")


def piece(**changes):
    tune = abc_tunes.parse_tune("X:1\nM:6/8\nL:1/8\nK:Ador\nABA ABc|dcB A3|\n")
    notes = [(float(onset), float(duration), pitch) for onset, duration, pitch in tune.notes]
    beats = [(float(onset), down) for onset, down in tune.beats]
    known = {"meter": tune.meter, "key": tune.key, "dance": "jig", "beats": beats}
    return scores.Piece("book/1", "tune", "Title", "tune: title", [notes], **known | changes)


def test_performance_is_decided_by_its_seed():
    assert arrange.perform(piece(), "train", ["a", "b"], 7) == arrange.perform(piece(), "train", ["a", "b"], 7)
    assert arrange.perform(piece(), "train", ["a", "b"], 7) != arrange.perform(piece(), "train", ["a", "b"], 8)


@pytest.mark.parametrize("seed", range(5))
def test_labels_say_what_the_events_play(seed):
    item = arrange.perform(piece(), "train", ["a"], seed)
    labels, melody_events = item.labels, [event for event in item.events if event.channel == 0]
    assert [event.pitch % 12 for event in melody_events] == [
        (pitch + labels["transposition"]) % 12 for _, _, pitch in piece().parts[0]
    ]
    tonic, mode = labels["key"].split()
    assert (scores.PITCH_CLASSES.index(tonic), mode) == ((9 + labels["transposition"]) % 12, "dorian")
    assert np.diff(labels["beats"]) == pytest.approx(60 / labels["tempo"], abs=1e-3)
    assert [event.onset for event in melody_events][::3] == pytest.approx(labels["beats"], abs=1e-3)
    assert labels["downbeats"] == labels["beats"][::2]


def test_chord_labels_hold_the_notes_that_sound():
    triad = [[(0.0, 4.0, 60)], [(0.0, 4.0, 64)], [(0.0, 4.0, 67)]]
    following = [[(4.0, 4.0, 62)], [(4.0, 4.0, 65)], [(4.0, 4.0, 69)]]
    parts = [first + second for first, second in zip(triad, following, strict=True)]
    analysed = piece(beats=None, chords=[(0.0, 4.0, 0, "maj"), (4.0, 8.0, 2, "min")])
    analysed.parts, analysed.kind = parts, "analysed"
    clips = list(arrange.chord_clips(analysed, "train", ["a"], 0))
    assert len({clip.labels["transposition"] % 12 for clip in clips}) == 12
    steps = {quality: degrees for degrees, quality in scores.CHORD_QUALITIES.items()}
    for clip in clips:
        for start, _, label in clip.labels["chords"]:
            root, quality = label.split(":")
            sounding = {event.pitch % 12 for event in clip.events if event.onset == pytest.approx(start, abs=1e-3)}
            assert sounding == {(scores.PITCH_CLASSES.index(root) + step) % 12 for step in steps[quality]}


def test_analysis_that_contradicts_the_notes_is_noticed():
    parts = [[(0.0, 4.0, 60)], [(0.0, 4.0, 64)], [(0.0, 4.0, 67)]]
    assert scores.chord_agreement(parts, [(0.0, 4.0, 0, "maj")]) == 1.0
    assert scores.chord_agreement(parts, [(0.0, 4.0, 1, "maj")]) == 0.0


def test_analysis_in_another_key_is_moved_to_the_key_of_the_notes():
    parts = [[(0.0, 4.0, 62), (4.0, 4.0, 69)], [(0.0, 4.0, 66), (4.0, 4.0, 73)], [(0.0, 4.0, 69), (4.0, 4.0, 76)]]
    moved = scores.in_key_of_the_notes(parts, [(0.0, 4.0, 0, "maj"), (4.0, 8.0, 7, "maj")])
    assert [root for _, _, root, _ in moved] == [2, 9]


def test_pieces_with_one_title_or_one_opening_are_one_group():
    def named(title, transposition=0, first=0):
        pitches = [60 + transposition + step for step in (first, 2, 4, 5, 7, 4, 0, 2, 4, 9, 7, 5, 4, 2)]
        notes = [(float(place), 1.0, pitch) for place, pitch in enumerate(pitches)]
        return scores.Piece(title, "tune", title, "tune: " + scores.normal_title(title), [notes])

    found = scores.group_pieces(
        [named("The Fire-Fly -- Reel"), named("Fire Fly, The", first=7), named("Alias", 5), named("Else", first=12)]
    )
    assert len({item.group for item in found[:3]}) == 1
    assert found[3].group != found[0].group


def test_single_notes_are_3960_in_ten_families_with_one_font_held_out():
    items = list(arrange.single_notes({"a": "train", "b": "train", "c": "test"}, 0))
    assert len(items) == 3_960 and len({item.labels["family"] for item in items}) == 10
    assert {item.font for item in items if item.split == "test"} == {"c"}
    assert {item.labels["pitch"] for item in items} == set(range(48, 85))
    families = [item.labels["family"] for item in items]
    assert max(map(families.count, set(families))) / len(items) == pytest.approx(0.121, abs=0.001)


def test_key_task_takes_24_keys_and_tunes_that_end_on_their_tonic():
    def row(name, key, ends=True):
        labels = {"key": key, "ends_on_tonic": ends, "tempo": None}
        return {"id": name, "kind": "tune", "path": name, "duration": 20.0, "split": "train", "group": name} | {
            "font": "a", "labels": labels,
        }  # fmt: skip

    found = list(tasks.key([row("1", "D minor"), row("2", "D dorian"), row("3", "D major", ends=False), row("4", "D major")]))
    assert [clip["path"] for clip in found] == ["1", "4"]
    assert found[0]["end"] - found[0]["start"] == 15.0 and found[0]["labels"]["key"] == "D minor"
