"""Stage 3 with any teachers: their latents are quantized, and a MuQ predicts the tokens of all of them (section 3.4).

The paper's teacher is a MuQ, but any model with latents at 25 Hz will do. Each teacher has a group of codebooks of its own.
"""

from pathlib import Path

import numpy as np
import torch

from ..models.configuration_muq import SpectrogramConfig
from ..models.mel_rvq_muq import MelRVQModel
from ..models.modeling_muq import MuQForPreTraining
from ..storage.fingerprint import fingerprint, weights_hash
from .arguments import rvq_config
from .latent_teachers import load_teacher, models_behind, origins
from .mel_rvq import MelRVQStage
from .muq import MuQStage
from .stored_latents import StoredLatents, store_latents
from .stored_targets import StoredTargets, key_of, open_targets


class GroupRVQStage(MelRVQStage):
    """Stage 1, on the stored latents of a teacher instead of mel frames."""

    def __init__(self, settings, run, resume=False, *, teacher: str, latents: Path):
        super().__init__(settings, run, resume)
        self.spec, self.latents_folder = teacher, latents
        settings.given |= {"teacher": teacher}  # --resume refuses another one, whose tokens would differ

    @property
    def description(self) -> str:
        return f"A residual quantizer of the latents of {self.source.name} ({self.source.licence}): targets for a MuQ."

    def build_model(self, train_tracks):
        if self.data.channel != "mix":
            raise ValueError('stored latents describe the mean of all channels: set `channel` to "mix".')
        self.source = load_teacher(self.spec)
        _, eval_tracks = self.run_folder.tracks(self._find_tracks)
        with self.training.main_process_first(local=False, desc="store the latents"):
            self.stored = store_latents([self.source], [*train_tracks, *eval_tracks], self.latents_folder)
        return MelRVQModel(rvq_config(self.settings.stage.model, input_size=self.stored.widths[0]))

    def after_training(self, trainer, eval_dataset):
        return {}


class GroupedMuQStage(MuQStage):
    """Stage 2, on the tokens of all groups, concatenated."""

    def __init__(self, settings, run, resume=False, *, quantizers: list[Path], latents: Path):
        super().__init__(settings, run, resume)
        self.groups, self.quantizers, self.latents_folder = settings.stage.targets, quantizers, latents

    @property
    def description(self) -> str:
        return f"A MuQ: music → 25 frames a second, trained to predict tokens of the latents of {origins(self.teachers)}."

    def build_model(self, train_tracks):
        _, eval_tracks = self.run_folder.tracks(self._find_tracks)
        tracks = [*train_tracks, *eval_tracks]
        self.teachers = [load_teacher(group.teacher) for group in self.groups]
        quantizers = [MelRVQModel.from_pretrained(folder, dtype=torch.float32).eval() for folder in self.quantizers]
        with self.training.main_process_first(local=False, desc="store the targets"):
            latents = store_latents(self.teachers, tracks, self.latents_folder)
            self.stored = store_tokens(quantizers, self.teachers, latents, tracks, self.run_folder.path / "targets")
        return MuQForPreTraining(self.config_of_stored(self.stored))

    def trainer_arguments(self):
        weights = [group.weight for group in self.groups for _ in range(group.codebooks)]
        return {**super().trainer_arguments(), "codebook_weights": torch.tensor(weights)}

    def earlier_models(self):
        return models_behind(self.teachers)


@torch.no_grad()
def store_tokens(
    quantizers: list[MelRVQModel], teachers: list, latents: StoredLatents, tracks: list, folder: Path
) -> StoredTargets:
    """Store [N, sum of codebooks] tokens of every track. Raises ValueError if `folder` holds those of other teachers."""
    configs = [quantizer.config for quantizer in quantizers]
    meta = {
        "fingerprint": fingerprint([teacher.fingerprint() for teacher in teachers], list(map(weights_hash, quantizers))),
        "num_codebooks": sum(config.num_codebooks for config in configs),
        "codebook_size": max(config.codebook_size for config in configs),
        "layer": "one per teacher",
        "spectrogram": SpectrogramConfig().spectrogram_settings,
        "teacher": [teacher.name for teacher in teachers],
    }
    stored = open_targets(folder, meta)
    for track in tracks:
        num_frames = latents.num_frames(track)
        if num_frames and key_of(track) not in stored.rows:
            parts = latents.of_clip(track, 0, num_frames)["latents"].split(latents.widths, dim=1)
            codes = [quantizer.quantizer.encode(part[None])[0] for quantizer, part in zip(quantizers, parts, strict=True)]
            stored.rows.add([key_of(track)], [np.asarray(torch.cat(codes, dim=1))])
    return stored
