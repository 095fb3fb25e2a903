"""The texts that a text tower learns from: captions, searches for music, and free English, each a function of seed and number.

English words whose hash holds them out are in no training text, unless the lists below name them: so unseen words can be
measured.
"""

import hashlib
import random
import re
from collections.abc import Iterator

from captions import METER_WORDS, MOODS, NOUNS, SENTENCES, STYLE_MOODS, STYLE_WORDS, TEMPO_WORDS, TEXTURE_WORDS, write
from compose import TEXTURES
from musical_material import INSTRUMENTS, MODES
from scores import PITCH_CLASSES
from styles import STYLES


HELD_OUT_SHARE = 0.05  # of the English words
GENRES = (
    "acid jazz, afrobeat, alternative rock, baroque, big band, black metal, bluegrass, boogie woogie, calypso, cha cha, "
    "chamber music, chillout, choral, classical, cumbia, dancehall, death metal, deep house, disco, downtempo, dream pop, "
    "drone, dub, dubstep, electro, electronica, emo, eurodance, experimental, fado, film score, flamenco, folk, fusion, "
    "gamelan, garage rock, glitch, gospel, gothic, grunge, hard rock, hardcore, heavy metal, hip hop, house, idm, indie, "
    "industrial, jazz, klezmer, latin jazz, lounge, mambo, medieval, merengue, minimal, musical theatre, new wave, noise, "
    "opera, orchestral, polka, pop, post-rock, power metal, progressive rock, psychedelic, ragtime, rap, reggaeton, "
    "renaissance, rhythm and blues, rock and roll, romantic, rumba, salsa, samba, shoegaze, ska, smooth jazz, soul, "
    "soundtrack, surf rock, swing, symphonic metal, synthwave, tango, techno, trance, trap, trip hop, tropical, vaporwave, "
    "world music, zydeco"
).split(", ")
SOUNDS = (
    "acoustic guitar, a cappella, backing vocals, bagpipes, balalaika, banjo, bass clarinet, bass drum, bells, bongos, "
    "bouzouki, celtic harp, chimes, choir, claps, clavinet, congas, cymbals, djembe, drum machine, electric guitar, english "
    "horn, female voice, fiddle, flugelhorn, french horn, gong, grand piano, guitar solo, hammond organ, hand drums, "
    "handpan, harmonica, hurdy gurdy, lute, male voice, mandolin, mellotron, oboe, orchestra, percussion, pipe organ, "
    "sampler, saxophone, singing, snare drum, string quartet, synthesizer, tabla, tambourine, theremin, timpani, tin "
    "whistle, tremolo guitar, triangle, tuba, turntables, ukulele, upright bass, vocoder, whistling, woodwinds, distorted "
    "bass, fingerpicking, heavy riffs, blast beats, screaming, plucked strings, bowed strings, muted trumpet, reverb, echo, "
    "tape hiss, vinyl crackle, field recording, rain, birdsong, noise"
).split(", ")
MOOD_WORDS = (
    "aggressive, angry, anxious, beautiful, bittersweet, bright, calm, carefree, celebratory, chaotic, childish, cold, "
    "comforting, creepy, dark, depressing, determined, dreamy, eerie, elegant, emotional, energetic, epic, ethereal, "
    "exciting, exotic, festive, funny, gentle, gloomy, haunting, heroic, hopeful, hypnotic, innocent, inspiring, intimate, "
    "joyful, lonely, lush, majestic, meditative, mellow, menacing, mysterious, mystical, nostalgic, ominous, optimistic, "
    "passionate, peaceful, playful, proud, quirky, raw, relaxing, romantic, sad, scary, sensual, sentimental, serene, "
    "sinister, solemn, soothing, spiritual, spooky, suspenseful, tender, tense, triumphant, uplifting, warm, weird, wild, "
    "wistful"
).split(", ")
USES = (
    "a boss fight, a car chase, a wedding, a funeral, a party, a workout, running, studying, sleeping, cooking, a rainy "
    "day, a road trip, a commercial, a documentary, a horror film, a love scene, a western, a fairy tale, a children's "
    "show, a video game menu, a space station level, a battle, a tavern, a medieval village, a desert, a forest, the sea, "
    "winter, christmas, halloween, a circus, a casino, a nightclub, a church, yoga, meditation, a spa, a coffee shop, an "
    "elevator, a news programme, a podcast, a sports event, a victory, credits rolling, a puzzle game, a racing game, a "
    "dungeon, a castle, a pirate ship, outer space"
).split(", ")
SEARCHES = (
    "{genre}", "{sound}", "{mood} music", "{genre} with {sound}", "{mood} {genre}", "{genre} for {use}", "{mood} {sound}",
    "music for {use}", "{mood} and {mood2} {genre} with {sound}", "{sound} and {sound2}", "{genre} without {sound}",
    "{tempo} {genre}", "the sound of {sound}", "something {mood} with {sound}", "{sound}, {sound2}, {genre}",
    "a {mood} song about {word}", "{genre} from the {decade}s", "{mood} melody on {instrument}",
    "{tempo} {mood} {genre} in {key}", "is there {genre} with {sound}?", "{word} {genre}", "no {sound}, only {sound2}",
    "like {genre} but more {mood}", "{instrument}", "{instrument} and {instrument2}", "{key}",
)  # fmt: skip
FREE = (
    "{word}", "{word} {word2}", "{word} {word2} {word3}", "the {word} of the {word2}", "a {word} {word2}",
    "{word} and {word2}", "{word} in the {word2}", "he likes {word} more than {word2}", "a song called {word} {word2}",
    "they sing about {word} and {word2}", "why is {word} so {word2}?", "{word} without {word2}", "it sounds like {word}",
    "{word} {word2} {word3} {word4} {word5}",
)  # fmt: skip
SPEEDS = ("slow", "very slow", "fast", "very fast", "mid-tempo", "relaxed", "quick")
KINDS = (("caption", 0.2), ("search", 0.3), ("free", 0.5))  # shares of the training texts


def english_words(vocabulary: list[str]) -> list[str]:
    """The whole words of a word-piece vocabulary: letters only, at least three."""
    return sorted(word for word in vocabulary if len(word) >= 3 and word.isascii() and word.isalpha() and word.islower())


def is_held_out(word: str) -> bool:
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") < HELD_OUT_SHARE * 2**32


def texts(words: list[str], seed: int, count: int) -> Iterator[str]:
    """The training texts of a seed; `words`: all English words, of which the held-out ones are left out."""
    known = [word for word in words if not is_held_out(word)]
    for number in range(count):
        rng = random.Random(f"{seed}/text/{number}")
        (kind,) = rng.choices([name for name, _ in KINDS], [share for _, share in KINDS])
        yield one_text(kind, known, rng)


def held_out_texts(words: list[str], count: int) -> dict[str, list[str]]:
    """{name: texts} to measure on: captions and searches drawn anew, free texts of known words and of unseen ones."""
    known = [word for word in words if not is_held_out(word)]
    unseen = sorted(set(filter(is_held_out, words)) - fixed_words())
    sources = {
        "captions": ("caption", known),
        "searches": ("search", known),
        "free": ("free", known),
        "unseen words": ("free", unseen),
    }
    rngs = {name: random.Random(f"held out/{name}") for name in sources}
    return {name: [one_text(*source, rngs[name]) for _ in range(count)] for name, source in sources.items()}


def one_text(kind: str, words: list[str], rng: random.Random) -> str:
    if kind == "caption":
        return write(random_labels(rng), rng.choice(SENTENCES), rng)
    pattern = rng.choice(SEARCHES if kind == "search" else FREE)
    places = {"word": words, "genre": GENRES_AND_STYLES, "sound": SOUNDS, "mood": MOOD_WORDS, "use": USES, "instrument": NAMES}
    fields = {f"{name}{suffix}": rng.choice(choices) for name, choices in places.items() for suffix in ("", "2", "3", "4", "5")}
    fields["tempo"] = rng.choice(SPEEDS)
    fields["decade"] = rng.choice(("1920", "1930", "1940", "1950", "1960", "1970", "1980", "1990", "2000"))
    fields["key"] = f"{rng.choice(PITCH_CLASSES)} {rng.choice(('major', 'minor'))}"
    return pattern.format(**fields)


def random_labels(rng: random.Random) -> dict:
    """Labels as a generated piece has them, all drawn alone: more mixtures than the music itself has."""
    names = rng.sample(NAMES, rng.randint(1, 4))
    mode = rng.choice(sorted(MODES))
    return {
        "style": rng.choice(sorted(STYLES)),
        "texture": rng.choice(sorted(TEXTURES)),
        "tempo": rng.uniform(50, 200),
        "meter": rng.choice(("4/4", *METER_WORDS)),
        "key": f"{rng.choice(PITCH_CLASSES)} {mode}",
        "mode": mode,
        "instruments": names,
        "players": {"melody": names[0]},
    }


NAMES = sorted({name for name, _, _ in INSTRUMENTS.values()} | {"drums"})
GENRES_AND_STYLES = sorted({*GENRES, *STYLES, *(word for words in STYLE_WORDS.values() for word in words)})


def fixed_words() -> set[str]:
    """All words that come with the patterns and the lists above; none of them can be unseen."""
    phrases = {*NAMES, *GENRES_AND_STYLES, *SOUNDS, *MOOD_WORDS, *USES, *SPEEDS, *MODES, *NOUNS, *SENTENCES, *SEARCHES, *FREE}
    tables = (MOODS, STYLE_MOODS, TEXTURE_WORDS, METER_WORDS, dict(TEMPO_WORDS))
    phrases |= {word for table in tables for words in table.values() for word in words}
    return {word for phrase in phrases for word in re.findall(r"[a-z]+", phrase.lower())}
