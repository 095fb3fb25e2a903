"""MuQ-MuLan: music and text drawn together by a contrastive loss (arXiv 2501.01108, section 3.4)."""

from functools import cached_property
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModel, AutoTokenizer

from ..evaluation.ranking import pair_scores
from ..models.configuration_muq import MuQConfig
from ..models.configuration_muq_mulan import MuQMuLanConfig
from ..models.feature_extraction_muq_mulan import MuQMuLanFeatureExtractor
from ..models.losses_muq_mulan import contrastive_loss
from ..models.modeling_muq import MuQModel
from ..models.modeling_muq_mulan import MuQMuLanModel
from ..models.processing_muq_mulan import MuQMuLanProcessor
from ..storage.sentence_transformers_files import write_sentence_transformers_files
from .arguments import crop_seed
from .captions import CaptionCollator, CaptionedClips, CaptionWriter, Words, read_templates, read_words
from .stage import Stage
from .teacher import require_model_type
from .trainer import StageTrainer


class MuLanTrainer(StageTrainer):
    """Evaluates all pairs together: loss and retrieval depend on how many there are."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        pairs = torch.arange(len(outputs.logits_per_audio), device=outputs.logits_per_audio.device)
        is_first = outputs.logits_per_audio.argmax(dim=1) == pairs
        self.sums[model.training].add(first=is_first.sum(), pairs=torch.tensor(len(pairs), device=pairs.device))
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def metrics_from(self, sums):
        scale = self.accelerator.unwrap_model(self.model).logit_scale.exp().item()
        return {"batch_r1": (sums["first"] / sums["pairs"]).item(), "logit_scale": scale}

    @torch.no_grad()
    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        model = self.accelerator.unwrap_model(self.model).eval()
        collate = CaptionCollator(self.data_collator.processor, mask_duplicates=True)
        parts = {"audio": [], "text": [], "audio_ids": [], "text_ids": []}
        for batch in DataLoader(dataset, batch_size=self.args.per_device_eval_batch_size, collate_fn=collate):
            batch.pop("return_loss")
            parts["audio_ids"].append(batch.pop("audio_ids"))
            parts["text_ids"].append(batch.pop("text_ids"))
            outputs = model(**{name: tensor.to(self.args.device) for name, tensor in batch.items()})
            parts["audio"].append(outputs.audio_embeds.float().cpu())
            parts["text"].append(outputs.text_embeds.float().cpu())
        pairs = {name: torch.cat(tensors) for name, tensors in parts.items()}
        ids = {name: pairs[name] for name in ("audio_ids", "text_ids")}
        kind = model.config.contrastive_loss
        loss = contrastive_loss(pairs["audio"], pairs["text"], model.logit_scale.detach().cpu(), kind, **ids).item()
        scores = pair_scores(**{name: tensor.numpy() for name, tensor in pairs.items()})
        metrics = {"loss": loss, "pairs": len(pairs["audio"]), **scores}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class MuLanStage(Stage):
    trainer_class = MuLanTrainer
    description = "A MuQ-MuLan: music and text in one space, trained on pairs of both."

    @cached_property
    def words(self) -> dict[tuple[str, float], Words]:
        return read_words(self.data.data)

    def build_model(self, train_tracks):
        own = self.settings.stage
        if own.start is not None:
            require_model_type(own.start, MuQMuLanConfig.model_type, "start")
            if own.model or own.music_encoder or own.text_encoder:
                raise ValueError("`start` is a whole model: leave `model`, `music_encoder` and `text_encoder` out.")
            self._processor = MuQMuLanProcessor.from_pretrained(own.start)
            model = MuQMuLanModel.from_pretrained(own.start, dtype=torch.float32)
        else:
            model = self._new_model()
        if own.freeze_text:
            freeze(model.text_model.encoder)
        if own.freeze_music:
            freeze(model.audio_model.encoder)
        return model

    def _new_model(self) -> MuQMuLanModel:
        """Encoders as given, everything between them random."""
        own = self.settings.stage
        if own.text_encoder is None:
            raise ValueError("no text encoder was given: set `text_encoder` to its folder or Hub id, or `start` to a MuQ-MuLan.")
        fields = {"clip_seconds": self.data.clip_seconds, **own.model}
        preset, audio_config = fields.pop("preset", "large"), fields.pop("audio_config", {})
        if own.music_encoder is None:
            audio_config = MuQConfig.from_preset(preset, **audio_config)
        else:
            require_model_type(own.music_encoder, MuQConfig.model_type, "music_encoder")
            audio_config = MuQConfig.from_pretrained(own.music_encoder)
        config = MuQMuLanConfig(audio_config=audio_config, text_config=AutoConfig.from_pretrained(own.text_encoder), **fields)
        model = MuQMuLanModel(config)
        if own.music_encoder is not None:
            model.audio_model.encoder.load_state_dict(
                MuQModel.from_pretrained(own.music_encoder, dtype=torch.float32).state_dict()
            )
        if _has_weights(own.text_encoder):
            weights = AutoModel.from_pretrained(own.text_encoder, dtype=torch.float32).state_dict()
            encoder = model.text_model.encoder
            encoder.load_state_dict({name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")})
        elif own.freeze_text:
            raise ValueError(
                f"{own.text_encoder} holds no weights: a random text encoder must be trained, set `freeze_text` false."
            )
        tokenizer = AutoTokenizer.from_pretrained(own.text_encoder)
        if config.max_text_tokens is not None:
            tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_text_tokens)
        extractor = MuQMuLanFeatureExtractor.for_config(config)
        self._processor = MuQMuLanProcessor(extractor, tokenizer)
        return model

    def build_dataset(self, model, tracks):
        data, own = self.data, self.settings.stage
        if data.clip_seconds > model.config.clip_seconds:
            raise ValueError(f"`clip_seconds` must be at most the {model.config.clip_seconds:g} s that the model takes at once.")
        return CaptionedClips(
            tracks,
            model.config.audio_config,
            data.clip_seconds,
            crop_seed(self.training),
            data.channel,
            skip_log=self.run_folder.skip_log,
            words=self.words,
            writer=CaptionWriter(read_templates(own.templates), own.plain_tag_share),
        )

    def collator(self, model):
        return CaptionCollator(self._processor, self.settings.stage.mask_duplicates)

    def processor(self, model):
        return self._processor

    def write_further_files(self, folder):
        write_sentence_transformers_files(folder)

    def earlier_models(self):
        own = self.settings.stage
        return [place for place in (own.start, own.music_encoder) if place is not None]


def freeze(encoder: nn.Module) -> None:
    """No gradients, no dropout, and batch statistics as they are: the same input always gives the same states."""
    encoder.requires_grad_(False).eval()
    encoder.train = lambda mode=True: encoder  # also when the whole model is switched to training


def _has_weights(place: str) -> bool:
    """A folder with a configuration alone is an encoder to be trained from nothing."""
    folder = Path(place)
    return not folder.is_dir() or any(any(folder.glob(kind)) for kind in ("*.safetensors", "pytorch_model*.bin"))
