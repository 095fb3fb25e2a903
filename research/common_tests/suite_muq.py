"""MuQ in transformers' common tests; run by `run.py`, which puts their package `tests` on the path."""

import unittest

import torch
from checks import MICRO
from tests.test_configuration_common import ConfigTester
from tests.test_modeling_common import ModelTesterMixin, floats_tensor
from tests.test_sequence_feature_extraction_common import SequenceFeatureExtractionTestMixin
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from muq_hf import (
    MelRVQConfig,
    MelRVQModel,
    MuQConfig,
    MuQFeatureExtractor,
    MuQForAudioFrameClassification,
    MuQForPreTraining,
    MuQForSequenceClassification,
    MuQModel,
)


BATCH, SAMPLES, FRAMES = 3, 19_200, 20
SIZES = MICRO | {"num_hidden_layers": 2}
MODEL_MAPPING_NAMES["muq"] = "MuQModel"  # as if it were in the library: its tests of training leave base models out
NO_EMBEDDINGS = unittest.skip("Music has no input embeddings.")


class MuQTester:
    is_training = True

    def __init__(self, parent):
        self.parent = parent
        self.batch_size = BATCH
        self.hidden_size = SIZES["hidden_size"]
        self.num_hidden_layers = SIZES["num_hidden_layers"]
        self.num_attention_heads = SIZES["num_attention_heads"]
        self.seq_length, self.encoder_seq_length, self.key_length = SAMPLES, FRAMES, FRAMES

    def get_config(self):
        dropouts = dict.fromkeys(("hidden_dropout", "activation_dropout", "attention_dropout", "conv_dropout"), 0.0)
        return MuQConfig(**SIZES, **dropouts, num_labels=3, classifier_proj_size=16)

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), {"input_values": 0.1 * floats_tensor([BATCH, SAMPLES])}


class MuQCommon(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MuQModel, MuQForPreTraining, MuQForSequenceClassification, MuQForAudioFrameClassification)
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = MuQTester(self)
        self.config_tester = ConfigTester(self, config_class=MuQConfig, has_text_modality=False, **SIZES)

    def test_config(self):
        self.config_tester.run_common_tests()

    @NO_EMBEDDINGS
    def test_model_get_set_embeddings(self):
        pass

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = dict(inputs_dict)
        batch = inputs["input_values"].shape[0]
        if model_class is MuQForPreTraining and return_labels:  # the loss of the same masked blocks at every call
            inputs["block_mask"] = torch.tensor([[True, False]] * batch)
            inputs["mask_noise"] = torch.zeros_like(inputs["input_values"])
        elif model_class is MuQForPreTraining:
            inputs["return_loss"] = False
        if return_labels and model_class is MuQForSequenceClassification:
            inputs["labels"] = torch.zeros(batch, dtype=torch.long)
        if return_labels and model_class is MuQForAudioFrameClassification:
            inputs["labels"] = torch.zeros(batch, FRAMES, dtype=torch.long)
        return inputs


class MelRVQTester:
    is_training = True

    def __init__(self, parent):
        self.parent, self.batch_size, self.seq_length = parent, BATCH, FRAMES
        self.num_hidden_layers, self.hidden_size = 0, 16

    def get_config(self):
        return MelRVQConfig(num_codebooks=2, codebook_size=16)

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), {"input_values": 0.1 * floats_tensor([BATCH, SAMPLES])}


class MelRVQCommon(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MelRVQModel,)
    test_resize_embeddings = False
    has_attentions = False

    def setUp(self):
        self.model_tester = MelRVQTester(self)
        self.config_tester = ConfigTester(
            self, config_class=MelRVQConfig, has_text_modality=False, common_properties=[], num_codebooks=2, codebook_size=16
        )

    def test_config(self):
        self.config_tester.run_common_tests()

    @NO_EMBEDDINGS
    def test_model_get_set_embeddings(self):
        pass

    @unittest.skip("Its losses and energies are means over the batch.")
    def test_batching_equivalence(self):
        pass

    @unittest.skip("A quantizer has no hidden states.")
    def test_hidden_states_output(self):
        pass

    @unittest.skip("A quantizer has no hidden states.")
    def test_model_outputs_equivalence(self):
        pass

    @unittest.skip("A quantizer has no hidden states.")
    def test_retain_grad_hidden_states_attentions(self):
        pass


class ExtractorTester:
    def __init__(self, parent):
        self.parent = parent
        self.batch_size, self.min_seq_length, self.max_seq_length = 7, 1200, 2800
        self.seq_length_diff = (self.max_seq_length - self.min_seq_length) // (self.batch_size - 1)
        self.feature_size = 1

    def prepare_feat_extract_dict(self):
        return {"feature_size": 1, "padding_value": 0.0, "sampling_rate": 24_000, "return_attention_mask": True}

    def prepare_inputs_for_common(self, equal_length=False, numpify=False):
        lengths = range(self.min_seq_length, self.max_seq_length, self.seq_length_diff)
        waves = [floats_tensor([self.max_seq_length if equal_length else length]) for length in lengths]
        return [wave.numpy() for wave in waves] if numpify else [wave.tolist() for wave in waves]


class MuQFeatureExtractorCommon(SequenceFeatureExtractionTestMixin, unittest.TestCase):
    feature_extraction_class = MuQFeatureExtractor

    def setUp(self):
        self.feat_extract_tester = ExtractorTester(self)


del ModelTesterMixin, SequenceFeatureExtractionTestMixin  # not to be collected themselves
