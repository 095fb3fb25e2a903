"""`pipeline("feature-extraction")` on music: every kind of input, windows, layers, pools, batches."""

import io
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from checks import EXAMPLE_AUDIO
from torch.utils.data import Dataset
from transformers import pipeline

import muq_hf  # noqa: F401 (registers)
from muq_hf import MuQFeatureExtractionPipeline, MuQFeatureExtractor, MuQForSequenceClassification, MuQModel
from muq_hf.audio import AudioError, load_audio
from muq_hf.models.pipeline_muq import MappedCopies
from muq_hf.models.windowing_muq import plan_windows


RATE = 24_000  # Hz
FRAME = 960  # samples
SONG = EXAMPLE_AUDIO / "bach_brandenburg.ogg"


def noise(num_samples, seed=0, channels=None):
    shape = num_samples if channels is None else (channels, num_samples)
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@pytest.fixture
def pipe(micro_model):
    return pipeline("feature-extraction", model=micro_model, device="cpu")


@pytest.fixture
def states(micro_model):
    """All hidden states of a waveform, straight from the model: [L, T, D]."""

    @torch.no_grad()
    def compute(wave):
        return torch.cat(micro_model(torch.from_numpy(wave)[None], output_hidden_states=True).hidden_states)

    return compute


@pytest.fixture(scope="module")
def song_file(tmp_path_factory):
    """2 s of stereo at 44.1 kHz as WAV."""
    path = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(path, noise(88_200, channels=2).T, 44_100, subtype="FLOAT")
    return path


def close(a, b, atol=1e-5):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=atol)


# Output


def test_frames_are_the_models_last_hidden_state(pipe, states):
    wave = noise(50_000)
    close(pipe(wave, return_tensors=True), states(wave)[-1][None])


def test_lists_nest_as_those_of_the_text_pipeline(pipe, states):
    """One input: [1][T][D]; a list of inputs: a list of such."""
    wave = noise(10_000)
    single, several = pipe(wave), pipe([wave, wave])
    assert isinstance(single, list) and isinstance(single[0][0][0], float)
    close(single, states(wave)[-1][None])
    assert several == [single, single]


@pytest.mark.parametrize("how", ["mean", "max", "mean+std"])
def test_pools_are_numpys_over_the_frames(pipe, states, how):
    wave = noise(60_123)
    frames = states(wave)[-1].numpy()
    expected = {"mean": [frames.mean(0)], "max": [frames.max(0)], "mean+std": [frames.mean(0), frames.std(0)]}[how]
    close(pipe(wave, pool=how, return_tensors=True), np.concatenate(expected)[None])


@pytest.mark.parametrize(("layers", "rows"), [(0, 0), (2, 2), (-1, 3), (-2, 2), (np.int64(1), 1)])
def test_a_layer_is_that_hidden_state(pipe, states, layers, rows):
    wave = noise(20_000)
    close(pipe(wave, layers=layers, return_tensors=True), states(wave)[rows][None])


@pytest.mark.parametrize(("layers", "rows"), [([1], [1]), ([3, 0], [3, 0]), ([-1, 2, 2], [3, 2, 2]), ((0, 1), [0, 1])])
def test_several_layers_come_in_the_order_asked_for(pipe, states, layers, rows):
    wave = noise(20_000)
    close(pipe(wave, layers=layers, return_tensors=True), states(wave)[rows][None])
    close(pipe(wave, layers=layers, pool="mean", return_tensors=True), states(wave)[rows].mean(dim=1)[None])


def test_layers_above_the_highest_are_not_computed(pipe, micro_model):
    ran = []
    for index, layer in enumerate(micro_model.encoder.layers):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    pipe(noise(20_000), layers=[0, 2], return_tensors=True)
    assert ran == [0, 1]


def test_timestamps_of_frames(pipe):
    output = pipe(noise(RATE + 500), return_timestamps=True)
    times = np.array(output["timestamps"])
    assert len(times) == len(output["features"][0])
    np.testing.assert_allclose(times[:, 0], np.arange(len(times)) / 25)
    assert times[-1, 1] == pytest.approx((RATE + 500) / RATE)


def test_timestamps_of_vectors_span_the_audio(pipe):
    output = pipe(noise(5 * RATE), return_timestamps=True, pool="mean", chunk_length_s=1.0, return_tensors=True)
    assert output["timestamps"].tolist() == [[0.0, 5.0]]


# Inputs


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path in ("/song.wav", "/a%20song%20%C3%A9.wav", "/cut.wav")
        self.send_response(200 if found else 404)
        if self.path == "/cut.wav":
            self.send_header("Content-Length", str(len(self.server.content) + 1))
        self.end_headers()
        self.wfile.write(self.server.content if found else b"no such song")

    def log_message(self, *arguments): ...


@pytest.fixture
def address(song_file):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.content = song_file.read_bytes()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def decoder(samples, rate):
    """What a torchcodec AudioDecoder offers."""
    data = torch.from_numpy(samples)
    return SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=data, sample_rate=rate))


@pytest.mark.parametrize(
    "kind",
    ["path", "string", "bytes", "file", "array", "tensor", "raw", "channels last", "dict of bytes", "dict of path", "decoder"],
)
def test_inputs_of_every_kind_are_the_same(pipe, song_file, kind):
    samples = noise(88_200, channels=2)  # [C, S]
    inputs = {
        "path": song_file,
        "string": str(song_file),
        "bytes": song_file.read_bytes(),
        "file": io.BytesIO(song_file.read_bytes()),
        "array": {"array": samples, "sampling_rate": 44_100, "path": "elsewhere.wav"},
        "tensor": {"array": torch.from_numpy(samples), "sampling_rate": 44_100},
        "raw": {"raw": samples.mean(axis=0).tolist(), "sampling_rate": 44_100.0},
        "channels last": {"array": samples.T.astype(np.float64), "sampling_rate": np.int64(44_100)},
        "dict of bytes": {"bytes": song_file.read_bytes(), "path": None},
        "dict of path": {"bytes": None, "path": str(song_file)},
        "decoder": decoder(samples, 44_100),
    }
    expected = pipe(load_audio(song_file), return_tensors=True)
    close(pipe(inputs[kind], return_tensors=True), expected)


def test_addresses_are_downloaded(pipe, song_file, address):
    close(pipe(f"{address}/song.wav", return_tensors=True), pipe(song_file, return_tensors=True))


def test_addresses_without_a_file_say_so(pipe, address):
    with pytest.raises(AudioError, match="404") as caught:
        pipe(f"{address}/none.wav")
    assert caught.value.reason == "missing" and f"{address}/none.wav" in str(caught.value)


def test_addresses_with_spaces_and_accents(pipe, song_file, address):
    close(pipe(f"{address}/a song é.wav", return_tensors=True), pipe(song_file, return_tensors=True))


def test_downloads_that_are_cut_off_say_so(pipe, address):
    with pytest.raises(AudioError, match=f"Cannot download {address}/cut.wav") as caught:
        pipe(f"{address}/cut.wav")
    assert caught.value.reason == "unreadable"


def test_the_rate_of_bare_arrays_can_be_told(pipe, song_file):
    samples = noise(88_200, channels=2)
    close(pipe(samples, sampling_rate=44_100, return_tensors=True), pipe(song_file, return_tensors=True))


def test_integers_are_pcm(pipe):
    pcm = (32_767 * noise(20_000)).astype(np.int16)
    close(pipe(pcm, return_tensors=True), pipe(pcm.astype(np.float32) / 32_768, return_tensors=True))


def test_a_dictionary_is_left_as_it_was(pipe):
    inputs = {"array": noise(20_000), "sampling_rate": 16_000, "stride": (1, 2)}
    keys = list(inputs)
    pipe(inputs)
    assert list(inputs) == keys


def test_half_precision_tensors(pipe):
    wave = torch.from_numpy(noise(20_000)).bfloat16()
    close(pipe(wave, return_tensors=True), pipe(wave.float(), return_tensors=True))


class Songs(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("kind", [list, tuple, lambda items: (item for item in items), iter, Songs])
def test_collections_of_every_kind(pipe, kind, batch_size):
    waves = [noise(20_000 + 5000 * i, seed=i) for i in range(3)]
    outputs = list(pipe(kind(waves), return_tensors=True, batch_size=batch_size))
    assert len(outputs) == 3
    for wave, output in zip(waves, outputs, strict=True):
        close(output, pipe(wave, return_tensors=True), atol=1e-4)


def test_generators_are_read_as_results_are_taken(pipe):
    read = []

    def waves():
        for index in range(100):
            read.append(index)
            yield noise(5000)

    outputs = pipe(waves())
    next(iter(outputs))
    assert len(read) < 5


def test_nothing_gives_nothing(pipe):
    assert pipe([]) == []


# Windows and batches


def test_padding_of_batches_is_trimmed_and_changes_nothing(pipe):
    waves = [noise(n, seed=n) for n in (1025, 70_000, 24_001, 9_999, 48_000)]
    for wave, output in zip(waves, pipe(waves, batch_size=4, return_tensors=True), strict=True):
        close(output, pipe(wave, return_tensors=True), atol=1e-4)
    for wave, output in zip(waves, pipe(waves, batch_size=4, return_tensors=True, pool="mean+std"), strict=True):
        close(output, pipe(wave, return_tensors=True, pool="mean+std"), atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("num_samples", [10 * RATE, 10 * RATE + 5000, 3 * RATE + 100])
def test_windows_keep_the_planned_frames(pipe, states, num_samples, batch_size):
    wave = noise(num_samples)
    frames = []
    for window in plan_windows(num_samples, 3 * RATE, RATE, RATE // 2 - RATE // 2 % FRAME, FRAME, 1025):
        first, last = window.kept_frames(FRAME)
        frames.append(states(wave[window.start : window.end])[-1][first:last])
    output = pipe(wave, chunk_length_s=3.0, stride_length_s=(1.0, 0.48), batch_size=batch_size, return_tensors=True)
    close(output, torch.cat(frames)[None], atol=1e-4)
    assert output.shape[1] == len(states(wave)[-1])


@pytest.mark.parametrize("batch_size", [1, 3])
def test_fading_windows_weighs_each_by_the_distance_to_its_ends(pipe, states, batch_size):
    wave, stride, overlap = noise(6 * RATE), 15 * FRAME, 30  # windows begin at frames 0, 45 and 90
    windows = plan_windows(len(wave), 3 * RATE, stride, stride, FRAME, 1025)
    first, second, third = (states(wave[window.start : window.end])[-1] for window in windows)
    output = pipe(wave, chunk_length_s=3.0, stride_length_s=0.6, join="fade", batch_size=batch_size, return_tensors=True)[0]
    weight = (torch.arange(overlap)[:, None] + 0.5) / overlap
    close(output[45:75], (1 - weight) * first[-overlap:] + weight * second[:overlap], atol=1e-4)
    close(output[75:90], second[30:45], atol=1e-4)
    close(output[120:], third[30:], atol=1e-4)


@pytest.mark.parametrize("how", ["mean", "max", "mean+std"])
def test_pooling_windows_is_pooling_all_kept_frames(pipe, how):
    wave = noise(11 * RATE + 7000)
    frames = pipe(wave, chunk_length_s=2.0, layers=[1, 3], return_tensors=True)[0].double().numpy()  # [L, T, D]
    expected = {"mean": [frames.mean(1)], "max": [frames.max(1)], "mean+std": [frames.mean(1), frames.std(1)]}[how]
    pooled = pipe(wave, chunk_length_s=2.0, layers=[1, 3], pool=how, return_tensors=True, batch_size=4)
    close(pooled, np.concatenate(expected, axis=-1)[None].astype(np.float32), atol=1e-4)


def test_one_window_is_the_whole(pipe):
    wave = noise(3 * RATE)
    close(pipe(wave, chunk_length_s=10, return_tensors=True), pipe(wave, return_tensors=True))


def test_windows_of_files_are_those_of_their_samples(pipe):
    arguments = {"chunk_length_s": 4.0, "return_tensors": True}
    close(pipe(SONG, **arguments), pipe(load_audio(SONG), **arguments))


def test_windows_of_several_inputs_share_batches(pipe):
    waves = [noise(n, seed=n) for n in (5 * RATE, RATE // 2, 7 * RATE + 123)]
    outputs = pipe(waves, chunk_length_s=2.0, batch_size=3, pool="mean", return_tensors=True)
    for wave, output in zip(waves, outputs, strict=True):
        close(output, pipe(wave, chunk_length_s=2.0, pool="mean", return_tensors=True), atol=1e-4)


def test_memory_for_windows_does_not_grow_with_the_file(pipe, tmp_path):
    def peak(seconds):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, np.tile(noise(44_100 * 10, channels=2).T, (seconds // 10, 1)), 44_100)
        tracemalloc.start()
        try:
            assert sum(1 for _ in pipe.preprocess(path, chunk_length_s=10.0)) > seconds // 10
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(180) < 1.2 * peak(60)


@pytest.mark.parametrize("pool", ["none", "mean"])
def test_what_stays_of_all_windows_lies_together_off_the_heap(pipe, pool):
    outputs = [pipe.forward(window, pool=pool) for window in pipe.preprocess(noise(48_000), chunk_length_s=1.0)]
    kept = [values for output in outputs for (values,) in output["rows"]]
    places = [values.data_ptr() for values in kept]
    assert len(kept) > 1 and max(places) - min(places) < MappedCopies.MAPPING_BYTES


def test_arguments_of_the_pipeline_hold_for_every_call_unless_overridden(micro_model):
    pipe = MuQFeatureExtractionPipeline(micro_model, device="cpu", chunk_length_s=1.0, pool="mean", return_tensors=True)
    wave = noise(4 * RATE)
    plain = MuQFeatureExtractionPipeline(micro_model, device="cpu")
    close(pipe(wave), plain(wave, chunk_length_s=1.0, pool="mean", return_tensors=True))
    close(pipe(wave, chunk_length_s=0, pool="none"), plain(wave, return_tensors=True))


# Models


@pytest.mark.parametrize("kind", ["task", "pipeline_class", "class"])
def test_model_folders(micro_folder, kind):
    build = {
        "task": lambda: pipeline("feature-extraction", model=str(micro_folder), device="cpu"),
        "pipeline_class": lambda: pipeline(
            "feature-extraction", model=micro_folder, pipeline_class=MuQFeatureExtractionPipeline, device="cpu"
        ),
        "class": lambda: MuQFeatureExtractionPipeline(micro_folder, device="cpu"),
    }
    pipe, wave = build[kind](), noise(20_000)
    assert type(pipe) is MuQFeatureExtractionPipeline
    with torch.no_grad():
        expected = MuQModel.from_pretrained(micro_folder)(torch.from_numpy(wave)[None]).last_hidden_state
    close(pipe(wave, return_tensors=True), expected)


def test_folders_of_the_published_format(published_folder):
    pipe, wave = MuQFeatureExtractionPipeline(published_folder, device="cpu"), noise(20_000)
    with torch.no_grad():
        expected = MuQModel.from_pretrained(published_folder)(torch.from_numpy(wave)[None]).last_hidden_state
    close(pipe(wave, return_tensors=True), expected)


def test_a_saved_pipeline_loads_again(pipe, tmp_path):
    wave = noise(20_000)
    pipe.save_pretrained(tmp_path / "saved")
    loaded = pipeline("feature-extraction", model=str(tmp_path / "saved"), device="cpu")
    assert isinstance(loaded.feature_extractor, MuQFeatureExtractor)
    close(loaded(wave, return_tensors=True), pipe(wave, return_tensors=True))


def test_a_classifier_gives_the_states_of_its_encoder(micro_config):
    classifier, wave = MuQForSequenceClassification(micro_config).eval(), noise(20_000)
    output = pipeline("feature-extraction", model=classifier, device="cpu")(wave, return_tensors=True)
    with torch.no_grad():
        close(output, classifier.muq(torch.from_numpy(wave)[None]).last_hidden_state)


def test_a_model_that_gives_tuples(pipe):
    expected = pipe(noise(24_000), layers=[0, 1], return_tensors=True)
    pipe.model.config.return_dict = False
    assert torch.equal(pipe(noise(24_000), layers=[0, 1], return_tensors=True), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models(pipe, micro_folder, dtype):
    wave = noise(3 * RATE)
    reference = pipeline("feature-extraction", model=str(micro_folder), device="cpu", pool="mean", return_tensors=True)
    half = pipeline("feature-extraction", model=str(micro_folder), device="cpu", pool="mean", return_tensors=True, dtype=dtype)
    assert half(wave, pool="none").dtype == dtype
    assert half(wave).dtype == torch.float32
    assert torch.cosine_similarity(half(wave), reference(wave)).item() > 0.999


# Errors


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "got NoneType"),
        ([0.1, 0.2], "got float"),
        ({"sampling_rate": 44_100}, "needs `array`"),
        ({"array": np.zeros(9000)}, "needs `sampling_rate`"),
        ({"array": np.zeros(9000), "sampling_rate": 0}, "whole number of Hz"),
        ({"array": np.zeros(9000), "sampling_rate": "fast"}, "whole number of Hz"),
        (np.zeros((6, 48_000), np.float32), "shape \\(6, 48000\\) is neither mono nor stereo"),
        (np.zeros((1, 2, 48_000), np.float32), "shape \\(1, 2, 48000\\)"),
        (np.zeros((2, 2), np.float32), "neither mono nor stereo"),
        (np.zeros(9000, np.int64), "dtype int64"),
        (np.zeros(9000, complex), "dtype complex128"),
        (np.full(9000, np.nan, np.float32), "NaN"),
        (np.full(9000, 1e9), "full scale is 1"),
        (np.full(9000, 1e300), "infinite"),
        (np.zeros(0, np.float32), "empty"),
        (np.zeros(1024, np.float32), "1024 samples"),
        ("nowhere.wav", "nowhere.wav does not exist"),
        (b"RIFF nonsense", "Cannot read"),
    ],
)
def test_inputs_without_usable_audio_are_explained(pipe, inputs, message):
    with pytest.raises(ValueError, match=message):
        pipe(inputs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool": "median"}, "mean, std, max, mean\\+std or none"),
        ({"join": "glue"}, "cut, fade"),
        ({"layers": 4}, "hidden states 0 .* to 3"),
        ({"layers": [0, -5]}, "hidden states 0 .* to 3"),
        ({"layers": True}, "hidden states 0 .* to 3"),
        ({"layers": "last"}, "hidden states 0 .* to 3"),
        ({"layers": []}, "hidden states 0"),
        ({"stride_length_s": 1.0}, "chunk_length_s"),
        ({"chunk_length_s": 2.0, "stride_length_s": 1.0}, "longer than both"),
        ({"chunk_length_s": -1.0}, "negative|longer"),
        ({"chunk_length_s": 0.01}, "longer than both"),
        ({"sampling_rate": 24_000.5}, "whole number of Hz"),
    ],
)
def test_impossible_arguments_are_explained(pipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        pipe(noise(5 * RATE), **arguments)


def test_misspelt_arguments_are_refused(pipe):
    with pytest.raises(TypeError, match="chunk_lenght_s"):
        pipe(noise(20_000), chunk_lenght_s=10)


def test_other_models_are_refused(micro_config):
    from transformers import BertConfig, BertModel

    bert = BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(ValueError, match="type 'muq', got 'bert'"):
        MuQFeatureExtractionPipeline(bert)


def malformed(generator, files):
    """One random input that is somehow wrong, or nearly."""
    kind = generator.integers(4)
    if kind == 0:  # a file, cut or with bytes changed
        data = bytearray(files[generator.integers(len(files))])
        for at in generator.integers(0, len(data), size=generator.integers(0, 30)):
            data[at] = generator.integers(256)
        return bytes(data[: generator.integers(0, len(data) + 1)] if generator.random() < 0.5 else data)
    dtypes = (np.float32, np.float64, np.float16, np.int16, np.int32, np.int64, np.uint8, np.complex64, np.bool_, object)
    sizes = (0, 1, 2, 3, 1024, 1025, 2000, 6000)
    shape = generator.choice(sizes, size=generator.choice((0, 1, 1, 1, 2, 2, 3)))
    shape = shape if np.prod(shape) < 1e6 else shape[:1]
    with np.errstate(all="ignore"):
        scale = generator.choice((0.0, 0.1, 1.0, 1e3, 1e30))
        array = np.asarray(scale * generator.standard_normal(tuple(shape)), np.float64).astype(dtypes[generator.integers(10)])
    if array.size and array.dtype.kind == "f" and generator.random() < 0.3:
        array.flat[generator.integers(array.size)] = generator.choice((np.nan, np.inf, -np.inf))
    if kind == 1:
        return array
    rates = (24_000, 16_000, 44_100.0, 0, -1, 1, 3e9, None, "x", np.nan, 22_050.5, True)
    entry = {"array": array, "raw": array.tolist(), "sampling_rate": rates[generator.integers(12)]}
    return {key: entry[key] for key in entry if generator.random() < 0.9}


@pytest.mark.slow
def test_malformed_inputs_are_refused_or_give_finite_features(pipe, tmp_path):
    generator, files = np.random.default_rng(0), []
    for name in ("a.wav", "a.flac", "a.ogg", "a.mp3"):
        soundfile.write(tmp_path / name, noise(22_050, channels=2).T, 44_100, subtype="FLOAT" if name == "a.wav" else None)
        files.append((tmp_path / name).read_bytes())
    refused = 0
    for _ in range(300):
        inputs = malformed(generator, files)
        try:
            features = pipe(inputs, chunk_length_s=generator.choice((0, 0.2)), pool="mean+std", return_tensors=True)
        except ValueError as error:
            refused += 1
            assert len(str(error)) > 15
        else:
            assert features.shape == (1, 64) and torch.isfinite(features).all()
    assert 100 < refused < 300


def test_many_windows_share_a_mapping():
    """A system allows about 65,000 mappings in a process: with one for each window, 18 hours were too much."""
    copies = MappedCopies()
    before = len(Path("/proc/self/maps").read_text().splitlines()) if Path("/proc/self/maps").exists() else 0
    values = [torch.full((25, 32), float(index)) for index in range(70_000)]
    kept = [copies.add(each) for each in values]
    assert all(torch.equal(each, value) for each, value in zip(kept[::97], values[::97], strict=True))
    if before:
        assert len(Path("/proc/self/maps").read_text().splitlines()) < before + 100
