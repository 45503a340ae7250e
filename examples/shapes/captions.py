"""The grammar of captions, as tables that are written from and read by.

    [opening] thing [place]                      [on|with|against a BACKGROUND background] [style]
    [opening] thing CONNECTION thing [far place] [...]
    [opening] BACKGROUND background, thing ...

Words outside the grammar mean nothing to the model, and the reader passes over them as well.
"""

import random
import re

from examples.shapes.scenes import COLORS, SHAPES, SIZES, Scene, Thing, untold_background

OPENINGS = (
    "a picture of",
    "a drawing of",
    "an image of",
    "a photo of",
    "a simple drawing of",
    "a painting of",
)
STYLES = (
    ", high quality",
    ", flat design",
    ", vector art",
    ", minimal",
    ", simple",
    ", best quality, highly detailed",
    ", clean illustration",
    ".",
)
SIZE_WORDS = {"small": ("small", "tiny", "little"), "medium": ("medium",), "large": ("large", "big", "huge")}
COLOR_WORDS: dict[str, tuple[str, ...]] = {color: (color,) for color in COLORS} | {"gray": ("gray", "grey")}
BACKGROUNDS = (
    " on {article} {color} background",
    " with {article} {color} background",
    " against {article} {color} background",
    ", {color} background",
    " on {color}",
)
PLACES = {
    "center": ("", "in the center", "in the middle", "centered"),
    "left": ("on the left", "on the left side", "to the left", "left"),
    "right": ("on the right", "on the right side", "to the right", "right"),
    "top": ("at the top", "on top", "top"),
    "bottom": ("at the bottom", "on the bottom", "bottom"),
}
CONNECTIONS = {
    "left": (
        ("to the left of", ""),
        ("left of", ""),
        ("on the left of", ""),
        ("on the left and", "on the right"),
        ("and", ""),
        ("next to", ""),
        ("beside", ""),
    ),
    "right": (
        ("to the right of", ""),
        ("right of", ""),
        ("on the right of", ""),
        ("on the right and", "on the left"),
    ),
    "above": (("above", ""), ("over", ""), ("on top of", ""), ("at the top and", "at the bottom")),
    "below": (("below", ""), ("under", ""), ("beneath", ""), ("at the bottom and", "at the top")),
}
"""What stands between two things, and what after the second."""


def write_caption(scene: Scene, rng: random.Random) -> str:
    """Tells a scene in one of the many ways that the grammar has for it."""
    with_articles = rng.random() < 0.85
    things = [_write_thing(thing, rng, with_articles) for thing in scene.things]
    if len(things) == 1:
        body = f"{things[0]} {rng.choice(PLACES[scene.place])}".strip()
    else:
        between, after = rng.choice(CONNECTIONS[scene.place])
        body = f"{things[0]} {between} {things[1]} {after}".strip()
    if scene.background_told:
        color = rng.choice(COLOR_WORDS[scene.background])
        if rng.random() < 0.1:
            body = f"{color} background, {body}"
        else:
            body += rng.choice(BACKGROUNDS).format(article=_article(color), color=color)
    opening = f"{rng.choice(OPENINGS)} " if rng.random() < 0.5 else ""
    style = rng.choice(STYLES) if rng.random() < 0.5 else ""
    return opening + body + style


def _write_thing(thing: Thing, rng: random.Random, with_article: bool) -> str:
    telling = 0.45 if thing.size != "medium" else 0.15
    size = f"{rng.choice(SIZE_WORDS[thing.size])} " if rng.random() < telling else ""
    text = f"{thing.shape} that is {thing.color}" if rng.random() < 0.08 else f"{thing.color} {thing.shape}"
    text = size + text
    return f"{_article(text)} {text}" if with_article else text


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


def words() -> list[str]:
    """Every word and mark of the grammar, sorted."""
    fixed = [*OPENINGS, *STYLES, *BACKGROUNDS, "that is", "a", "an", *SHAPES]
    tables = [*SIZE_WORDS.values(), *COLOR_WORDS.values(), *PLACES.values()]
    phrases = fixed + [phrase for table in tables for phrase in table]
    phrases += [phrase for table in CONNECTIONS.values() for pair in table for phrase in pair]
    text = " ".join(phrases).format(article="a", color="red")
    return sorted(set(re.findall(r"[a-z]+|[,.]", text)))


def _alternatives(table: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {word: meaning for meaning, spellings in table.items() for word in spellings}


_SIZES = _alternatives(SIZE_WORDS)
_COLORS = _alternatives(COLOR_WORDS)
_PLACES = _alternatives(PLACES)
_CONNECTIONS = {between: place for place, pairs in CONNECTIONS.items() for between, _ in pairs}
_COLOR_PATTERN = "|".join(_COLORS)
_THING = re.compile(
    rf"(?:\b(?P<size>{'|'.join(_SIZES)}) )?(?:\b(?P<color>{_COLOR_PATTERN}) )?\b(?P<shape>{'|'.join(SHAPES)})\b"
    rf"(?: that is (?P<late_color>{_COLOR_PATTERN})\b)?"
)
_BACKGROUND = re.compile(rf"\b(?P<first>{_COLOR_PATTERN}) background\b|\bon (?P<second>{_COLOR_PATTERN})(?=[,.]|$)")


def read_caption(caption: str) -> Scene:
    """Reads what a caption tells; a size that it leaves out is medium.

    Raises:
        ValueError: It does not name one or two things, each with a colour, or connects two in an unknown way.
    """
    found = list(_THING.finditer(caption))
    if len(found) not in (1, 2) or not all(match["color"] or match["late_color"] for match in found):
        raise ValueError(f"{caption!r} does not name one or two coloured shapes")
    things = tuple(
        Thing(match["shape"], _COLORS[match["color"] or match["late_color"]], _SIZES[match["size"] or SIZES[1]])
        for match in found
    )
    background = _BACKGROUND.search(caption)
    if len(found) == 1:
        place = _PLACES[_longest_start(caption[found[0].end() :].lstrip(), _PLACES)]
    else:
        between = re.sub(r" an?$", "", caption[found[0].end() : found[1].start()].strip())
        if between not in _CONNECTIONS:
            raise ValueError(f"{caption!r} connects its things by {between!r}, which is not in the grammar")
        place = _CONNECTIONS[between]
    if background is None:
        return Scene(things, untold_background(things), place, background_told=False)
    return Scene(things, _COLORS[background["first"] or background["second"]], place)


def _longest_start(text: str, phrases: dict[str, str]) -> str:
    return max((phrase for phrase in phrases if re.match(rf"{phrase}\b", text)), key=len, default="")
