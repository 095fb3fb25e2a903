// The page without a server: the collection comes as files, the model runs in a worker, and the answers are those of the API.

const address = (name) => new URL(name, import.meta.url);
async function load(name, kind) {
  const answer = await fetch(address(name));
  if (!answer.ok) throw new Error(`${name} is not beside the page (${answer.status})`);
  return answer[kind]();
}

/** The model in its worker. */
export function openModel(about) {
  const worker = new Worker(address("./local_model.js"), { type: "module" }), open = new Map();
  let count = 0;
  worker.onmessage = ({ data: { id, vectors, error } }) => { const { done, failed } = open.get(id); open.delete(id); if (error) failed(new Error(error)); else done(vectors); };
  worker.onerror = (event) => { for (const { failed } of open.values()) failed(new Error(event.message ?? "the worker did not start")); open.clear(); };
  const ask = (question) => new Promise((done, failed) => { open.set(++count, { done, failed }); worker.postMessage({ id: count, ...question }); });
  return {
    texts: (texts) => ask({ texts }),
    samples: (samples) => ask({ samples }),
    /**
     * A file → its samples [S], mono at the model's rate. The browser decodes to twice that rate, where what its own coarse resampler
     * spoils lies above all that the model hears; the rest of the way is a filter as sharp as that of `muq-hf embed`.
     */
    async decode(file) {
      const context = new OfflineAudioContext(1, 1, 2 * about.sampling_rate);
      let buffer;
      try { buffer = await context.decodeAudioData(await file.arrayBuffer()); } catch { throw new Error(`This browser cannot decode ${file.name}.`); }
      const mono = new Float32Array(buffer.length), channels = buffer.numberOfChannels;
      for (let channel = 0; channel < channels; channel++) buffer.getChannelData(channel).forEach((value, i) => (mono[i] += value / channels));
      return (await ask({ halve: mono }))[0];
    },
    /** Samples → {spans, vectors} of parts as `muq-hf embed` cuts them: a short rest at the end joins the part before it. */
    async parts(samples) {
      if (samples.length < about.min_samples) throw new Error("This sound is too short.");
      const spans = [], pieces = [];
      for (let first = 0; first < samples.length; ) {
        const last = samples.length - first - about.chunk >= about.min_last_chunk ? first + about.chunk : samples.length;
        spans.push([first / about.sampling_rate, last / about.sampling_rate]);
        pieces.push(samples.slice(first, last));
        first = last;
      }
      return { spans, vectors: await this.samples(pieces) };
    },
  };
}

/** A safetensors file → typed arrays by name, each with its `shape`. */
export function readSafetensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true)), header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length))), kinds = { F32: Float32Array, I32: Int32Array, U8: Uint8Array };
  return Object.fromEntries(Object.entries(header).filter(([name]) => name !== "__metadata__").map(([name, { dtype, shape, data_offsets: [from, to] }]) => [name, Object.assign(new kinds[dtype](buffer.slice(8 + length + from, 8 + length + to)), { shape })]));
}

const row = (array, index) => array.subarray(index * array.shape[1], (index + 1) * array.shape[1]);
const dot = (a, b) => { let sum = 0; for (let i = 0; i < a.length; i++) sum += a[i] * b[i]; return sum; };
const rounded = (value) => Math.round(value * 1e4) / 1e4;
function unit(vector) {
  const length = Math.sqrt(dot(vector, vector)) || 1;
  return vector.map((value) => value / length);
}
function meanOf({ spans, vectors }) {
  const sum = new Float32Array(vectors[0].length);
  vectors.forEach((vector, part) => vector.forEach((value, i) => (sum[i] += value * (spans[part][1] - spans[part][0]))));
  return unit(sum);
}

const meanRow = (rows) => rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);

/** As in hubs.py: parts of two songs of the same length → whether one is a copy of the other. */
function isSameRecording(first, second, { course, vector }) {
  const count = Math.min(first.length, second.length), bounds = course.filter(([parts]) => count >= parts);
  const flat = (rows) => {
    const taken = rows.slice(0, count), mean = meanRow(taken);
    return bounds.length ? Float32Array.from(taken.flatMap((row) => Array.from(row, (value, i) => value - mean[i]))) : mean;
  };
  const [a, b] = [flat(first), flat(second)];
  return dot(a, b) >= (bounds.length ? bounds.at(-1)[1] : vector) * Math.max(Math.sqrt(dot(a, a) * dot(b, b)), 1e-9);
}

/** → an object with the methods of the page's `serverApi`. say: shows a sentence. */
export async function openLocal(say) {
  const [about, buffer] = await Promise.all([load("./collection.json", "json"), load("./collection.safetensors", "arrayBuffer")]);
  const { songs, labels, same_recording: same } = about, arrays = readSafetensors(buffer), model = openModel(about);
  const { vectors, song_vectors: songVectors, spans, first, label_vectors: labelVectors, label_mean: mean, label_deviation: deviation, peaks } = arrays;
  const rowsOf = (song) => Array.from({ length: first[song + 1] - first[song] }, (_, part) => first[song] + part);
  const partsOf = (song) => rowsOf(song).map((place) => row(vectors, place));
  const spanOf = (place) => Array.from(row(spans, place));
  const standingOut = (vector) => labels.map((_, label) => (dot(vector, row(labelVectors, label)) - mean[label]) / deviation[label]);
  const remembered = new Map();
  let heard = null;

  async function textVector(text) {
    if (!remembered.has(text)) {
      if (!remembered.size) say("The model is loading; the first search takes a moment.");
      remembered.set(text, (await model.texts([text]))[0]);
    }
    return remembered.get(text);
  }
  const fits = (song, { tag, folder, title }) => (!tag || song.tags.includes(tag)) && (!folder || song.folder === folder || song.folder.startsWith(`${folder}/`)) && (!title || `${song.folder}/${song.title}`.toLowerCase().includes(title.toLowerCase()));

  /** As `Collection.search` in collection.py: ranks lowered for hubs, one hit a song, near-duplicates folded. */
  function nearest(query, kind, { per = "song", top_k: count = 20, leaveOut = null, ...filters }) {
    const best = [];
    for (const song of songs) {
      if (song.id === leaveOut || !fits(song, filters)) continue;
      const candidates = per === "song" ? [[dot(query, row(songVectors, song.id)), arrays[`${kind}_offsets_of_songs`][song.id], 0, song.duration]]
        : rowsOf(song.id).map((place) => [dot(query, row(vectors, place)), arrays[`${kind}_offsets_of_rows`][place], ...spanOf(place)]);
      const [cosine, offset, start, end] = candidates.reduce((a, b) => (b[0] - b[1] > a[0] - a[1] ? b : a));
      best.push({ song, cosine: rounded(cosine), rank: cosine - offset, start, end, copies: [] });
    }
    best.sort((a, b) => b.rank - a.rank);
    const hits = [];
    for (const hit of best.slice(0, 4 * count)) {
      const shown = hits.find(({ song }) => Math.abs(song.duration - hit.song.duration) <= same.length && isSameRecording(partsOf(song.id), partsOf(hit.song.id), same));
      if (shown) shown.copies.push(hit.song); else hits.push(hit);
    }
    return hits.slice(0, count);
  }
  const vectorsOf = (song, part) => (part === undefined || part === null || part === "" ? row(songVectors, song) : row(vectors, first[song] + +part));

  return {
    model,
    health: async () => ({ status: "ok", songs: songs.length, maps: ["pca"], generation: 0, max_upload_bytes: 2 ** 28, title: about.title }),
    songs: async ({ offset = 0, limit = 50, ...filters }) => { const all = songs.filter((song) => fits(song, filters)); return { total: all.length, songs: all.slice(offset, offset + limit) }; },
    song: async (song) => songs[song],
    async search({ text, song, part, ...options }, signal) {
      if (text === undefined) return { hits: nearest(vectorsOf(+song, part), "audio", { ...options, leaveOut: +song }) };
      const query = await textVector(text);
      if (signal?.aborted) throw new DOMException("a newer search", "AbortError");
      return { hits: nearest(query, "text", options) };
    },
    async searchFile(file, options) {
      if (heard?.file !== file) { const samples = await model.decode(file); heard = { file, duration: samples.length / about.sampling_rate, ...(await model.parts(samples)) }; }
      const query = meanOf(heard), scores = standingOut(query);
      return { hits: nearest(query, "audio", options), duration: heard.duration, tags: labels.map((label, l) => [label, scores[l]]).sort((a, b) => b[1] - a[1]).slice(0, 5).map(([label]) => label) };
    },
    waveform: async (song) => ({ peaks: Array.from(row(peaks, song)) }),
    async similarity(song) {
      const places = rowsOf(+song).slice(0, 400);
      return { spans: places.map(spanOf), cosines: places.map((a) => places.map((b) => rounded(dot(row(vectors, a), row(vectors, b))))) };
    },
    async tags(song) {
      const places = rowsOf(+song);
      return { labels, spans: places.map(spanOf), cosines: places.map((place) => labels.map((_, label) => dot(row(vectors, place), row(labelVectors, label)))), standing_out: places.map((place) => standingOut(row(vectors, place))) };
    },
    facets: async () => about.facets,
    map: async () => about.map,
    audioUrl: (song) => address(songs[song].audio).href,
    async whyNot(song) {
      try { return (await fetch(this.audioUrl(song), { method: "HEAD" })).ok ? null : `${songs[song].file} is not beside the page.`; } catch { return "The address of this page does not answer."; }
    },
  };
}
