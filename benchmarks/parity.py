"""Full-size parity with the published package, precision and padding invariance of the converted model.

    bash tests/oracle/make_oracle.sh DIR
    python benchmarks/parity.py --oracle DIR/bin/python --json parity.json

The oracle builds the published 333 M parameter class with seeded random weights, writes it as published and computes
all 13 hidden states of four clips. This side converts the folder, loads it with `AutoModel` and compares. Needs no
weights, no network, 6 GB of memory and 3 GB of scratch space. Exit code 1 if a limit is passed.
"""

import argparse
import json
import math
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForPreTraining

import muq_hf  # noqa: F401  (registers the Auto classes)


ROOT = Path(__file__).resolve().parent.parent
SAMPLE_RATE = 24_000  # Hz
CLIPS = ("2", "7.3", "10", "30")  # seconds
HALF_PRECISION_CLIPS = ("2", "7.3")
MAX_PARITY_ERROR = 1e-5  # max|a − b| / max|b| of a hidden state in float32
CLEAR_MARGIN = 1e-5  # a token whose code won by less may fall either way between two orders of summation
MAX_PADDING_ERROR = 1e-4
MIN_HALF_COSINE = 0.999
RAGGED_BATCHES, RAGGED_ITEMS, RAGGED_SECONDS = 3, 4, (0.05, 6.0)


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of the two tensors as wholes."""
    return F.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0).item()


@torch.no_grad()
def parity_rows(model, published: dict[str, torch.Tensor]) -> list[dict]:
    rows = []
    for clip in CLIPS:
        ours = model(published[f"{clip}.wave"][None], output_hidden_states=True).hidden_states
        for index, (state, reference) in enumerate(zip(ours, published[f"{clip}.states"], strict=True)):
            error = relative_error(state[0], reference)
            rows.append(
                {
                    "clip": f"{clip} s",
                    "state": index,
                    "max_relative_error": error,
                    "cosine": cosine(state[0], reference),
                    "passed": error <= MAX_PARITY_ERROR,
                }
            )
    return rows


@torch.no_grad()
def token_rows(model, published: dict[str, torch.Tensor]) -> list[dict]:
    """Share of equal tokens; a token must be equal where its code and all codes before it won clearly."""
    rows = []
    for clip in CLIPS:
        wave, reference = published[f"{clip}.wave"], published[f"{clip}.tokens"]
        whole_samples = len(reference) * model.config.samples_per_frame
        same = model.tokenize(wave[None, :whole_samples])[0] == reference
        clear = published[f"{clip}.token_margins"].cummin(dim=-1).values > CLEAR_MARGIN
        rows.append(
            {
                "clip": f"{clip} s",
                "tokens": reference.numel(),
                "identical": same.float().mean().item(),
                "unclear": int((~clear).sum()),
                "passed": bool(same[clear].all()),
            }
        )
    return rows


@torch.no_grad()
def precision_rows(folder: Path, published: dict[str, torch.Tensor]) -> list[dict]:
    rows = []
    for dtype in (torch.bfloat16, torch.float16):
        model = AutoModel.from_pretrained(folder, dtype=dtype).eval()
        for clip in HALF_PRECISION_CLIPS:
            frames = model(published[f"{clip}.wave"][None]).last_hidden_state[0].float()
            finite, similarity = bool(frames.isfinite().all()), cosine(frames, published[f"{clip}.states"][-1])
            rows.append(
                {
                    "dtype": str(dtype).removeprefix("torch."),
                    "clip": f"{clip} s",
                    "finite": finite,
                    "cosine_to_float32": similarity,
                    "passed": finite and similarity >= MIN_HALF_COSINE,
                }
            )
    return rows


@torch.no_grad()
def padding_rows(model, published: dict[str, torch.Tensor], seed: int) -> list[dict]:
    """Random pieces of the longest clip, short ones as likely as long ones, in zero-padded batches and one by one."""
    source, generator = published[f"{CLIPS[-1]}.wave"], torch.Generator().manual_seed(seed)
    shortest, longest = (math.log(seconds * SAMPLE_RATE) for seconds in RAGGED_SECONDS)
    rows = []
    for batch in range(RAGGED_BATCHES):
        lengths = torch.empty(RAGGED_ITEMS).uniform_(shortest, longest, generator=generator).exp().long()
        starts = (torch.rand(RAGGED_ITEMS, generator=generator) * (len(source) - lengths)).long()
        pieces = [source[start : start + length] for start, length in zip(starts, lengths, strict=True)]
        waves = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        mask = (torch.arange(waves.shape[1]) < lengths.unsqueeze(1)).long()
        together = model(waves, attention_mask=mask)
        for item, piece in enumerate(pieces):
            alone = model(piece[None]).last_hidden_state[0]
            padded = together.last_hidden_state[item][together.attention_mask[item].bool()]
            error = relative_error(padded, alone) if padded.shape == alone.shape else float("inf")
            rows.append(
                {
                    "batch": batch,
                    "samples": len(piece),
                    "padded_to": waves.shape[1],
                    "frames": len(alone),
                    "max_relative_error": error,
                    "passed": error <= MAX_PADDING_ERROR,
                }
            )
    return rows


def print_table(title: str, rows: list[dict]) -> None:
    def text(value):
        if isinstance(value, float):
            return f"{value:.2e}" if abs(value) < 0.01 else f"{value:.8f}"
        return str(value)

    cells = [list(rows[0]), *[[text(value) for value in row.values()] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}")
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def measure(oracle: Path, scratch: Path, seed: int) -> dict:
    published_folder, converted = scratch / "published", scratch / "converted"
    worker = [str(oracle), "-W", "ignore", str(ROOT / "benchmarks" / "oracle_worker.py")]
    subprocess.run([*worker, "--out", str(scratch), "--seed", str(seed)], check=True)
    subprocess.run([sys.executable, "-m", "conversion.convert_muq", str(published_folder), str(converted)], check=True, cwd=ROOT)
    published = load_file(scratch / "states.safetensors")
    model = AutoModelForPreTraining.from_pretrained(converted, dtype=torch.float32).eval()
    tokens = token_rows(model, published)
    del model
    model = AutoModel.from_pretrained(converted, dtype=torch.float32).eval()
    parity, padding = parity_rows(model, published), padding_rows(model, published, seed)
    del model
    return {
        "parity": parity,
        "tokens": tokens,
        "padding": padding,
        "precision": precision_rows(converted, published),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", type=Path, required=True, help="Python interpreter of the oracle's environment")
    parser.add_argument("--json", type=Path, required=True, help="file to write the numbers to")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="muq_parity_") as scratch:
        tables = measure(args.oracle, Path(scratch), args.seed)
    for title, rows in tables.items():
        print_table(title, rows)
    passed = all(row["passed"] for rows in tables.values() for row in rows)
    report = {
        "passed": passed,
        "seed": args.seed,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **tables,
    }
    args.json.write_text(json.dumps(report, indent=1) + "\n")
    worst = max(row["max_relative_error"] for row in tables["parity"])
    print(f"\n{'passed' if passed else 'FAILED'}: worst hidden state {worst:.1e} (limit {MAX_PARITY_ERROR:.0e})")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
