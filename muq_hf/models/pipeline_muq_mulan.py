"""`pipeline("feature-extraction")` for MuQ-MuLan: music or text → its vector in the joint space."""

import os
from collections.abc import Iterator

import numpy as np

from .feature_extraction_muq_mulan import MuQMuLanFeatureExtractor
from .modeling_muq_mulan import MuQMuLanModel
from .pipeline_muq import MuQFeatureExtractionPipeline, given_arguments
from .processing_muq_mulan import MuQMuLanProcessor, names_audio


class MuQMuLanFeatureExtractionPipeline(MuQFeatureExtractionPipeline):
    """Music and text → vectors of length 1, whose dot product is their likeness.

    Args:
        model: a MuQ-MuLan, or the folder or id of one; the published format is converted.
        feature_extractor: its feature extractor; by default what the model's configuration says.
        tokenizer: its tokenizer; needed for text only.
        Further arguments: those of `transformers.Pipeline` and of a call.
    """

    _load_tokenizer = None
    _model_class = MuQMuLanModel
    _extractor_class = MuQMuLanFeatureExtractor

    def __call__(self, inputs, **kwargs):
        """The vector of one input, of a list (→ list), or of a generator or dataset (→ iterator).

        Args:
            inputs: music as for [`MuQFeatureExtractionPipeline`], or `{"text": ...}`. A string is music if it is a URL, names a
                file that exists, or ends like an audio file; else it is text.
            sampling_rate: the rate of bare arrays (Hz); default: the model's.
            batch_size: inputs that go through the model at once, all music or all text.
            return_tensors: give tensors in place of nested lists.
            timeout, max_download_bytes: bounds of a download, as for [`MuQFeatureExtractionPipeline`].

        Returns:
            per input [1, P]. Raises ValueError, or AudioError with its reason, for inputs that give no usable audio or text.
        """
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self,
        sampling_rate: int | None = None,
        return_tensors: bool | None = None,
        timeout: float | None = None,
        max_download_bytes: int | None = None,
    ):
        preprocess = {"sampling_rate": sampling_rate, "timeout": timeout, "max_download_bytes": max_download_bytes}
        return given_arguments(preprocess, {}, {"return_tensors": return_tensors})

    def preprocess(self, inputs, sampling_rate=None, **download_bounds) -> Iterator[dict]:
        """One input → a batch of one."""
        if isinstance(inputs, dict) and "text" in inputs:
            yield {"is_last": True, **self._tokenize(inputs["text"])}
        elif isinstance(inputs, str) and not _is_source(inputs):
            yield {"is_last": True, **self._tokenize(inputs)}
        else:
            wave = np.concatenate(list(self._blocks(inputs, sampling_rate, **download_bounds)))
            rate = self.model.config.sampling_rate
            yield {"is_last": True, **self.feature_extractor(wave, sampling_rate=rate, return_tensors="pt")}

    def _tokenize(self, text: str) -> dict:
        if self.tokenizer is None:
            raise ValueError("text needs the tokenizer of the model: pass `tokenizer=` to the pipeline.")
        return MuQMuLanProcessor(self.feature_extractor, self.tokenizer)(text=text, return_tensors="pt")

    def _forward(self, model_inputs):
        is_last = model_inputs.pop("is_last")
        is_text = "input_ids" in model_inputs
        features = self.model.get_text_features if is_text else self.model.get_audio_features
        output = features(**model_inputs, return_dict=True)
        return {"is_last": is_last, "vector": output.pooler_output}

    def postprocess(self, model_outputs, return_tensors=False):
        vector = model_outputs[0]["vector"].float().reshape(1, -1)
        return vector if return_tensors else vector.tolist()


def _is_source(text: str) -> bool:
    """Whether a string says where music is, and is no text."""
    return text.startswith(("http://", "https://")) or names_audio(text) or os.path.isfile(text)
