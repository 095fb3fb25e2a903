// One vector for one WAV file, in JavaScript: the ONNX file runs in WebAssembly, here under Node, as it would in a browser.
//
//     npm install
//     node embed.mjs EXPORTED CLIP.wav [EXPECTED.json [FILE.onnx]]
//
// CLIP.wav: mono, 16-bit or 32-bit float, at the model's rate. EXPECTED.json: a vector to compare with, see embed.py.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web";

/** WAV → { rate, samples: Float32Array }; one channel of 16-bit integers or 32-bit floats. */
function readWav(path) {
  const bytes = readFileSync(path);
  const text = (at) => bytes.toString("latin1", at, at + 4);
  if (text(0) !== "RIFF" || text(8) !== "WAVE") throw new Error(`${path} is no WAV file.`);
  let format;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const name = text(at), size = bytes.readUInt32LE(at + 4), start = at + 8;
    if (name === "fmt ") {
      const tag = bytes.readUInt16LE(start);
      const kind = tag === 0xfffe ? bytes.readUInt16LE(start + 24) : tag; // the extensible format names its kind later
      format = { kind, channels: bytes.readUInt16LE(start + 2), rate: bytes.readUInt32LE(start + 4), bits: bytes.readUInt16LE(start + 14) };
    } else if (name === "data") {
      const isInteger = format.kind === 1 && format.bits === 16, isFloat = format.kind === 3 && format.bits === 32;
      if (format.channels !== 1 || !(isInteger || isFloat)) {
        throw new Error(
          `${path}: ${format.channels} channels, ${format.bits} bits, kind ${format.kind}; ` +
            "one channel of 16-bit integers (kind 1) or 32-bit floats (kind 3) is needed.",
        );
      }
      const width = format.bits / 8;
      const read = width === 2 ? (i) => bytes.readInt16LE(i) / 32768 : (i) => bytes.readFloatLE(i);
      const samples = Float32Array.from({ length: Math.floor(size / width) }, (_, i) => read(start + i * width));
      return { rate: format.rate, samples };
    }
    at = start + size + (size % 2);
  }
  throw new Error(`${path} has no samples.`);
}

/** Samples → Float32Array [D]: the mean over the frames. */
async function embed(session, samples) {
  const shape = [1, samples.length];
  const { last_hidden_state: frames } = await session.run({
    input_values: new ort.Tensor("float32", samples, shape),
    attention_mask: new ort.Tensor("int64", new BigInt64Array(samples.length).fill(1n), shape),
  });
  const [, T, D] = frames.dims;
  const vector = new Float32Array(D);
  frames.data.forEach((value, i) => (vector[i % D] += value / T));
  return vector;
}

function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

const [folder, clip, expectedFile, fileName = "model.onnx"] = process.argv.slice(2);
if (!folder || !clip) {
  console.error("usage: node embed.mjs EXPORTED CLIP.wav [EXPECTED.json [FILE.onnx]]");
  process.exit(2);
}
const readJson = (name) => JSON.parse(readFileSync(join(folder, name), "utf8"));
const { sampling_rate: rate } = readJson("config.json"), { min_samples: shortest } = readJson("preprocessor_config.json");
const { rate: found, samples } = readWav(clip);
if (found !== rate) throw new Error(`${clip} has ${found} Hz, the model needs ${rate} Hz.`);
if (samples.length < shortest) throw new Error(`${clip} has ${samples.length} samples, the model needs at least ${shortest}.`);

const session = await ort.InferenceSession.create(readFileSync(join(folder, fileName)));
const start = performance.now();
const vector = Array.from(await embed(session, samples));
const seconds = ((performance.now() - start) / 1000).toFixed(2);
console.log(`${fileName}: ${(samples.length / rate).toFixed(2)} s in ${seconds} s → ${vector.length} numbers:`, vector.slice(0, 4), "…");
if (expectedFile) {
  const expected = JSON.parse(readFileSync(expectedFile, "utf8"));
  const largest = Math.max(...vector.map((value, i) => Math.abs(value - expected[i])));
  console.log(`cosine ${cosine(vector, expected).toFixed(7)}, largest difference ${largest.toExponential(1)}`);
}
