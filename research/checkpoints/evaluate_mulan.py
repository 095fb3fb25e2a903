"""What muq-mulan-tiny understands of music that it never heard, each figure beside chance.

    python evaluate_mulan.py --generated GENERATED --corpus CORPUS --rendered RENDERED [--model FOLDER]

Captions: every generated piece of the test split is asked for, among all of them, by a sentence that describes no other piece.
Styles: the tags of the recordings of the test split, named without an example; tags are those of an album. Instruments: the
family of single notes, played on an unheard soundfont.
Writes results/mulan.json and prints it as a table.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import torch
from transformers import AutoModel, AutoProcessor

from muq_hf import MUQ_MULAN_TINY
from muq_hf.audio import load_audio
from muq_hf.evaluation.corpus_tasks import HELD_OUT_LICENCE
from muq_hf.evaluation.labelled_clips import Clip, read_manifest, with_label
from muq_hf.evaluation.ranking import CUTOFFS, pair_scores
from muq_hf.evaluation.text_tagging import zero_shot_scores
from muq_hf.storage.json_lines import read_json_lines


HERE = Path(__file__).resolve().parent
CLIP_SECONDS = 30.0  # of the middle of a recording
MIN_RECORDINGS = 4  # with a style, for it to be asked about
TEMPLATE = "{} music"
BATCH_PIECES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generated", type=Path, required=True, help="folder that generate_music.py wrote")
    parser.add_argument("--corpus", type=Path, required=True, help="folder that build_corpus.py wrote")
    parser.add_argument("--rendered", type=Path, required=True, help="folder that render_scores.py wrote")
    parser.add_argument("--model", default=MUQ_MULAN_TINY)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "mulan.json")
    args = parser.parse_args()
    model, processor = AutoModel.from_pretrained(args.model).eval(), AutoProcessor.from_pretrained(args.model)
    found = {
        "captions of generated pieces": retrieval(model, processor, args.generated),
        "styles of recordings": styles(model, processor, args.corpus),
        "styles of recordings, albums never trained on": styles(model, processor, args.corpus, HELD_OUT_LICENCE),
        "instrument family of notes": families(model, processor, args.rendered),
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))


@torch.inference_mode()
def retrieval(model, processor, generated: Path) -> dict:
    """→ {measure: {score, chance}}. Only captions of one piece that no training piece has."""
    rows = read_json_lines(generated / "captions.jsonl")
    number = Counter(text for row in rows for text in row["text"])
    pieces, captions = [], []
    for row in rows:
        own = [text for text in row["text"] if number[text] == 1]
        if row["split"] == "test" and own:
            pieces.append(row)
            captions.append(own[0])
    text = model.get_text_features(**processor(text=captions, return_tensors="pt", padding=True)).pooler_output
    music = []
    for start in range(0, len(pieces), BATCH_PIECES):
        waves = [load_audio(generated / row["path"]) for row in pieces[start : start + BATCH_PIECES]]
        inputs = processor(audio=waves, sampling_rate=model.config.sampling_rate, return_tensors="pt")
        music.append(model.get_audio_features(**inputs).pooler_output)
    numbers = torch.arange(len(pieces))
    scores = pair_scores(torch.cat(music).numpy(), text.numpy(), numbers.numpy(), numbers.numpy())
    measures = {
        f"{direction}_r{k}": {"score": scores[f"{direction}_r{k}"], "chance": k / len(pieces)}
        for direction in ("text_to_audio", "audio_to_text")
        for k in CUTOFFS
    }
    return {"items": len(pieces), "classes": len(pieces), "measures": measures}


def styles(model, processor, corpus: Path, only: str = "") -> dict:
    """`only`: start of the licences of recordings to ask about; "GPL" for albums of which no track was trained on."""
    rows = [row for row in read_json_lines(corpus / "manifest.jsonl") if row["split"] == "test" and not row["duplicate_of"]]
    rows = [row for row in rows if row["licence"].startswith(only)]
    number = {style: sum(style in row["style"] for row in rows) for row in rows for style in row["style"]}
    clips = []
    for row in rows:
        tags = [style for style in row["style"] if number[style] >= MIN_RECORDINGS]
        start = max(0.0, row["duration"] / 2 - CLIP_SECONDS / 2)
        if tags:
            clips.append(Clip(corpus / row["path"], start, min(start + CLIP_SECONDS, row["duration"]), labels={"style": tags}))
    scores = zero_shot_scores(model, processor, clips, "style", TEMPLATE)
    share = sum(len(clip.labels["style"]) for clip in clips) / scores["labels"] / len(clips)
    return zero_shot(scores, {"roc_auc": 0.5, "pr_auc": share})


def families(model, processor, rendered: Path) -> dict:
    notes = with_label(read_manifest(rendered / "tasks" / "notes.jsonl"), "family")
    clips = [clip for clip in notes if clip.split == "test"]
    scores = zero_shot_scores(model, processor, clips, "family")
    names = [clip.labels["family"] for clip in clips]
    return zero_shot(scores, {"accuracy": max(map(names.count, set(names))) / len(names), "macro_f1": 1 / len(set(names))})


def zero_shot(scores: dict, chance: dict) -> dict:
    measures = {name: {"score": scores[name], "chance": level} for name, level in chance.items()}
    return {"items": scores["clips"], "classes": scores["labels"], "measures": measures}


def table(found: dict) -> str:
    lines = ["| question | items | names | measure | score | chance |", "|---|--:|--:|---|--:|--:|"]
    for question, answer in found.items():
        for name, value in answer["measures"].items():
            counts = f"{answer['items']} | {answer['classes']}"
            lines.append(f"| {question} | {counts} | {name} | {value['score']:.3f} | {value['chance']:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
