"""Damaged files, damaged manifests, hostile configurations and playlists: none may crash, hang, or take much memory.

    python benchmarks/fuzz.py [--files 10000] [--manifests 1500] [--configs 50] [--playlists 20] [--seed 0] [--json fuzz.json]

Every input is read in a process that is watched from outside. Prints how each kind ended, and every offence: a process that died,
took more than 10 s or 1 GB, or raised what is no ValueError or OSError (for a file: no AudioError). Exit code 1 if there is one.
With ffmpeg in the PATH its formats are damaged too. The same seed makes the same inputs, as far as the encoders do.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile


MAX_SECONDS = 10.0
MAX_BYTES = 1 << 30
INPUTS_PER_PROCESS = 500  # then a fresh one: what one input leaves behind is not held against all later ones
RATE = 22_050  # Hz
SOUNDFILE_FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", None),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "FLOAT"),
    "rf64": ("RF64", "PCM_16"),
}
FFMPEG_FORMATS = {"m4a": ["aac"], "webm": ["libopus"], "wma": ["wmav2"], "spx": ["libspeex"], "wv": ["wavpack"], "ac3": ["ac3"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--manifests", type=int, default=1_500)
    parser.add_argument("--configs", type=int, default=50)
    parser.add_argument("--playlists", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the counts here too")
    parser.add_argument("--worker", choices=READERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(READERS[arguments.worker])
    results, offences = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        for kind, make, count in (
            ("files", damaged_files, arguments.files),
            ("manifests", damaged_manifests, arguments.manifests),
            ("configs", hostile_configs, arguments.configs),
            ("playlists", playlists, arguments.playlists),
        ):
            folder = Path(scratch, kind)
            folder.mkdir()
            started = time.monotonic()
            counts, found = watch(kind, make(folder, count, np.random.default_rng(arguments.seed)))
            results[kind] = {"inputs": count, "seconds": round(time.monotonic() - started), "ends": dict(counts.most_common())}
            offences += found
            print(f"{kind}: {json.dumps(results[kind])}", flush=True)
    for offence in offences:
        print(offence)
    print(f"{len(offences)} offences.")
    if arguments.json:
        arguments.json.write_text(json.dumps({"seed": arguments.seed, **results, "offences": offences}, indent=1) + "\n")
    return bool(offences)


# What is made


def damaged_files(folder: Path, count: int, generator: np.random.Generator) -> Iterator[Path]:
    sources = encoded_music(folder)
    for index in range(count):
        name = list(sources)[index % len(sources)]
        path = folder / f"{index}.{name}"
        path.write_bytes(damaged(sources[name], sources, generator))
        yield path
        path.unlink()


def encoded_music(folder: Path) -> dict[str, bytes]:
    times = np.arange(RATE) / RATE
    music = np.stack([sum(np.sin(2 * np.pi * pitch * times) for pitch in chord) for chord in ((220, 277, 330), (221, 331))], 1)
    music = (0.1 * music + 0.01 * np.random.default_rng(0).standard_normal(music.shape)).astype(np.float32)
    sources = {}
    for suffix, (container, coding) in SOUNDFILE_FORMATS.items():
        buffer = io.BytesIO()
        soundfile.write(buffer, music, 24_000 if suffix == "opus" else RATE, format=container, subtype=coding)
        sources[suffix] = buffer.getvalue()
    sources["bare.mp3"] = sources["mp3"][sources["mp3"].index(b"LAME") + 400 :]
    if shutil.which("ffmpeg"):
        (folder / "music.wav").write_bytes(sources["wav"])
        for suffix, codec in FFMPEG_FORMATS.items():
            command = ["ffmpeg", "-nostdin", "-v", "error", "-i", "music.wav", "-c:a", *codec, f"music.{suffix}"]
            if subprocess.run(command, cwd=folder, stderr=subprocess.DEVNULL).returncode == 0:
                sources[suffix] = (folder / f"music.{suffix}").read_bytes()
    return sources


def damaged(source: bytes, sources: dict[str, bytes], generator: np.random.Generator) -> bytes:
    data = bytearray(source)
    size = len(data)
    for _ in range(generator.integers(1, 4)):
        first, last = sorted(generator.integers(0, size, 2))
        match generator.integers(10):
            case 0:
                data = data[: max(1, last)]
            case 1:
                data = data[first:]
            case 2:  # among the fields of most headers
                for place in generator.integers(0, min(200, len(data)), 4):
                    data[place] = generator.integers(256)
            case 3:
                for place in generator.integers(0, len(data), 50):
                    data[place] ^= 1 << generator.integers(8)
            case 4:
                place = generator.integers(0, max(1, min(400, len(data) - 4)))
                data[place : place + 4] = b"\xff\xff\xff\xff"
            case 5:
                data[first:last] = bytes(last - first)
            case 6:
                data[first:first] = generator.bytes(2_000)
            case 7:
                data = data[:last] + data[first:]
            case 8:
                data += list(sources.values())[generator.integers(len(sources))][first:]
            case 9:
                data = data[:12] + generator.bytes(5_000)
        data = data or bytearray(b"\0")
        size = len(data)
    return bytes(data)


def damaged_manifests(folder: Path, count: int, generator: np.random.Generator) -> Iterator[Path]:
    rows = [{"path": f"songs/{i}.wav", "label": ["a", "b"], "duration": 1.5, "album": None} for i in range(20)]
    texts = {
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "csv": "path,label,duration\n" + "".join(f'"songs/{i}.wav","a, b",1.5\n' for i in range(20)),
        "tsv": "path\tlabel\n" + "".join(f"songs/{i}.wav\ta\n" for i in range(20)),
        "txt": "# songs\n" + "".join(f"songs/{i}.wav\n" for i in range(20)),
        "m3u": "#EXTM3U\n" + "".join(f"songs/{i}.wav\n" for i in range(20)),
    }
    odd = ["[" * 100_000, '{"a":' * 50_000, "1e999", "null", "[]", '"', "\ufeff", "\ud800", "9" * 5_000, "\x85"]
    odd += ['{"path": 3}', '{"path": ["a"]}', '{"path": {"bytes": 1}}', '{"path": NaN}', '{"path": "a\\u0000.wav"}']
    odd += ['{"path": "' + "x" * 200_000 + '"}']
    for index in range(count):
        suffix = list(texts)[index % len(texts)]
        lines = texts[suffix].encode().splitlines(keepends=True)
        for _ in range(generator.integers(1, 4)):
            place = generator.integers(len(lines) + 1)
            lines.insert(place, odd[generator.integers(len(odd))].encode("utf-8", "surrogatepass") + b"\n")
        data = bytearray(b"".join(lines))
        for place in generator.integers(0, len(data), generator.integers(0, 20)):
            data[place] = generator.integers(256)
        path = folder / f"{index}.{suffix}"
        path.write_bytes(data)
        yield path
        path.unlink()


def hostile_configs(folder: Path, count: int, generator: np.random.Generator) -> Iterator[Path]:
    from muq_hf.checkpoints import MUQ_MULAN_TINY, MUQ_TINY

    values = [2_000, 40_000, 10**9, 10**30, -1, 0, 1.5, "7", "x" * 10_000, None, [], {}, True, [[1]], float("nan"), {"a": {}}]
    for index in range(count):
        source = Path((MUQ_TINY, MUQ_MULAN_TINY)[index % 2])
        target = folder / str(index)
        target.mkdir()
        for file in source.iterdir():
            if file.name != "config.json":
                (target / file.name).symlink_to(file)
        config = json.loads((source / "config.json").read_text())
        part = config
        while True:
            name = list(part)[generator.integers(len(part))]
            if not isinstance(part[name], dict) or not part[name]:
                break
            part = part[name]
        part[name] = values[generator.integers(len(values))]
        (target / "config.json").write_text(json.dumps(config))
        yield target


def playlists(folder: Path, count: int, generator: np.random.Generator) -> Iterator[Path]:
    """Each names a pipe to which nobody writes: a reader that follows it waits for ever."""
    os.mkfifo(folder / "pipe.wav")
    target = f"file://{folder}/pipe.wav"
    texts = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n{target}\n",
        f"ffconcat version 1.0\nfile {folder}/pipe.wav\n",
        f"[playlist]\nFile1={target}\n",
        f"<?xml version='1.0'?><MPD><Period><AdaptationSet><BaseURL>{target}</BaseURL></AdaptationSet></Period></MPD>",
        f"\n  #EXTM3U\n{target}\n",
    ]
    suffixes = ("m4a", "wav", "mp3", "ogg", "flac", "aac", "wma", "mka", "xyz")
    for index in range(count):
        path = folder / f"{index}.{suffixes[generator.integers(len(suffixes))]}"
        path.write_text(texts[index % len(texts)])
        yield path


# What is done with it, in a process of its own


def read_file(path: str) -> str:
    from muq_hf.audio import AudioError, stream_audio

    try:
        peak = max(float(np.abs(block).max()) for block in stream_audio(path))
    except AudioError as error:
        return error.reason
    except ValueError as error:
        return f"offence: {error!r}"
    return "read" if np.isfinite(peak) else "offence: samples that are not finite"


def read_manifest(path: str) -> str:
    from muq_hf.inference.sources import collect_inputs

    bad_lines = []
    paths = collect_inputs([path], bad_lines.append)
    return "read, bad lines told" if bad_lines else "read" if paths else "offence: nothing read, and nothing said"


def load_model(folder: str) -> str:
    from muq_hf import MuQModel, MuQMuLanModel

    (MuQMuLanModel if Path(folder, "tokenizer.json").exists() else MuQModel).from_pretrained(folder)
    return "loaded"


READERS = {"files": read_file, "manifests": read_manifest, "configs": load_model, "playlists": read_file}


def work(read) -> int:
    """Answer each path on a line of stdin with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            end = read(json.loads(line))
        except (ValueError, OSError) as error:
            end = f"{type(error).__name__}" if str(error).strip() else "offence: an error that says nothing"
        except BaseException as error:
            end = f"offence: {type(error).__name__}: {error}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        answers.write(json.dumps([end, peak]) + "\n")
        answers.flush()
    return 0


def watch(kind: str, inputs: Iterator[Path]) -> tuple[Counter, list[str]]:
    """→ how the inputs ended, and the offences."""
    counts, offences, worker = Counter(), [], None
    kept = Path(tempfile.gettempdir(), "muq_hf_fuzz")
    for number, path in enumerate(inputs):
        if worker is None or number % INPUTS_PER_PROCESS == 0:
            if worker is not None:
                worker.close()
            worker = Worker(kind)
        end, seconds, peak = worker.ask(path)
        if end.startswith("offence") or seconds > MAX_SECONDS or peak > MAX_BYTES:
            kept.mkdir(exist_ok=True)
            with contextlib.suppress(OSError):
                (shutil.copytree if path.is_dir() else shutil.copy)(path, kept / f"{kind}_{path.name}")
            offences.append(f"{kind} {path.name}: {end}, {seconds:.1f} s, {peak / 1e6:.0f} MB; kept in {kept}")
            worker.close()
            worker = None
        counts[end.partition(":")[0]] += 1
    if worker is not None:
        worker.close()
    return counts, offences


class Worker:
    def __init__(self, kind: str):
        command = [sys.executable, __file__, "--worker", kind]
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True
        )
        self._is_fresh = True

    def ask(self, path: Path) -> tuple[str, float, int]:
        """→ how it ended, seconds, peak memory of the process (bytes)."""
        started = time.monotonic()
        self._process.stdin.write(json.dumps(os.fspath(path)).encode() + b"\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            patience = MAX_SECONDS + (60 if self._is_fresh else 0)  # the first one imports everything
            is_answered = bool(selector.select(patience))
        line = self._process.stdout.readline() if is_answered else b""
        seconds = 0.0 if self._is_fresh and is_answered else time.monotonic() - started
        self._is_fresh = False
        if not is_answered:
            return "offence: it hangs", seconds, 0
        if not line:
            return f"offence: the process died with code {self._process.wait()}", seconds, 0
        end, peak = json.loads(line)
        return end, seconds, peak

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


if __name__ == "__main__":
    sys.exit(main())
