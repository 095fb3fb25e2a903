"""Stage 1: the residual quantizer whose codes are the targets (arXiv 2501.01108, section 3.2)."""

import logging

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback

from ..evaluation.token_pictures import plot_reconstructions
from ..models.configuration_muq import MelRVQConfig
from ..models.mel_rvq_muq import MelRVQModel
from ..models.spectrogram_muq import LogMelSpectrogram
from ..storage.whole_files import write_json
from .arguments import crop_seed, rvq_config
from .clips import ClipDataset, evenly_spread
from .plots import plot_usage
from .stage import Stage
from .teacher import Teacher
from .trainer import StageTrainer


logger = logging.getLogger(__name__)

TOKENS_PER_CODE = 10  # with fewer, codes may be unused by chance


class RVQTrainer(StageTrainer):
    """Quantizes mel frames or, with a teacher, its latents; counts codes and left-over energy for the log."""

    def __init__(self, *args, teacher: Teacher | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.teacher = teacher

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        features = vectors(self.accelerator.unwrap_model(model), self.teacher, inputs)
        outputs = model(features=features)
        self.sums[model.training].add(
            counts=count_codes(outputs.codes, self.model.config.codebook_size),
            residual_energy=outputs.residual_energy,
            energy=features.square().mean(),
            reconstruction_loss=outputs.reconstruction_loss,
            steps=torch.ones((), device=features.device),
        )
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def metrics_from(self, sums):
        metrics = {"reconstruction_loss": (sums["reconstruction_loss"] / sums["steps"]).item()}
        usage, perplexity = usage_of(sums["counts"])
        energy = sums["residual_energy"] / sums["energy"]
        for k in range(len(usage)):
            metrics[f"codebook_{k + 1}/usage"] = usage[k].item()
            metrics[f"codebook_{k + 1}/perplexity"] = perplexity[k].item()
            metrics[f"codebook_{k + 1}/residual_energy"] = energy[k].item()
        metrics["tokens"] = int(sums["counts"][0].sum())
        return metrics


class CollapseWarning(TrainerCallback):
    """Names a codebook of which few codes are in use."""

    def __init__(self, least_usage: float, codebook_size: int):
        self.least_usage, self.codebook_size = least_usage, codebook_size

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs.get("tokens", 0) < TOKENS_PER_CODE * self.codebook_size:
            return
        for name, usage in logs.items():
            if name.startswith("codebook_") and name.endswith("/usage") and usage < self.least_usage:
                logger.warning(
                    "%s is collapsing: it uses %.0f %% of its codes (step %d).",
                    name.removesuffix("/usage"),
                    100 * usage,
                    state.global_step,
                )


class MelRVQStage(Stage):
    trainer_class = RVQTrainer
    description = "A Mel-RVQ: it turns music into tokens, the targets of MuQ's masked prediction."
    teacher: Teacher | None = None

    def build_model(self, train_tracks):
        config = rvq_config(self.settings.stage.model)
        self._require_trainable(config)
        num_clips = self.settings.stage.statistics_clips
        if num_clips:
            dataset = evenly_spread(self._clips(config, train_tracks), num_clips)
            config.mel_mean, config.mel_std = mel_statistics(dataset, config)
            logger.info("log-mel of %d clips: mean %.4f dB, deviation %.4f dB", num_clips, config.mel_mean, config.mel_std)
        return MelRVQModel(config)

    def trainer_arguments(self):
        config = self.settings.stage
        size = config.model.get("codebook_size", MelRVQConfig().codebook_size)
        return {"teacher": self.teacher, "callbacks": [CollapseWarning(config.collapse_usage, size)]}

    def after_training(self, trainer, eval_dataset):
        """`codebooks.json` and the plots, on the evaluation crops or else on training crops."""
        if not trainer.is_world_process_zero():
            return {}
        dataset = eval_dataset or evenly_spread(trainer.train_dataset, self.data.num_eval_clips)
        model = trainer.accelerator.unwrap_model(trainer.model).eval()
        table, counts = measure_codebooks(model, self.teacher, dataset, self.training.per_device_eval_batch_size)
        write_json(self.run_folder.path / "codebooks.json", table)
        plot_usage(counts, self.run_folder.plots / "usage.png")
        if self.teacher is None:
            wave = dataset[0]["input_values"].to(model.device)
            plot_reconstructions(model, wave, self.run_folder.plots / "reconstructions.png")
        return {"Codebooks, on the evaluation crops": table}

    def _clips(self, config, tracks) -> ClipDataset:
        return ClipDataset(tracks, config, self.data.clip_seconds, crop_seed(self.training), self.data.channel)

    @staticmethod
    def _require_trainable(config) -> None:
        if config.quantizer_type != "residual":
            raise ValueError('a random projection is not trained: leave stage 1 out and set `targets` to "random_projection".')


def vectors(model: MelRVQModel, teacher: Teacher | None, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The vectors that are quantized, [B, N, input_size]; stored latents where the batch brings them."""
    if "latents" in inputs:
        return inputs["latents"]
    return model.features(inputs["input_values"]) if teacher is None else teacher.latents(inputs["input_values"])


def count_codes(codes: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """codes [..., K] → how often each is used [K, V]."""
    K = codes.shape[-1]
    offsets = codebook_size * torch.arange(K, device=codes.device)
    return torch.bincount((codes + offsets).flatten(), minlength=K * codebook_size).view(K, codebook_size)


def usage_of(counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """counts [K, V] → share of the codes in use [K], perplexity of the codes [K]."""
    p = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    entropy = -torch.special.xlogy(p, p).sum(dim=1)  # nats
    return (counts > 0).double().mean(dim=1), entropy.exp()


def mel_statistics(dataset: Dataset, config: MelRVQConfig) -> tuple[float, float]:
    """Mean and standard deviation (dB) of the log-mel over all crops, frames and bands."""
    spectrogram = LogMelSpectrogram(config)
    count, total, squares = 0, 0.0, 0.0
    for index in range(len(dataset)):
        mel = spectrogram(dataset[index]["input_values"].unsqueeze(0)).double() * config.mel_std + config.mel_mean
        count, total, squares = count + mel.numel(), total + mel.sum().item(), squares + mel.square().sum().item()
    mean = total / count
    return mean, max(squares / count - mean**2, 1e-12) ** 0.5


@torch.no_grad()
def measure_codebooks(model: MelRVQModel, teacher: Teacher | None, dataset: Dataset, batch_size: int):
    """What each further codebook adds: a table with one row per number of codebooks, and the counts of all codes [K, V]."""
    K = model.config.num_codebooks
    errors, energies, energy, counts, batches = torch.zeros(K), torch.zeros(K), 0.0, 0, 0
    for batch in DataLoader(dataset, batch_size=batch_size):
        features = vectors(model, teacher, {name: value.to(model.device) for name, value in batch.items()})
        codes = model.quantizer.encode(features)
        counts = counts + count_codes(codes, model.config.codebook_size).cpu()
        for k in range(K):
            residual = features - model.quantizer.decode(codes[..., : k + 1])
            errors[k] += residual.abs().mean().item()
            energies[k] += residual.square().mean().item()
        energy += features.square().mean().item()
        batches += 1
    usage, perplexity = usage_of(counts)
    table = []
    for k in range(K):
        row = {"codebooks": k + 1, "absolute_error": errors[k].item() / batches}
        if teacher is None:
            row["absolute_error_db"] = row["absolute_error"] * model.config.mel_std
        row |= {
            "residual_energy": energies[k].item() / energy,
            "usage": usage[k].item(),
            "perplexity": perplexity[k].item(),
        }
        table.append(row)
    return table, counts
