"""`pipeline("audio-classification")` for music of any rate and any length: windows of a clip's length, and their mean."""

import numpy as np
import torch

from .classification_muq import MuQForSequenceClassification
from .pipeline_muq import MuQFeatureExtractionPipeline, given_arguments


WINDOW_SECONDS = 30.0  # where the model does not say how long the clips of its training were
FUNCTIONS = {
    "softmax": lambda logits: torch.softmax(logits, dim=-1),
    "sigmoid": torch.sigmoid,
    "none": lambda logits: logits,
}


class MuQAudioClassificationPipeline(MuQFeatureExtractionPipeline):
    """Music → the labels of a classifier with their scores.

    Args:
        model: a MuQ classifier of clips or of frames, or the folder or id of one of clips.
        feature_extractor: its feature extractor; by default what the model's configuration says.
        Further arguments: those of `transformers.Pipeline` and of a call.
    """

    _model_class = MuQForSequenceClassification

    def __call__(self, inputs, **kwargs):
        """Labels of one input, of a list (→ list), or of a generator or dataset (→ iterator).

        Args:
            inputs: music as for [`MuQFeatureExtractionPipeline`]: any rate, mono or stereo, files of any length.
            sampling_rate: the rate of bare arrays (Hz); default: the model's.
            top_k: so many labels, the best first; default 5, None for all. Of regressions all come, in their order.
            function_to_apply: "softmax", "sigmoid" or "none"; default: what goes with the model's problem type.
            chunk_length_s: length of the windows (s); default: that of the clips in training, or 30.
            batch_size: windows, of one or several inputs, that go through the model at once.
            return_timestamps: give a dictionary of `labels`, and of `timestamps` [N, 2] (s) and `scores` [N, K] (columns as in
                `config.id2label`) of each window, or of each frame where the model classifies frames.

        Returns:
            per input a list of {"label": …, "score": …}. Scores of a long file are the mean over its windows, each by its length.
            Raises ValueError, or AudioError with its reason, for inputs that give no usable audio.
        """
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self,
        sampling_rate: int | None = None,
        chunk_length_s: float | None = None,
        top_k: int | None = 5,
        function_to_apply: str | None = None,
        return_timestamps: bool | None = None,
    ) -> tuple[dict, dict, dict]:
        if function_to_apply not in (None, *FUNCTIONS):
            raise ValueError(f"`function_to_apply` must be one of {', '.join(FUNCTIONS)}, got {function_to_apply!r}.")
        if top_k is not None and top_k < 1:
            raise ValueError(f"`top_k` must be at least 1, or None for all labels, got {top_k}.")
        preprocess = {"sampling_rate": sampling_rate, "chunk_length_s": chunk_length_s}
        postprocess = {"function_to_apply": function_to_apply, "return_timestamps": return_timestamps}
        preprocess, forward, postprocess = given_arguments(preprocess, {}, postprocess)
        return preprocess, forward, postprocess | {"top_k": top_k}  # None is a choice here: all labels

    def preprocess(self, inputs, sampling_rate=None, chunk_length_s=None):
        config = self.model.config
        seconds = chunk_length_s or config.classifier_clip_seconds or WINDOW_SECONDS
        # Frames at a window's ends lack context, so those of frame classifiers overlap; clips stay side by side, as in training.
        stride = 0.0 if self._is_of_clips else seconds / 6
        return super().preprocess(inputs, sampling_rate, seconds, stride)

    def _forward(self, model_inputs):
        is_last, place = model_inputs.pop("is_last"), model_inputs.pop("place")
        logits = self.model(**model_inputs, return_dict=True).logits.float()
        if self._is_of_clips:
            return {"is_last": is_last, "place": place, "logits": logits}
        kept = [frames[first:last] for frames, (_, first, last, _) in zip(logits, place.tolist(), strict=True)]
        return {"is_last": is_last, "place": place, "logits": kept}

    def postprocess(self, model_outputs, top_k=5, function_to_apply=None, return_timestamps=False):
        apply = FUNCTIONS[function_to_apply or self._usual_function]
        places = torch.stack([output["place"].reshape(-1) for output in model_outputs])  # [W, 4]
        ends = places[:, 3].double() / self.model.config.sampling_rate
        if self._is_of_clips:
            scores = apply(torch.stack([output["logits"].reshape(-1) for output in model_outputs]))  # [W, K]
        else:
            frames = [output["logits"] for output in model_outputs]
            scores = apply(torch.cat([part[0] if isinstance(part, list) else part for part in frames]))  # [T, K]
            ends = torch.arange(1, len(scores) + 1).double() / self.model.config.frame_rate
            ends[-1] = places[-1, 3].double() / self.model.config.sampling_rate
        starts = torch.cat([ends.new_zeros(1), ends[:-1]])
        weights = (ends - starts) / ends[-1]
        mean = (scores.double() * weights.unsqueeze(1)).sum(dim=0)
        labels = self._labels(mean, top_k)
        if not return_timestamps:
            return labels
        return {"labels": labels, "timestamps": torch.stack([starts, ends], dim=1).numpy(), "scores": scores.numpy()}

    @property
    def _is_of_clips(self) -> bool:
        return isinstance(self.model, MuQForSequenceClassification) or hasattr(self.model, "projector")

    @property
    def _usual_function(self) -> str:
        config = self.model.config
        if config.problem_type == "regression" or (config.problem_type is None and config.num_labels == 1):
            return "none"
        return "sigmoid" if config.problem_type == "multi_label_classification" else "softmax"

    def _labels(self, scores: torch.Tensor, top_k: int | None) -> list[dict]:
        """scores [K] → the best labels, or for numbers all of them in their order."""
        order = np.arange(len(scores)) if self._usual_function == "none" else np.argsort(-scores.numpy(), kind="stable")[:top_k]
        return [{"label": self.model.config.id2label[int(index)], "score": float(scores[index])} for index in order]
