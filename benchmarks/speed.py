"""Speed and memory against muq 0.1.0 and against what the machine's own library reaches: one table, one JSON.

    bash tests/oracle/make_oracle.sh DIR
    python benchmarks/speed.py --oracle DIR/bin/python --json speed.json [--quick]

The full model (333 M parameters) with seeded random weights. Both sides run in processes of their own, in turn; a time is
the median of five (of three for minutes of music, without a run before them). Every row shows the cosine and the largest
relative error of its result to muq's beside its time.
`--quick` (about 4 minutes on 2 cores) measures 30 s clips in float32 and bfloat16. Without `--oracle` nothing is compared.
Roofline: the convolutions' operations at the rate of a large 3×3 convolution, the others at the rate of a large product,
both measured here and in the precision that the row is computed in; above 100 % fewer operations were done than counted.
"""

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile
import torch

from muq_hf import MuQConfig, MuQModel


ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
SAMPLE_RATE = 24_000  # Hz
REPEATS = 5
STAGES = ("mel", "front end", "encoder", "whole")
RAGGED_CLIPS, RAGGED_SECONDS, RAGGED_BATCH = 32, (1, 60), 4
# (seconds, batch, variant, stages)
QUICK_ROWS = [(30, 1, "float32 eager", ("whole",)), (30, 1, "bfloat16 eager", ("whole",))]
ROWS = [
    (30, 1, "float32 eager", STAGES),
    (30, 1, "bfloat16 eager", ("whole",)),
    (30, 1, "int8 eager", ("whole",)),
    (30, 1, "float32 onnxruntime", ("whole",)),
    (30, 1, "int8 onnxruntime", ("whole",)),
    (10, 1, "float32 eager", STAGES),
    (10, 1, "bfloat16 eager", ("whole",)),
    (10, 8, "float32 eager", ("whole",)),
    (300, 1, "float32 eager", ("whole",)),
    (30, 1, "float32 compiled", ("whole",)),  # last: compiling takes minutes
]


class Side:
    """A worker process that measures on request."""

    def __init__(self, python: str, side: str, folder: Path, device: str):
        command = [python, "-W", "ignore", str(HERE / "speed_worker.py"), side, str(folder), "--device", device]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.about = self._answer()

    def ask(self, **request) -> dict:
        """Raises RuntimeError with what went wrong there."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        reply = self._answer()
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the measuring process ended with exit code {self.process.wait()}; its messages are above.")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def describe_cpu() -> dict:
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "native bfloat16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "load average before": round(os.getloadavg()[0], 2),
    }


def operations(seconds: float, batch: int, config: MuQConfig) -> dict[str, dict[str, float]]:
    """GFLOP of direct computation by stage, of convolutions and of products."""
    T, C, D = seconds * config.frame_rate, config.conv_channels, config.hidden_size
    rows = config.num_mel_bins // 4
    convolution = 2 * 9 * T * rows * (4 * (C * C + 2 * C) + C * C + 2 * C * C)
    projection = 2 * T * rows * C * D
    layer = 2 * T * (4 * D * config.intermediate_size + 7 * D * D + 2 * T * D + D * config.conv_depthwise_kernel_size)
    giga = batch / 1e9
    front_end = {"convolution": convolution * giga, "linear": projection * giga}
    encoder = {"convolution": 0.0, "linear": config.num_hidden_layers * layer * giga}
    return {"front end": front_end, "encoder": encoder, "whole": {k: front_end[k] + encoder[k] for k in front_end}}


def alternate(sides: dict[str, Side], waves: str, stage: str, variant: str, warm_up: int, repeats: int) -> dict[str, float]:
    """Median seconds of each side, which work in turn. Raises RuntimeError if one fails."""
    times = {name: [] for name in sides}
    for repeat in range(warm_up + repeats):
        for name, side in sides.items():
            seconds = side.ask(do="time", waves=waves, stage=stage, variant=variant)["seconds"]
            if repeat >= warm_up:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def agreement(sides: dict[str, Side], waves: str, variant: str, folder: Path) -> dict[str, float]:
    for name, side in sides.items():
        side.ask(do="result", waves=waves, stage="whole", variant=variant, save_as=f"{name}-result.pt")
    ours, published = (torch.load(folder / f"{name}-result.pt").double() for name in ("ours", "published"))
    return {
        "cosine": torch.nn.functional.cosine_similarity(ours.flatten(), published.flatten(), dim=0).item(),
        "max_relative_error": ((ours - published).abs().max() / published.abs().max()).item(),
    }


def measure_row(sides, folder, seconds, batch, variant, stages, rates) -> list[dict]:
    waves = f"waves-{seconds}-{batch}"
    if not (folder / f"{waves}.pt").exists():
        torch.save(
            0.1 * torch.randn(batch, seconds * SAMPLE_RATE, generator=torch.Generator().manual_seed(seconds)),
            folder / f"{waves}.pt",
        )
    rows, counts = [], operations(seconds, batch, MuQConfig())
    for stage in stages:
        row = {"seconds": seconds, "batch": batch, "variant": variant, "stage": stage}
        rows.append(row)
        try:
            times = alternate(sides, waves, stage, variant, *((0, 3) if seconds > 60 else (1, REPEATS)))
        except RuntimeError as error:
            row["not measured"] = str(error)
            print_row(row)
            continue
        row["ours_s"] = times["ours"]
        row["audio_s_per_s"] = seconds * batch / times["ours"]
        if "published" in times:
            row["muq_float32_s"], row["ratio"] = times["published"], times["published"] / times["ours"]
        rate = rates.get(variant.split()[0])
        if rate and stage in counts:
            row["of_roofline"] = sum(counts[stage][kind] / rate[kind] for kind in rate) / times["ours"]
        if "published" in sides and stage == "whole":
            row.update(agreement(sides, waves, variant, folder))
        print_row(row)
    return rows


def measure_ragged(sides: dict[str, Side], folder: Path) -> dict:
    """Clips of 1 to 60 s: ours in padded batches of similar lengths, muq one by one."""
    drawn = random.Random(0)
    waves = sorted(
        (0.1 * torch.randn(drawn.randint(*[s * SAMPLE_RATE for s in RAGGED_SECONDS])) for _ in range(RAGGED_CLIPS)), key=len
    )
    batches = []
    for start in range(0, RAGGED_CLIPS, RAGGED_BATCH):
        group = waves[start : start + RAGGED_BATCH]
        padded = torch.nn.utils.rnn.pad_sequence(group, batch_first=True)
        mask = (torch.arange(padded.shape[1]) < torch.tensor([len(wave) for wave in group]).unsqueeze(1)).long()
        batches.append((padded, mask))
    torch.save(batches, folder / "ours-ragged.pt")
    torch.save([(wave[None],) for wave in waves], folder / "published-ragged.pt")
    try:
        times = {name: side.ask(do="ragged", batches=f"{name}-ragged")["seconds"] for name, side in sides.items()}
    except RuntimeError as error:
        return {"not measured": str(error)}
    audio = sum(map(len, waves)) / SAMPLE_RATE
    row = {"clips": RAGGED_CLIPS, "audio_s": audio, "ours_s": times["ours"], "audio_s_per_s": audio / times["ours"]}
    if "published" in times:
        row.update(muq_float32_s=times["published"], ratio=times["published"] / times["ours"])
    return row


def measure_embed(folder: Path, device: str) -> dict:
    """The whole command on the example clips, each as OGG and as MP3; start of the process and decoding included."""
    songs, clips, audio = folder / "songs", sorted((ROOT / "examples" / "audio").glob("*.ogg")), 0.0
    songs.mkdir()
    for clip in clips:
        shutil.copy2(clip, songs)
        samples, rate = soundfile.read(clip)
        soundfile.write(songs / f"{clip.stem}.mp3", samples, rate)
        audio += 2 * len(samples) / rate
    command = [sys.executable, "-m", "muq_hf.cli", "embed", str(songs)]
    command += ["--model", str(folder / "model"), "--output", str(folder / "embed.parquet"), "--device", device]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    elapsed = time.perf_counter() - start
    if done.returncode:
        return {"not measured": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    return {"files": 2 * len(clips), "audio_s": audio, "ours_s": elapsed, "audio_s_per_s": audio / elapsed}


def measure_memory(model: Path, clip_seconds: int) -> dict:
    command = [sys.executable, str(HERE / "memory.py"), str(model), "--seconds", str(clip_seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    row = {"format": model.name, **json.loads(done.stdout.splitlines()[-1])}
    print_row(row)
    return row


def prepare_model(folder: Path, with_oracle: bool) -> None:
    """FOLDER/model in this package's format: the published side's weights, or without it seeded random ones."""
    if with_oracle:
        model = MuQModel.from_pretrained(folder / "published")
    else:
        torch.manual_seed(0)
        model = MuQModel(MuQConfig())
    model.save_pretrained(folder / "model")


def text(value) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.6f}" if 0.9 < value < 1 else f"{value:.3f}"


def print_row(row: dict) -> None:
    print("  ".join(f"{name}={text(value)}" for name, value in row.items()), flush=True)


def measure(oracle: str | None, quick: bool, device: str, folder: Path) -> dict:
    sides = {"published": Side(oracle, "published", folder, device)} if oracle else {}
    prepare_model(folder, with_oracle=oracle is not None)
    report = {"memory": measure_memory(folder / "model", 0 if quick else 300)}
    if oracle:
        report["memory, published format"] = measure_memory(folder / "published", 0)
    sides["ours"] = Side(sys.executable, "ours", folder, device)
    try:
        report["about"] = {name: side.about for name, side in sides.items()}
        rates = {precision: sides["ours"].ask(do="roofline", precision=precision) for precision in ("float32", "bfloat16")}
        report["roofline_gflop_per_s"] = dict(rates)
        print_row(rates)
        if not quick:
            report["ragged"] = measure_ragged(sides, folder)
            print_row(report["ragged"])
            report["embed"] = measure_embed(folder, device)
            print_row(report["embed"])
        report["rows"] = []
        for row in QUICK_ROWS if quick else ROWS:
            report["rows"] += measure_row(sides, folder, *row, rates)
    finally:
        for side in sides.values():
            side.close()
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", help="Python interpreter of an environment with muq 0.1.0")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--quick", action="store_true", help="30 s clips, float32 and bfloat16, batch 1")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    about = describe_cpu()
    if args.device == "cuda":
        about["gpu"] = torch.cuda.get_device_name()
    print_row(about)
    with tempfile.TemporaryDirectory(prefix="muq_speed_") as folder:
        report = {**about, **measure(args.oracle, args.quick, args.device, Path(folder))}
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
