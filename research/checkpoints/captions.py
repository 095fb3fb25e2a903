"""Labels of a generated piece → tags and sentences. Moods are no labels but a rule: mode, tempo and style decide them."""

import random


TEMPO_WORDS = (  # up to so many beats a minute
    (70.0, ("very slow", "extremely slow")), (95.0, ("slow", "relaxed", "unhurried")),
    (125.0, ("moderate", "medium tempo", "walking pace")), (155.0, ("fast", "quick", "lively")),
    (float("inf"), ("very fast", "rapid", "breakneck")),
)  # fmt: skip
SLOW, FAST = 85.0, 120.0  # beats a minute, where moods change
BRIGHT_MODES = ("major", "lydian", "mixolydian")
MOODS = {  # (bright, slow to fast)
    (True, "slow"): ("calm", "peaceful", "gentle", "tender", "serene", "relaxing"),
    (True, "medium"): ("happy", "warm", "friendly", "pleasant", "light-hearted"),
    (True, "fast"): ("cheerful", "joyful", "upbeat", "playful", "energetic"),
    (False, "slow"): ("sad", "melancholic", "mournful", "gloomy", "sorrowful"),
    (False, "medium"): ("serious", "moody", "wistful", "mysterious", "dark"),
    (False, "fast"): ("tense", "dramatic", "restless", "urgent", "intense"),
}
STYLE_MOODS = {
    "metal": ("heavy", "aggressive", "brutal"), "punk": ("rebellious", "raw", "loud"), "rock": ("powerful", "gritty"),
    "ambient": ("atmospheric", "dreamy", "floating"), "new age": ("meditative", "soothing"), "hymn": ("solemn", "devout"),
    "techno": ("hypnotic", "driving"), "house": ("danceable", "groovy"), "trance": ("euphoric", "uplifting"),
    "funk": ("groovy", "funky"), "march": ("proud", "military"), "lullaby": ("sleepy", "tender"),
    "minimal music": ("repetitive", "hypnotic"), "orchestral": ("cinematic", "majestic"), "chiptune": ("retro", "playful"),
}  # fmt: skip
STYLE_WORDS = {  # other names for the same
    "pop": ("pop",), "rock": ("rock", "guitar rock"), "metal": ("metal", "heavy metal"),
    "punk": ("punk", "punk rock"), "hip hop": ("hip hop", "hip-hop beat", "rap instrumental"),
    "house": ("house", "house music", "club music"), "techno": ("techno", "electronic dance music"),
    "trance": ("trance", "electronic dance music"), "drum and bass": ("drum and bass", "jungle"),
    "breakbeat": ("breakbeat", "big beat"), "chiptune": ("chiptune", "8-bit music", "video game music"),
    "ambient": ("ambient", "ambient soundscape"), "new age": ("new age", "meditation music"),
    "minimal music": ("minimal music", "minimalism"), "orchestral": ("orchestral music", "classical orchestra", "film score"),
    "march": ("march", "military march", "parade music"), "waltz": ("waltz", "ballroom dance"),
    "polka": ("polka", "oompah music"), "baroque": ("baroque", "baroque music", "early music"),
    "classical piano": ("classical piano", "piano piece"), "hymn": ("hymn", "church music", "chorale"),
    "folk dance": ("folk dance", "folk music", "traditional dance"), "country": ("country", "country music", "bluegrass"),
    "asian": ("asian music", "east asian traditional music"), "lullaby": ("lullaby", "cradle song"),
    "solo study": ("study", "etude", "exercise"), "latin": ("latin music", "salsa", "latin dance"),
}  # fmt: skip
TEXTURE_WORDS = {
    "solo": ("solo", "unaccompanied"), "duet": ("duet", "two instruments"), "drums alone": ("drum solo", "percussion only"),
    "rhythm section": ("bass and drums", "rhythm section"), "backing": ("backing track", "no melody"),
    "chords alone": ("chords only", "accompaniment"), "accompanied": ("melody with accompaniment",), "band": ("full band",),
    "band without drums": ("no drums", "without drums"),
}  # fmt: skip
METER_WORDS = {"3/4": ("in three", "in 3/4", "in triple time"), "6/8": ("in 6/8", "in compound time"), "12/8": ("in 12/8",)}
NOUNS = ("piece", "track", "instrumental", "tune", "recording")
SENTENCES = (
    "{A} {mood} {style} {noun} with {instruments}",
    "{A} {tempo} {style} {noun} {meter}, played on {instruments}",
    "{style}, {tempo}, {mood}, {instruments}",
    "{instruments} playing {a} {tempo} {style} {noun} {key}",
    "{A} {tempo}, {mood} {noun}: {texture}, {instruments}",
    "This {style} {noun} is {mood} and {tempo}. It features {instruments}.",
    "{mood} {noun} {key} at about {bpm} beats per minute, with {instruments}",
    "{texture}: {instruments}, {tempo} and {mood}",
    "{solo} in the style of {style} {key}",
    "{mood} {style}",
    "{instruments}",
)


def tags(labels: dict) -> list[str]:
    """Plain names of what the piece is: style, instruments, tempo, mode, meter, texture."""
    found = [labels["style"], *labels["instruments"], tempo_words(labels["tempo"])[0], TEXTURE_WORDS[labels["texture"]][0]]
    if labels["mode"]:
        found.append(labels["mode"])
    if labels["meter"] in METER_WORDS:
        found.append(METER_WORDS[labels["meter"]][0])
    return list(dict.fromkeys(found))


def captions(labels: dict, rng: random.Random, count: int = 3) -> list[str]:
    """`count` different sentences about the piece."""
    return [write(labels, pattern, rng) for pattern in rng.sample(SENTENCES, count)]


def write(labels: dict, pattern: str, rng: random.Random) -> str:
    words = {
        "mood": rng.choice(moods(labels)),
        "style": rng.choice(STYLE_WORDS.get(labels["style"], (labels["style"],))),
        "tempo": rng.choice(tempo_words(labels["tempo"])),
        "bpm": round(labels["tempo"]),
        "texture": rng.choice(TEXTURE_WORDS[labels["texture"]]),
        "noun": rng.choice(NOUNS),
        "meter": rng.choice(METER_WORDS.get(labels["meter"], ("",))),
        "key": key_words(labels, rng),
        "instruments": listed(labels["instruments"]),
        "solo": lead_words(labels),
        "A": "{A}",
        "a": "{a}",
    }
    text = " ".join(pattern.format(**words).split()).replace(" ,", ",")
    return with_articles(text)


def moods(labels: dict) -> tuple[str, ...]:
    if labels["style"] in STYLE_MOODS:
        return STYLE_MOODS[labels["style"]]
    if labels["mode"] is None:
        return ("rhythmic", "percussive")
    speed = "slow" if labels["tempo"] < SLOW else "medium" if labels["tempo"] < FAST else "fast"
    return MOODS[labels["mode"] in BRIGHT_MODES, speed]


def tempo_words(tempo: float) -> tuple[str, ...]:
    return next(words for limit, words in TEMPO_WORDS if tempo <= limit)


def key_words(labels: dict, rng: random.Random) -> str:
    if labels["key"] is None:
        return ""
    third = "major" if labels["mode"] in BRIGHT_MODES else "minor"
    return rng.choice((f"in {labels['key']}", f"in a {third} key", ""))


def lead_words(labels: dict) -> str:
    """Who plays what, where a melody is known; else the list of instruments."""
    players = labels["players"]
    if "melody" not in players:
        return listed(labels["instruments"])
    others = [name for name in labels["instruments"] if name != players["melody"]]
    return f"{players['melody']} melody" + (f" over {listed(others)}" if others else "")


def listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def with_articles(text: str) -> str:
    """Fill {A} and {a} by the word that follows."""
    for place, article in (("{A}", "A"), ("{a}", "a")):
        while place in text:
            before, _, after = text.partition(place)
            text = before + article + ("n" if after.strip()[:1].lower() in "aeiou" else "") + after
    return text
