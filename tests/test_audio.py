"""Reading audio: every container, any span, and a named reason for whatever gives no usable audio."""

import io
import os
import pickle
import socket
import stat
import struct
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr
from audio_files import music

from muq_hf.audio import AUDIO_SUFFIXES, REASONS, AudioError, audio_info, check_audible, find_audio, load_audio, stream_audio
from muq_hf.models.decoding_muq import frames_of_block, open_audio


RATE = 24_000  # Hz
FORMATS = {  # suffix: (container, coding, sampling rate in Hz)
    "wav": ("WAV", "PCM_16", 44_100),
    "flac": ("FLAC", "PCM_16", 48_000),
    "ogg": ("OGG", "VORBIS", 44_100),
    "opus": ("OGG", "OPUS", 48_000),
    "mp3": ("MP3", "MPEG_LAYER_III", 44_100),
}


def write(path, samples, rate, container=None, coding=None):
    soundfile.write(path, samples, rate, format=container, subtype=coding)
    return path


@pytest.fixture(scope="module", params=FORMATS)
def encoded(request, tmp_path_factory):
    """A stereo file of each format and what it was made of."""
    container, coding, rate = FORMATS[request.param]
    samples = music(rate=rate)
    path = tmp_path_factory.mktemp("encoded") / f"song.{request.param}"
    return write(path, samples, rate, container, coding), samples, rate


def reason_of(call, *arguments, **keywords):
    with pytest.raises(AudioError) as caught:
        call(*arguments, **keywords)
    assert caught.value.reason in REASONS
    return caught.value.reason, str(caught.value)


# What is decoded


def test_every_format_gives_the_music_that_was_written(encoded):
    path, samples, rate = encoded
    wave = load_audio(path)
    assert wave.dtype == np.float32 and wave.ndim == 1
    reference = soxr.resample(samples.mean(axis=1), rate, RATE, quality="HQ")
    assert abs(len(wave) - len(reference)) <= (1 if path.suffix != ".opus" else 0.02 * RATE)
    n = min(len(wave), len(reference))
    assert np.corrcoef(wave[:n], reference[:n])[0, 1] > 0.99


def test_mono_files_at_the_models_rate_are_bit_exact(tmp_path):
    samples = music(rate=RATE, channels=1)
    path = write(tmp_path / "a.wav", samples, RATE, coding="FLOAT")
    np.testing.assert_array_equal(load_audio(path), samples[:, 0])


@pytest.mark.parametrize("channels", [2, 6])
def test_downmixing_is_the_mean_of_the_channels(tmp_path, channels):
    samples = music(rate=RATE, channels=channels)
    path = write(tmp_path / "a.wav", samples, RATE, coding="FLOAT")
    np.testing.assert_allclose(load_audio(path), samples.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 44_099])
def test_resampling_keeps_pitch_phase_and_duration(tmp_path, rate):
    path = write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate * 2) / rate), rate, coding="FLOAT")
    wave = load_audio(path)
    assert len(wave) == 2 * RATE
    inner = slice(RATE // 10, -RATE // 10)
    np.testing.assert_allclose(wave[inner], 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)[inner], atol=1e-4)


def test_resampling_does_not_alias(tmp_path):
    rate = 48_000
    path = write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 15_000 * np.arange(rate) / rate), rate, coding="FLOAT")
    assert np.abs(load_audio(path)[1000:-1000]).max() < 1e-4  # 15 kHz would fold to 9 kHz


def test_other_target_rates(tmp_path):
    path = write(tmp_path / "a.wav", music(1.0), 44_100)
    assert len(load_audio(path, sampling_rate=16_000)) == 16_000


@pytest.mark.parametrize("block_seconds", [0.01, 0.37, 100.0])
def test_blocks_join_to_the_whole(encoded, block_seconds):
    path = encoded[0]
    np.testing.assert_array_equal(np.concatenate(list(stream_audio(path, block_seconds))), load_audio(path))


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.5, 1.7), (1.23456, None), (2.9, 50.0), (2.0001, 2.0003)])
def test_an_excerpt_is_a_slice_of_the_whole(encoded, start, end):
    path = encoded[0]
    expected = load_audio(path)[round(start * RATE) : None if end is None else round(end * RATE)]
    np.testing.assert_allclose(load_audio(path, start=start, end=end), expected, atol=2e-6)


def test_mp3_without_a_length_header_is_read_to_its_end(tmp_path):
    """A quiet beginning at a low bit rate makes libsndfile guess a far too short length."""
    samples = np.concatenate([1e-4 * music(1.0), music(5.0) + 0.1 * music(5.0, seed=1)])
    path = write(tmp_path / "a.mp3", samples, 44_100)
    with soundfile.SoundFile(tmp_path / "a.mp3", "w", 44_100, 2, bitrate_mode="VARIABLE", compression_level=0.2) as file:
        file.write(samples)
    data = path.read_bytes()
    headless = tmp_path / "b.mp3"
    headless.write_bytes(data.replace(b"Xing", bytes(4), 1).replace(b"Info", bytes(4), 1))
    wave = load_audio(headless)
    assert len(wave) / RATE == pytest.approx(6.0, abs=0.1)
    assert audio_info(headless).duration == pytest.approx(6.0, abs=0.1)
    np.testing.assert_allclose(load_audio(headless, start=4.0, end=5.0), wave[4 * RATE : 5 * RATE], atol=1e-6)


@pytest.mark.parametrize("declared", [0xFFFF_FFFF, 0x7FFF_FFFF])
def test_wave_files_from_a_pipe_declare_no_length(tmp_path, declared):
    path = write(tmp_path / "a.wav", music(1.0, RATE), RATE)
    data = bytearray(path.read_bytes())
    expected = load_audio(path)
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", declared)
    path.write_bytes(data)
    np.testing.assert_array_equal(load_audio(path), expected)


def test_sources_of_every_kind_are_the_same(encoded):
    path = encoded[0]
    data = path.read_bytes()
    expected = load_audio(path)

    class Socket:
        """Readable, not seekable."""

        def __init__(self):
            self.read = io.BytesIO(data).read

    written = io.BytesIO()
    written.write(data)  # leaves the position at the end
    with open(path, "rb") as file:
        for source in (str(path), data, bytearray(data), io.BytesIO(data), written, file, file, Socket()):
            np.testing.assert_array_equal(load_audio(source), expected)
        assert not file.closed


def test_streaming_needs_memory_for_a_block_only(tmp_path):
    path = write(tmp_path / "long.wav", np.tile(music(10.0), (18, 1)), 44_100)  # 3 min: 63 MB as float32 stereo
    tracemalloc.start()
    try:
        total = sum(len(block) for block in stream_audio(path, block_seconds=5.0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 180 * RATE
    assert peak < 8e6


def test_stopping_early_closes_the_file(tmp_path):
    path = write(tmp_path / "a.wav", music(3.0), 44_100)
    opened = len(os.listdir("/dev/fd"))
    blocks = stream_audio(path, block_seconds=0.1)
    next(blocks)
    assert len(os.listdir("/dev/fd")) > opened
    blocks.close()
    assert len(os.listdir("/dev/fd")) == opened


# What is refused


@pytest.mark.parametrize("share", [0.97, 0.5, 0.1])
def test_files_that_are_cut_off_are_unreadable(encoded, tmp_path, share):
    data = encoded[0].read_bytes()
    path = tmp_path / f"cut{encoded[0].suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    reason, message = reason_of(load_audio, path)
    assert reason == "unreadable" and str(path) in message


@pytest.mark.parametrize(("container", "coding"), [("RF64", "PCM_16"), ("W64", "FLOAT"), ("AU", "PCM_16"), ("CAF", "PCM_24")])
def test_rarer_formats_that_are_cut_off_are_unreadable(tmp_path, container, coding):
    path = tmp_path / f"song.{container.lower()}"
    soundfile.write(path, music(), 44_100, format=container, subtype=coding)
    assert len(load_audio(path)) == 3 * 24_000
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reason, message = reason_of(load_audio, path)
    assert reason == "unreadable" and str(path) in message


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff"])
def test_garbage_is_unreadable(tmp_path, suffix):
    path = tmp_path / f"noise{suffix}"
    path.write_bytes(np.random.default_rng(0).bytes(20_000))
    reason, message = reason_of(load_audio, path)
    assert reason == "unreadable" and str(path) in message


@pytest.mark.parametrize("suffix", [".txt", ".raw", ".vox", ".gsm", ""])
def test_no_format_is_guessed_from_a_suffix(tmp_path, suffix, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / f"noise{suffix}"
    path.write_bytes(np.random.default_rng(0).bytes(20_000))
    reason, message = reason_of(load_audio, path)
    assert reason == "unsupported" and str(path) in message


def test_missing_files(tmp_path):
    assert reason_of(load_audio, tmp_path / "none.wav")[0] == "missing"


def test_folders(tmp_path):
    assert reason_of(load_audio, tmp_path)[0] == "unsupported"


def test_files_of_no_bytes(tmp_path):
    (tmp_path / "a.wav").touch()
    assert reason_of(load_audio, tmp_path / "a.wav")[0] == "empty"
    assert reason_of(load_audio, b"")[0] == "empty"


def test_files_of_no_samples(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros((0, 2)), 44_100)
    assert reason_of(load_audio, path)[0] == "empty"


def test_spans_behind_the_end(encoded):
    reason, message = reason_of(load_audio, encoded[0], start=60.0)
    assert reason == "empty" and "60.0 s" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_files_with_nan_or_infinity(tmp_path, value):
    samples = music(1.0)
    samples[30_000, 1] = value
    path = write(tmp_path / "a.wav", samples, 44_100, coding="FLOAT")
    reason, message = reason_of(load_audio, path)
    assert reason == "unreadable" and "NaN" in message


def test_floats_in_the_range_of_integers(tmp_path):
    path = write(tmp_path / "a.wav", 32_768 * music(1.0), 44_100, coding="FLOAT")
    reason, message = reason_of(load_audio, path)
    assert reason == "unreadable" and "full scale" in message


@pytest.mark.parametrize("rate", [1, 2**31 - 1])
def test_impossible_sampling_rates(tmp_path, rate):
    path = write(tmp_path / "a.wav", music(1.0), 44_100)
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", rate)
    path.write_bytes(data)
    reason, message = reason_of(load_audio, path)
    assert reason == "unreadable" and f"{rate} Hz" in message


def test_damage_never_gives_samples_that_are_not_audio(encoded):
    """Bytes overwritten, left out or cut off at random: an AudioError, or finite samples."""
    data = encoded[0].read_bytes()
    generator = np.random.default_rng(1)
    for _ in range(12):
        damaged = bytearray(data)
        for at in generator.integers(0, len(data), size=generator.integers(1, 20)):
            damaged[at] = generator.integers(256)
        first, last = sorted(generator.integers(0, len(data), size=2))
        damaged = damaged[:first] + damaged[first + (last - first) // 50 :]
        try:
            wave = load_audio(bytes(damaged))
        except AudioError as error:
            assert error.reason in ("unreadable", "unsupported", "empty")
        else:
            assert wave.ndim == 1 and np.isfinite(wave).all()


@pytest.mark.parametrize("source", [None, 3, ["a.wav"], np.zeros(5)])
def test_sources_of_other_types_are_named(source):
    with pytest.raises(ValueError, match=f"got {type(source).__name__}"):
        load_audio(source)


def test_text_files_are_refused(tmp_path):
    path = write(tmp_path / "a.wav", music(1.0), 44_100)
    with open(path, encoding="latin-1") as file, pytest.raises(ValueError, match="binary mode"):
        load_audio(file)


@pytest.mark.parametrize("keywords", [{"start": -1.0}, {"start": 2.0, "end": 2.0}, {"start": float("nan")}])
def test_impossible_spans(encoded, keywords):
    with pytest.raises(ValueError, match="start"):
        load_audio(encoded[0], **keywords)


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(AudioError("silent", "a.wav is silent.")))
    assert (error.reason, str(error)) == ("silent", "a.wav is silent.")


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXTINF:6,\nfile:///etc/passwd\n", "ffconcat version 1.0\nfile a.wav\n", "<?xml version='1.0'?><MPD/>"]
)
@pytest.mark.parametrize("suffix", [".m4a", ".wav", ".mp3", ""])
def test_playlists_are_no_audio_whatever_their_name(tmp_path, ffmpeg, suffix, text):
    path = tmp_path / f"song{suffix}"
    path.write_text(text)
    reason, message = reason_of(load_audio, path)
    assert reason == "unsupported" and "playlist" in message


def test_named_pipes_devices_and_sockets_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "socket.wav"))
        for path, kind in ((tmp_path / "pipe.wav", "pipe"), (tmp_path / "socket.wav", "socket"), ("/dev/zero", "device")):
            reason, message = reason_of(load_audio, path)
            assert reason == "unsupported" and kind in message and str(path) in message


@pytest.mark.parametrize("fork", ["._", "._song.mp3", ".AppleDouble/song.mp3"])
def test_resource_forks_do_not_hide_the_music(tmp_path, monkeypatch, fork):
    """libsndfile looks for them in the folder of a file, or in the working folder if the file has no name."""
    path = write(tmp_path / "song.mp3", music(1.0), 44_100, "MP3")
    expected = load_audio(path)
    (tmp_path / fork).parent.mkdir(exist_ok=True)
    (tmp_path / fork).touch()
    monkeypatch.chdir(tmp_path)
    for source in (path, path.read_bytes()):
        np.testing.assert_array_equal(load_audio(source), expected)


def test_a_block_is_bounded_by_frames_times_channels(tmp_path):
    path = write(tmp_path / "wide.wav", np.zeros((20_000, 255)), 44_100)
    with open_audio(path) as reader:
        blocks = list(reader.blocks(0, frames_of_block(reader, 10.0)))
    assert sum(map(len, blocks)) == 20_000
    assert max(block.size for block in blocks) <= 1 << 22


# Formats that need ffmpeg

FAKE_FFMPEG = """#!{python}
import struct, sys
data = open(sys.argv[sys.argv.index("-i") + 1].removeprefix("file:"), "rb").read()
if data[12:16] != b"good":
    sys.exit("[info] first line\\n[error] Invalid data found")
samples = data[16:]
sys.stdout.buffer.write(b".snd" + struct.pack(">5I", 28, 0xFFFFFFFF, 6, 48000, 2) + b"note" + samples)
sys.exit(1 if data.endswith(b"cut!") else 0)
"""


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(FAKE_FFMPEG.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))


def foreign(samples):
    return b"\0\0\0\x0cftypM4A good" + samples.astype(">f4").tobytes()


def test_other_formats_go_through_ffmpeg(tmp_path, ffmpeg):
    samples = music(2.0, 48_000)
    path = tmp_path / "song.m4a"
    path.write_bytes(foreign(samples))
    reference = soxr.resample(samples.mean(axis=1), 48_000, RATE, quality="HQ")
    np.testing.assert_allclose(load_audio(path), reference, atol=1e-6)
    np.testing.assert_allclose(load_audio(path, start=0.7, end=1.1), reference[16_800:26_400], atol=2e-6)
    np.testing.assert_allclose(load_audio(path.read_bytes()), reference, atol=1e-6)
    info = audio_info(path)
    assert (info.duration, info.sampling_rate, info.channels) == (2.0, 48_000, 2)


def test_what_ffmpeg_cannot_read_is_unreadable(tmp_path, ffmpeg):
    path = tmp_path / "song.wma"
    path.write_bytes(b"\0\0\0\x0cftypM4A bad")
    reason, message = reason_of(load_audio, path)
    assert reason == "unreadable" and str(path) in message and "Invalid data found" in message


def test_a_failure_of_ffmpeg_on_the_way_is_unreadable(tmp_path, ffmpeg):
    path = tmp_path / "song.m4a"
    path.write_bytes(foreign(music(1.0, 48_000)) + b"cut!")
    assert reason_of(load_audio, path)[0] == "unreadable"


def test_ffmpeg_is_not_asked_about_broken_files_of_known_formats(tmp_path, ffmpeg):
    path = write(tmp_path / "song.wav", music(1.0), 44_100)
    data = bytearray(path.read_bytes())
    data[16:20] = struct.pack("<I", 9)  # of 16 bytes that describe the samples
    path.write_bytes(data)
    reason, message = reason_of(load_audio, path)
    assert reason == "unreadable" and "ffmpeg says" not in message


def test_the_content_decides_and_not_the_suffix(tmp_path, ffmpeg):
    path = tmp_path / "song.wav"
    path.write_bytes(foreign(music(1.0, 48_000)))
    assert len(load_audio(path)) == RATE


def test_without_ffmpeg_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "song.m4a"
    path.write_bytes(b"\0\0\0 ftypM4A ")
    reason, message = reason_of(load_audio, path)
    assert reason == "unsupported" and "ffmpeg" in message and str(path) in message


# Finding, probing, checking


def test_info_is_what_was_written(encoded):
    path, samples, rate = encoded
    info = audio_info(path)
    assert (info.sampling_rate, info.channels) == (rate, 2)
    assert info.duration == pytest.approx(len(samples) / rate, abs=0.001)


def test_folders_are_searched_and_files_taken_as_they_are(tmp_path):
    for name in ("b/2.MP3", "b/1.wav", "b/notes.txt", "b/._1.wav", "b/.cache/3.wav", "a/deep/er/x.flac", "odd.xyz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_audio([tmp_path / "odd.xyz", str(tmp_path), tmp_path / "gone.wav", tmp_path / "b" / "1.wav"])
    names = ["odd.xyz", "a/deep/er/x.flac", "b/1.wav", "b/2.MP3", "gone.wav"]
    assert found == [tmp_path / name for name in names]


def test_folders_that_cannot_be_listed_are_found_and_refused(tmp_path, monkeypatch):
    """Not by their permissions: root may list every folder."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a.wav").touch()
    (tmp_path / "shut").mkdir()
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_audio([tmp_path]) == [tmp_path / "open" / "a.wav", tmp_path / "shut"]
    reason, message = reason_of(load_audio, tmp_path / "shut")
    assert reason == "unreadable" and "shut cannot be listed: Permission denied" in message


def test_links_to_folders_are_not_followed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.wav").touch()
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "a" / "2.wav").symlink_to(tmp_path / "a" / "1.wav")
    assert find_audio([tmp_path]) == [tmp_path / "a" / "1.wav", tmp_path / "a" / "2.wav"]


def test_suffixes_are_lower_case_with_a_dot():
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in AUDIO_SUFFIXES)


@pytest.mark.parametrize(
    ("num_samples", "peak", "reason"),
    [(0, 0.0, "empty"), (1024, 1.0, "too short"), (5000, 0.0, "silent"), (5000, 3e-5, "silent")],
)
def test_audio_without_sound_has_a_reason(num_samples, peak, reason):
    found, message = reason_of(check_audible, num_samples, peak, 1025, "song.wav")
    assert found == reason and "song.wav" in message


def test_quiet_music_is_audible():
    check_audible(1025, 1e-4, 1025)
