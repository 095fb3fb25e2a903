"""Distillation: train a MuQ to predict the latents of other encoders by regression. This stage is not in the paper.

The paper's third stage quantizes the latents of a MuQ and predicts the tokens of masked music (section 3.4). Here the latents of
any teacher are predicted directly, from unmasked music, which is much cheaper for small models. The heads are not saved.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ..models.modeling_muq import MuQModel
from .clips import evenly_spread
from .latent_teachers import SAMPLING_RATE, load_teacher, models_behind, origins
from .muq import MuQStage
from .stored_latents import StoredLatents, store_latents
from .teacher import require_model_type
from .trainer import StageTrainer


RIDGE = 1e-2  # times the mean square of the hidden states
RIDGE_BATCH = 8  # clips
LOWEST_CUTOFF = 4000.0  # Hz


class DistillationModel(nn.Module):
    """A MuQ with a linear head on each trained layer, which predicts the latents of all teachers.

    layers: numbers of hidden states, 0 = front end; widths: size of each teacher's latents; weights: of each teacher in the
    loss; keep_statistics: leave the running statistics of the batch norms as they are.
    """

    def __init__(self, muq: MuQModel, layers: list[int], widths: list[int], weights: list[float], keep_statistics: bool):
        super().__init__()
        self.muq, self.layers, self.widths, self.weights = muq, layers, widths, weights
        self.keep_statistics = keep_statistics
        self.heads = nn.ModuleList(nn.Linear(muq.config.hidden_size, sum(widths)) for _ in layers)

    @property
    def config(self):
        return self.muq.config

    def num_parameters(self) -> int:
        return self.muq.num_parameters()

    def save_pretrained(self, folder, **kwargs) -> None:
        """Save the encoder without the heads."""
        self.muq.save_pretrained(folder, **kwargs)

    def train(self, mode: bool = True):
        super().train(mode)
        if self.keep_statistics:  # in training mode a few steps would replace those of trained weights
            for module in self.muq.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def hidden_states(self, input_values: torch.Tensor, num_frames: int) -> list[torch.Tensor]:
        """[B, S] → for each of `layers` [B, num_frames, D]."""
        states = self.muq(input_values, output_hidden_states=self.layers).hidden_states
        return [states[layer][:, :num_frames] for layer in self.layers]

    def forward(self, input_values: torch.Tensor, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        """latents: [B, N, sum of widths] → loss, and error [teachers]: their unexplained variance on the best layer."""
        errors = []
        for state, head in zip(self.hidden_states(input_values, latents.shape[1]), self.heads, strict=True):
            squares = F.mse_loss(head(state), latents, reduction="none")
            errors.append(torch.stack([part.mean() for part in squares.split(self.widths, dim=2)]))
        error = torch.stack(errors)  # [layers, teachers]
        weights = error.new_tensor(self.weights)
        return {"loss": (error.mean(dim=0) * weights).sum() / weights.sum(), "error": error.detach().amin(dim=0)}

    @torch.no_grad()
    def fit_heads(self, dataset) -> None:
        """Set the heads by ridge regression on the clips of `dataset`, so that random heads do not disturb the encoder."""
        self.eval()
        loader = torch.utils.data.DataLoader(dataset, RIDGE_BATCH)
        sums = [None] * len(self.layers)
        for batch in loader:
            latents = batch["latents"]
            for index, state in enumerate(self.hidden_states(batch["input_values"], latents.shape[1])):
                x = F.pad(state, (0, 1), value=1.0).flatten(0, 1).double()  # the last column is the bias
                y = latents.flatten(0, 1).double()
                of_batch = (x.T @ x, x.T @ y)
                sums[index] = (
                    of_batch if sums[index] is None else tuple(a + b for a, b in zip(sums[index], of_batch, strict=True))
                )
        for (gram, moments), head in zip(sums, self.heads, strict=True):
            gram.diagonal()[:-1].add_(RIDGE * gram.diagonal()[:-1].mean())
            solution = torch.linalg.solve(gram, moments).to(head.weight.dtype)
            head.weight.copy_(solution[:-1].T)
            head.bias.copy_(solution[-1])


class DistillationTrainer(StageTrainer):
    """Logs R² for every teacher: the share of its variance that the best layer explains."""

    def __init__(self, *args, names: list[str], gain_db: float, low_pass_share: float, **kwargs):
        super().__init__(*args, **kwargs)
        self.names, self.gain_db, self.low_pass_share = names, gain_db, low_pass_share

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if model.training and self.gain_db:
            inputs = {**inputs, "input_values": with_random_gain(inputs["input_values"], self.gain_db)}
        if model.training and self.low_pass_share:
            is_chosen = torch.rand(len(inputs["input_values"]), device=inputs["input_values"].device) < self.low_pass_share
            inputs = {**inputs, "input_values": randomly_low_passed(inputs["input_values"], is_chosen)}
        outputs = model(**inputs)
        self.sums[model.training].add(error=outputs["error"], steps=torch.ones((), device=outputs["error"].device))
        loss = outputs["loss"]
        if num_items_in_batch is not None:
            loss = loss / self.current_gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def metrics_from(self, sums):
        explained = 1 - sums["error"] / sums["steps"]
        return {f"r2/{name}": value.item() for name, value in zip(self.names, explained, strict=True)}


def with_random_gain(waves: torch.Tensor, most_db: float) -> torch.Tensor:
    """[B, S] → each clip louder or softer by up to `most_db`."""
    gains = most_db * (2 * torch.rand(len(waves), 1, device=waves.device) - 1)
    return waves * 10 ** (gains / 20)


def randomly_low_passed(waves: torch.Tensor, is_chosen: torch.Tensor) -> torch.Tensor:
    """[B, S] at 24 kHz, is_chosen [B] → nothing above a random frequency from 4 to 12 kHz in the chosen clips.

    Coders of low bitrates cut music off like that. The student still learns what the teachers heard in the whole band.
    """
    cutoffs = LOWEST_CUTOFF * (SAMPLING_RATE / 2 / LOWEST_CUTOFF) ** torch.rand(len(waves), 1, device=waves.device)
    frequencies = torch.fft.rfftfreq(waves.shape[1], 1 / SAMPLING_RATE, device=waves.device)
    is_kept = (frequencies <= cutoffs) | ~is_chosen[:, None]
    return torch.fft.irfft(torch.fft.rfft(waves) * is_kept, n=waves.shape[1])


class DistillationStage(MuQStage):
    """Trains an encoder from random weights or from `start`, and saves it without heads."""

    trainer_class = DistillationTrainer
    stored: StoredLatents

    @property
    def description(self) -> str:
        return f"A MuQ: music → 25 frames a second, distilled from {origins(self.teachers)}."

    def build_model(self, train_tracks):
        stage = self.settings.stage
        if not stage.teachers:
            raise ValueError('no teachers were given: set `teachers` to a list such as ["chroma", "timbre"].')
        if self.data.channel != "mix":
            raise ValueError('stored latents describe the mean of all channels: set `channel` to "mix".')
        weights = stage.teacher_weights or [1.0] * len(stage.teachers)
        if len(weights) != len(stage.teachers):
            raise ValueError(f"`teacher_weights` has {len(weights)} numbers for {len(stage.teachers)} teachers.")
        if not set(stage.whiten) <= set(stage.teachers):
            raise ValueError(f"`whiten` names teachers of the list {stage.teachers}; got {stage.whiten}.")
        if stage.start is None:
            muq = MuQModel(self.muq_config())
        else:
            require_model_type(stage.start, "muq", "start")
            muq = MuQModel.from_pretrained(stage.start, dtype=torch.float32)
        self.teachers = [load_teacher(spec) for spec in stage.teachers]
        _, eval_tracks = self.run_folder.tracks(self._find_tracks)
        whiten = [spec in stage.whiten for spec in stage.teachers]
        folder = self.run_folder.path / "latents" if stage.latents is None else stage.latents
        with self.training.main_process_first(local=False, desc="store the latents"):
            self.stored = store_latents(self.teachers, [*train_tracks, *eval_tracks], folder, whiten)
        last = muq.config.num_hidden_layers
        layers = sorted({layer % (last + 1) for layer in stage.layers or range(last + 1)})
        model = DistillationModel(muq, layers, self.stored.widths, weights, keep_statistics=stage.start is not None)
        model.fit_heads(evenly_spread(self.build_dataset(muq, train_tracks), stage.ridge_clips))
        return model

    def masking(self, model):
        return None  # the teachers' latents are of unmasked music

    def trainer_arguments(self):
        stage = self.settings.stage
        return {"names": self.stored.names, "gain_db": stage.gain_db, "low_pass_share": stage.low_pass_share}

    def earlier_models(self):
        return models_behind(self.teachers) + ([] if self.settings.stage.start is None else [self.settings.stage.start])
