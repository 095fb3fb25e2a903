"""Stage 3: quantize the latents of a converged model, and train a new one on the codes (arXiv 2501.01108, section 3.4)."""

from pathlib import Path

from ..models.mel_rvq_muq import MelRVQModel
from ..models.modeling_muq import MuQForPreTraining
from .arguments import rvq_config
from .mel_rvq import MelRVQStage
from .muq import MuQStage
from .stored_targets import store_targets
from .teacher import Teacher


class LatentRVQStage(MelRVQStage):
    """Stage 1 again, on the teacher's latents in place of mel frames."""

    description = "A residual quantizer of the latents of a MuQ: it gives the targets of the next round of training."

    def __init__(self, settings, run, resume=False, *, teacher: str | Path, layer: int):
        super().__init__(settings, run, resume)
        self.teacher_folder, self.layer = Path(teacher), layer
        settings.given |= {"teacher": str(teacher), "layer": layer}  # for --resume: other latents would be other tokens

    def build_model(self, train_tracks):
        self.teacher = Teacher(self.teacher_folder, self.layer, device=self.training.device)
        config = self.teacher.model.config
        spectrogram = config.spectrogram_settings
        model_config = rvq_config(self.settings.stage.model, **spectrogram, input_size=config.hidden_size)
        self._require_trainable(model_config)
        return MelRVQModel(model_config)

    def earlier_models(self):
        return [self.teacher_folder]


class RefinedMuQStage(MuQStage):
    """Stage 2 again, on the teacher's codes: computed as they are needed, or stored once in `RUN/targets`."""

    description = "A MuQ of a further round: trained to predict tokens of the latents of the MuQ before it."

    def __init__(self, settings, run, resume=False, *, teacher: str | Path, rvq: str | Path):
        super().__init__(settings, run, resume)
        self.teacher_folder, self.rvq_folder = Path(teacher), Path(rvq)

    def build_model(self, train_tracks):
        stage = self.settings.stage
        teacher = Teacher(self.teacher_folder, stage.layer, self.rvq_folder, self.training.device)
        config = self.muq_config(
            quantizer_type="none",
            num_codebooks=teacher.rvq.config.num_codebooks,
            codebook_size=teacher.rvq.config.codebook_size,
            **teacher.model.config.spectrogram_settings,
        )
        if stage.store_targets:
            if self.data.channel != "mix":
                raise ValueError('stored tokens describe the mean of all channels: set `channel` to "mix".')
            _, eval_tracks = self.run_folder.tracks(self._find_tracks)
            with self.training.main_process_first(local=False, desc="store the targets"):
                folder = self.run_folder.path / "targets"
                self.stored = store_targets(teacher, [*train_tracks, *eval_tracks], folder, self.data.clip_seconds)
        else:
            self.teacher = teacher
        return MuQForPreTraining(config)

    def earlier_models(self):
        return [self.teacher_folder, self.rvq_folder]
