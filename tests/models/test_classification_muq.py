"""Classifiers: padding, losses against PyTorch's own, freezing."""

import pytest
import torch
import torch.nn.functional as F
from checks import MICRO, perturb_statistics

from muq_hf import MuQConfig, MuQFeatureExtractor, MuQForAudioFrameClassification, MuQForSequenceClassification


def build(model_class, **settings):
    model = model_class(MuQConfig(**MICRO, **settings)).eval()
    perturb_statistics(model)
    return model


@pytest.fixture
def batch():
    waves = [torch.randn(length) * 0.1 for length in (9_600, 4_801, 20_011)]
    return waves, MuQFeatureExtractor()(waves, sampling_rate=24_000, return_tensors="pt")


HEADS = [
    {},
    {"use_weighted_layer_sum": True},
    {"classifier_pool": "mean+std", "classifier_layers": 2},
    {"classifier_pool": "attention", "classifier_layers": 2, "classifier_dropout": 0.5},
]


@pytest.mark.parametrize("head", HEADS)
def test_scores_of_a_clip_do_not_depend_on_its_batch(batch, head):
    waves, padded = batch
    model = build(MuQForSequenceClassification, num_labels=5, **head)
    with torch.no_grad():
        together = model(**padded).logits
        alone = torch.cat([model(wave[None]).logits for wave in waves])
    assert (together - alone).abs().max() < 1e-4


def test_scores_of_frames_do_not_depend_on_the_batch(batch):
    waves, padded = batch
    model = build(MuQForAudioFrameClassification, num_labels=5)
    with torch.no_grad():
        together = model(**padded).logits
        for row, wave in zip(together, waves, strict=True):
            alone = model(wave[None]).logits[0]
            assert (row[: len(alone)] - alone).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("num_labels", "problem_type", "labels", "loss"),
    [
        (5, None, torch.tensor([0, 4, 2]), F.cross_entropy),
        (5, None, torch.eye(5)[:3], F.binary_cross_entropy_with_logits),
        (5, "multi_label_classification", torch.eye(5)[:3].long(), lambda x, y: F.binary_cross_entropy_with_logits(x, y.float())),
        (1, None, torch.tensor([0.5, -1.0, 2.0]), lambda x, y: F.mse_loss(x[:, 0], y)),
        (2, "regression", torch.randn(3, 2), F.mse_loss),
    ],
)
def test_loss_follows_the_problem_type(batch, num_labels, problem_type, labels, loss):
    model = build(MuQForSequenceClassification, num_labels=num_labels, problem_type=problem_type)
    output = model(**batch[1], labels=labels)
    torch.testing.assert_close(output.loss, loss(output.logits, labels))


def test_frame_loss_leaves_out_padding_and_ignored_frames(batch):
    model = build(MuQForAudioFrameClassification, num_labels=4)
    T = model(**batch[1]).logits.shape[1]
    labels = torch.randint(0, 4, (3, T))
    labels[2, :5] = -100
    output = model(**batch[1], labels=labels)
    frames = [10, 5, 21]
    chosen = [(i, t) for i in range(3) for t in range(frames[i]) if labels[i, t] != -100]
    rows, columns = map(list, zip(*chosen, strict=True))
    torch.testing.assert_close(output.loss, F.cross_entropy(output.logits[rows, columns], labels[rows, columns]))


def test_classes_may_stand_in_a_column(batch):
    model = build(MuQForSequenceClassification, num_labels=5)
    flat, column = (model(**batch[1], labels=labels).loss for labels in (torch.tensor([1, 0, 4]), torch.tensor([[1], [0], [4]])))
    assert torch.equal(flat, column)


def test_frame_labels_of_another_length_are_refused(batch):
    model = build(MuQForAudioFrameClassification, num_labels=4)
    with pytest.raises(ValueError, match="21 frames"):
        model(**batch[1], labels=torch.zeros(3, 20, dtype=torch.long))


def test_frozen_base_model_keeps_weights_and_statistics():
    model = build(MuQForSequenceClassification, num_labels=2)
    model.freeze_base_model()
    before = {name: tensor.clone() for name, tensor in model.muq.state_dict().items()}
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.randn(2, 4800), labels=torch.tensor([0, 1])).loss.backward()
    optimizer.step()
    for name, tensor in model.muq.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert model.classifier.weight.grad is not None


def test_layer_weights_start_as_a_plain_mean(batch):
    model = build(MuQForSequenceClassification, num_labels=2, use_weighted_layer_sum=True)
    states = model.muq(**batch[1], output_hidden_states=True).hidden_states
    torch.testing.assert_close(model.layer_weights(states), torch.stack(states).mean(0))


CLASSIFIERS = [MuQForSequenceClassification, MuQForAudioFrameClassification]


@pytest.mark.parametrize("model_class", CLASSIFIERS)
@pytest.mark.parametrize("use_weighted_layer_sum", [False, True])
def test_just_the_hidden_states_asked_for_come_back(batch, model_class, use_weighted_layer_sum):
    model = build(model_class, num_labels=2, use_weighted_layer_sum=use_weighted_layer_sum)
    with torch.no_grad():
        some, all_states = model(**batch[1], output_hidden_states=[1]), model(**batch[1], output_hidden_states=True)
        none = model(**batch[1])
    assert torch.equal(some.logits, none.logits)
    assert [state is not None for state in some.hidden_states] == [False, True, False, False]
    assert torch.equal(some.hidden_states[1], all_states.hidden_states[1])
    assert none.hidden_states is None


@pytest.mark.parametrize("model_class", CLASSIFIERS)
@pytest.mark.parametrize("use_weighted_layer_sum", [False, True])
def test_a_configuration_can_ask_for_tuples(batch, model_class, use_weighted_layer_sum):
    model = build(model_class, num_labels=2, use_weighted_layer_sum=use_weighted_layer_sum, return_dict=False)
    (logits,) = model(**batch[1])
    assert torch.equal(logits, model(**batch[1], return_dict=True).logits)


@pytest.mark.parametrize("model_class", [MuQForSequenceClassification, MuQForAudioFrameClassification])
def test_the_number_of_frames_is_announced(batch, model_class):
    waves, padded = batch
    model = build(model_class)
    lengths = model._get_feat_extract_output_lengths(padded["attention_mask"].sum(dim=1))
    assert torch.equal(lengths, model.muq(**padded).attention_mask.sum(dim=1))


def test_another_number_of_labels_names_the_cure(tmp_path):
    build(MuQForSequenceClassification, num_labels=3).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="ignore_mismatched_sizes=True"):
        MuQForSequenceClassification.from_pretrained(tmp_path, num_labels=5)


def test_attention_pools_by_the_softmax_of_its_scores(batch):
    """Written out for one clip: projection, a score for each frame, weighted mean, hidden layer, classes."""
    model = build(MuQForSequenceClassification, num_labels=3, classifier_pool="attention", classifier_layers=2)
    wave = batch[0][0][None]
    with torch.no_grad():
        frames = model.projector(model.muq(wave).last_hidden_state[0])  # [T, P]
        weights = torch.softmax(frames @ model.frame_scores.weight[0] + model.frame_scores.bias, dim=0)
        expected = model.classifier(F.gelu(model.hidden(weights @ frames)))
        torch.testing.assert_close(model(wave).logits[0], expected)


def test_frame_numbers_are_fitted_where_they_are_known(batch):
    model = build(MuQForAudioFrameClassification, num_labels=1, problem_type="regression")
    output = model(**batch[1])
    labels = torch.randn(output.logits.shape)
    labels[:, 3:] = float("nan")
    loss = model(**batch[1], labels=labels).loss
    torch.testing.assert_close(loss, F.mse_loss(output.logits[:, :3], labels[:, :3]))


def test_frozen_statistics_stay_while_the_weights_train():
    model = build(MuQForSequenceClassification, num_labels=2)
    model.freeze_batch_norms()
    before = {name: tensor.clone() for name, tensor in model.muq.named_buffers() if "running" in name}
    model.train()
    model(torch.randn(2, 4800), labels=torch.tensor([0, 1])).loss.backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.muq.named_buffers() if "running" in name)
    assert model.muq.encoder.layers[0].ffn1.up_proj.weight.grad is not None


@pytest.mark.parametrize("wrong", [{"classifier_pool": "max"}, {"classifier_layers": 3}])
def test_unknown_heads_are_refused(wrong):
    with pytest.raises(ValueError, match="classifier_pool"):
        MuQConfig(**MICRO, **wrong)
