"""How near inference on one GPU comes to its peak: precision and mode, batch, and length; one table, one JSON.

    python benchmarks/gpu.py --peak-tflops 989 --json gpu.json       # an H100's dense bfloat16

Seeded random weights, music already on the device. Each row: median of `--repeats` forward passes, music seconds per second, the
model FLOP utilisation (operations of a direct computation / time / peak), peak memory, and cosine and largest relative error to
float32 eager on the same music, computed without TF32. The first rows compare precisions and modes at the batch and length of
the target; then bfloat16 compiled is swept over batch and over length. A row that fails says why. `--device cpu --preset tiny`
tries the script.
"""

import argparse
import copy
import json
import statistics
import time
from pathlib import Path

import torch
from speed import SAMPLE_RATE, operations

from muq_hf import MuQConfig, MuQModel


MODES = {  # name: (dtype of the weights, autocast, compiled)
    "float32 eager": (torch.float32, False, False),
    "float32 eager, autocast to bfloat16": (torch.float32, True, False),
    "bfloat16 eager": (torch.bfloat16, False, False),
    "float16 eager": (torch.float16, False, False),
    "float32 compiled": (torch.float32, False, True),
    "bfloat16 compiled": (torch.bfloat16, False, True),
    "float16 compiled": (torch.float16, False, True),
}
SWEPT = "bfloat16 compiled"
TARGET = (30, 16)  # seconds, batch
BATCHES = (1, 2, 4, 8, 16, 32, 64)
LENGTHS = (5, 10, 30, 60, 120, 300)  # seconds


class Bench:
    def __init__(self, preset: str, device: str, peak_tflops: float | None, repeats: int):
        torch.manual_seed(0)
        self.config = MuQConfig.from_preset(preset)
        self.base = MuQModel(self.config).eval().to(device)
        self.device, self.peak_tflops, self.repeats = device, peak_tflops, repeats
        self.made = {}
        self.references = {}  # seconds → last hidden states of float32 eager, the first clip's

    def row(self, mode: str, seconds: int, batch: int) -> dict:
        row = {"mode": mode, "seconds": seconds, "batch": batch}
        try:
            return row | self.measure(mode, seconds, batch)
        except RuntimeError as error:  # out of memory, or a mode that this device lacks
            return row | {"not measured": str(error).splitlines()[0][:200]}

    @torch.inference_mode()
    def measure(self, mode: str, seconds: int, batch: int) -> dict:
        wave = 0.1 * torch.randn(batch, seconds * SAMPLE_RATE, generator=torch.Generator().manual_seed(0)).to(self.device)
        run = self.function(mode)
        states = run(wave)  # warms up, and compiles
        self.restart_peak()
        elapsed = statistics.median(self.seconds_of(run, wave) for _ in range(self.repeats))
        giga = sum(operations(seconds, batch, self.config)["whole"].values())
        found = {"s": elapsed, "audio_s_per_s": seconds * batch / elapsed, "tflop_per_s": giga / 1e3 / elapsed}
        if self.peak_tflops:
            found["mfu"] = found["tflop_per_s"] / self.peak_tflops
        if self.device == "cuda":
            found["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9  # the float32 model beside it included
        first, reference = states[:1].double(), self.reference(seconds, wave[:1])
        found["cosine"] = torch.cosine_similarity(first.flatten(), reference.flatten(), dim=0).item()
        found["max_relative_error"] = ((first - reference).abs().max() / reference.abs().max()).item()
        return found

    def reference(self, seconds: int, wave: torch.Tensor) -> torch.Tensor:
        """The generator gives every batch of one length the same first clip."""
        if seconds not in self.references:
            with torch.backends.cudnn.flags(allow_tf32=False):
                self.references[seconds] = self.base(wave).last_hidden_state.double()
        return self.references[seconds]

    def function(self, mode: str):
        """→ waveforms → last hidden states; a mode's model is made once."""
        dtype, autocast, compiled = MODES[mode]
        if mode not in self.made:
            self.made.clear()
            model = self.base if dtype == torch.float32 else copy.deepcopy(self.base).to(dtype)
            self.made[mode] = torch.compile(model, dynamic=True) if compiled else model

        def run(wave):
            with torch.autocast(self.device, torch.bfloat16, enabled=autocast):
                return self.made[mode](wave).last_hidden_state

        return run

    def seconds_of(self, run, wave) -> float:
        self.wait()
        begin = time.perf_counter()
        run(wave)
        self.wait()
        return time.perf_counter() - begin

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def restart_peak(self) -> None:
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()


def table(rows: list[dict]) -> str:
    shown = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
    for row in rows:
        cells = [f"{row[name]:.4g}" if isinstance(row.get(name), float) else str(row.get(name, "")) for name in shown]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="large", choices=("tiny", "base", "large"))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--peak-tflops", type=float, help="of the device in bfloat16, dense; without it no utilisation is given")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--batches", nargs="*", type=int, default=BATCHES)
    parser.add_argument("--lengths", nargs="*", type=int, default=LENGTHS, help="in seconds")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device is there; --device cpu --preset tiny tries the script.")
    bench = Bench(args.preset, args.device, args.peak_tflops, args.repeats)
    seconds, batch = TARGET
    wanted = [(mode, seconds, batch) for mode in args.modes]
    wanted += [(SWEPT, seconds, number) for number in args.batches] + [(SWEPT, length, 1) for length in args.lengths]
    report = {"device": torch.cuda.get_device_name() if args.device == "cuda" else "CPU", "torch": torch.__version__}
    report |= {"preset": args.preset, "peak_tflops": args.peak_tflops, "rows": []}
    for case in dict.fromkeys(wanted):
        report["rows"].append(bench.row(*case))
        print(report["rows"][-1], flush=True)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"\n{report['device']}, torch {report['torch']}, preset {args.preset}\n\n{table(report['rows'])}")


if __name__ == "__main__":
    main()
