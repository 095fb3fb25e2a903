"""MuQ: music → frames, tokens, classes (arXiv 2501.01108)."""

import math
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, logging
from transformers.utils.generic import can_return_tuple

from .attention_muq import require_known_arguments
from .batches_muq import is_traced, valid_lengths
from .configuration_muq import MuQConfig
from .conformer_muq import Attention, ConformerEncoder, ConformerLayer
from .fast_front_end_muq import can_take_over, fast_front_end
from .front_end_muq import ConvFrontEnd
from .layers_muq import hidden_state_indices
from .loading_muq import LoadingMixin
from .masking_muq import apply_block_mask, draw_block_mask, draw_noise, spread
from .quantization_muq import RandomProjectionQuantizer, build_quantizer, fold_frames
from .spectrogram_muq import LogMelSpectrogram
from .windowing_muq import FRONT_END_STRIDE, num_frames


logger = logging.get_logger(__name__)


@dataclass
class MuQModelOutput(ModelOutput):
    """Output of [`MuQModel`].

    last_hidden_state: [B, T, D] after the final layer norm; None if the layers asked for end before the last.
    hidden_states: num_hidden_layers + 1 entries of [B, T, D]; None where not asked for. The last equals last_hidden_state.
    attentions: num_hidden_layers entries of [B, H, T, T].
    attention_mask: [B, T] int64, 1 where a frame is music.
    """

    last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor | None, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    attention_mask: torch.LongTensor | None = None


@dataclass
class MuQForPreTrainingOutput(ModelOutput):
    """Output of [`MuQForPreTraining`].

    loss: mean cross-entropy over masked tokens and codebooks; logits: [B, N, K, V]; accuracy: [K] share of masked tokens
    guessed right; num_masked_tokens: how many tokens the mean is over; target_tokens: [B, N, K]; token_mask: [B, N].
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    accuracy: torch.FloatTensor | None = None
    num_masked_tokens: torch.LongTensor | None = None
    target_tokens: torch.LongTensor | None = None
    token_mask: torch.BoolTensor | None = None
    hidden_states: tuple[torch.FloatTensor | None, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@contextmanager
def _frozen_batch_statistics(model: nn.Module):
    """Keep the running statistics as they are while activations are computed again for the backward pass."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked.clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


NORMS = ["batch_norm", "norm1", "norm2", "norm3"]  # their statistics are too fine for half precision


class MuQPreTrainedModel(LoadingMixin, PreTrainedModel):
    config_class = MuQConfig
    base_model_prefix = "muq"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _no_split_modules = ["ConformerLayer", "ConvBlock"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _keep_in_fp32_modules_strict = NORMS
    _can_record_outputs = {"hidden_states": ConformerLayer, "attentions": Attention}

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            self._init_linear_map(module, math.sqrt(module.weight[0].numel()))
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        elif isinstance(module, (nn.LayerNorm, nn.modules.batchnorm._BatchNorm)):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            if getattr(module, "running_mean", None) is not None:
                init.zeros_(module.running_mean)
                init.ones_(module.running_var)
                init.zeros_(module.num_batches_tracked)
        elif isinstance(module, LogMelSpectrogram):
            module.reset_buffers()
        elif isinstance(module, RandomProjectionQuantizer):
            module.reset_parameters()
        elif hasattr(module, "unused_steps"):
            init.zeros_(module.unused_steps)

    def _init_linear_map(self, module, root_of_inputs: float) -> None:
        """Normal with `config.initializer_range`, or where that is None uniform as in the published training."""
        if self.config.initializer_range is not None:
            init.normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
            return
        init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        if module.bias is not None:
            init.uniform_(module.bias, -1 / root_of_inputs, 1 / root_of_inputs)

    def get_input_embeddings(self):
        """None: the input is music, not ids. Quantisation by torchao asks for it, to leave embeddings out."""
        return None

    def _get_feat_extract_output_lengths(self, input_lengths):
        """Encoder frames that so many samples give (an int or a tensor of them)."""
        return num_frames(input_lengths, self.config.samples_per_frame)

    def _set_gradient_checkpointing(self, *args, **kwargs):
        super()._set_gradient_checkpointing(*args, **kwargs)
        contexts = partial(_recompute_contexts, self)
        for module in self.modules():
            function = getattr(module, "_gradient_checkpointing_func", None)
            if isinstance(function, partial) and function.keywords.get("use_reentrant") is False:
                module._gradient_checkpointing_func = partial(function, context_fn=contexts)
            elif function is not None:
                logger.warning_once("With `use_reentrant=True` batch norms count every batch twice: better leave it out.")


def _recompute_contexts(model: nn.Module):
    return nullcontext(), _frozen_batch_statistics(model)


class MuQModel(MuQPreTrainedModel):
    """The encoder: waveform → mel → convolutions → Conformer. 25 frames per second."""

    _keys_to_ignore_on_load_unexpected = [r"^head\.", r"^quantizer\."]

    def __init__(self, config: MuQConfig):
        super().__init__(config)
        self.spectrogram = LogMelSpectrogram(config)
        self.front_end = ConvFrontEnd(config)
        self.encoder = ConformerEncoder(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MuQModelOutput:
        """input_values: [B, S] waveform at `config.sampling_rate`; attention_mask: [B, S], 1 on audio, 0 on padding.

        output_hidden_states: True for all; an index or a list of indices (0 = input of the first layer) for those only:
        layers above the highest are then not computed. kwargs: for the attention function. Raises ValueError for malformed
        batches and unknown layers, TypeError for unknown arguments.
        """
        require_known_arguments(kwargs)
        wanted_states, last_layer = self.wanted_states(output_hidden_states)
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        lengths = valid_lengths(input_values, attention_mask, self.config.min_samples)

        mel = self.spectrogram(input_values, lengths).to(self.front_end.dtype)  # [B, M, 4 · T]
        mel_lengths = None if lengths is None else self.spectrogram.num_frames(lengths)
        can_be_fast = can_take_over(self.front_end, mel)
        frames = (
            fast_front_end(self.front_end, mel, mel_lengths) if can_be_fast else self.front_end(mel, mel_lengths)
        )  # [B, T, D]
        frame_lengths = None if lengths is None else self.front_end.num_frames(mel_lengths)
        wanted = (wanted_states, last_layer, bool(output_attentions))
        last, hidden_states, attentions = self.encoder(frames, frame_lengths, *wanted, **kwargs)
        return MuQModelOutput(
            last_hidden_state=last,
            hidden_states=hidden_states if wanted_states else None,
            attentions=attentions if output_attentions else None,
            attention_mask=self._frame_mask(frames, frame_lengths),
        )

    def wanted_states(self, output_hidden_states) -> tuple[set[int], int]:
        """Indices to keep and the last layer to run."""
        num_layers = self.config.num_hidden_layers
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if isinstance(output_hidden_states, bool):
            return (set(range(num_layers + 1)) if output_hidden_states else set()), num_layers
        wanted = set(hidden_state_indices(output_hidden_states, num_layers, "output_hidden_states"))
        return wanted, max(wanted)

    @staticmethod
    def _frame_mask(frames, lengths):
        B, T, _ = frames.shape
        if lengths is None:
            return torch.ones(B, T, dtype=torch.long, device=frames.device)
        return (torch.arange(T, device=frames.device) < lengths.unsqueeze(1)).long()


def keep_wanted(states: tuple, wanted: set[int]) -> tuple | None:
    """Drop the hidden states that the caller did not ask for; None if none was asked for."""
    return tuple(state if index in wanted else None for index, state in enumerate(states)) if wanted else None


class MuQForPreTraining(MuQPreTrainedModel):
    """Masked token prediction: masked blocks are replaced by noise, and the tokens of the clean music predicted (section 3.3).

    A checkpoint of the encoder alone can be loaded too. The head is then new. A trained tokenizer cannot be: choose
    `quantizer_type="none"`, and pass targets, or `quantizer_type="random_projection"`, which is not trained.
    """

    _keep_in_fp32_modules_strict = [*NORMS, "quantizer"]  # tokens must not depend on the dtype
    _new_parts = ("head.", "quantizer.projection", "quantizer.codebook")
    _advice_if_lacking = ' A model without a tokenizer is loaded with `quantizer_type="none"` and trained with `target_tokens`.'

    def __init__(self, config: MuQConfig):
        super().__init__(config)
        self.muq = MuQModel(config)
        self.head = nn.Linear(config.hidden_size, config.num_codebooks * config.codebook_size)
        self.quantizer = build_quantizer(config, config.token_input_size)
        self._freeze_fixed_parts()
        self.post_init()

    def _freeze_fixed_parts(self) -> None:
        if self.quantizer is not None:
            self.quantizer.requires_grad_(False)

    @torch.no_grad()
    def tokenize(self, input_values: torch.Tensor) -> torch.Tensor:
        """Target tokens of clean waveforms of one length: [B, S] → [B, S // samples_per_frame, K] int64."""
        if self.quantizer is None:
            raise ValueError('a model with `quantizer_type="none"` has no tokens of its own: pass `target_tokens`.')
        valid_lengths(input_values, None, self.config.min_samples)
        with torch.autocast(input_values.device.type, enabled=False):  # tokens must not depend on the dtype
            mel = self.muq.spectrogram(input_values)
            return self.quantizer.encode(fold_frames(mel, FRONT_END_STRIDE))

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        target_tokens: torch.LongTensor | None = None,
        block_mask: torch.BoolTensor | None = None,
        mask_noise: torch.Tensor | None = None,
        codebook_weights: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        output_attentions: bool | None = None,
        return_loss: bool = True,
        return_logits: bool = True,
        return_dict: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MuQForPreTrainingOutput:
        """input_values: [B, S] clips of one length; target_tokens: [B, N, K] to predict in place of the quantizer's.

        block_mask: [B, S // block] and mask_noise: [B, S]; those not given are drawn from `generator`, and without one from
        torch's own. codebook_weights: [K], how much each codebook counts in the loss. `return_loss=False` gives logits
        [B, T, K, V] of the unmasked music only; `return_logits=False` gives the loss only, for which it computes those of the
        masked tokens alone. Raises ValueError where both are False, for tokens and masks that do not cover the clips, and where
        nothing is masked, which has no loss (a given mask is not checked for that while the model is traced or compiled).
        """
        config = self.config
        valid_lengths(input_values, None, config.min_samples)
        B, S = input_values.shape
        wanted, _ = self.muq.wanted_states(output_hidden_states)
        if not (return_loss or return_logits):
            raise ValueError("`return_loss` and `return_logits` are both False: nothing is left to return.")
        if not return_loss:
            outputs = self.muq(input_values, None, [*wanted, -1], output_attentions, return_dict=True, **kwargs)
            return MuQForPreTrainingOutput(
                logits=self._logits(outputs.last_hidden_state),
                hidden_states=keep_wanted(outputs.hidden_states, wanted),
                attentions=outputs.attentions,
            )

        if target_tokens is None:
            target_tokens = self.tokenize(input_values)
        block_samples = config.mask_frames * config.samples_per_frame
        if generator is None:
            generator = torch.default_generator
        if block_mask is None:
            block_mask = draw_block_mask(S, B, block_samples, config.mask_prob, generator)
        if mask_noise is None:
            mask_noise = draw_noise(S, B, config.mask_noise_std, generator)
        self._require_whole_clips(input_values, target_tokens, block_mask, block_samples)
        N = min(target_tokens.shape[1], self._get_feat_extract_output_lengths(S))
        # The mask is drawn on the CPU. Finding its tokens there, too, does not make the program wait for a GPU.
        token_mask = spread(block_mask, config.mask_frames, N)  # [B, N]
        places = token_mask.flatten().nonzero().squeeze(1)  # [masked]
        if not is_traced() and len(places) == 0:
            raise ValueError(
                f"`block_mask` masks no token: give True for at least one of the {S // block_samples} blocks of "
                f"{block_samples} samples, or `return_loss=False`."
            )
        device = input_values.device
        masked = apply_block_mask(input_values, block_mask.to(device), mask_noise.to(device), block_samples)
        outputs = self.muq(masked, None, [*wanted, -1], output_attentions, return_dict=True, **kwargs)
        states, places, target_tokens = outputs.last_hidden_state[:, :N], places.to(device), target_tokens[:, :N]
        logits = self._logits(states) if return_logits else None
        chosen = self._logits(states.flatten(0, 1)[places]) if logits is None else logits.flatten(0, 1)[places]
        targets = target_tokens.flatten(0, 1)[places]
        loss, accuracy = masked_token_loss(chosen, targets, codebook_weights)  # of [masked, K, V] and [masked, K]
        token_mask = token_mask.to(device)
        return MuQForPreTrainingOutput(
            loss=loss,
            logits=logits,
            accuracy=accuracy,
            num_masked_tokens=token_mask.sum(),
            target_tokens=target_tokens,
            token_mask=token_mask,
            hidden_states=keep_wanted(outputs.hidden_states, wanted),
            attentions=outputs.attentions,
        )

    def _require_whole_clips(self, input_values, target_tokens, block_mask, block_samples) -> None:
        B, S = input_values.shape
        tokens, frames = S // self.config.samples_per_frame, self._get_feat_extract_output_lengths(S)
        if target_tokens.ndim != 3 or len(target_tokens) != B or not tokens <= target_tokens.shape[1] <= frames:
            needed = f"[{B}, {tokens}, {self.config.num_codebooks}]"
            raise ValueError(f"`target_tokens` must cover the clips, {needed}; got shape {tuple(target_tokens.shape)}.")
        if block_mask.shape != (B, S // block_samples):
            needed = f"[{B}, {S // block_samples}]"
            raise ValueError(f"`block_mask` must cover the clips, {needed}; got shape {tuple(block_mask.shape)}.")

    def _logits(self, states):
        """[…, D] → […, K, V]."""
        return self.head(states).unflatten(-1, (self.config.num_codebooks, -1))


def masked_token_loss(logits, targets, codebook_weights=None):
    """Mean cross-entropy over masked tokens and codebooks, these weighted, and the accuracy of each codebook.

    logits: [masked, K, V]; targets: [masked, K]; codebook_weights: [K], None for all alike → scalar, [K].
    """
    if codebook_weights is None:
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
    else:
        losses = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none").view(targets.shape)
        loss = (losses.mean(dim=0) * codebook_weights).sum() / codebook_weights.sum()
    accuracy = (logits.detach().argmax(-1) == targets).float().mean(dim=0)
    return loss, accuracy
