"""One side of the speed measurement: builds a model, then answers requests. `speed.py` starts it and talks to it.

    PYTHON benchmarks/speed_worker.py (ours | published) FOLDER     (requests and answers: a JSON object a line)

`ours` runs under this package's interpreter and loads FOLDER/model; `published` runs under that of the oracle (muq 0.1.0)
and first writes FOLDER/published with seeded random weights. Only one side works at a time.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch


class Ours:
    """The package's model in one further precision or mode beside float32 eager, made when first asked for."""

    def __init__(self, folder: Path, device: str):
        from muq_hf import MuQModel

        self.folder, self.device = folder / "model", device
        self.load = lambda dtype: MuQModel.from_pretrained(self.folder, dtype=dtype).eval().to(device)
        self.base = self.load(torch.float32)
        self.other, self.other_name = None, None

    def whole(self, variant, wave, mask=None):
        model = self._model(variant)
        return lambda: model(wave, attention_mask=mask).last_hidden_state

    def stage(self, name, variant, wave):
        """A function without arguments that runs one part of the model."""
        from muq_hf.models.fast_front_end_muq import can_take_over, fast_front_end

        model = self._model(variant)
        if name == "whole":
            return self.whole(variant, wave)
        if name == "mel":
            return lambda: model.spectrogram(wave)
        mel = model.spectrogram(wave).to(model.front_end.projection.weight.dtype)
        front_end = partial(fast_front_end, model.front_end) if can_take_over(model.front_end, mel) else model.front_end
        if name == "front end":
            return lambda: front_end(mel)
        frames = front_end(mel)
        return lambda: model.encoder(frames)[0]

    def _model(self, variant):
        if variant == "float32 eager":
            return self.base
        if self.other_name != variant:
            self.other = None  # free it before the next is made
            self.other, self.other_name = self._made(*variant.split()), variant
        return self.other

    def _made(self, precision, mode):
        if mode == "onnxruntime":
            return OnnxModel(self._exported() / {"float32": "model.onnx", "int8": "model_int8.onnx"}[precision])
        if precision == "int8":  # the encoder's linear layers; the front end stays float32
            model = copy.deepcopy(self.base)
            model.encoder = torch.ao.quantization.quantize_dynamic(model.encoder, {torch.nn.Linear}, dtype=torch.qint8)
            return model
        model = self.base if precision == "float32" else self.load(getattr(torch, precision))
        return torch.compile(model, dynamic=True) if mode == "compiled" else model

    def _exported(self):
        """The folder of the model's ONNX files, written when first asked for."""
        from muq_hf.onnx.onnx_files import export_onnx

        folder = self.folder.with_name("onnx")
        if not folder.exists():
            export_onnx(self.folder, folder, ["float32", "int8"], seconds=(2,))
        return folder


class OnnxModel:
    """An exported encoder on the CPU, called as a MuQModel is."""

    def __init__(self, file: Path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def __call__(self, wave, attention_mask=None):
        mask = torch.ones(wave.shape, dtype=torch.long) if attention_mask is None else attention_mask
        feeds = {"input_values": wave.numpy(), "attention_mask": mask.numpy()}
        [frames] = self.session.run(["last_hidden_state"], feeds)
        return SimpleNamespace(last_hidden_state=torch.from_numpy(frames))


class Published:
    """muq 0.1.0 as its README uses it: float32, eager, no padding."""

    def __init__(self, folder: Path, device: str):
        from oracle_worker import build_published, published_config

        self.model, self.device = build_published(published_config(), seed=0), device
        self.model.save_pretrained(folder / "published")
        self.model.to(device)

    def whole(self, variant, wave, mask=None):
        return lambda: self.model(wave).last_hidden_state

    def stage(self, name, variant, wave):
        inner = self.model.model
        if name == "whole":
            return self.whole(variant, wave)
        if name == "mel":
            return lambda: inner.normalize(inner.preprocessing(wave, inner.features))
        mel = inner.normalize(inner.preprocessing(wave, inner.features))["melspec_2048"]
        if name == "front end":
            return lambda: inner.conv(mel)
        frames = inner.conv(mel)
        return lambda: inner.conformer(frames, output_hidden_states=True)


def seconds_of(function, device: str) -> float:
    start = time.perf_counter()
    function()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def roofline(precision: str, device: str) -> dict:
    """GFLOP/s of the library's large 3×3 convolution, and of the better of a large product and a 1×1 convolution."""
    functional, dtype = torch.nn.functional, getattr(torch, precision)
    T, D, inner, C = 750, 1024, 4096, 512
    x, w = torch.randn(T, D, device=device, dtype=dtype), torch.randn(inner, D, device=device, dtype=dtype)
    columns = x.T.contiguous()[None]
    image = torch.randn(1, C, 64, 128, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(C, C, 3, 3, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)

    def rate(function, flop):
        function()
        return flop / statistics.median(seconds_of(function, device) for _ in range(5)) / 1e9

    as_product = rate(lambda: functional.linear(x, w), 2 * T * D * inner)
    as_convolution = rate(lambda: functional.conv1d(columns, w[:, :, None]), 2 * T * D * inner)
    convolution = rate(lambda: functional.conv2d(image, kernel, padding=1), 2 * 9 * C * C * 64 * 128)
    return {"convolution": convolution, "linear": max(as_product, as_convolution)}


def answer(side, request: dict, folder: Path) -> dict:
    if request["do"] == "roofline":
        return roofline(request["precision"], side.device)
    if request["do"] == "ragged":
        loaded = torch.load(folder / f"{request['batches']}.pt")
        batches = [[tensor.to(side.device) for tensor in batch] for batch in loaded]
        return {"seconds": sum(seconds_of(side.whole("float32 eager", *batch), side.device) for batch in batches)}
    wave = torch.load(folder / f"{request['waves']}.pt").to(side.device)
    function = side.stage(request["stage"], request["variant"], wave)
    if request["do"] == "time":
        return {"seconds": seconds_of(function, side.device)}
    torch.save(function().float().cpu(), folder / request["save_as"])
    return {}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("ours", "published"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not come between
    side = (Ours if args.side == "ours" else Published)(args.folder, args.device)
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), file=answers, flush=True)
    for line in sys.stdin:
        try:
            reply = answer(side, json.loads(line), args.folder)
        except Exception as error:  # a row that cannot be measured says why
            reply = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
