"""A classifier on a MuQ from labelled clips: the head alone, with adapters (LoRA), or the whole model."""

import logging
import shutil
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, set_seed

from ..checkpoints import MUQ_TINY, model_or_default
from ..evaluation.guards import leak_warnings
from ..evaluation.labelled_clips import read_manifest, write_manifest
from ..models.classification_muq import MuQForAudioFrameClassification, MuQForSequenceClassification
from ..models.configuration_muq import MuQConfig
from ..storage.whole_files import write_json
from .arguments import crop_seed
from .classifier_card import write_classifier_card
from .classifier_data import ClassifierData
from .classifier_task import ClassifierTask
from .encoder_states import StateWindows
from .labelled_crops import ClipWindows, CropCollator
from .plots import plot_curves
from .stage import Stage
from .standardised_head import HEAD_MODULES, HeadOfStates, Standardisation, head_part, scale_outputs
from .teacher import require_model_type
from .tracks import summary
from .trainer import StageTrainer


logger = logging.getLogger(__name__)

LAYER_WEIGHTS_FACTOR = 30  # a handful of logits that a few hundred small steps would leave where they began
NOT_FOR_LABELS = ("eval_share", "num_eval_clips", "channel")  # settings of the other stages' data


class ClassifierTrainer(StageTrainer):
    """Scores whole clips: windows side by side, averaged by their length, or all frames."""

    def __init__(self, *args, task: ClassifierTask, weights: torch.Tensor | None, encoder_learning_rate: float, **kwargs):
        super().__init__(*args, **kwargs)
        self.task, self.encoder_learning_rate = task, encoder_learning_rate
        self._weights = None if weights is None else weights.to(self.args.device)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        is_music = None
        if self.task.per_frame and "frame_mask" in inputs:
            is_music = inputs["frame_mask"].bool()
        elif self.task.per_frame:
            base = self.accelerator.unwrap_model(model)
            lengths = base._get_feat_extract_output_lengths(inputs["attention_mask"].sum(dim=1, keepdim=True))
            is_music = torch.arange(labels.shape[1], device=labels.device) < lengths
        loss = self.task.loss(outputs.logits, labels, is_music, self._weights)
        return (loss, outputs) if return_outputs else loss

    def metrics_from(self, sums):
        return {}

    def create_optimizer(self, model=None):
        """The encoder's parameters, where any is trained, and the weights of the layers have learning rates of their own."""
        model = self.model if model is None else model
        rates = {  # the first one is logged
            "head": self.args.learning_rate,
            "layers": LAYER_WEIGHTS_FACTOR * self.args.learning_rate,
            "encoder": self.encoder_learning_rate,
        }
        groups: dict[str, list] = {part: [] for part in rates}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                is_of_head = any(f"{part}." in name for part in HEAD_MODULES) and ".muq." not in f".{name}"
                groups["layers" if "layer_weights." in name else "head" if is_of_head else "encoder"].append(parameter)
        kind, arguments = self.get_optimizer_cls_and_kwargs(self.args, model)
        parts = [{"params": group, "lr": rates[part]} for part, group in groups.items() if group]
        self.optimizer = kind(parts, **arguments | {"weight_decay": self.args.weight_decay})
        return self.optimizer

    @torch.no_grad()
    def outputs(self, dataset: ClipWindows | StateWindows) -> tuple[np.ndarray, np.ndarray]:
        """→ rows of each clip [N], and what the model gives for them [R, K]."""
        model = self.accelerator.unwrap_model(self.model).eval()
        sums: dict[int, list] = {}
        for batch in DataLoader(dataset, batch_size=self.args.per_device_eval_batch_size, collate_fn=CropCollator(0.0, 0, None)):
            places = batch.pop("place").tolist()
            logits = model(**{name: tensor.to(self.args.device) for name, tensor in batch.items()}).logits.float().cpu()
            for row, (index, first, last, samples) in zip(self.task.activate(logits), places, strict=True):
                sums.setdefault(index, []).append((row[first:last] if self.task.per_frame else row, samples))
        clips = [sums[index] for index in range(len(dataset.clips))]
        if self.task.per_frame:
            rows = [torch.cat([frames for frames, _ in parts]) for parts in clips]
        else:
            rows = [sum(row * samples for row, samples in parts)[None] / sum(n for _, n in parts) for parts in clips]
        return np.array([len(row) for row in rows]), torch.cat(rows).double().numpy()

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval", chosen: dict | None = None):
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        counts, outputs = self.outputs(dataset)
        scores = self.task.score(dataset.clips, counts, outputs, chosen)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        if eval_dataset is None:
            self.log(dict(metrics))
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class ClassifierStage(Stage):
    trainer_class = ClassifierTrainer
    description = "A classifier of music on a MuQ, trained on labelled clips."

    @cached_property
    def task(self) -> ClassifierTask:
        """From the manifest on the first start, and from the run folder, where its splits are kept, from then on."""
        kept = self.run_folder.path / "clips.jsonl"
        if not kept.exists():
            if self.data.data is None:
                raise ValueError("no labelled clips were given: pass --data MANIFEST, or set `data` in the configuration.")
            write_manifest(read_manifest(self.data.data), kept)
        own = self.settings.stage
        return ClassifierTask.from_manifest(kept, label=own.label, kind=own.kind, metric=own.metric)

    @cached_property
    def encoder(self) -> str:
        return model_or_default(self.settings.stage.encoder, MUQ_TINY)

    def build_model(self, train_tracks=()):
        own, task, encoder = self.settings.stage, self.task, self.encoder
        require_model_type(encoder, MuQConfig.model_type, "encoder")
        config = MuQConfig.from_pretrained(encoder)
        task.check_frame_rate(config)
        head = {
            "use_weighted_layer_sum": own.weighted_layers,
            "classifier_pool": own.pool,
            "classifier_layers": own.head_layers,
            "classifier_proj_size": own.head_size,
            "classifier_dropout": own.head_dropout,
            "classifier_clip_seconds": self.data.clip_seconds,
        }
        MuQConfig(**head)  # which refuses values that are none
        config.update(head | task.configure())
        model_class = MuQForAudioFrameClassification if task.per_frame else MuQForSequenceClassification
        model = model_class.from_pretrained(encoder, config=config, dtype=torch.float32)
        if own.tune == "frozen":
            model.freeze_base_model()
        else:
            model.freeze_batch_norms()
        return self._with_adapters(model) if own.tune == "lora" else model

    def _with_adapters(self, model):
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError:
            raise ImportError("`tune` lora needs peft: pip install 'muq-hf[train]'") from None
        own = self.settings.stage
        heads = [name for name in HEAD_MODULES if hasattr(model, name)]
        targets = rf"muq\..*\.({'|'.join(own.lora_targets)})"
        return get_peft_model(
            model, LoraConfig(r=own.lora_rank, lora_alpha=2 * own.lora_rank, target_modules=targets, modules_to_save=heads)
        )

    def _train(self, checkpoint: Path | None) -> None:
        run, training, own = self.run_folder, self.training, self.settings.stage
        given = [name for name in NOT_FOR_LABELS if name in self.settings.given]
        if given:
            raise ValueError(f"a classifier has no `{given[0]}`: the manifest's splits say what is trained and tested on.")
        set_seed(training.seed)
        task = self.task
        names = frozenset(str(clip.path) for clips in task.clips.values() for clip in clips)
        if self.resume and run.is_main:
            run.skip_log.remove(names)
        self.warnings = leak_warnings([clip for clips in task.clips.values() for clip in clips], self.encoder)
        for warning in self.warnings:
            logger.warning("%s", warning)
        classifier = self.build_model()
        data = ClassifierData(task, classifier, self.settings, run)
        standardisation = Standardisation(classifier, data.mean, data.deviation)
        training.metric_for_best_model, training.greater_is_better = f"eval_{task.metric}", True
        training.dataloader_pin_memory &= training.device.type != "cpu"  # of which torch would warn in every epoch
        trainer = ClassifierTrainer(
            model=HeadOfStates(classifier) if data.keeps_states else classifier,
            args=training,
            train_dataset=data.train(),
            eval_dataset=data.scored("valid"),
            data_collator=CropCollator(0.0 if task.per_frame else own.mixup, crop_seed(training), len(task.names)),
            processing_class=self.processor(classifier),
            callbacks=[EarlyStoppingCallback(own.patience)] if own.patience else None,
            run_folder=run,
            track_names=names,
            max_failing_share=self.data.max_failing_share,
            task=task,
            weights=task.class_weights(data.rows) if own.class_weights and task.problem != "regression" else None,
            encoder_learning_rate=own.encoder_learning_rate or training.learning_rate / 3,
        )
        run.drop_metrics_after(-1 if checkpoint is None else int(checkpoint.name.rsplit("-", 1)[1]))
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        results = self._results(trainer, data)
        if trainer.is_world_process_zero():
            standardisation.fold()
            self._save(trainer, classifier, results)

    def _results(self, trainer: ClassifierTrainer, data: ClassifierData) -> dict:
        """Scores of the best epoch on both other splits; what validation chooses holds for the test split."""
        valid = trainer.evaluate(data.scored("valid"), metric_key_prefix="valid")
        chosen = {name.removeprefix("valid_"): value for name, value in valid.items()}
        results = valid | trainer.evaluate(data.scored("test"), metric_key_prefix="test", chosen=chosen)
        return results | {"best_step": trainer.state.best_global_step, "steps": trainer.state.global_step}

    def _save(self, trainer: ClassifierTrainer, model, results: dict) -> None:
        """The trained model, its adapter, its card and its scores."""
        run, task = self.run_folder, self.task
        skipped = run.skip_log.read()
        if skipped:
            logger.warning("%d clips could not be read and were left out: %s", len(skipped), summary(skipped))
        plot_curves(run.metrics, run.plots / "curves.png")
        if "valid_threshold" in results:
            model.config.update({"classifier_threshold": results["valid_threshold"]})
        if task.problem == "regression":
            scale_outputs(head_part(model, "classifier"), task.scale, task.offset)
        if hasattr(model, "peft_config"):
            model.save_pretrained(run.path / "adapter")
            model = model.merge_and_unload()
        write_json(run.path / "results.json", results)

        def write(folder: Path) -> None:
            model.save_pretrained(folder)
            trainer.processing_class.save_pretrained(folder)
            write_classifier_card(folder, self.settings, task, model, trainer.state.global_step, results, self.warnings)

        run.save_final(write)
        shutil.rmtree(run.path / "states", ignore_errors=True)  # of the encoder; nothing else needs them
        logger.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in results.items()))
