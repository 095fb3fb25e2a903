"""`muq-hf train classifier`: what is saved is what was scored, whatever is tuned; a killed run ends as an unbroken one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification, pipeline

from muq_hf import MuQAudioClassificationPipeline, MuQForAudioFrameClassification, MuQForSequenceClassification, cli
from muq_hf.audio import load_audio
from muq_hf.evaluation.labelled_clips import read_manifest
from muq_hf.training.chain import train
from muq_hf.training.classifier_task import ClassifierTask


SHORT = {
    "num_train_epochs": 2,
    "clip_seconds": 1.0,
    "per_device_train_batch_size": 8,
    "use_cpu": True,
    "disable_tqdm": True,
    "report_to": "none",
    "dataloader_pin_memory": False,
    "hash_files": False,
}
RUNS = {  # name: (manifest, settings)
    "frozen": ("tones", {"label": "class", "pool": "attention", "head_layers": 2, "class_weights": True}),
    "lora": ("tones", {"label": "tags", "tune": "lora", "mixup": 0.3, "augment_noise_db": 20, "learning_rate": 0.01}),
    "numbers": ("tones", {"label": "hertz", "tune": "full", "pool": "mean+std", "learning_rate": 0.003}),
    "numbers lora": ("tones", {"label": "hertz", "tune": "lora", "learning_rate": 0.003}),
    "chords": ("clicks", {"label": "chords", "kind": "chord", "class_weights": True, "clip_seconds": 2.0}),
    "height": ("clicks", {"label": "height", "clip_seconds": 2.0, "learning_rate": 0.01}),
    "beats": ("clicks", {"label": "beats", "clip_seconds": 2.0, "head_layers": 2}),
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    from checks import MICRO, perturb_statistics

    from muq_hf import MuQConfig, MuQFeatureExtractor, MuQForPreTraining

    torch.manual_seed(0)
    model = MuQForPreTraining(MuQConfig(**MICRO))
    perturb_statistics(model)
    folder = tmp_path_factory.mktemp("encoder")
    model.save_pretrained(folder)
    MuQFeatureExtractor().save_pretrained(folder)
    return str(folder)


def run(name: str, tones, clicks, encoder, output, **changes) -> Path:
    manifest, settings = RUNS[name]
    data = str({"tones": tones, "clicks": clicks}[manifest])
    return train("classifier", {**SHORT, **settings, "encoder": encoder, "data": data, **changes}, {"output_dir": str(output)})


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_saved_model_gives_the_scores_that_were_told(name, tones, clicks, encoder, tmp_path):
    """The pipeline on every test clip, scored anew, gives the test scores of results.json."""
    final = run(name, tones, clicks, encoder, tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    manifest, settings = RUNS[name]
    task = ClassifierTask.from_manifest(
        {"tones": tones, "clicks": clicks}[manifest], label=settings["label"], kind=settings.get("kind")
    )
    model_class = MuQForAudioFrameClassification if task.per_frame else MuQForSequenceClassification
    model = model_class.from_pretrained(final)
    assert list(model.config.id2label.values()) == task.names
    classify = MuQAudioClassificationPipeline(model, device="cpu")
    clips, outputs, counts = task.clips["test"], [], []
    for clip in clips:
        wave = load_audio(clip.path, 24_000, start=clip.start, end=clip.end)
        if task.per_frame:  # side by side, as in the training's evaluation
            with torch.no_grad():
                parts = [model(part[None]).logits[0] for part in torch.from_numpy(wave).split(48_000)]
            outputs.append(torch.cat(parts).numpy())
        else:
            found = {row["label"]: row["score"] for row in classify(wave, top_k=None)}
            outputs.append(np.array([[found[label] for label in task.names]]))
        counts.append(len(outputs[-1]))
    task.offset, task.scale = 0.0, 1.0  # the saved model gives the manifest's units
    chosen = {"threshold": model.config.classifier_threshold} if name == "beats" else None
    scores = task.score(clips, np.array(counts), np.concatenate(outputs), chosen)
    for metric, value in scores.items():
        assert value == pytest.approx(results[f"test_{metric}"], abs=2e-3), metric


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lora", "numbers lora"])
def test_a_trained_adapter_equals_the_trained_model(name, tones, clicks, encoder, tmp_path):
    """The encoder as it was, with the adapter that the run saved, against RUN/final."""
    from peft import PeftModel

    final = MuQForSequenceClassification.from_pretrained(run(name, tones, clicks, encoder, tmp_path / "run")).eval()
    base = MuQForSequenceClassification.from_pretrained(encoder, config=final.config)
    adapted = PeftModel.from_pretrained(base, tmp_path / "run" / "adapter").eval()
    wave = 0.1 * torch.randn(2, 24_000)
    with torch.no_grad():
        torch.testing.assert_close(adapted(wave).logits, final(wave).logits, atol=1e-5, rtol=1e-5)
        plain = MuQForSequenceClassification.from_pretrained(encoder, config=final.config).eval()
        plain.classifier.load_state_dict(final.classifier.state_dict())
        plain.projector.load_state_dict(final.projector.state_dict())
        assert (plain(wave).logits - final(wave).logits).abs().max() > 1e-4  # the adapter changes something


@pytest.mark.slow
def test_frozen_means_that_the_encoder_stays(tones, clicks, encoder, tmp_path):
    final = load_file(run("frozen", tones, clicks, encoder, tmp_path / "run") / "model.safetensors")
    before = load_file(Path(encoder) / "model.safetensors")
    kept = [name for name in final if name.startswith("muq.")]
    assert kept and all(torch.equal(final[name], before[name]) for name in kept)


@pytest.mark.slow
@pytest.mark.parametrize("choices", [RUNS["lora"][1] | {"augment_gain_db": 3}, RUNS["frozen"][1]], ids=["lora", "kept states"])
def test_a_killed_and_resumed_run_has_the_weights_of_an_unbroken_one(choices, tones, encoder, tmp_path):
    settings = {**SHORT, **choices, "encoder": encoder, "data": str(tones), "num_train_epochs": 4}
    (tmp_path / "config.json").write_text(json.dumps(settings))

    def command(name: str, *more: str) -> list[str]:
        train_it = [sys.executable, "-m", "muq_hf", "train", "classifier", str(tmp_path / "config.json")]
        return [*train_it, "--output", str(tmp_path / name), *more]

    subprocess.run(command("whole"), check=True, capture_output=True)
    process = subprocess.Popen(command("broken"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "broken").glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "broken" / "final").exists()
    subprocess.run(command("broken", "--resume"), check=True, capture_output=True)
    whole, broken = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert (tmp_path / "whole" / "results.json").read_text() == (tmp_path / "broken" / "results.json").read_text()


@pytest.mark.slow
def test_the_folder_is_a_model_of_the_hub(tones, clicks, encoder, tmp_path, capsys):
    """Auto class, labels, pipeline, card with scores; and one sentence for settings that a classifier does not have."""
    from huggingface_hub import ModelCard

    final = run("frozen", tones, clicks, encoder, tmp_path / "run")
    model = AutoModelForAudioClassification.from_pretrained(final)
    assert type(model) is MuQForSequenceClassification and model.config.id2label == {0: "high", 1: "low", 2: "middle"}
    clip = read_manifest(tones)[0]
    assert (
        pipeline("audio-classification", model=str(final), device="cpu")(str(clip.path), top_k=1)[0]["label"]
        in model.config.label2id
    )
    card = ModelCard.load(final / "README.md").data
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert card.pipeline_tag == "audio-classification"
    assert {r.metric_type: r.metric_value for r in card.eval_results} == {
        name: pytest.approx(results[f"test_{name}"], abs=1e-4) for name in ("accuracy", "macro_f1")
    }
    (tmp_path / "config.json").write_text(json.dumps({**SHORT, "label": "class"}))
    command = ["train", "classifier", str(tmp_path / "config.json"), "--data", str(tones), "--output", str(tmp_path / "other")]
    assert cli.main([*command, "--channel", "mix"]) == 2
    assert "no `channel`" in capsys.readouterr().err


@pytest.mark.slow
def test_three_minutes_of_stereo_at_48_khz_have_the_same_scores_from_onnx(tones, clicks, encoder, tmp_path):
    """The pipeline on RUN/final, and the windows of the exported file, averaged by their length."""
    import onnxruntime
    import soundfile

    from muq_hf.onnx.onnx_files import export_onnx

    final = run("frozen", tones, clicks, encoder, tmp_path / "run")
    generator = np.random.default_rng(0)
    stereo = 0.1 * generator.standard_normal((180 * 48_000 + 20_000, 2)) * np.linspace(0.1, 1, 180 * 48_000 + 20_000)[:, None]
    soundfile.write(tmp_path / "song.wav", stereo, 48_000)
    found = pipeline("audio-classification", model=str(final), device="cpu")(str(tmp_path / "song.wav"), top_k=None)
    export_onnx(final, tmp_path / "onnx", licence="mit", seconds=(1,))
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    wave = load_audio(tmp_path / "song.wav", 24_000)
    labels = json.loads((tmp_path / "onnx" / "config.json").read_text())["id2label"]
    total = np.zeros(len(labels))
    for start in range(0, len(wave), 24_000):
        window = wave[None, start : start + 24_000]
        (logits,) = session.run(["logits"], {"input_values": window, "attention_mask": np.ones(window.shape, np.int64)})
        total += window.shape[1] * np.exp(logits[0]) / np.exp(logits[0]).sum()
    scores = {row["label"]: row["score"] for row in found}
    assert [scores[labels[str(index)]] for index in range(len(labels))] == pytest.approx((total / len(wave)).tolist(), abs=1e-4)
