"""CPU seconds for a minute of music on one core, decoding left out: the last column of the README's table of models.

    python benchmarks/minute.py

The shipped models and MuQ with the paper's sizes and random weights; clips as `muq-hf embed` gives them (windows of 30 s, a
MuQ-MuLan's of its own length, eight at once). The less of two runs; what else the machine does hardly counts.
"""

import time

import torch

import muq_hf


MINUTE = 60 * 24_000  # samples


def main() -> None:
    torch.set_num_threads(1)
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
        print(f"{name:24} {min(cpu_seconds(run, clips) for _ in range(2)):.2f} s", flush=True)


@torch.inference_mode()
def cpu_seconds(model, clips: torch.Tensor) -> float:
    started = time.process_time()
    for batch in clips.split(8):
        model(batch)
    return time.process_time() - started


if __name__ == "__main__":
    main()
