"""Stage 2: the published package's loss and gradients, and what a training run has to get right."""

import json
import re
import time

import pytest
import torch
from checks import ASSETS, relative_error, wave_of
from safetensors.torch import load_file
from training_runs import CONFIG, MODEL, write_music
from transformers import AutoModel, Trainer, TrainingArguments

from muq_hf import MelRVQConfig, MelRVQModel, MuQConfig, MuQForPreTraining
from muq_hf.models.masking_muq import draw_block_mask, draw_noise
from muq_hf.models.published_muq import convert_state_dict
from muq_hf.training.chain import train
from muq_hf.training.clips import ClipDataset


NO_DROPOUT = {name: 0.0 for name in ("hidden_dropout", "activation_dropout", "attention_dropout", "conv_dropout")}


@pytest.fixture(scope="module")
def golden():
    return load_file(ASSETS / "pretraining.safetensors")


def golden_batch(golden, goldens) -> dict[str, torch.Tensor]:
    source = wave_of(goldens, 50_011)[0]
    waves = torch.stack([source[start : start + 31_680] for start in golden["offsets"].tolist()])
    return {"input_values": waves, "block_mask": golden["block_mask"], "mask_noise": golden["unit_noise"].float() * 0.1}


@pytest.fixture(scope="module")
def golden_step(golden, published_folder, goldens):
    """One step with the golden's weights, music, mask and noise: the model after it, and its output."""
    model = MuQForPreTraining.from_pretrained(published_folder, **NO_DROPOUT).train()
    output = model(**golden_batch(golden, goldens))
    output.loss.backward()
    return model, output


def test_targets_are_the_published_ones(golden_step, golden):
    assert torch.equal(golden_step[1].target_tokens, golden["targets"])


def test_loss_is_the_published_one(golden_step, golden):
    assert abs(golden_step[1].loss / golden["loss"] - 1) < 1e-5


def test_logits_are_the_published_ones(golden_step, golden):
    assert relative_error(golden_step[1].logits[0].flatten(1), golden["logits"]) < 1e-4


def test_accuracy_is_the_published_one(golden_step, golden):
    assert abs(golden_step[1].accuracy.mean() - golden["accuracy"]) < 1e-6


def test_gradients_are_the_published_ones(golden_step, golden):
    published = {name.removeprefix("grad."): value for name, value in golden.items() if name.startswith("grad.")}
    for name, gradient in convert_state_dict(published).items():
        assert relative_error(golden_step[0].get_parameter(name).grad, gradient) < 2e-3, name


def test_batch_statistics_move_as_published(golden_step, golden):
    running_mean = golden_step[0].muq.front_end.blocks[0].norm1.running_mean
    assert relative_error(running_mean, golden["running_mean"]) < 1e-4


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return str(write_music(tmp_path_factory.mktemp("music")))


def run_muq(music, output, **settings):
    config = CONFIG | {"muq": CONFIG["muq"] | {"targets": "random_projection"} | settings.pop("muq", {})} | settings
    return train("muq", config, {"data": music, "output_dir": str(output)})


def metrics(final) -> list[dict]:
    return [json.loads(line) for line in (final.parent / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_overfits_two_clips_of_music(tmp_path, goldens):
    """≥ 95 % of the masked tokens of two clips, with the masks and noise of the training steps drawn anew each time."""
    torch.manual_seed(0)
    config = MuQConfig(**MODEL | {"hidden_size": 64, "intermediate_size": 128}, **NO_DROPOUT, num_codebooks=2, codebook_size=16)
    model = MuQForPreTraining(config).train()
    waves = torch.stack([wave_of(goldens, 50_011)[0, s : s + 28_800] for s in (0, 20_000)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    # With a constant rate it ends on a slope by chance.
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=260)
    generator = torch.Generator().manual_seed(0)
    accuracies = []
    for _ in range(260):
        output = model(
            waves,
            block_mask=draw_block_mask(28_800, 2, 9600, 0.4, generator),
            mask_noise=draw_noise(28_800, 2, 0.1, generator),
        )
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        schedule.step()
        accuracies.append(output.accuracy.mean().item())
    assert sum(accuracies[-10:]) / 10 >= 0.95


def test_every_recipe_option_together(tmp_path, music):
    """bf16 autocast, gradient checkpointing, accumulation, clipping, two workers: finite, and saved as float32."""
    options = {"bf16": True, "gradient_checkpointing": True, "gradient_accumulation_steps": 2, "dataloader_num_workers": 2}
    final = run_muq(music, tmp_path / "run", max_steps=2, muq={"max_steps": 2}, **options)
    assert AutoModel.from_pretrained(final).dtype == torch.float32
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in metrics(final) if "loss" in row)


def test_loss_is_the_same_without_logits_of_other_tokens(golden, published_folder, golden_step, goldens):
    model = MuQForPreTraining.from_pretrained(published_folder, **NO_DROPOUT).train()
    output = model(**golden_batch(golden, goldens), return_logits=False)
    assert output.logits is None and abs(output.loss / golden["loss"] - 1) < 1e-5
    assert torch.equal(output.accuracy, golden_step[1].accuracy)


@pytest.mark.slow
def test_compiled_model_trains_like_a_plain_one(tmp_path, music):
    muq = {"max_steps": 2, "model": MODEL | NO_DROPOUT}
    plain = run_muq(music, tmp_path / "plain", muq=muq)
    compiled = run_muq(music, tmp_path / "compiled", muq=muq, torch_compile=True, torch_compile_backend="eager")
    ours, theirs = load_file(compiled / "model.safetensors"), load_file(plain / "model.safetensors")
    # What a batch norm or a softmax takes away again has a gradient of rounding errors, which Adam makes steps of.
    meaningful = [name for name in theirs if not re.search(r"conv\d\.bias|k_proj\.bias", name)]
    assert ours.keys() == theirs.keys() and len(meaningful) > len(ours) * 0.8
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in meaningful)


@pytest.mark.slow
def test_time_spent_waiting_for_slow_files_is_logged(tmp_path, music, monkeypatch):
    read = ClipDataset.__getitem__
    monkeypatch.setattr(ClipDataset, "__getitem__", lambda self, index: time.sleep(0.5) or read(self, index))
    final = run_muq(music, tmp_path / "run", muq={"max_steps": 2}, logging_steps=1, dataloader_num_workers=0, eval_strategy="no")
    assert [row for row in metrics(final) if "loss" in row][-1]["waiting_for_data"] > 0.5


def test_evaluation_has_loss_and_accuracy(tmp_path, music):
    final = run_muq(music, tmp_path / "run", muq={"max_steps": 2}, save_steps=2)
    row = next(row for row in metrics(final) if "eval_loss" in row)
    assert {"eval_masked_accuracy", "eval_codebook_1/accuracy", "eval_normalised_loss"} <= row.keys()


def test_plain_trainer_evaluates_the_model(tmp_path):
    """Without anything of `muq_hf.training`: the model needs no labels to give an evaluation loss."""
    model = MuQForPreTraining(MuQConfig(**MODEL, num_codebooks=2, codebook_size=16))
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, prediction_loss_only=True, disable_tqdm=True)
    clips = [{"input_values": torch.randn(28_800)} for _ in range(2)]
    assert "eval_loss" in Trainer(model, arguments, eval_dataset=clips).evaluate()


def test_tokens_do_not_depend_on_autocast(goldens):
    model = MuQForPreTraining(MuQConfig(**MODEL))
    wave = wave_of(goldens, 24_000)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model.tokenize(wave)
    assert torch.equal(mixed, model.tokenize(wave))


def test_model_takes_tokens_and_spectrogram_of_its_tokenizer(tmp_path, music):
    rvq = MelRVQModel(MelRVQConfig(num_codebooks=3, codebook_size=32, mel_mean=1.5))
    rvq.save_pretrained(tmp_path / "rvq")
    final = run_muq(music, tmp_path / "run", muq={"targets": str(tmp_path / "rvq"), "max_steps": 1})
    model = MuQForPreTraining.from_pretrained(final)
    assert (model.config.num_codebooks, model.config.codebook_size, model.config.mel_mean) == (3, 32, 1.5)
    assert torch.equal(model.quantizer.steps[2].codebook.weight, rvq.quantizer.steps[2].codebook.weight)


def test_targets_of_another_type_are_refused(tmp_path, music):
    MuQForPreTraining(MuQConfig(**MODEL)).save_pretrained(tmp_path / "muq")
    with pytest.raises(ValueError, match="must be a model of type 'mel_rvq'.*'muq'"):
        run_muq(music, tmp_path / "run", muq={"targets": str(tmp_path / "muq")})


def test_model_that_contradicts_its_targets_is_refused(tmp_path, music):
    with pytest.raises(ValueError, match="num_codebooks=4.*targets need 1"):
        run_muq(music, tmp_path / "run", muq={"model": MODEL | {"num_codebooks": 4}})


def test_loss_that_is_not_a_number_stops_the_run(tmp_path, music, monkeypatch):
    original, calls = MuQForPreTraining.forward, []

    def broken(self, *args, **kwargs):
        output = original(self, *args, **kwargs)
        calls.append(1)
        output.loss = output.loss * (float("nan") if len(calls) == 4 else 1.0)
        return output

    monkeypatch.setattr(MuQForPreTraining, "forward", broken)
    with pytest.raises(ValueError, match="the loss is nan at step 4.*checkpoints are whole"):
        run_muq(music, tmp_path / "run", save_steps=2, eval_strategy="no", muq={"max_steps": 6})
    assert (tmp_path / "run" / "checkpoint-2" / "trainer_state.json").exists()


def test_model_without_own_tokens_needs_them(micro_config):
    model = MuQForPreTraining(MuQConfig(**MODEL, quantizer_type="none"))
    with pytest.raises(ValueError, match="target_tokens"):
        model(torch.randn(1, 28_800))
