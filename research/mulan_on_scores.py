"""Train a tiny MuQ-MuLan on rendered tunes, then ask for pieces that it never heard, on a soundfont that it never heard.

    python research/corpus/render_scores.py SCORES            (once; see research/corpus)
    python research/mulan_on_scores.py SCORES OUTPUT [--seeds 0 1 2] [--steps 400] [--pieces 2000]

Every tune is described by its labels: instrument, dance, mode, tempo, drums. After training, the caption of every held-out piece
is a query for that one piece among all of them: R@10 with the 95 % interval over pieces, beside chance (10 / pieces). Zero-shot
tagging names instrument and dance from a list, beside chance (the most frequent name). Prints a table and OUTPUT/results.json.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, AutoProcessor, PreTrainedTokenizerFast, XLMRobertaConfig

from muq_hf.audio import load_audio
from muq_hf.training.chain import train


SPECIAL_TOKENS = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
TEMPO_WORDS = ((90.0, "slow"), (130.0, "moderate"), (float("inf"), "fast"))  # up to so many beats a minute
CLIP_SECONDS = 5.0
MODEL = {
    "audio_config": {
        "conv_channels": 16,
        "hidden_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 192,
        "conv_depthwise_kernel_size": 15,
    },
    "preset": "tiny",
    "projection_dim": 64,
    "adapter_size": 64,
    "text_adapter_layers": 1,
    "text_adapter_heads": 2,
    "text_adapter_head_dim": 32,
    "text_adapter_intermediate_size": 128,
}
CONFIG = {
    "clip_seconds": CLIP_SECONDS,
    "eval_share": 0.0,
    "eval_strategy": "no",
    "save_strategy": "no",
    "use_cpu": True,
    "logging_steps": 50,
    "per_device_train_batch_size": 32,
    "gradient_accumulation_steps": 1,
    "learning_rate": 2e-3,
    "warmup_steps": 50,
    "lr_scheduler_type": "cosine",
    "mulan": {"model": MODEL, "freeze_text": False, "plain_tag_share": 1.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores", type=Path, help="folder that research/corpus/render_scores.py wrote")
    parser.add_argument("output", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--pieces", type=int, default=2000, help="most tunes to train on")
    arguments = parser.parse_args()
    tunes = read_tunes(arguments.scores)
    heard = [tune for tune in tunes if tune["split"] == "train"][: arguments.pieces]
    held_out = one_per_piece(tune for tune in tunes if tune["split"] == "test")
    arguments.output.mkdir(parents=True, exist_ok=True)
    manifest = write_pairs(heard, arguments.output / "pairs.jsonl")
    write_text_encoder(arguments.output / "text_encoder", {tag for tune in tunes for tag in tune["tags"]})
    print(f"{len(heard)} tunes to train on, {len(held_out)} held-out pieces")
    results = []
    for seed in arguments.seeds:
        started = time.process_time()
        overrides = {"data": str(manifest), "output_dir": str(arguments.output / f"seed_{seed}"), "seed": seed}
        overrides |= {"max_steps": arguments.steps, "text_encoder": str(arguments.output / "text_encoder")}
        final = train("mulan", CONFIG, overrides)
        minutes = (time.process_time() - started) / 60
        results.append({"seed": seed, "cpu_minutes": minutes, **evaluate(final, held_out)})
        print(json.dumps(results[-1]))
        (arguments.output / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print_table(results)


def read_tunes(scores: Path) -> list[dict]:
    """{path, split, group, tags} of every rendered tune whose instrument is known."""
    tunes = []
    for line in (scores / "tasks" / "music.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["labels"].get("key") is not None and "chords" not in row["labels"]:
            tunes.append({"path": str((scores / "tasks" / row["path"]).resolve()), "split": row["split"], "group": row["group"]})
            tunes[-1] |= {"tags": tags_of(row["labels"]), "instrument": row["labels"]["instruments"][0]}
            tunes[-1] |= {"dance": row["labels"]["dance"]}
    return tunes


def tags_of(labels: dict) -> list[str]:
    tags = [*labels["instruments"], labels["key"].split()[1]]
    if labels["dance"]:
        tags.append(labels["dance"])
    if labels["tempo"]:
        tags.append(next(word for limit, word in TEMPO_WORDS if labels["tempo"] <= limit))
    return tags


def one_per_piece(tunes) -> list[dict]:
    """The first performance of every piece."""
    return list({tune["group"]: tune for tune in reversed(list(tunes))}.values())


def write_pairs(tunes: list[dict], path: Path) -> Path:
    path.write_text("".join(json.dumps({"path": tune["path"], "tags": tune["tags"]}) + "\n" for tune in tunes))
    return path


def write_text_encoder(folder: Path, tags: set[str]) -> None:
    """A small encoder to be trained from nothing, and a tokenizer of the words in use."""
    words = sorted({word for tag in tags for word in tag.split()} | {","})
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS.values(), *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = ["input_ids", "attention_mask"]
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=32, model_input_names=names, **SPECIAL_TOKENS
    ).save_pretrained(folder)
    XLMRobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=34,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    ).save_pretrained(folder)


@torch.no_grad()
def evaluate(folder: Path, held_out: list[dict]) -> dict:
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)

    def texts(captions: list[str]) -> np.ndarray:
        return model.get_text_features(**processor(text=captions, return_tensors="pt")).pooler_output.numpy()

    music = []
    for tune in held_out:
        inputs = processor(audio=load_audio(tune["path"]), sampling_rate=24_000, return_tensors="pt")
        music.append(model.get_audio_features(**inputs).pooler_output[0].numpy())
    music = np.stack(music)  # [N, P]
    scores = texts([", ".join(tune["tags"]) for tune in held_out]) @ music.T
    ranks = (~(scores < scores.diagonal()[:, None])).sum(axis=1)  # of the one right piece, after all that score as much
    found = ranks <= 10
    result = {"pieces": len(held_out), "chance_r10": 10 / len(held_out), "r10": float(found.mean())}
    result["r10_interval"] = interval(found)
    result["times_chance"] = result["r10"] / result["chance_r10"]
    for label in ("instrument", "dance"):
        result |= tagging(label, held_out, music, texts)
    return result


def interval(values: np.ndarray) -> list[float]:
    """95 % bootstrap interval of the mean over pieces."""
    random = np.random.default_rng(0)
    means = [values[random.integers(len(values), size=len(values))].mean() for _ in range(2000)]
    return np.percentile(means, [2.5, 97.5]).tolist()


def tagging(label: str, held_out: list[dict], music: np.ndarray, texts) -> dict:
    """Naming one of the label's words; chance: the most frequent word, ROC-AUC 0.5, average precision the words' shares."""
    labelled = [index for index, tune in enumerate(held_out) if tune[label]]
    names = sorted({held_out[index][label] for index in labelled})
    truth = np.array([[held_out[index][label] == name for name in names] for index in labelled])
    scores = music[labelled] @ texts(names).T
    return {
        f"{label}_accuracy": float((scores.argmax(axis=1) == truth.argmax(axis=1)).mean()),
        f"{label}_chance": float(truth.mean(axis=0).max()),
        f"{label}_roc_auc": float(roc_auc_score(truth, scores, average="macro")),
        f"{label}_map": float(average_precision_score(truth, scores, average="macro")),
        f"{label}_map_chance": float(truth.mean(axis=0).mean()),
    }


def print_table(results: list[dict]) -> None:
    print(f"{'seed':>4} {'CPU min':>8} {'R@10':>6} {'95 % interval':>15} {'chance':>7}  instrument / dance accuracy (chance)")
    for row in results:
        low, high = row["r10_interval"]
        print(
            f"{row['seed']:>4} {row['cpu_minutes']:>8.1f} {row['r10']:>6.3f} {low:>7.3f}–{high:.3f}  {row['chance_r10']:>7.3f}  "
            f"{row['instrument_accuracy']:.3f} ({row['instrument_chance']:.3f}) / "
            f"{row['dance_accuracy']:.3f} ({row['dance_chance']:.3f})"
        )


if __name__ == "__main__":
    main()
