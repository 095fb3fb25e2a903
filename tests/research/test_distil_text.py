"""Distillation of the text tower, from a tiny random teacher."""

import json
import shutil

import distil_text
import numpy as np
import pytest
import text_set
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer


SETTINGS = distil_text.Settings(num_texts=256, steps=24, batch_size=16, learning_rate=5e-3, vocabulary=200)
WORDS = "amber bridge copper drum engine forest garden harbour island jungle kettle lantern mirror needle orange piano".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    pieces = [*distil_text.SPECIAL_TOKENS, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(pieces), initializer_range=0.5, **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    monkeypatch.setattr(distil_text, "STUDENT", sizes)
    monkeypatch.setattr(distil_text, "NUM_HELD_OUT", 12)


def test_student_comes_nearer_to_its_teacher(teacher, tmp_path):
    results = distil_text.distil(tmp_path, teacher, SETTINGS)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert results["held_out"]["captions"]["cosine"] > rows[0]["held_out"]["captions"]["cosine"]


def test_result_is_a_text_encoder_for_muq_mulan(teacher, tmp_path):
    distil_text.distil(tmp_path, teacher, SETTINGS)
    model, tokenizer = AutoModel.from_pretrained(tmp_path / "final"), AutoTokenizer.from_pretrained(tmp_path / "final")
    batch = tokenizer(["slow piano", "an unheard-of word"], padding=True, return_tensors="pt")
    assert set(batch) == {"input_ids", "attention_mask"} and tokenizer.model_max_length == distil_text.MAX_TOKENS
    assert torch.isfinite(model(**batch).last_hidden_state).all()


def test_interrupted_run_ends_with_the_weights_of_an_unbroken_one(teacher, tmp_path, monkeypatch):
    distil_text.distil(tmp_path / "whole", teacher, SETTINGS)
    save = distil_text.save_checkpoint

    def save_and_stop(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    shutil.copytree(tmp_path / "whole" / "tokenizer", tmp_path / "broken" / "tokenizer")  # ties between pieces fall by chance
    monkeypatch.setattr(distil_text, "save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        distil_text.distil(tmp_path / "broken", teacher, SETTINGS)
    monkeypatch.setattr(distil_text, "save_checkpoint", save)
    distil_text.distil(tmp_path / "broken", teacher, SETTINGS)
    whole, broken = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_vectors_of_the_teacher_are_computed_once(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(distil_text, "LENGTH_POOL", 1)
    lines = [f"{word} {other}" for word in WORDS for other in WORDS]  # two blocks of 128
    vectors = distil_text.Teacher(teacher, torch.device("cpu"))
    whole = vectors.stored(lines, tmp_path / "teacher.f16")
    content = (tmp_path / "teacher.f16").read_bytes()
    (tmp_path / "teacher.f16").write_bytes(content[: len(content) * 3 // 4])
    asked = []
    monkeypatch.setattr(distil_text.Teacher, "__call__", lambda self, part: asked.append(len(part)) or torch.zeros(len(part), 16))
    resumed = vectors.stored(lines, tmp_path / "teacher.f16")
    assert asked == [128] and np.array_equal(resumed[:128], whole[:128]) and not resumed[128:].any()


def test_unseen_words_are_spelled_not_lost(tmp_path):
    lines = ["slow piano music", "a drum solo"]
    tokenizer = distil_text.get_tokenizer(tmp_path, lines, 200)
    for text in ("zyxwhistling quop", "kjv94 b#", "djent!"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")


def test_held_out_words_are_in_no_training_text():
    words = ["".join((a, b, c, "o")) for a in "bdfglm" for b in "aeiou" for c in "bdfglm"]
    unseen = set(filter(text_set.is_held_out, words))
    assert len(unseen) > 3
    assert not any(unseen & set(text.lower().split()) for text in text_set.texts(words, 0, 3_000))
    spoken = {word for text in text_set.held_out_texts(words, 50)["unseen words"] for word in text.split()}
    assert spoken & unseen and not spoken & (set(words) - unseen)


def test_no_word_of_the_patterns_counts_as_unseen():
    fixed = text_set.fixed_words()
    assert {"piano", "solo", "jazz", "slow", "melancholic", "recording", "sing"} <= fixed
    found = text_set.held_out_texts([*fixed, "qqqa", *(f"zz{a}{b}" for a in LETTERS for b in LETTERS)], 40)["unseen words"]
    assert all(any(word.startswith("zz") for word in text.replace("?", "").split()) for text in found)


def test_full_size_student_is_within_two_million(monkeypatch):
    monkeypatch.undo()
    tokenizer = type("Tokenizer", (), {"__len__": lambda self: distil_text.Settings().vocabulary, "pad_token_id": 0})()
    with torch.device("meta"):
        student = BertModel(distil_text.student_config(tokenizer), add_pooling_layer=False)
    assert sum(p.numel() for p in student.parameters()) < distil_text.MAX_PARAMETERS


def test_rank_correlation_is_spearmans():
    values = np.array([3.0, 1.0, 2.0, 5.0, 4.0])
    assert distil_text.rank_correlation(values, values**3) == pytest.approx(1)
    assert distil_text.rank_correlation(values, np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == pytest.approx(1 - 6 * 8 / (5 * 24))
