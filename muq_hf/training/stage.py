"""The course of every stage: open the run folder, find the tracks, train, save `final/`."""

import json
import logging
from pathlib import Path

from torch.utils.data import Dataset, default_collate
from transformers import PreTrainedModel, TrainingArguments, set_seed

from ..models.feature_extraction_muq import MuQFeatureExtractor
from ..storage.training_record import read_record, write_record
from .arguments import DataArguments, Settings, crop_seed
from .clip_shards import EVAL_FOLDER, StreamedClips, is_clip_shards
from .clips import BlockMasking, ClipDataset, evenly_spread
from .model_card import write_card
from .plots import plot_curves
from .run_folder import RunFolder, explain_full_disk, training_files
from .tracks import Track, check_failing_share, find_tracks, keep_long, split_tracks, summary
from .trainer import StageTrainer, stream_state_name


logger = logging.getLogger(__name__)


class Stage:
    """One training run from tracks to `final/`. Subclasses give model, datasets and trainer."""

    trainer_class = StageTrainer
    stored = None  # what was computed of the tracks before: tokens or latents
    description: str  # for the model card

    def __init__(self, settings: Settings, run: RunFolder, resume: bool = False):
        self.settings, self.run_folder, self.resume = settings, run, resume
        self.data: DataArguments = settings.data
        self.training: TrainingArguments = settings.training

    def build_model(self, train_tracks: list[Track]) -> PreTrainedModel:
        raise NotImplementedError

    def build_dataset(self, model: PreTrainedModel, tracks: list[Track]) -> ClipDataset:
        data = self.data
        return ClipDataset(
            tracks,
            model.config,
            data.clip_seconds,
            crop_seed(self.training),
            data.channel,
            masking=self.masking(model),
            stored=self.stored,
            skip_log=self.run_folder.skip_log,
        )

    def masking(self, model: PreTrainedModel) -> BlockMasking | None:
        """What is masked of each clip; by default nothing."""
        return None

    def collator(self, model: PreTrainedModel):
        """Items of the dataset → a batch."""
        return default_collate

    def processor(self, model: PreTrainedModel):
        """The processor or feature extractor that is saved beside the model."""
        return MuQFeatureExtractor.for_config(model.config)

    def trainer_arguments(self) -> dict:
        """Further arguments of the stage's trainer."""
        return {}

    def after_training(self, trainer: StageTrainer, eval_dataset: Dataset | None) -> dict:
        """Draw the plots of the stage → its tables for the model card, by heading."""
        return {}

    def write_further_files(self, folder: Path) -> None:
        """What else is saved beside the model; by default nothing."""

    def earlier_models(self) -> list[str | Path]:
        """Folders or Hub ids of the models that this one was trained on, whose training music it therefore knows too."""
        return []

    def run(self) -> Path:
        """→ `RUN/final`. A finished run is left as it is."""
        run = self.run_folder
        checkpoint = run.open({**self.settings.given, "processes": self.training.world_size}, self.resume)
        if run.finished:
            logger.info("%s is finished.", run.final)
            return run.final
        with explain_full_disk(run.path):
            self._train(checkpoint)
        return run.final

    def _train(self, checkpoint: Path | None) -> None:
        run, training = self.run_folder, self.training
        set_seed(training.seed)
        with training.main_process_first(local=False, desc="find the tracks"):
            train_tracks, eval_tracks = run.tracks(self._find_tracks)
        track_names = frozenset(track.name for track in [*train_tracks, *eval_tracks])
        if self.resume and run.is_main:
            run.skip_log.remove(track_names)
        is_streamed = self.data.data is not None and is_clip_shards(self.data.data)
        model = self.build_model(eval_tracks if is_streamed else train_tracks)
        train_dataset = self._stream(model, checkpoint) if is_streamed else self.build_dataset(model, train_tracks)
        eval_dataset = evenly_spread(self.build_dataset(model, eval_tracks), self.data.num_eval_clips) if eval_tracks else None
        if eval_dataset is None:
            training.eval_strategy = "no"
        trainer = self.trainer_class(
            model=model,
            args=training,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=self.collator(model),
            processing_class=self.processor(model),
            run_folder=run,
            track_names=track_names,
            max_failing_share=self.data.max_failing_share,
            **self.trainer_arguments(),
        )
        run.drop_metrics_after(-1 if checkpoint is None else int(checkpoint.name.rsplit("-", 1)[1]))
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        self._finish(trainer, train_tracks, eval_dataset)

    def _find_tracks(self) -> tuple[list[Track], list[Track]]:
        """Find, check and split the tracks; log which are left out and why."""
        data, run = self.data, self.run_folder
        if data.data is None:
            raise ValueError("no music was given: pass --data DIR_OR_MANIFEST, or set `data` in the configuration.")
        if is_clip_shards(data.data):
            folder = Path(data.data) / EVAL_FOLDER
            return [], find_tracks(folder)[0] if any(folder.iterdir()) else []
        tracks, unreadable = find_tracks(data.data)
        check_failing_share(len(unreadable), len(tracks) + len(unreadable), data.max_failing_share, unreadable)
        tracks, short = keep_long(tracks, data.clip_seconds)
        for item in unreadable:
            run.skip_log.add(item)
        if unreadable or short:
            logger.warning("left out: %s", summary([*unreadable, *short]))
        return split_tracks(tracks, data.eval_share)

    def _stream(self, model: PreTrainedModel, checkpoint: Path | None) -> StreamedClips:
        """The clips of this process; after a resumption from where the checkpoint left them."""
        as_tracks = self.build_dataset(model, [])
        if type(as_tracks) is not ClipDataset or as_tracks.stored is not None:
            raise ValueError("this stage needs whole tracks: give it a folder or manifest of music, not shards of clips.")
        data, training = self.data, self.training
        ranks = training.process_index, training.world_size
        clips = StreamedClips(data.data, model.config, data.clip_seconds, crop_seed(training), as_tracks.masking, *ranks)
        if checkpoint is not None:
            clips.load_state_dict(json.loads((checkpoint / stream_state_name(ranks[0])).read_text("utf-8")))
        return clips

    def _finish(self, trainer: StageTrainer, train_tracks: list[Track], eval_dataset: Dataset | None) -> None:
        run = self.run_folder
        results = self.after_training(trainer, eval_dataset)
        if trainer.is_world_process_zero():
            skipped = run.skip_log.read()
            if skipped:
                logger.warning("%d tracks could not be read and were left out: %s", len(skipped), summary(skipped))
            plot_curves(run.metrics, run.plots / "curves.png")
            files = training_files(train_tracks, self.data.hash_files, self.earlier_models())
            if is_clip_shards(self.data.data):
                files += read_record(self.data.data)  # hashed by whoever wrote the shards

            def write(folder: Path) -> None:
                trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False).save_pretrained(folder)
                trainer.processing_class.save_pretrained(folder)
                write_record(folder, files)
                self.write_further_files(folder)
                card = (self.description, self.settings, trainer, files, results, self.earlier_models())
                write_card(folder / "README.md", *card)

            run.save_final(write)
        trainer.accelerator.wait_for_everyone()
