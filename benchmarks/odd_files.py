"""Audio files of kinds that decoders read wrongly: what becomes of them at every door, with and without ffmpeg.

    python benchmarks/odd_files.py [--markdown table.md]

Makes the files with the ffmpeg program out of `examples/audio`, reads each with `load_audio`, `muq-hf embed`, the pipeline and
the model of `muq-hf tag`, and prints a table. Exit code 1 if one is read at another length than it has (by more than one frame of
its coding), or if two doors disagree.
"""

import argparse
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


MUSIC = Path(__file__).parent.parent / "examples" / "audio"
FRAME_SECONDS = 0.08  # the longest frame of a coding here, with what encoders add before and after
READ, REFUSED = "read", "refused"

# name: what it is, the seconds that it holds, and whether it shall be read (or may be refused) with ffmpeg and without
FILES = {
    "float.w64": ("32-bit floats in W64, named in a subformat", 2, READ, READ),
    "alaw_6.w64": ("A-law in W64, six channels, named in a subformat", 2, READ, READ),
    "joined.opus": ("two Opus files in one", 11, READ, READ),
    "joined_rate.ogg": ("two Vorbis files of other sampling rates in one", 11, READ, READ),
    "joined_same.ogg": ("two Vorbis files in one", 11, READ, READ),
    "joined_info.mp3": ("two MP3 files in one, each with its Info header", 11, READ, READ),
    "joined_mono.mp3": ("stereo MP3, then mono", 11, READ, READ),
    "joined.flac": ("two FLAC files in one", 11, READ, READ),
    "joined.wav": ("two WAV files in one", 11, READ, READ),
    "bit_flip.opus": ("one bit changed", 6, REFUSED, REFUSED),
    "bit_flip.ogg": ("one bit changed", 6, REFUSED, REFUSED),
    "whole.webm": ("Opus in WebM", 6, READ, REFUSED),
    "whole.m4a": ("AAC in MP4, in fragments", 6, READ, REFUSED),
    "whole.wma": ("WMA", 6, READ, REFUSED),
    "cut.webm": ("half of it", 6, REFUSED, REFUSED),
    "cut.m4a": ("half of it", 6, REFUSED, REFUSED),
    "cut.wma": ("97 % of it", 6, REFUSED, REFUSED),
    "claims_a_third.flac": ("the header declares a third of the samples", 6, READ, READ),
    "claims_a_third.wav": ("the header declares a third of the samples", 6, REFUSED, REFUSED),
    "claims_nothing.wav": ("the header declares no samples: its recorder was stopped", 6, READ, READ),
    "piped.flac": ("written to a pipe: the header does not say how long", 6, READ, READ),
    "last_frame_cut.mp3": ("the last frame is cut", 6, READ, READ),
    "zeros_before.mp3": ("zeros before the first frame", 6, READ, READ),
    "flac_in_ogg.oga": ("FLAC in Ogg", 6, READ, REFUSED),
    "speex.spx": ("Speex in Ogg", 6, READ, REFUSED),
    "alac.caf": ("Apple Lossless in CAF", 6, READ, REFUSED),
    "ac3.wav": ("AC-3 in WAV", 6, READ, REFUSED),
    "m4a_named.mp3": ("AAC in MP4 under another suffix", 6, READ, REFUSED),
    "tags.mp3": ("an ID3 tag and no audio", 0, REFUSED, REFUSED),
    "video.mp4": ("a film without sound", 0, REFUSED, REFUSED),
    "playlist.m4a": ("an HLS playlist", 0, REFUSED, REFUSED),
    "concat.m4a": ("an ffconcat list", 0, REFUSED, REFUSED),
    "pipe.wav": ("a named pipe", 0, REFUSED, REFUSED),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_files(folder)
        with_ffmpeg = outcomes(folder)
        os.environ["PATH"] = str(folder)  # where no ffmpeg is
        without = outcomes(folder)
    lines = ["| file | what it is | holds | with ffmpeg | without |", "|---|---|---|---|---|"]
    faults = []
    for name, (what, seconds, *expected) in FILES.items():
        found = with_ffmpeg[name], without[name]
        lines.append(f"| `{name}` | {what} | {f'{seconds} s' if seconds else '-'} | {' | '.join(cell for cell, _ in found)} |")
        for (cell, doors), wanted in zip(found, expected, strict=True):
            ends = [read_at(end) for end in doors.values()]
            is_right = all(end is not None and abs(end - seconds) <= FRAME_SECONDS for end in ends)
            if not (is_right if wanted == READ else all(end is None for end in ends)):
                faults.append(f"{name} shall be {wanted}: {cell}; {doors}")
    print("\n".join(lines))
    print("\n".join(faults) or "Every file as it should be, at every door.", file=sys.stderr)
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(lines) + "\n")
    return bool(faults)


def read_at(end: float | str) -> float | None:
    return None if isinstance(end, str) else end


def make_files(folder: Path) -> None:
    def ffmpeg(*arguments: str) -> None:
        subprocess.run(["ffmpeg", "-nostdin", "-y", "-v", "error", *arguments], cwd=folder, check=True)

    def join(*names: str) -> bytes:
        return b"".join((folder / name).read_bytes() for name in names)

    def write(name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)

    for name, source, seconds in (("a", "bach_brandenburg.ogg", 6), ("b", "metal_ezer_ev.ogg", 5)):
        ffmpeg("-i", str(MUSIC / source), "-t", str(seconds), "-ar", "44100", "-ac", "2", f"{name}.wav")
        ffmpeg("-i", f"{name}.wav", "-c:a", "libvorbis", f"{name}.ogg")
        ffmpeg("-i", f"{name}.wav", f"{name}.opus")
        ffmpeg("-i", f"{name}.wav", f"{name}.mp3")
        ffmpeg("-i", f"{name}.wav", f"{name}.flac")
    bare = ("-write_xing", "0", "-id3v2_version", "0")
    ffmpeg("-i", "a.wav", *bare, "bare.mp3")
    ffmpeg("-i", "b.wav", "-ac", "1", *bare, "mono.mp3")
    ffmpeg("-i", "b.wav", "-ar", "22050", "-ac", "1", "-c:a", "libvorbis", "half.ogg")
    ffmpeg("-i", "a.wav", "-t", "2", "-c:a", "pcm_f32le", "float.w64")
    ffmpeg("-i", "a.wav", "-t", "2", "-ac", "6", "-c:a", "pcm_alaw", "alaw_6.w64")
    ffmpeg("-i", "a.wav", "-c:a", "libopus", "whole.webm")
    ffmpeg("-i", "a.wav", "-c:a", "aac", "-movflags", "dash+delay_moov+frag_every_frame", "whole.m4a")
    ffmpeg("-i", "a.wav", "-c:a", "wmav2", "whole.wma")
    ffmpeg("-i", "a.wav", "-c:a", "flac", "-f", "ogg", "flac_in_ogg.oga")
    ffmpeg("-i", "a.wav", "-ar", "16000", "-ac", "1", "-c:a", "libspeex", "speex.spx")
    ffmpeg("-i", "a.wav", "-c:a", "alac", "alac.caf")
    ffmpeg("-i", "a.wav", "-c:a", "ac3", "ac3.wav")
    ffmpeg("-f", "lavfi", "-i", "color=size=64x64:duration=1", "video.mp4")
    pipe = ["ffmpeg", "-nostdin", "-v", "error", "-i", "a.wav", "-f", "flac", "pipe:1"]
    write("piped.flac", subprocess.run(pipe, cwd=folder, check=True, stdout=subprocess.PIPE).stdout)
    write("joined.opus", join("a.opus", "b.opus"))
    write("joined_rate.ogg", join("a.ogg", "half.ogg"))
    write("joined_same.ogg", join("a.ogg", "b.ogg"))
    write("joined_info.mp3", join("a.mp3", "b.mp3"))
    write("joined_mono.mp3", join("bare.mp3", "mono.mp3"))
    write("joined.flac", join("a.flac", "b.flac"))
    write("joined.wav", join("a.wav", "b.wav"))
    write("m4a_named.mp3", join("whole.m4a"))
    for kind, share in (("webm", 0.5), ("m4a", 0.5), ("wma", 0.97)):
        data = join(f"whole.{kind}")
        write(f"cut.{kind}", data[: int(len(data) * share)])
    for kind in ("opus", "ogg"):
        data = bytearray(join(f"a.{kind}"))
        data[len(data) // 2] ^= 0x40
        write(f"bit_flip.{kind}", data)
    write("last_frame_cut.mp3", join("bare.mp3")[:-100])
    write("zeros_before.mp3", bytes(1_000) + join("bare.mp3"))
    write("tags.mp3", join("a.mp3")[:45])
    wave = bytearray(join("a.wav"))
    at = wave.index(b"data") + 4
    size = struct.unpack("<I", wave[at : at + 4])[0]
    for name, claimed in (("claims_a_third.wav", size // 3), ("claims_nothing.wav", 0)):
        wave[4:8], wave[at : at + 4] = struct.pack("<I", claimed + 36), struct.pack("<I", claimed)
        write(name, wave)
    flac = bytearray(join("a.flac"))
    flac[21:26] = (int.from_bytes(flac[21:26], "big") >> 36 << 36 | 88_200).to_bytes(5, "big")
    write("claims_a_third.flac", flac)
    write("playlist.m4a", f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nfile://{folder}/a.wav\n".encode())
    write("concat.m4a", b"ffconcat version 1.0\nfile a.wav\n")
    os.mkfifo(folder / "pipe.wav")


def outcomes(folder: Path) -> dict[str, tuple[str, dict]]:
    """By file: a cell of the table, and by door the seconds that were read, or why none were."""
    import pyarrow.parquet as pq

    from muq_hf import MUQ_MULAN_TINY, MUQ_TINY, MuQFeatureExtractionPipeline
    from muq_hf.audio import AudioError, load_audio
    from muq_hf.inference.embedding import embed_files
    from muq_hf.inference.joint import JointModel

    pipe = MuQFeatureExtractionPipeline(MUQ_TINY)
    paths = [str(folder / name) for name in FILES]
    with tempfile.TemporaryDirectory() as scratch:
        report = embed_files(paths, MUQ_TINY, Path(scratch, "e.parquet"), workers=1, progress=False)
        table = pq.read_table(report.output).to_pydict() if report.rows else {"path": [], "end": []}
    embedded = dict(zip(table["path"], table["end"], strict=True)) | {each.path: each.message for each in report.failures}
    joint = JointModel(MUQ_MULAN_TINY, parts="audio")
    found = {}
    for name, path in zip(FILES, paths, strict=True):
        readers = {
            "load_audio": lambda path: len(load_audio(path)) / 24_000,
            "pipeline": lambda path: pipe(path, pool="mean", return_timestamps=True)["timestamps"][0][1],
            "tag": lambda path: len(load_audio(path)) / 24_000 if np.isfinite(joint.embed_file(path)).all() else "NaN",
        }
        doors = {"embed": embedded[path]}
        for door, read in readers.items():
            try:
                doors[door] = read(path)
            except AudioError as error:
                doors[door] = str(error)
        end = doors["load_audio"]
        cell = f"{end:.2f} s" if read_at(end) else end.replace(f"Cannot read {path}: ", "").replace(f"{path} ", "").rstrip(".")
        found[name] = (cell.partition(". Install ffmpeg")[0].replace("|", "/"), doors)
    return found


if __name__ == "__main__":
    sys.exit(main())
