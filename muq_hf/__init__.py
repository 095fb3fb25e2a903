"""MuQ and MuQ-MuLan for Hugging Face transformers: music → features, tokens, tags, search.

Importing the package registers the models with transformers' Auto classes and pipelines as soon as transformers itself is there;
the classes below are imported on first use.
"""

from importlib import import_module

from . import models  # noqa: F401  (says at once if transformers is too old)
from .registration import register_when_imported
from .version import __version__  # noqa: F401


_PUBLIC = {
    "models.configuration_muq": ("MelRVQConfig", "MuQConfig"),
    "models.feature_extraction_muq": ("MuQFeatureExtractor",),
    "models.modeling_muq": ("MuQForPreTraining", "MuQModel"),
    "models.mel_rvq_muq": ("MelRVQModel",),
    "models.classification_muq": ("MuQForAudioFrameClassification", "MuQForSequenceClassification"),
    "models.pipeline_muq": ("MuQFeatureExtractionPipeline",),
    "models.pipeline_classification_muq": ("MuQAudioClassificationPipeline",),
    "models.configuration_muq_mulan": ("MuQMuLanConfig",),
    "models.feature_extraction_muq_mulan": ("MuQMuLanFeatureExtractor",),
    "models.processing_muq_mulan": ("MuQMuLanProcessor",),
    "models.modeling_muq_mulan": ("MuQMuLanAudioModelWithProjection", "MuQMuLanModel", "MuQMuLanTextModelWithProjection"),
    "models.pipeline_muq_mulan": ("MuQMuLanFeatureExtractionPipeline",),
    "checkpoints": ("MUQ_MULAN_TINY", "MUQ_TINY"),
    "loader": ("load",),
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str):
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])


register_when_imported()
