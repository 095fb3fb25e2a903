// BERT's WordPiece tokenizer as the `tokenizers` library computes it, from its tokenizer.json.

const CHINESE = [[0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f], [0x2b740, 0x2b81f], [0x2b920, 0x2ceaf], [0xf900, 0xfaff], [0x2f800, 0x2fa1f]];
const isChinese = (letter) => { const code = letter.codePointAt(0); return CHINESE.some(([first, last]) => first <= code && code <= last); };
const CONTROL = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u0000\ufffd]/u;
const SPACE = /\p{White_Space}/u;
const PUNCTUATION = /[\p{P}$+<=>^`|~]/u;  // Unicode's, and those symbols of ASCII that BERT counts too

// The library's tables of letters are those of Unicode 8. Since then these became marks or control signs, ceased to be marks, or became or
// ceased to be punctuation.
const LATER_MARKS = ranges(
  "7fd 890-891 897-89f 8ca-8e2 9fe afa-aff b55 c04 c3c d00 d3b-d3c d81 eba ece 180f 1885-1886 1abf-1add 1ae0-1aeb " +
  "1df6-1dfb a82c a8c5 a8ff a9bd 105c9 105e4 10d24-10d27 10d69-10d6d 10eab-10eac 10efa-10eff 10f46-10f50 10f82-10f85 " +
  "11070 11073-11074 110c2 110cd 111c9 111cf 1123e 11241 1133b 11383 11385 1138e 11391 113bb-113c0 113c5 113c7-113c8 " +
  "113ce 113d0 113d2 113e1-113e2 11438-1143f 11442-11444 11446 1145e 1182f-11837 11839-1183a 11938 1193b-1193c 1193e " +
  "11943 119d4-119d7 119da-119db 119e0 11a01-11a0a 11a33-11a38 11a3b-11a3e 11a47 11a51-11a56 11a59-11a5b 11a8a-11a96 " +
  "11a98-11a99 11b60 11b62-11b64 11b66 11c30-11c36 11c38-11c3d 11c3f 11c92-11ca7 11caa-11cb0 11cb2-11cb3 11cb5-11cb6 " +
  "11d31-11d36 11d3a 11d3c-11d3d 11d3f-11d45 11d47 11d90-11d91 11d95 11d97 11ef3-11ef4 11f00-11f01 11f36-11f3a 11f40 " +
  "11f42 11f5a 13430-13440 13447-13455 1611e-16129 1612d-1612f 16d68-16d6a 16f4f 16fe4 1cf00-1cf2d 1cf30-1cf46 " +
  "1e000-1e006 1e008-1e018 1e01b-1e021 1e023-1e024 1e026-1e02a 1e08f 1e130-1e136 1e2ae 1e2ec-1e2ef 1e4ec-1e4ef " +
  "1e5ee-1e5ef 1e6e3 1e6e6 1e6ee-1e6ef 1e6f5 1e944-1e94a ");
const FORMER_MARKS = ranges("1734 1171e");
const OTHER_PUNCTUATION = ranges(
  "61d 9fd a76 c77 c84 166d 1b4e-1b4f 1b7d-1b7f 2e43-2e4f 2e52-2e5d 10d6e 10ead 10ed0 10f55-10f59 10f86-10f89 111c9 " +
  "113d4-113d5 113d7-113d8 1144b-1144f 1145a-1145b 1145d 11660-1166c 116b9 1183b 11944-11946 119e2 11a3f-11a46 " +
  "11a9a-11a9c 11a9e-11aa2 11b00-11b09 11be1 11c41-11c45 11c70-11c71 11ef7-11ef8 11f43-11f4f 11fff 12ff1-12ff2 " +
  "16d6d-16d6f 16e97-16e9a 16fe2 1e5ff 1e95e-1e95f ");
function ranges(text) {
  const pairs = text.trim().split(/\s+/).map((range) => range.split("-").map((code) => parseInt(code, 16)));
  return (letter) => { const code = letter.codePointAt(0); return code > 0x5ff && pairs.some(([first, last = first]) => first <= code && code <= last); };
}

export class Tokenizer {
  /** content: a parsed tokenizer.json. Throws for any other kind than BERT's. */
  constructor(content) {
    const { normalizer, pre_tokenizer: splitter, model, post_processor: template, truncation, added_tokens: added } = content;
    if (normalizer?.type !== "BertNormalizer" || splitter?.type !== "BertPreTokenizer" || model?.type !== "WordPiece" || template?.type !== "TemplateProcessing") {
      throw new Error(`this page reads BERT's tokenizer, not ${model?.type} after ${normalizer?.type}`);
    }
    this.normalizer = normalizer;
    this.model = model;
    this.vocabulary = new Map(Object.entries(model.vocab));
    this.unknown = this.vocabulary.get(model.unk_token);
    this.special = new Map(added.map((token) => [token.content, token.id]));
    const escaped = [...this.special.keys()].sort((a, b) => b.length - a.length).map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    this.specialPattern = new RegExp(`(${escaped.join("|")})`, "u");
    const ids = (part) => template.special_tokens[part.SpecialToken.id].ids;
    const place = template.single.findIndex((part) => part.Sequence);
    this.before = template.single.slice(0, place).flatMap(ids);
    this.after = template.single.slice(place + 1).flatMap(ids);
    this.longest = truncation?.max_length ?? Infinity;
  }

  /** A text → its token ids, cut to the longest that the model takes. */
  encode(text) {
    const ids = [];
    for (const piece of text.split(this.specialPattern)) {
      if (this.special.has(piece)) ids.push(this.special.get(piece));
      else for (const word of this.words(this.normalize(piece))) ids.push(...this.pieces(word));
    }
    return [...this.before, ...ids.slice(0, this.longest - this.before.length - this.after.length), ...this.after];
  }

  normalize(text) {
    const { clean_text: clean, handle_chinese_chars: chinese, lowercase, strip_accents: strip } = this.normalizer;
    let letters = [...text];
    if (clean) letters = letters.filter((letter) => "\t\n\r".includes(letter) || LATER_MARKS(letter) || !CONTROL.test(letter)).map((letter) => (SPACE.test(letter) ? " " : letter));
    if (chinese) letters = letters.map((letter) => (isChinese(letter) ? ` ${letter} ` : letter));
    if (strip ?? lowercase) letters = [...letters.join("")].flatMap((letter) => (LATER_MARKS(letter) ? [letter] : [...letter.normalize("NFD")].filter((part) => !/\p{Mn}/u.test(part) && !FORMER_MARKS(part))));
    if (lowercase) letters = [...letters.join("")].map((letter) => letter.toLowerCase());  // one by one: no rule for the end of words
    return letters.join("");
  }

  *words(text) {
    let word = "";
    for (const letter of text) {
      const isMark = PUNCTUATION.test(letter) !== OTHER_PUNCTUATION(letter);
      if (isMark || SPACE.test(letter)) {
        if (word) yield word;
        word = "";
        if (isMark) yield letter;
      } else word += letter;
    }
    if (word) yield word;
  }

  /** A word → the longest pieces of the vocabulary from left to right; a word with a part that is none is unknown as a whole. */
  pieces(word) {
    const letters = [...word], ids = [];
    if (letters.length > this.model.max_input_chars_per_word) return [this.unknown];
    for (let first = 0, last; first < letters.length; first = last) {
      for (last = letters.length; last > first; last--) {
        const id = this.vocabulary.get((first ? this.model.continuing_subword_prefix : "") + letters.slice(first, last).join(""));
        if (id !== undefined) { ids.push(id); break; }
      }
      if (last === first) return [this.unknown];
    }
    return ids;
  }
}
