"""Throughput and memory of a training step of each stage, and what they say about a whole training.

    python benchmarks/training.py [--preset tiny|base|large] [--batch-size 8] [--steps 5] [--bf16] [--checkpointing] [--compile]

Each stage runs in a process of its own, so that its peak memory is its own. Forward, backward and AdamW on noise; decoding is
not part of it. The hours for the published recipe (400,000 updates of 192 clips of 30 s) are an ESTIMATE: this throughput, times
the processes asked about, without what communication costs.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from muq_hf import MelRVQConfig, MelRVQModel, MuQConfig, MuQForPreTraining
from muq_hf.allocator import reuse_memory
from muq_hf.training.teacher import Teacher


STAGES = {"mel_rvq": 5.0, "muq": 30.0, "latent_rvq": 30.0, "refined_muq": 30.0}  # clip length (s)
UPDATES, CLIPS, CLIP_SECONDS = 400_000, 192, 30.0
RATE = 24_000  # Hz
WARM_UP = 3  # steps: compiling once more, when the number of masked frames changes, is part of it
MODES = ("bf16", "checkpointing", "compile")


def measure(stage: str, arguments) -> dict:
    reuse_memory()  # as `muq-hf train` does
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    config = MuQConfig.from_preset(arguments.preset)
    seconds = STAGES[stage] if arguments.clip_seconds is None else arguments.clip_seconds
    rvq = MelRVQConfig() if stage == "mel_rvq" else MelRVQConfig(input_size=config.hidden_size)
    model = (MuQForPreTraining(config) if stage.endswith("muq") else MelRVQModel(rvq)).to(device).train()
    optimizer = torch.optim.AdamW(parameter for parameter in model.parameters() if parameter.requires_grad)
    teacher = None
    if stage in ("latent_rvq", "refined_muq"):
        with tempfile.TemporaryDirectory() as folder:  # random weights cost what trained ones cost
            MuQForPreTraining(config).save_pretrained(Path(folder, "muq"))
            MelRVQModel(rvq).save_pretrained(Path(folder, "rvq"))
            layer = config.num_hidden_layers * 10 // 12  # the published share of the depth
            teacher = Teacher(Path(folder, "muq"), layer, Path(folder, "rvq"), device)
    if arguments.checkpointing and stage.endswith("muq"):
        model.gradient_checkpointing_enable()
    if arguments.compile:
        model = torch.compile(model)
    wave = 0.1 * torch.randn(arguments.batch_size, int(seconds * RATE), device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=arguments.bf16):
            if stage == "mel_rvq":
                loss = model(input_values=wave).loss
            elif stage == "latent_rvq":
                loss = model(features=teacher.latents(wave)).loss
            else:
                tokens = None if teacher is None else teacher.tokens(wave)
                loss = model(wave, target_tokens=tokens, return_logits=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(WARM_UP):
        step()
    begin = time.perf_counter()
    for _ in range(arguments.steps):
        step()
    elapsed = time.perf_counter() - begin
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "stage": stage,
        "preset": arguments.preset,
        "clip_seconds": seconds,
        "batch_size": arguments.batch_size,
        "audio_seconds_per_second": arguments.batch_size * seconds * arguments.steps / elapsed,
        "peak_memory_gb": peak / 1e9,
        "device": torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads",
        **{mode: getattr(arguments, mode) for mode in MODES},
    }


def table(rows: list[dict]) -> str:
    lines = ["| stage | clips | audio-s per s | peak memory (GB) |", "|---|---|---|---|"]
    for row in rows:
        clips = f"{row['batch_size']} × {row['clip_seconds']:g} s"
        lines.append(f"| {row['stage']} | {clips} | {row['audio_seconds_per_second']:.1f} | {row['peak_memory_gb']:.2f} |")
    speed = next((row["audio_seconds_per_second"] for row in rows if row["stage"] == "muq"), None)
    if speed is not None and rows[0]["preset"] == "large":
        hours = UPDATES * CLIPS * CLIP_SECONDS / speed / 3600
        estimate = f"{hours:,.0f} h on one such device, {hours / 32:,.0f} h on 32"
        lines += ["", f"ESTIMATE, decoding left out: the published stage 2 takes {estimate}."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny", choices=("tiny", "base", "large"))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--clip-seconds", type=float, help="instead of the recipe's")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--bf16", action="store_true", help="autocast")
    parser.add_argument("--checkpointing", action="store_true", help="of gradients: keep a layer's input, compute the rest again")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES), help="stages")
    parser.add_argument("--json", help="write the rows")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        print(json.dumps(measure(arguments.stage, arguments)))
        return 0
    rows = []
    for stage in arguments.only:
        command = [sys.executable, "-W", "ignore", __file__, *sys.argv[1:], "--stage", stage]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=2) + "\n")
    modes = [mode for mode in MODES if getattr(arguments, mode)] or ["plain"]
    print(f"{rows[0]['device']}, preset {arguments.preset}, {', '.join(modes)}")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
