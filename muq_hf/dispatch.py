"""The tasks "feature-extraction" and "audio-classification" for music and for other models: the model's type decides."""

from transformers import AudioClassificationPipeline, AutoTokenizer, FeatureExtractionPipeline

from .models.pipeline_classification_muq import MuQAudioClassificationPipeline
from .models.pipeline_muq import MuQFeatureExtractionPipeline
from .models.pipeline_muq_mulan import MuQMuLanFeatureExtractionPipeline


AUDIO_PIPELINES = {"muq": MuQFeatureExtractionPipeline}  # by model type


class FeatureExtractionDispatch(FeatureExtractionPipeline):
    """Builds the audio pipeline for MuQ and transformers' own for every other model; no object of this class exists.

    `transformers.pipeline` decides what to load by the class, before it knows the model: so both kinds are optional here.
    """

    _load_tokenizer = None
    _load_feature_extractor = None

    def __new__(cls, *, model, tokenizer=None, feature_extractor=None, **kwargs):
        if model.config.model_type == "muq_mulan":
            return MuQMuLanFeatureExtractionPipeline(
                model=model, tokenizer=tokenizer, feature_extractor=feature_extractor, **kwargs
            )
        audio_pipeline = AUDIO_PIPELINES.get(model.config.model_type)
        if audio_pipeline is not None:
            return audio_pipeline(model=model, feature_extractor=feature_extractor, **kwargs)
        return FeatureExtractionPipeline(model=model, tokenizer=tokenizer or _load_tokenizer(model), **kwargs)


class AudioClassificationDispatch(AudioClassificationPipeline):
    """Builds our pipeline for a classifier on MuQ and transformers' own for every other model; no object of it exists."""

    _load_feature_extractor = None

    def __new__(cls, *, model, feature_extractor=None, **kwargs):
        is_ours = model.config.model_type in AUDIO_PIPELINES
        pipeline_class = MuQAudioClassificationPipeline if is_ours else AudioClassificationPipeline
        return pipeline_class(model=model, feature_extractor=feature_extractor, **kwargs)


def _load_tokenizer(model):
    """The tokenizer could not be loaded: fail as transformers would. Raises what loading raises, else ValueError."""
    if model.config._name_or_path:
        AutoTokenizer.from_pretrained(model.config._name_or_path)
    raise ValueError(f"no tokenizer was found for {type(model).__name__}: pass `tokenizer=` to the pipeline.")
