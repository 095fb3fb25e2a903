"""An hour of music in windows: time and memory, and what the windows change (Linux, CPU).

    python benchmarks/long_audio.py MODEL FILES… [--minutes 60] [--whole-minutes 10] [--chunk 30] [--json FILE]

FILES are joined to one recording of `--minutes`, which the pipeline reads from disk in windows. Of its first `--whole-minutes`
the frames are compared with those of the same audio in one go, where attention reaches over the whole: the cosine of each pair of
frames, and the steps between neighbouring frames at the joins of windows, beside the steps elsewhere.
"""

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from memory import SAMPLE_RATE, resident_bytes, restart_peak

from muq_hf import MuQModel
from muq_hf.audio import load_audio
from muq_hf.models.pipeline_muq import JOINS, MuQFeatureExtractionPipeline
from muq_hf.models.windowing_muq import WindowLengths, stream_windows


def write_recording(files: list[str], seconds: float, path: Path) -> None:
    """The files one after the other, again and again, as one FLAC."""
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as recording:
        missing = int(seconds * SAMPLE_RATE)
        for file in itertools.cycle(files):
            wave = load_audio(file)[:missing]
            recording.write(wave)
            missing -= len(wave)
            if missing == 0:
                return


def measure_windows(extract, recording: Path, chunk: float) -> dict:
    """Time, and resident bytes above those of the loaded model at the peak."""
    loaded, start = resident_bytes("VmRSS"), time.perf_counter()
    restart_peak()
    extract(str(recording), chunk_length_s=chunk, pool="mean", return_tensors=True)
    return {"seconds": time.perf_counter() - start, "peak_bytes_above_weights": resident_bytes("VmHWM") - loaded}


def measure_joins(extract, wave: np.ndarray, chunk: float) -> dict:
    """Frames in windows, cut and faded, against frames in one go."""
    whole = extract(wave, return_tensors=True)[0].double()  # [T, D]
    config = extract.model.config
    frame = config.samples_per_frame
    lengths = WindowLengths.from_seconds(chunk, None, SAMPLE_RATE, frame, config.min_samples)
    starts = [window.keep_start for window, _, _ in stream_windows([wave], lengths)]
    is_join = torch.zeros(len(whole) - 1, dtype=torch.bool)
    is_join[[start // frame - 1 for start in starts[1:]]] = True
    report = {}
    for join in JOINS:
        frames = extract(wave, chunk_length_s=chunk, join=join, return_tensors=True)[0].double()
        cosines = torch.nn.functional.cosine_similarity(frames, whole, dim=1)
        steps = (frames[1:] - frames[:-1]).norm(dim=1)
        ordinary = steps[~is_join].quantile(0.95)
        report[join] = {
            "cosine_mean": cosines.mean().item(),
            "cosine_least": cosines.min().item(),
            "joins": int(is_join.sum()),
            "largest_step_at_joins": steps[is_join].max().item(),
            "95th_percentile_elsewhere": ordinary.item(),
            "joins_above_it": (steps[is_join] > ordinary).double().mean().item(),
        }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--whole-minutes", type=float, default=10.0)
    parser.add_argument("--chunk", type=float, default=30.0, help="length of the windows (s)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    extract = MuQFeatureExtractionPipeline(MuQModel.from_pretrained(arguments.model).eval())
    parameters = list(extract.model.parameters())
    report = {"model": arguments.model, "weights_bytes": sum(p.numel() * p.element_size() for p in parameters)}
    for parameter in parameters:
        parameter.sum()  # weights mapped from the file become resident only when they are read
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder, "recording.flac")
        write_recording(arguments.files, 60 * arguments.minutes, recording)
        report |= {"minutes": arguments.minutes, **measure_windows(extract, recording, arguments.chunk)}
        print(json.dumps(report, indent=1), flush=True)
        if arguments.whole_minutes:
            wave = load_audio(recording, end=60 * arguments.whole_minutes)
            report |= {"whole_minutes": arguments.whole_minutes, **measure_joins(extract, wave, arguments.chunk)}
    print(json.dumps(report, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
