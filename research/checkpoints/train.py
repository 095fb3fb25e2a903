"""Train the weights that the package ships, muq-tiny and muq-mulan-tiny, from the first step to the exported folders.

    python ../corpus/build_corpus.py CORPUS_CC --licences cc
    python generate_music.py GENERATED --hours 14
    python train.py WORK --corpus CORPUS_CC --generated GENERATED

Five steps, each done once: choose the tracks; Mel-RVQ and MuQ (`muq_tiny.json`); the text tower (`distil_text.py`);
MuQ-MuLan (`mulan_tiny.json`); export in float16. The same command after an interruption goes on at the step, and within it at
the checkpoint, where it stopped. WORK then holds every run with its curves, and `attribution.jsonl`.
"""

import argparse
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path


HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "corpus"))

import listen  # noqa: E402
from build_corpus import write_lines  # noqa: E402
from distil_text import Settings, distil  # noqa: E402
from export import export  # noqa: E402
from selection import attribution, generated_attribution, select  # noqa: E402

from muq_hf.storage.json_lines import read_json_lines  # noqa: E402
from muq_hf.training.chain import train  # noqa: E402


MUQ, MULAN = "muq-tiny", "muq-mulan-tiny"
TRIAL = {"logging_steps": 1, "num_eval_clips": 8, "statistics_clips": 8, "per_device_train_batch_size": 4}  # with --max-steps
SHIPPED = HERE.parents[1] / "muq_hf" / "checkpoints"


def main() -> None:
    args = parse_arguments()
    work = args.work
    choose_tracks(work, args.corpus, args.generated)
    overrides = {"seed": args.seed, "dataloader_num_workers": args.workers, "resume": True}
    settings = Settings(seed=args.seed)
    if args.max_steps is not None:
        overrides |= TRIAL | {"max_steps": args.max_steps, "save_steps": args.max_steps}
        settings = replace(settings, steps=args.max_steps, num_texts=2_000)
    music = {"data": str(work / "music.jsonl"), "output_dir": str(work / "muq")}
    muq = train("all", HERE / "muq_tiny.json", overrides | music)
    print_figures("text tower", distil(work / "text", args.teacher, settings)["held_out"])
    pairs = {"data": str(work / "pairs.jsonl"), "output_dir": str(work / "mulan")}
    towers = {"music_encoder": str(muq), "text_encoder": str(work / "text" / "final")}
    templates = {"templates": str(HERE / "caption_templates.txt")}
    mulan = train("mulan", HERE / "mulan_tiny.json", overrides | pairs | towers | templates)
    for model, name in ((muq, MUQ), (mulan, MULAN)):
        ship(model, args.output / name, work / "attribution.jsonl")
    record(work, args.results)
    if args.output == SHIPPED:
        listen.main()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder of the runs")
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, help="folders that build_corpus.py wrote")
    parser.add_argument("--generated", type=Path, nargs="+", required=True, help="folders that generate_music.py wrote")
    parser.add_argument("--teacher", type=Path, help="folder of the sentence encoder; see distil_text.py")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="where the exported folders go (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where logs and curves go (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes that read music")
    parser.add_argument("--max-steps", type=int, help="of every stage, for a trial of the whole chain")
    return parser.parse_args()


def choose_tracks(work: Path, corpora: list[Path], collections: list[Path]) -> None:
    """music.jsonl for MuQ, pairs.jsonl for MuQ-MuLan, attribution.jsonl for the card; kept as they are once written."""
    if (work / "attribution.jsonl").exists():
        return
    recordings, generated, pairs, credits, left_out = [], [], [], [], Counter()
    for folder in corpora:
        rows, reasons = select(folder / "manifest.jsonl")
        recordings += rows
        left_out += reasons
        credits += attribution(rows)
        pairs += [{"path": row["path"], "duration": row["duration"], "tags": row["style"]} for row in rows]
    for folder in collections:
        rows, reasons = select(folder / "manifest.jsonl")
        generated += rows
        left_out += reasons
        credits.append(generated_attribution(rows, folder / "manifest.jsonl"))
        pairs += captioned(rows, folder / "captions.jsonl")
    write_lines(work / "music.jsonl", [{"path": row["path"], "duration": row["duration"]} for row in recordings + generated])
    write_lines(work / "pairs.jsonl", pairs)
    write_lines(work / "attribution.jsonl", credits)
    for kind, rows in (("recordings", recordings), ("generated pieces", generated)):
        print(f"{len(rows)} {kind}, {hours(rows):.2f} h")
    for licence in sorted({row["licence"] for row in recordings}):
        print(f"{hours(row for row in recordings if row['licence'] == licence):8.2f} h  {licence}")
    for reason, number in left_out.most_common():
        print(f"{number:8d} tracks left out: {reason}")


def captioned(rows: list[dict], captions: Path) -> list[dict]:
    """The captions of the pieces that are trained on, with absolute paths."""
    said = {str((captions.parent / row["path"]).resolve()): row for row in read_json_lines(captions)}
    return [{name: said[row["path"]][name] for name in ("duration", "text", "tags")} | {"path": row["path"]} for row in rows]


def ship(model: Path, output: Path, credits: Path) -> None:
    if output.exists():
        print(f"{output} is there already; remove it to export anew")
        return
    export(model, output, credits)
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e6
    print(f"wrote {output}, {size:.1f} MB")


def record(work: Path, results: Path) -> None:
    """Metrics and curves of every run: `muq/round_1/muq/metrics.jsonl` becomes `muq-round_1-muq.jsonl`, its curves `….png`."""
    results.mkdir(parents=True, exist_ok=True)
    for metrics in sorted(work.rglob("metrics.jsonl")):
        name = "-".join(metrics.parent.relative_to(work).parts)
        shutil.copy2(metrics, results / f"{name}.jsonl")
        curves = metrics.parent / "plots" / "curves.png"
        if curves.exists():
            shutil.copy2(curves, results / f"{name}.png")
    print(f"logs and curves: {results}")


def hours(rows) -> float:
    return sum(row["duration"] for row in rows) / 3600


def print_figures(title: str, figures: dict) -> None:
    for name, values in figures.items():
        print(f"{title}, {name}: " + ", ".join(f"{key} {value}" for key, value in values.items()))


if __name__ == "__main__":
    main()
