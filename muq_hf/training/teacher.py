"""The teacher of a round of refinement: a converged MuQ whose latents are quantized for the next tokenizer and model."""

from pathlib import Path

import torch
from transformers import PreTrainedConfig

from ..models.layers_muq import hidden_state_indices
from ..models.mel_rvq_muq import MelRVQModel
from ..models.modeling_muq import MuQModel
from ..storage.fingerprint import fingerprint, weights_hash


class Teacher:
    """Frozen, in evaluation mode, in float32. Without `rvq` it gives latents only."""

    def __init__(self, model: str | Path, layer: int, rvq: str | Path | None = None, device="cpu"):
        require_model_type(model, "muq", "teacher")
        self.folders = [Path(model)] if rvq is None else [Path(model), Path(rvq)]
        self.model = MuQModel.from_pretrained(model, dtype=torch.float32).eval().requires_grad_(False).to(device)
        (self.layer,) = hidden_state_indices(layer, self.model.config.num_hidden_layers, "layer")
        self.rvq = None
        if rvq is not None:
            require_model_type(rvq, "mel_rvq", "latent RVQ")
            self.rvq = MelRVQModel.from_pretrained(rvq, dtype=torch.float32).eval().requires_grad_(False).to(device)

    @torch.no_grad()
    def latents(self, input_values: torch.Tensor) -> torch.Tensor:
        """[B, S] clips of one length → [B, S // samples_per_frame, D]."""
        hidden_states = self.model(input_values, output_hidden_states=[self.layer]).hidden_states
        return hidden_states[self.layer][:, : input_values.shape[1] // self.model.config.samples_per_frame]

    @torch.no_grad()
    def tokens(self, input_values: torch.Tensor) -> torch.Tensor:
        """[B, S] → [B, S // samples_per_frame, K] int64."""
        return self.rvq.quantizer.encode(self.latents(input_values))

    def fingerprint(self) -> str:
        """Changes with the model and its configuration, the layer, and the tokenizer of the latents."""
        return fingerprint(f"{self.layer} {weights_hash(self.model)} {weights_hash(self.rvq)}".encode())


def require_model_type(folder: str | Path, model_type: str, role: str) -> None:
    """Raises ValueError unless `folder` holds a model of this type."""
    try:
        found = PreTrainedConfig.get_config_dict(folder)[0].get("model_type")
    except OSError as error:
        raise ValueError(f"{folder} is no model folder or id ({error}); the {role} must be one.") from error
    if found is None and model_type == "muq":
        return  # the published format, which `from_pretrained` checks
    if found != model_type:
        raise ValueError(f"the {role} must be a model of type {model_type!r}; {folder} is {found!r}.")
