"""A thousand texts that tokenizers stumble over, the same each time."""

import random


WORDS = (
    "calm piano heavy metal guitars Beyoncé naïve Ærø straße İstanbul ΟΔΟΣ façade drum&bass 1990s lo-fi rock'n'roll 4/4 C♯ "
    "¿qué? don't"
).split()
PIECES = [
    *("音楽", "日本語の歌", "한국 음악", "موسيقى", "संगीत", "music 音楽 music", "𠀀𪜀", "㐀", "豈", "龥鿿"),
    *(
        "[SEP]",
        "[CLS] x",
        "[MASK]",
        "[UNK]",
        "[sep]",
        "[PAD][PAD]",
        "a[SEP]b",
        "🎵🎸",
        "👩‍🎤",
        "e\u0301",
        "\u00a0",
        "\u200b",
        "\u200d",
        "\ufeff",
    ),
    *(
        "\t",
        "\n",
        "\r\n",
        "\x00",
        "\x07",
        "\x85",
        "\u2028",
        "\u3000",
        "\u00ad",
        "\ufffd",
        "ﬁ",
        "Ⅷ",
        "½",
        "²",
        "–",
        "—",
        "…",
        "“x”",
        "«y»",
    ),
    *("$5", "a+b", "x^2", "`code`", "~", "|", "<b>", "=", "_", "#tag", "@me", "50%", "™", "©", "₿", "€", "×", "÷", "°", "§"),
    *(
        "x" * 100,
        "x" * 101,
        "antidisestablishmentarianism",
        "ZZZZZZ",
        "qwrtpsdfg",
        "ǅ",
        "ẞ",
        "ﾊﾝｶｸ",
        "①",
        "\U0001d56f",
        "ͅ",
        "̀",
        "क्षि",
        "ก็",
    ),
]


def odd_texts(count: int = 1000) -> list[str]:
    """Plain descriptions, each odd piece alone, mixtures of them, random letters of all of Unicode, and texts that are cut."""
    generator = random.Random(0)
    texts = [*WORDS, *PIECES, "", " ", " ".join(WORDS), " ".join(PIECES), " ".join(WORDS * 8)]
    while len(texts) < count:
        kind = len(texts) % 3
        if kind == 0:
            parts = generator.choices(WORDS, k=generator.randint(1, 12))
        elif kind == 1:
            parts = generator.choices(WORDS + PIECES, k=generator.randint(1, 30))
        else:
            codes = (
                generator.choice((generator.randrange(0x3000), generator.randrange(0x30000)))
                for _ in range(generator.randint(1, 25))
            )
            parts = ["".join(chr(code) for code in codes if not 0xD800 <= code <= 0xDFFF)]
        texts.append(generator.choice((" ", " ", "", ", ")).join(parts))
    return texts
