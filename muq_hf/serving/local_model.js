// The exported MuQ-MuLan in a worker: texts and samples → vectors of length 1. Each question is {id, texts}, {id, samples} or, for the
// rate of its samples to be halved, {id, halve}.

import * as ort from "./onnxruntime/ort.wasm.min.mjs";
import { Tokenizer } from "./tokenizer.js";

ort.env.wasm.numThreads = 1;  // more need headers that a static page cannot send
ort.env.wasm.wasmPaths = new URL("./onnxruntime/", import.meta.url).href;

const once = (load) => { let value; return () => (value ??= load()); };
const file = (name) => fetch(new URL(`./model/${name}`, import.meta.url)).then((answer) => { if (!answer.ok) throw new Error(`${name}: ${answer.status}`); return answer; });
const session = (name) => once(async () => ort.InferenceSession.create(new Uint8Array(await (await file(name)).arrayBuffer())));
const textSession = session("text_model.onnx"), audioSession = session("audio_model.onnx");
const tokenizer = once(async () => new Tokenizer(await (await file("tokenizer.json")).json()));

const whole = (values) => BigInt64Array.from(values, BigInt);
const tensor = (type, data) => new ort.Tensor(type, data, [1, data.length]);

async function embedText(text) {
  const ids = (await tokenizer()).encode(text), inputs = { input_ids: tensor("int64", whole(ids)), attention_mask: tensor("int64", new BigInt64Array(ids.length).fill(1n)) };
  return (await (await textSession()).run(inputs)).text_embeds.data;
}

async function embedSamples(samples) {
  const inputs = { input_values: tensor("float32", samples), padding_mask: tensor("int64", new BigInt64Array(samples.length).fill(1n)) };
  return (await (await audioSession()).run(inputs)).audio_embeds.data;
}

// A low-pass of linear phase by Kaiser's window: flat to 0.913 of the new highest frequency, as soxr's HQ, and 120 dB down from there on.
const REACH = 180, CUTOFF = (1 + 0.913) / 4, BETA = 0.1102 * (120 - 8.7);
function bessel(x) {
  let sum = 1, term = 1;
  for (let k = 1; term > 1e-12 * sum; k++) { term *= (x / (2 * k)) ** 2; sum += term; }
  return sum;
}
const taps = Float64Array.from({ length: REACH + 1 }, (_, n) => (n ? Math.sin(Math.PI * CUTOFF * n) / (Math.PI * n) : CUTOFF) * (bessel(BETA * Math.sqrt(1 - (n / REACH) ** 2)) / bessel(BETA)));

function halve(wave) {
  const padded = new Float64Array(wave.length + 2 * REACH), result = new Float32Array(Math.ceil(wave.length / 2));
  padded.set(wave, REACH);
  for (let i = 0; i < result.length; i++) {
    const centre = 2 * i + REACH;
    let sum = taps[0] * padded[centre];
    for (let n = 1; n <= REACH; n++) sum += taps[n] * (padded[centre - n] + padded[centre + n]);
    result[i] = sum;
  }
  return result;
}

let queue = Promise.resolve();  // one question after the other
onmessage = ({ data: { id, texts, samples, halve: wave } }) => {
  queue = queue.then(async () => {
    try {
      const vectors = [];
      for (const text of texts ?? []) vectors.push(await embedText(text));
      for (const part of samples ?? []) vectors.push(await embedSamples(part));
      if (wave) vectors.push(halve(wave));
      postMessage({ id, vectors });
    } catch (error) { postMessage({ id, error: error.message }); }
  });
};
