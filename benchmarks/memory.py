"""Time and peak memory of loading a model, and of one long clip, in this fresh process (Linux).

    python benchmarks/memory.py MODEL [--seconds 300]

Prints one JSON object. Peaks are resident bytes above those after the imports (loading) or after loading (the clip).
"""

import argparse
import json
import time
from pathlib import Path

import torch

from muq_hf import MuQModel


SAMPLE_RATE = 24_000  # Hz


def resident_bytes(field: str) -> int:
    """VmRSS: resident now; VmHWM: the most there ever was."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def restart_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--seconds", type=int, default=300, help="length of the clip; 0: only load")
    args = parser.parse_args()

    baseline, start = resident_bytes("VmRSS"), time.perf_counter()
    model = MuQModel.from_pretrained(args.model).eval()
    report = {"load_seconds": time.perf_counter() - start}
    tensors = model.state_dict().values()
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    for tensor in tensors:
        tensor.sum()  # weights mapped from the file become resident only when they are read
    report["weights_bytes"] = weights
    report["load_peak_over_weights"] = (resident_bytes("VmHWM") - baseline) / weights
    if args.seconds:
        wave = 0.1 * torch.randn(1, args.seconds * SAMPLE_RATE)
        loaded = resident_bytes("VmRSS")
        restart_peak()
        model(wave)
        report["clip_seconds"] = args.seconds
        report["clip_peak_bytes"] = resident_bytes("VmHWM") - loaded
    print(json.dumps(report))


if __name__ == "__main__":
    main()
