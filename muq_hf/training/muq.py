"""Stage 2: masked prediction of the tokens of clean music (arXiv 2501.01108, section 3.3)."""

import torch

from ..models.configuration_muq import MelRVQConfig, MuQConfig
from ..models.mel_rvq_muq import MelRVQModel
from ..models.modeling_muq import MuQForPreTraining
from .clips import BlockMasking
from .mel_rvq import count_codes, usage_of
from .stage import Stage
from .stored_targets import StoredTargets, is_stored_targets
from .teacher import Teacher, require_model_type
from .trainer import StageTrainer


TOKEN_FIELDS = ("num_codebooks", "codebook_size", "codebook_dim", "projection_depth", "quantizer_type")


class MuQTrainer(StageTrainer):
    """Every masked token of an update weighs the same, whichever micro-batch and process it is in."""

    def __init__(self, *args, teacher: Teacher | None = None, codebook_weights: torch.Tensor | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.teacher, self.codebook_weights = teacher, codebook_weights

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """→ the micro-batches of one update, and the masked blocks in them over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        masked_blocks = sum(batch["block_mask"].sum() for batch in batches).to(device)
        return batches, self.accelerator.reduce(masked_blocks, reduction="sum")

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if self.teacher is not None:
            inputs = {**inputs, "target_tokens": self.teacher.tokens(inputs["input_values"])}
        if self.codebook_weights is not None:
            inputs = {**inputs, "codebook_weights": self.codebook_weights.to(inputs["input_values"].device)}
        outputs = model(**inputs, return_logits=False)
        self._count(model.training, outputs)
        loss = outputs.loss
        if num_items_in_batch is not None:
            # Trainer divides by the micro-batches of the update, and DDP averages over the processes: undo both means.
            means = self.current_gradient_accumulation_steps * self.args.world_size
            loss = loss * means * inputs["block_mask"].sum() / num_items_in_batch
        return (loss, outputs) if return_outputs else loss

    def _count(self, training: bool, outputs) -> None:
        masked = outputs.num_masked_tokens
        self.sums[training].add(
            masked=masked,
            loss=outputs.loss * masked,
            correct=outputs.accuracy * masked,
            counts=count_codes(outputs.target_tokens[outputs.token_mask], self.model.config.codebook_size),
        )

    def metrics_from(self, sums):
        """Accuracy per codebook; the loss relative to guessing by the targets' frequencies, comparable between vocabularies."""
        masked = sums["masked"]
        accuracy = sums["correct"] / masked
        usage, perplexity = usage_of(sums["counts"])
        entropy = perplexity.log()  # nats
        metrics = {
            "masked_accuracy": accuracy.mean().item(),
            "normalised_loss": (sums["loss"] / masked / entropy.mean().clamp(min=1e-9)).item(),
            "masked_tokens": int(masked),
        }
        for k in range(len(accuracy)):
            metrics[f"codebook_{k + 1}/accuracy"] = accuracy[k].item()
            metrics[f"codebook_{k + 1}/target_usage"] = usage[k].item()
            metrics[f"codebook_{k + 1}/target_perplexity"] = perplexity[k].item()
        return metrics


class MuQStage(Stage):
    trainer_class = MuQTrainer
    description = "A MuQ: music → 25 frames a second, trained by masked prediction of tokens."
    teacher: Teacher | None = None
    stored: StoredTargets | None = None

    def build_model(self, train_tracks):
        targets = self.settings.stage.targets
        if targets is None:
            raise ValueError(
                'no targets were given: set `targets` to the folder of a Mel-RVQ or of stored tokens, or to "random_projection".'
            )
        if targets == "random_projection":
            return MuQForPreTraining(self.muq_config(quantizer_type="random_projection", num_codebooks=1))
        if is_stored_targets(targets):
            self.stored = StoredTargets(targets)
            return MuQForPreTraining(self.config_of_stored(self.stored))
        require_model_type(targets, "mel_rvq", "targets")
        rvq = MelRVQModel.from_pretrained(targets, dtype=torch.float32)
        model = MuQForPreTraining(self.muq_config(**token_settings(rvq.config)))
        model.quantizer.load_state_dict(rvq.quantizer.state_dict())
        return model

    def masking(self, model):
        return BlockMasking.from_config(model.config)

    def trainer_arguments(self):
        return {"teacher": self.teacher}

    def earlier_models(self):
        if self.stored is not None:
            return self.stored.meta["teacher"]
        targets = self.settings.stage.targets
        return [] if targets == "random_projection" else [targets]

    def muq_config(self, **decided) -> MuQConfig:
        """The model of the settings; `decided` are the fields that the targets decide. Raises ValueError where they differ."""
        fields = dict(self.settings.stage.model)
        for name, value in decided.items():
            if name in fields and fields[name] != value:
                raise ValueError(f"`model` sets {name}={fields[name]!r}, but the targets need {value!r}: leave it out.")
        preset = fields.pop("preset", None)
        fields |= decided
        return MuQConfig(**fields) if preset is None else MuQConfig.from_preset(preset, **fields)

    def config_of_stored(self, stored: StoredTargets) -> MuQConfig:
        """The student of tokens that come from elsewhere."""
        return self.muq_config(
            quantizer_type="none",
            num_codebooks=stored.num_codebooks,
            codebook_size=stored.codebook_size,
            **stored.meta["spectrogram"],
        )


def token_settings(config: MelRVQConfig) -> dict:
    """The fields that a MuQ must share with the Mel-RVQ whose tokens it predicts."""
    return {**{name: getattr(config, name) for name in TOKEN_FIELDS}, **config.spectrogram_settings}
