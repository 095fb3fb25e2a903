"""Seconds of computing for a minute of music, decoding left out: the last column of the README's table of models.

    python benchmarks/minute.py [--threads 2]

The shipped models and MuQ with the paper's sizes and random weights; clips as `muq-hf embed` gives them (windows of 30 s, a
MuQ-MuLan's of its own length, eight at once). The least of three runs.
"""

import argparse
import time

import torch

import muq_hf


MINUTE = 60 * 24_000  # samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    wave = 0.1 * torch.randn(1, MINUTE, generator=torch.Generator().manual_seed(0))
    muq, _ = muq_hf.load("muq-tiny")
    mulan, _ = muq_hf.load("muq-mulan-tiny", "audio")
    large = muq_hf.MuQModel(muq_hf.MuQConfig.from_preset("large")).eval()
    clip = int(mulan.config.clip_seconds * 24_000)
    for name, run, clips in (
        ("muq-tiny", muq, wave.view(2, -1)),
        ("muq-mulan-tiny", mulan.audio_model, wave[:, : MINUTE // clip * clip].view(-1, clip)),
        ("large, random weights", large, wave.view(2, -1)),
    ):
        print(f"{name:24} {min(seconds(run, clips) for _ in range(3)):.2f} s, {arguments.threads} threads", flush=True)


@torch.inference_mode()
def seconds(model, clips: torch.Tensor) -> float:
    started = time.perf_counter()
    for batch in clips.split(8):
        model(batch)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
