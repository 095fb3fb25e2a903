"""MuQ-MuLan in transformers' common tests; run by `run.py`, which puts their package `tests` on the path."""

import unittest

from mulan_models import tiny_config
from tests.test_configuration_common import ConfigTester
from tests.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor

from muq_hf import MuQMuLanAudioModelWithProjection, MuQMuLanConfig, MuQMuLanModel, MuQMuLanTextModelWithProjection


TEXT = {**tiny_config().text_config.to_dict(), "hidden_size": 16}
BATCH, SAMPLES, FRAMES, TOKENS = 3, 19_200, 20, 7


class Tester:
    is_training = True

    def __init__(self, parent, seq_length, hidden_size):
        self.parent, self.batch_size = parent, BATCH
        self.num_hidden_layers, self.num_attention_heads, self.hidden_size = 1, 2, hidden_size
        self.seq_length = self.encoder_seq_length = self.key_length = seq_length

    def get_config(self):
        """All widths are one: the tests compare a tower's states, which lie behind its adapter, with the encoder's width."""
        return tiny_config(text_config=TEXT, adapter_size=16)

    def prepare_config_and_inputs_for_common(self):
        inputs = {"input_ids": ids_tensor([BATCH, TOKENS], 300), "input_values": 0.1 * floats_tensor([BATCH, SAMPLES])}
        return self.get_config(), {name: inputs[name] for name in self.parent.inputs}


class MuQMuLanCommon(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MuQMuLanModel,)
    inputs = ("input_ids", "input_values")
    test_resize_embeddings = False
    has_attentions = False
    _is_composite = True

    def setUp(self):
        self.model_tester = Tester(self, TOKENS, 16)
        self.config_tester = ConfigTester(self, config_class=MuQMuLanConfig, has_text_modality=False, common_properties=[])

    def test_config(self):
        self.config_tester.run_common_tests()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        return {**inputs_dict, "return_loss": True} if return_labels else dict(inputs_dict)

    @unittest.skip("Hidden states are those of the towers, which have tests of their own.")
    def test_hidden_states_output(self):
        pass

    @unittest.skip("Hidden states are those of the towers, which have tests of their own.")
    def test_retain_grad_hidden_states_attentions(self):
        pass


class TowerCommon(ModelTesterMixin):
    """A tower alone has no loss."""

    test_resize_embeddings = False
    has_attentions = False

    @unittest.skip("A tower alone has no loss.")
    def test_training(self):
        pass

    @unittest.skip("A tower alone has no loss.")
    def test_training_gradient_checkpointing(self):
        pass

    @unittest.skip("A tower alone has no loss.")
    def test_training_gradient_checkpointing_use_reentrant_false(self):
        pass

    @unittest.skip("A tower alone has no loss.")
    def test_training_gradient_checkpointing_use_reentrant_true(self):
        pass


class MuQMuLanAudioCommon(TowerCommon, unittest.TestCase):
    all_model_classes = (MuQMuLanAudioModelWithProjection,)
    inputs = ("input_values",)

    def setUp(self):
        self.model_tester = Tester(self, FRAMES, 16)

    @unittest.skip("Music has no input embeddings.")
    def test_model_get_set_embeddings(self):
        pass


class MuQMuLanTextCommon(TowerCommon, unittest.TestCase):
    all_model_classes = (MuQMuLanTextModelWithProjection,)
    inputs = ("input_ids",)

    def setUp(self):
        self.model_tester = Tester(self, TOKENS, 16)


del ModelTesterMixin, TowerCommon
