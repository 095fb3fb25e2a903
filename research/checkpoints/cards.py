"""Put measured scores into the cards of the shipped weights, in the Hub's form (`model-index`) and as a table.

    muq-hf probe --model FOLDER --suite small --corpus CORPUS RENDERED --output PROBED
    python research/checkpoints/cards.py muq-tiny PROBED/results.json [--model NAME_IN_IT]
    python research/checkpoints/evaluate_mulan.py --generated GENERATED --corpus CORPUS --rendered RENDERED
    python research/checkpoints/cards.py muq-mulan-tiny research/checkpoints/results/mulan.json

`export.py` writes cards without scores, because a model is measured after it has been exported: old figures never stand beside
new weights. The figures must be those of the folder's weights; nothing here can check that.
"""

import argparse
import json
from pathlib import Path

from compare import scores_of
from export import write_card
from huggingface_hub import EvalResult

from muq_hf import MUQ_TINY
from muq_hf.storage.json_lines import read_json_lines


SHIPPED = Path(MUQ_TINY).parent
PROBE = "linear"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the shipped folder: muq-tiny or muq-mulan-tiny")
    parser.add_argument("scores", type=Path, help="results.json of `muq-hf probe`, or what evaluate_mulan.py wrote")
    parser.add_argument("--model", help="which model of results.json; default: the folder's name")
    args = parser.parse_args()
    found = json.loads(args.scores.read_text(encoding="utf-8"))
    results = probe_results(found["results"], args.model or args.name) if "results" in found else mulan_results(found)
    folder = SHIPPED / args.name
    write_card(folder, args.name, read_json_lines(folder / "attribution.jsonl"), results)
    print(f"wrote {folder / 'README.md'} with {len(results)} scores")


def probe_results(rows: list[dict], model: str) -> list[EvalResult]:
    """The main score of each task under the linear probe. Raises ValueError for a model that was not probed."""
    measures = {row["task"]: row["primary"] for row in rows}
    scores = scores_of(rows, model, PROBE)
    if not scores:
        raise ValueError(f"no results of {model!r}; there are those of: {sorted({row['model'] for row in rows})}.")
    return [
        result("audio-classification", "linear probe, best layer", task, measures[task], measures[task], score["mean"])
        for task, score in scores.items()
    ]


def mulan_results(found: dict) -> list[EvalResult]:
    """What `evaluate_mulan.py` wrote: each score, with what guessing gives in its name."""
    return [
        result(
            "zero-shot-audio-classification",
            "retrieval" if name.startswith(("text_to_audio", "audio_to_text")) else "zero-shot classification",
            f"{question}, {answer['items']} clips",
            name,
            f"{name} (chance {value['chance']:.4f})",
            value["score"],
        )
        for question, answer in found.items()
        for name, value in answer["measures"].items()
    ]


def result(task_type: str, task: str, music: str, measure: str, title: str, score: float) -> EvalResult:
    """One score. The Hub takes results of one type of task and one `dataset_config` together, so each question has its own."""
    return EvalResult(
        task_type=task_type,
        task_name=task,
        dataset_type="research-corpus",
        dataset_config=music,
        dataset_name=music,
        dataset_split="test",
        metric_type=measure,
        metric_name=title,
        metric_value=round(score, 4),
    )


if __name__ == "__main__":
    main()
