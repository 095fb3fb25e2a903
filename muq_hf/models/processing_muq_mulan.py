"""Music and text → what MuQ-MuLan takes."""

import os

from transformers import AutoTokenizer, BatchFeature, PreTrainedConfig, ProcessorMixin
from transformers.utils import logging

from .configuration_muq_mulan import MuQMuLanConfig
from .decoding_muq import AUDIO_SUFFIXES, checked_rate, load_audio, resample
from .feature_extraction_muq import as_batch, mix_down
from .feature_extraction_muq_mulan import MuQMuLanFeatureExtractor
from .loading_muq import hub_arguments_of
from .published_muq_mulan import is_published_mulan_config, tower_source


logger = logging.get_logger(__name__)

UNLIMITED = 1_000_000  # tokens; tokenizers without a limit of their own say 10^30


class MuQMuLanProcessor(ProcessorMixin):
    """A feature extractor and a tokenizer in one."""

    def __init__(self, feature_extractor, tokenizer):
        super().__init__(feature_extractor, tokenizer)

    def __call__(
        self,
        text: str | list[str] | None = None,
        audio=None,
        sampling_rate: int | None = None,
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = True,
        return_tensors: str | None = None,
        *,
        text_kwargs: dict | None = None,
        audio_kwargs: dict | None = None,
        common_kwargs: dict | None = None,
        images_kwargs: dict | None = None,
        videos_kwargs: dict | None = None,
    ) -> BatchFeature:
        """text: one text or several; audio: files, or what the feature extractor takes, with its `sampling_rate` (any, in Hz);
        in a list also stereo, [2, S] or [S, 2].

        `padding`, `truncation` and `max_length` (tokens) are for the text; longer texts are cut, with one warning. The
        dictionaries add options for the tokenizer, the feature extractor or both; those for images and videos must be empty.
        → `input_ids`, `attention_mask` [N, tokens] for text, `input_values`, `padding_mask` [B, S] for audio. Raises ValueError
        for neither, for texts that are no strings, give no token or name audio files, and for audio that the feature extractor
        refuses.
        """
        if images_kwargs or videos_kwargs:
            raise ValueError("MuQ-MuLan takes text and audio, no images and no videos.")
        if text is None and audio is None:
            raise ValueError("give `text`, `audio` or both.")
        common = {"return_tensors": return_tensors} | (common_kwargs or {})
        features = {}
        if text is not None:
            options = {"padding": padding, "max_length": max_length, "truncation": truncation}
            features |= self._tokenize(text, options | common | (text_kwargs or {}))
        if audio is not None:
            features |= self._extract(audio, {"sampling_rate": sampling_rate} | common | (audio_kwargs or {}))
        return BatchFeature(features)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """As in transformers; for the id or folder of a published MuQ-MuLan, with the tokenizer that it names."""
        hub_arguments = hub_arguments_of(kwargs)
        try:
            published, _ = PreTrainedConfig.get_config_dict(pretrained_model_name_or_path, **hub_arguments)
        except OSError:  # a processor may lie in a folder without a model
            published = {}
        if not is_published_mulan_config(published):
            return super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        config = MuQMuLanConfig.from_pretrained(pretrained_model_name_or_path, **hub_arguments)
        return published_processor(published, config, pretrained_model_name_or_path, hub_arguments=hub_arguments)

    def _extract(self, audio, options: dict) -> dict:
        rate = self.feature_extractor.sampling_rate
        files = [audio] if isinstance(audio, (str, os.PathLike)) else audio
        if isinstance(files, (list, tuple)) and files and all(isinstance(item, (str, os.PathLike)) for item in files):
            audio, options = [load_audio(file, rate) for file in files], options | {"sampling_rate": rate}
        elif options["sampling_rate"] is None:
            raise ValueError(
                "arrays of audio need their `sampling_rate` (Hz): pass it beside `audio`, or in sentence-transformers "
                '{"array": …, "sampling_rate": …}.'
            )
        else:
            given = checked_rate(options["sampling_rate"])
            waves = [mix_down(wave, index) for index, wave in enumerate(as_batch(audio))]
            audio, options = [resample(wave, given, rate) for wave in waves], options | {"sampling_rate": rate}
        return self.feature_extractor(audio, **options)

    def _tokenize(self, text, options: dict) -> dict:
        texts = [text] if isinstance(text, str) else list(text)
        wrong = [item for item in texts if not isinstance(item, str)]
        if not texts or wrong:
            raise ValueError(f"`text` must be a string or a list of strings, got {wrong[0] if wrong else texts!r}.")
        files = [item for item in texts if names_audio(item)]
        if files:  # sentence-transformers takes files that it does not know for text
            what = "names audio and is no text" if os.path.exists(files[0]) else "names an audio file that does not exist"
            raise ValueError(f'{files[0]!r} {what}: music goes in as `audio`, or {{"array": …, "sampling_rate": …}}.')
        limit = options["max_length"] or self.tokenizer.model_max_length
        lengths = [len(ids) for ids in self.tokenizer(texts, verbose=False)["input_ids"]]
        if 0 in lengths:
            raise ValueError(f"text {lengths.index(0)} gives no token: {texts[lengths.index(0)]!r}.")
        is_cut = options["truncation"] and limit < UNLIMITED
        if is_cut and max(lengths) > limit:
            logger.warning_once(f"Texts longer than the {limit} tokens that the text encoder takes are cut.")
        max_length = limit if is_cut else options["max_length"]
        return dict(self.tokenizer(texts, **(options | {"truncation": is_cut, "max_length": max_length})))


def names_audio(text: str) -> bool:
    """Whether this is, by its end, the name of an audio file."""
    return text.lower().endswith(AUDIO_SUFFIXES)


def published_processor(
    published: dict, config: MuQMuLanConfig, source, text=None, hub_arguments: dict | None = None
) -> MuQMuLanProcessor:
    """The processor of a published MuQ-MuLan in `source`; `text`: where its tokenizer is, if not where it says itself.

    Raises OSError that says where the tokenizer was looked for.
    """
    place, arguments = tower_source("text_model", published, source, text, "tokenizer_config.json", hub_arguments)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **arguments)
    except (OSError, ValueError) as error:
        raise OSError(
            f"the text encoder's tokenizer (tokenizer.json, or sentencepiece.bpe.model, with tokenizer_config.json) is not in "
            f"{place}; put it at {source}/text_model, or convert the model with --text FOLDER. {error}"
        ) from None
    if config.max_text_tokens is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_text_tokens)
    return MuQMuLanProcessor(MuQMuLanFeatureExtractor.for_config(config), tokenizer)
