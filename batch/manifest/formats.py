"""The image formats as data: what each can hold, and its options. No Pillow here: planning needs the table only.

How a format is written is in ``batch/store/images``; a test holds that the two name the same formats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from batch.manifest.values import shown, whole
from batch.records.values import Arguments, Scalar, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a format."""

    read: Callable[[object], Scalar]
    """The value as it counts, or ValueError with a text that says what would be right."""
    default: Scalar
    values: str
    """The possible values in words, for the docs and for messages."""
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format. ``max_side`` and ``max_pixels`` are what its file, or every reader of it, can hold."""

    suffix: str
    """Of the file, without the dot."""
    about: str
    lossless: bool
    """With the default options."""
    max_side: int
    max_pixels: int | None = None
    package: str = ""
    """A module that is needed besides Pillow; the extra that installs it has the format's name."""
    options: Mapping[str, Option] = field(default_factory=dict)


def _whole(low: int, high: int, default: int, help: str) -> Option:
    return Option(
        read=lambda value: whole(value, low, high), default=default, values=f"{low} to {high}", help=help
    )


def _choice(values: tuple[str, ...], help: str) -> Option:
    """One of several words; the first is the default."""

    def read(value: object) -> str:
        if value not in values:
            raise ValueError(f"{shown(value)} is unknown; possible are {', '.join(values)}")
        return str(value)

    return Option(read=read, default=values[0], values=", ".join(values), help=help)


_SUBSAMPLING = _choice(
    ("4:4:4", "4:2:2", "4:2:0"),
    "resolution of colour against brightness: 4:4:4 keeps all of it, 4:2:0 a quarter",
)

FORMATS: dict[str, Format] = {
    "png": Format(
        suffix="png",
        about="lossless, read by everything",
        lossless=True,
        max_side=2**31 - 1,
        options={
            "level": _whole(
                1, 9, 1, "zlib level; 1 is run-length strategy, as small on grain as 6 and many times faster"
            )
        },
    ),
    "jpeg": Format(
        suffix="jpg",
        about="lossy, read by everything, the fastest",
        lossless=False,
        max_side=65_500,
        options={"quality": _whole(1, 100, 95, "higher is better and larger"), "subsampling": _SUBSAMPLING},
    ),
    "webp": Format(
        suffix="webp",
        about="lossy, small, read by browsers and most viewers; halves the resolution of colour",
        lossless=False,
        max_side=16_383,
        options={
            "quality": _whole(1, 100, 90, "higher is better and larger"),
            # Methods 0 and 1 fail on a detailed picture of 16 megapixels: the modes of its blocks do not fit
            # into the 512 KiB that the format gives them (libwebp's error 6), and only 2 and above shrink them.
            "method": _whole(2, 6, 2, "effort; higher is slower and a little smaller"),
        },
    ),
    "webp-lossless": Format(
        suffix="webp",
        about="lossless, a little smaller than PNG, read by browsers and most viewers",
        lossless=True,
        max_side=16_383,
        options={"effort": _whole(0, 9, 0, "higher is much slower and a little smaller")},
    ),
    "avif": Format(
        suffix="avif",
        about="lossy, small, read by browsers and newer viewers",
        lossless=False,
        max_side=32_768,  # libavif's own limits: it refuses to decode more
        max_pixels=2**28,
        options={
            "quality": _whole(1, 100, 90, "higher is better and larger"),
            "subsampling": _SUBSAMPLING,
            "speed": _whole(4, 10, 9, "higher is faster"),
        },
    ),
    "jxl": Format(
        suffix="jxl",
        about="JPEG XL: lossless unless a quality is given, smaller than PNG, read by few programs",
        lossless=True,
        max_side=2**18,  # level 5 of the standard, which every decoder must be able to read
        max_pixels=2**28,
        package="imagecodecs",
        options={
            "quality": _whole(1, 100, 100, "100 is lossless; 90 is a distance of 1 on JPEG XL's own scale"),
            "effort": _whole(1, 9, 2, "higher is slower and a little smaller"),
        },
    ),
    "tiff": Format(
        suffix="tif",
        about="lossless, for print and image editors",
        lossless=True,
        max_side=2**31 - 1,
        max_pixels=(2**32 - 2**26) // 3,  # offsets have 32 bits; 64 MiB are left for the metadata
        options={"compression": _choice(("deflate", "none"), "deflate (also called ZIP) or none")},
    ),
}

_SPELLINGS = {"jpg": "jpeg", "tif": "tiff"}


def without_suffix(template: str, name: str) -> str:
    """A template of file names without the suffix of the format, which is added anyway.

    Raises ValueError for that of another format, which the pictures would not be.
    """
    stem, _, suffix = template.rpartition(".")
    kind = _SPELLINGS.get(suffix.lower(), suffix.lower())
    if kind not in FORMATS or name not in FORMATS:
        return template
    if FORMATS[kind].suffix != FORMATS[name].suffix:
        raise ValueError(f"the pictures are {name}; leave out .{suffix}, or write format: {kind}")
    return stem


def canonical(name: str) -> str:
    """The name a format goes by in :data:`FORMATS`. Raises ValueError when there is none."""
    key = name.strip().lower()
    key = _SPELLINGS.get(key, key)
    if key not in FORMATS:
        raise ValueError(f"{shown(name)} is unknown; {_meant(key, FORMATS)}")
    return key


def check_options(name: str, options: Mapping[str, object]) -> Arguments:
    """The options of a canonical format that differ from its defaults, sorted.

    Empty when all are defaults, however they were written, so that an id does not change with them.
    Raises ValueError whose text begins with the option's name.
    """
    known = FORMATS[name].options
    result: dict[str, Scalar] = {}
    for key, value in options.items():
        if key not in known:
            raise ValueError(f"{key}: {name} has no such option; {_meant(key, known)}")
        try:
            read = known[key].read(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
        if read != known[key].default:
            result[key] = read
    return tuple(sorted(result.items()))


def _meant(word: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(word, known, n=1)
    possible = f"possible are {', '.join(known)}"
    return f"did you mean {near[0]}? ({possible})" if near else possible


def settings(name: str, options: Arguments) -> dict[str, Value]:
    """Every option of a canonical format by name: those given, and the defaults of the others."""
    return {key: option.default for key, option in FORMATS[name].options.items()} | dict(options)


def is_lossless(name: str, options: Arguments) -> bool:
    """Whether a canonical format keeps every pixel with these options."""
    return FORMATS[name].lossless and settings(name, options).get("quality", 100) == 100


def fits(name: str, width: int, height: int) -> str | None:
    """Why a picture of that size cannot be written in a canonical format; None when it can."""
    entry = FORMATS[name]
    if max(width, height) > entry.max_side:
        return f"{name} holds at most {entry.max_side:,} pixels a side, {width}x{height} is larger"
    if entry.max_pixels is not None and width * height > entry.max_pixels:
        return f"{name} holds at most {entry.max_pixels / 1e6:.0f} megapixels, {width}x{height} is larger"
    return None
