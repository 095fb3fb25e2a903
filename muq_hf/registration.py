"""Makes the models known to transformers. Importing this module imports neither torch nor transformers."""

import importlib.abc
import sys
import threading
import warnings


PACKAGE = __name__.rpartition(".")[0]


def register() -> None:
    """Register the classes with transformers' Auto classes, and the music pipelines with their tasks."""
    from transformers import (
        AutoConfig,
        AutoFeatureExtractor,
        AutoModel,
        AutoModelForAudioClassification,
        AutoModelForAudioFrameClassification,
        AutoModelForPreTraining,
        AutoProcessor,
    )
    from transformers.pipelines import PIPELINE_REGISTRY

    from .dispatch import AudioClassificationDispatch, FeatureExtractionDispatch
    from .models.classification_muq import MuQForAudioFrameClassification, MuQForSequenceClassification
    from .models.configuration_muq import MelRVQConfig, MuQConfig
    from .models.configuration_muq_mulan import MuQMuLanConfig
    from .models.feature_extraction_muq import MuQFeatureExtractor
    from .models.feature_extraction_muq_mulan import MuQMuLanFeatureExtractor
    from .models.mel_rvq_muq import MelRVQModel
    from .models.modeling_muq import MuQForPreTraining, MuQModel
    from .models.modeling_muq_mulan import MuQMuLanModel
    from .models.processing_muq_mulan import MuQMuLanProcessor

    for config_class in (MuQConfig, MelRVQConfig, MuQMuLanConfig):
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    for auto_class, config_class, registered in (
        (AutoModel, MuQConfig, MuQModel),
        (AutoModel, MelRVQConfig, MelRVQModel),
        (AutoModel, MuQMuLanConfig, MuQMuLanModel),
        (AutoModelForPreTraining, MuQConfig, MuQForPreTraining),
        (AutoModelForAudioClassification, MuQConfig, MuQForSequenceClassification),
        (AutoModelForAudioFrameClassification, MuQConfig, MuQForAudioFrameClassification),
        (AutoFeatureExtractor, MuQConfig, MuQFeatureExtractor),
        (AutoFeatureExtractor, MelRVQConfig, MuQFeatureExtractor),
        (AutoFeatureExtractor, MuQMuLanConfig, MuQMuLanFeatureExtractor),
        (AutoProcessor, MuQMuLanConfig, MuQMuLanProcessor),
    ):
        auto_class.register(config_class, registered, exist_ok=True)
    # Not `register_pipeline`: that warns, and marks every saved text model with a pipeline of ours.
    PIPELINE_REGISTRY.supported_tasks["feature-extraction"]["impl"] = FeatureExtractionDispatch
    PIPELINE_REGISTRY.supported_tasks["audio-classification"]["impl"] = AudioClassificationDispatch


def register_when_imported() -> None:
    """Call `register` now if transformers is imported, else as soon as somebody imports it."""
    if "transformers" in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _ImportWatch())


class _ImportWatch(importlib.abc.MetaPathFinder):
    """Notices the first import of transformers, and calls `register` when it and our own modules are whole.

    Whoever imports a module of ours first meets transformers in the middle of that module; registering then would need its
    unfinished classes. So imports of ours are counted too, and the outermost one that ends registers.
    """

    def __init__(self):
        self._running = 0
        self._lock = threading.Lock()

    def find_spec(self, name, path=None, target=None):
        if name != "transformers" and not name.startswith(f"{PACKAGE}."):
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                self._watch(spec.loader)
                return spec
        return None

    def _watch(self, loader) -> None:
        execute = loader.exec_module

        def exec_module(module):
            with self._lock:
                self._running += 1
            try:
                execute(module)
            finally:
                with self._lock:
                    self._running -= 1
            self._register_if_whole()

        loader.exec_module = exec_module

    def _register_if_whole(self) -> None:
        with self._lock:
            if self._running or "transformers" not in sys.modules or self not in sys.meta_path:
                return
            sys.meta_path.remove(self)
        try:
            register()
        except ImportError as error:  # importing transformers must work whatever its version
            warnings.warn(f"{PACKAGE} is not registered with transformers: {error}", stacklevel=2)
