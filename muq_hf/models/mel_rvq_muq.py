"""Mel-RVQ, the tokenizer: music → tokens (arXiv 2501.01108, section 3.2)."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .batches_muq import valid_lengths
from .configuration_muq import MelRVQConfig
from .modeling_muq import MuQPreTrainedModel
from .quantization_muq import build_quantizer, fold_frames, unfold_frames
from .spectrogram_muq import LogMelSpectrogram
from .windowing_muq import FRONT_END_STRIDE


@dataclass
class MelRVQOutput(ModelOutput):
    """Output of [`MelRVQModel`]: loss and its three parts; codes [B, N, K]; quantized [B, N, D].

    residual_energy: [K] mean square of the residual after each codebook.
    """

    loss: torch.FloatTensor | None = None
    commitment_loss: torch.FloatTensor | None = None
    codebook_loss: torch.FloatTensor | None = None
    reconstruction_loss: torch.FloatTensor | None = None
    codes: torch.LongTensor | None = None
    quantized: torch.FloatTensor | None = None
    residual_energy: torch.FloatTensor | None = None


class MelRVQModel(MuQPreTrainedModel):
    """Four mel frames → K codes, 25 times a second (section 3.2)."""

    config_class = MelRVQConfig
    base_model_prefix = "mel_rvq"
    supports_gradient_checkpointing = False
    _no_split_modules = []
    _can_record_outputs = None
    _keep_in_fp32_modules_strict = ["quantizer"]
    _keys_to_ignore_on_load_unexpected = [r"^head\.", r"^muq\."]

    def __init__(self, config: MelRVQConfig):
        super().__init__(config)
        self.spectrogram = LogMelSpectrogram(config)
        self.quantizer = build_quantizer(config, config.input_size)
        self.post_init()

    def features(self, input_values: torch.Tensor) -> torch.Tensor:
        """[B, S] waveforms of one length → [B, S // samples_per_frame, input_size] vectors to quantize.

        Raises ValueError for malformed batches, and if the tokenizer quantizes a teacher's latents.
        """
        self._require_mel("computed from waveforms")
        valid_lengths(input_values, None, self.config.min_samples)
        return fold_frames(self.spectrogram(input_values), FRONT_END_STRIDE)

    def encode(self, input_values: torch.Tensor) -> torch.Tensor:
        """[B, S] → codes [B, N, K] int64."""
        with torch.autocast(input_values.device.type, enabled=False):  # tokens must not depend on the dtype
            return self.quantizer.encode(self.features(input_values))

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """codes [B, N, k ≤ K] → normalised log-mel [B, M, 4·N] from the first k codebooks."""
        self._require_mel("decoded to a spectrogram")
        return unfold_frames(self.quantizer.decode(codes), FRONT_END_STRIDE)

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor | None = None,
        features: torch.Tensor | None = None,
        return_loss: bool = True,
        return_dict: bool | None = None,
    ) -> MelRVQOutput:
        """input_values: [B, S] waveforms of one length, or features: [B, N, input_size], for instance a teacher's latents.

        Raises ValueError for both or none, for malformed batches, and for a random projection, which has nothing to learn.
        """
        if (input_values is None) == (features is None):
            raise ValueError("give either `input_values` (waveforms) or `features` (vectors to quantize), not both or none.")
        given = input_values if features is None else features
        with torch.autocast(given.device.type, enabled=False):  # tokens must not depend on the dtype
            result = self.quantizer(self.features(input_values) if features is None else features)
        config = self.config
        loss = (
            config.commitment_weight * result.commitment_loss
            + config.codebook_weight * result.codebook_loss
            + config.reconstruction_weight * result.reconstruction_loss
        )
        return MelRVQOutput(
            loss=loss if return_loss else None,
            commitment_loss=result.commitment_loss,
            codebook_loss=result.codebook_loss,
            reconstruction_loss=result.reconstruction_loss,
            codes=result.codes,
            quantized=result.quantized,
            residual_energy=result.residual_energy,
        )

    def _require_mel(self, what: str) -> None:
        found, needed = self.config.input_size, self.config.token_input_size
        if found != needed:
            raise ValueError(
                f"this tokenizer quantizes vectors of {found} values, a teacher's latents, not mel frames ({needed}): they "
                f"cannot be {what}. Pass latents as `features`, or to `quantizer.encode` for their codes alone."
            )
