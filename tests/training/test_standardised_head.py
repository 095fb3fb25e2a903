"""The head's input is standardised in training, and the saved weights give what the trained head gave."""

import numpy as np
import pytest
import torch
from checks import MICRO

from muq_hf import MuQConfig, MuQForAudioFrameClassification, MuQForSequenceClassification
from muq_hf.training.standardised_head import HeadOfStates, Standardisation, layer_means, scale_outputs


HEADS = [
    (MuQForSequenceClassification, {"classifier_pool": "mean"}),
    (MuQForSequenceClassification, {"classifier_pool": "mean+std", "classifier_layers": 2}),
    (MuQForSequenceClassification, {"classifier_pool": "attention", "use_weighted_layer_sum": True}),
    (MuQForAudioFrameClassification, {"use_weighted_layer_sum": True}),
    (MuQForAudioFrameClassification, {"classifier_layers": 2}),
]


@pytest.fixture(params=HEADS, ids=[f"{kind.__name__} {choices}" for kind, choices in HEADS])
def classifier(request):
    kind, choices = request.param
    torch.manual_seed(0)
    return kind(MuQConfig(**MICRO, num_labels=3, **choices)).eval()


@pytest.fixture
def statistics(classifier):
    generator = np.random.default_rng(0)
    size = classifier.config.hidden_size
    return generator.normal(size=size), generator.uniform(0.1, 5, size=size)


def test_the_folded_head_gives_the_logits_of_the_trained_one(classifier, statistics):
    wave = 0.1 * torch.randn(2, 24_000)
    with torch.no_grad():
        plain = classifier(wave).logits
        standardisation = Standardisation(classifier, *statistics)
        trained = classifier(wave).logits
        standardisation.fold()
        folded = classifier(wave).logits
    assert (trained - plain).abs().max() > 1e-3
    torch.testing.assert_close(folded, trained, atol=1e-5, rtol=1e-4)


def test_a_head_sees_states_of_mean_0_and_deviation_1(classifier):
    """Whatever the scale of the features, what the head's first layer gets is standardised by the statistics of the states."""
    states = np.random.default_rng(0).normal(3, [[[10.0], [0.1]]], (400, 2, classifier.config.hidden_size))  # [T, L, D]
    Standardisation(classifier, *layer_means([states[:100], states[100:]]))
    seen = []
    first = next(part for part in (classifier.dropout, *classifier.children()) if part._forward_pre_hooks)
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    classifier.head(torch.from_numpy(states.mean(axis=1)).float()[None], torch.ones(1, 400))
    assert torch.allclose(seen[0].mean(dim=(0, 1)), torch.zeros(1), atol=1e-4)
    assert torch.allclose(seen[0].std(dim=(0, 1), unbiased=False), torch.ones(1), atol=1e-4)


def test_the_head_of_states_is_the_classifier_without_its_encoder(classifier):
    wave = 0.1 * torch.randn(1, 24_000)
    with torch.no_grad():
        outputs = classifier.muq(wave, output_hidden_states=True, return_dict=True)
        layers = outputs.hidden_states if classifier.config.use_weighted_layer_sum else [outputs.last_hidden_state]
        states = torch.stack(layers, dim=2)
        logits = HeadOfStates(classifier)(states, torch.ones(states.shape[:2])).logits
        torch.testing.assert_close(logits, classifier(wave).logits)
    own = {id(parameter) for parameter in HeadOfStates(classifier).parameters()}
    assert own == {id(p) for name, p in classifier.named_parameters() if not name.startswith("muq.")}


def test_outputs_are_scaled_in_the_weights():
    layer = torch.nn.Linear(4, 2)
    rows = torch.randn(5, 4)
    before = layer(rows)
    scale_outputs(layer, np.array([2.0, 3.0]), np.array([1.0, -1.0]))
    torch.testing.assert_close(layer(rows), before * torch.tensor([2.0, 3.0]) + torch.tensor([1.0, -1.0]))
