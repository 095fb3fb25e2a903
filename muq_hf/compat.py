"""The interface of the published package `muq` 0.1.0 on top of this package's models.

    from muq_hf.compat import MuQ, MuQMuLan      # in place of: from muq import MuQ, MuQMuLan

Same calls, same numbers (1e-5 in float32), its rule for clips included; runs on transformers 5, in half precision, and without
torchaudio, librosa, nnAudio, x_clip and easydict. Two faults are not kept: padding that `attention_mask` names changes no frame,
and a text has the vector that it has alone, whatever stands beside it in the list.
"""

import importlib
import importlib.machinery
import importlib.util
import sys

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutput

from .models.clips_muq_mulan import cut_clips, plan_clips
from .models.configuration_muq import MuQConfig
from .models.modeling_muq import MuQModel
from .models.modeling_muq_mulan import MuQMuLanModel
from .models.processing_muq_mulan import MuQMuLanProcessor
from .models.published_muq import config_from_published, is_published_config
from .models.published_muq_mulan import is_published_mulan_config


class PublishedConfig(dict):
    """A published `config.json`, whose fields are attributes too, nested ones as well: `config.mulan.sr`."""

    def __getattr__(self, name: str):
        if name not in self:
            raise AttributeError(f"the published configuration has no {name!r}; it has: {', '.join(self)}.")
        value = self[name]
        return PublishedConfig(value) if isinstance(value, dict) else value


class _FromHub(nn.Module):
    """What both classes share: `from_pretrained`."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path,
        *,
        cache_dir=None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        map_location: str | torch.device = "cpu",
        strict: bool = True,
    ):
        """The model of a Hub id or folder, of the published format or this package's, in evaluation mode.

        `strict` is there for the interface alone: that every tensor is there and known is always checked. Raises ValueError or
        OSError as `MuQModel.from_pretrained` does.
        """
        given = {"cache_dir": cache_dir, "token": token, "revision": revision}
        flags = {"force_download": force_download, "local_files_only": local_files_only}
        hub_arguments = {name: value for name, value in given.items() if value is not None}  # the rest is left to the defaults
        hub_arguments |= {name: True for name in flags if flags[name]}
        return cls._load(pretrained_model_name_or_path, hub_arguments).eval().to(map_location)


class MuQ(_FromHub):
    """Music → hidden states, called as `muq.MuQ` is.

    `config`: the published configuration; of a folder in this package's layout, a [`MuQConfig`]. `model`: the encoder, a
    [`MuQModel`].
    """

    def __init__(self, config: dict | MuQConfig, model: MuQModel | None = None):
        """With random weights if no `model` is given."""
        super().__init__()
        self.config = config
        if model is None:
            model = MuQModel(MuQConfig(**config_from_published(config)) if isinstance(config, dict) else config)
        self.model = model

    @classmethod
    def _load(cls, source, hub_arguments: dict) -> "MuQ":
        fields, _ = PreTrainedConfig.get_config_dict(source, **hub_arguments)
        model = MuQModel.from_pretrained(source, **hub_arguments)
        return cls(_published_fields(fields) if is_published_config(fields) else model.config, model)

    def forward(
        self, x: torch.Tensor, attention_mask: torch.Tensor | None = None, output_hidden_states: bool = True
    ) -> BaseModelOutput:
        """x: [B, S] waveforms at 24 kHz; attention_mask: 1 on audio, 0 on the padding to its right, for samples [B, S] or
        frames [B, T].

        → `last_hidden_state` [B, T, D] at 25 Hz and, unless `output_hidden_states` is False, all `hidden_states`: the input of
        the first layer, and what each layer gives. Raises ValueError as `MuQModel` does.
        """
        frames = self.model._get_feat_extract_output_lengths(x.shape[-1])
        if attention_mask is not None and attention_mask.shape[-1] == frames:
            frame_of_sample = torch.arange(x.shape[-1], device=attention_mask.device) // self.model.config.samples_per_frame
            attention_mask = attention_mask[..., frame_of_sample.clamp(max=frames - 1)]
        output = self.model(x.float(), attention_mask, output_hidden_states=output_hidden_states, return_dict=True)
        return BaseModelOutput(last_hidden_state=output.last_hidden_state, hidden_states=output.hidden_states)


class MuLan(nn.Module):
    """The two towers: what `muq.MuQMuLan` calls `mulan_module`."""

    def __init__(self, model: MuQMuLanModel, source, hub_arguments: dict):
        super().__init__()
        self.model = model
        self._source, self._hub_arguments, self._processor = source, hub_arguments, None

    def get_audio_latents(self, wavs: torch.Tensor) -> torch.Tensor:
        """Clips [B, S], each at most `clip_secs` long → vectors of length 1 [B, P]."""
        return self.model.get_audio_features(wavs.float().to(self.model.device), clip_rule="duration").pooler_output

    def get_text_latents(self, raw_texts: list[str]) -> torch.Tensor:
        """Texts → vectors of length 1 [B, P]. The tokenizer is loaded at the first call; OSError says where it is missing."""
        if self._processor is None:
            self._processor = MuQMuLanProcessor.from_pretrained(self._source, **self._hub_arguments)
        features = self._processor(text=raw_texts, return_tensors="pt").to(self.model.device)
        return self.model.get_text_features(**features).pooler_output


class MuQMuLan(_FromHub):
    """Music and texts → vectors in one space, called as `muq.MuQMuLan` is."""

    def __init__(self, config: dict | PreTrainedConfig, mulan: MuLan):
        """See `from_pretrained`. `config`: the published configuration; of a folder in this package's layout, its own."""
        super().__init__()
        self.config = config
        self.mulan = mulan
        self.sr = mulan.model.config.sampling_rate
        seconds = mulan.model.config.clip_seconds
        self.clip_secs = int(seconds) if seconds == int(seconds) else seconds

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *, hf_hub_cache_dir=None, cache_dir=None, **options) -> "MuQMuLan":
        """As [`MuQ.from_pretrained`]; `hf_hub_cache_dir` is an older name of `cache_dir`.

        The tokenizer is looked for at the first text: see `MuQMuLanProcessor.from_pretrained`.
        """
        cache_dir = hf_hub_cache_dir if cache_dir is None else cache_dir
        return super().from_pretrained(pretrained_model_name_or_path, cache_dir=cache_dir, **options)

    @classmethod
    def _load(cls, source, hub_arguments: dict) -> "MuQMuLan":
        fields, _ = PreTrainedConfig.get_config_dict(source, **hub_arguments)
        model = MuQMuLanModel.from_pretrained(source, **hub_arguments)
        config = _published_fields(fields) if is_published_mulan_config(fields) else model.config
        return cls(config, MuLan(model, source, hub_arguments))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def mulan_module(self) -> MuLan:
        """The two towers, also where `mulan` was wrapped for distributed training."""
        return self.mulan.module if isinstance(self.mulan, nn.parallel.DistributedDataParallel) else self.mulan

    def frozen(self) -> None:
        """No gradients for any parameter."""
        self.requires_grad_(False)

    def forward(self, wavs=None, texts: list[str] | None = None, *, parallel_processing: bool = False) -> torch.Tensor:
        """Music or texts → [B, P]: `extract_audio_latents` or `extract_text_latents`. Raises ValueError for both or none."""
        if (wavs is None) == (texts is None):
            raise ValueError(f"give either `wavs` or `texts`; got {'none' if wavs is None else 'both'}.")
        if texts is not None:
            return self.extract_text_latents(texts)
        return self.extract_audio_latents(wavs, parallel_processing=parallel_processing)

    def extract_audio_latents(self, wavs, *, parallel_processing: bool = False) -> torch.Tensor:
        """wavs: [B, S] at `sr`, or a list of waveforms [S] of any lengths → [B, P].

        Each is cut into clips of `clip_secs`, the last completed with the beginning, and has the plain mean of the clips'
        vectors. `parallel_processing`: all clips of a waveform at once, faster, with more memory. Raises TypeError for a waveform
        that is no tensor, ValueError for one that is not [S] or too short.
        """
        return torch.stack([self._latents_of_song(wav, parallel_processing) for wav in wavs])

    def _latents_of_song(self, wav: torch.Tensor, at_once: bool) -> torch.Tensor:
        if not isinstance(wav, torch.Tensor):
            raise TypeError(f"`wavs` must be tensors, got {type(wav).__name__}; use `torch.tensor(wav)`.")
        if wav.ndim != 1:
            raise ValueError(f"each waveform must be [samples], mono; got shape {tuple(wav.shape)}.")
        config = self.mulan_module.model.config
        samples_per_frame = config.audio_config.samples_per_frame
        plan = plan_clips(len(wav), config.clip_samples, "published", samples_per_frame, config.min_samples)
        clips = cut_clips(wav[None], [len(wav)], [plan]).clips
        parts = [clips] if at_once else clips.split(1)
        return torch.cat([self.mulan_module.get_audio_latents(part) for part in parts]).mean(dim=0)

    def extract_text_latents(self, texts: list[str]) -> torch.Tensor:
        """Texts → [B, P] vectors of length 1."""
        return self.mulan_module.get_text_latents(texts)

    def calc_similarity(self, audio_latents: torch.Tensor, text_latents: torch.Tensor) -> torch.Tensor:
        """Dot products: [A, P] and [T, P] → [A, T]; a single vector [P] on either side takes its dimension away.

        Raises ValueError for other shapes.
        """
        if not {audio_latents.ndim, text_latents.ndim} <= {1, 2}:
            shapes = f"{tuple(audio_latents.shape)} and {tuple(text_latents.shape)}"
            raise ValueError(f"latents must be [vectors, dimensions] or [dimensions], got shapes {shapes}.")
        return audio_latents @ text_latents.mT if text_latents.ndim == 2 else audio_latents @ text_latents


def install() -> None:
    """Make `import muq` find this module's classes, for programs that one cannot edit.

    Call it before they are imported. An installed `muq` that does not work, as 0.1.0 does not on transformers 5, is replaced for
    this process. Raises RuntimeError where one is installed that works: use that one, or uninstall it.
    """
    found = sys.modules.get("muq")
    if getattr(found, "MuQ", None) is MuQ:
        return
    if (found is not None or importlib.util.find_spec("muq") is not None) and _installed_muq_works():
        raise RuntimeError("a package `muq` that works is installed here: use it, or uninstall it first (pip uninstall muq).")
    for name in [name for name in sys.modules if name == "muq" or name.startswith("muq.")]:
        del sys.modules[name]
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec("muq", loader=None, origin=__file__))
    module.__doc__, module.MuQ, module.MuQMuLan = __doc__, MuQ, MuQMuLan
    sys.modules["muq"] = module


def _installed_muq_works() -> bool:
    """Whether the installed package computes: a miniature of its encoder is given a second of silence."""
    from transformers import Wav2Vec2ConformerConfig

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_conv_pos_embedding_groups": 2}
    conformer = Wav2Vec2ConformerConfig(**sizes, position_embeddings_type="rotary").to_dict()
    stat = {"melspec_2048_mean": 6.0, "melspec_2048_std": 18.0}
    try:
        muq = importlib.import_module("muq")
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model = muq.MuQ({"conv_dim": 4, "encoder_dim": 16, "encoder_depth": 1, "stat": stat, "w2v2_config": conformer})
            return model.eval()(torch.zeros(1, 24_000)).last_hidden_state.shape == (1, 25, 16)
    except Exception:  # whatever it is that fails in another package, it does not work
        return False


def _published_fields(config: dict) -> PublishedConfig:
    return PublishedConfig({name: value for name, value in config.items() if name != "_commit_hash"})
