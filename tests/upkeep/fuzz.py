"""Texts, packets, directories and records that hypothesis makes up: a result, or an error that means damage.

A process of its own, so that one that fills the memory or never ends is killed, and nothing else with it.
"""

import json
import resource
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.base.errors import UserError
from batch.manifest import recover
from batch.manifest.writing import to_data, to_yaml
from batch.records.receipts import Failure, Receipt
from batch.store import events, files
from batch.store.folder import RunFolder
from batch.store.holders import Holder
from batch.store.images import packets
from batch.store.images.reading import read_metadata
from tests.conftest import ROOT

MEMORY, SECONDS = 2 * 2**30, 60
EXAMPLES = settings(max_examples=80, deadline=2_000, database=None, suppress_health_check=list(HealthCheck))

GOLDEN = ROOT / "tests" / "golden" / "render" / ".run"
FOLDER = tempfile.TemporaryDirectory()
PLACE = Path(FOLDER.name)

BITS = st.sampled_from([
    "Steps: 1, ", "\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 8x8", "Negative prompt:", "\n", ", ",
    ": ", '"', '\\"', "Seed: -1", "(a:1", "<lora:", "x" * 3_000, " " * 3_000, "\x1b", "\u202e", "\x85", "9" * 500,
    "{", "a|b", "Template: ", "Raw prompt: x, ", "Schedule type: Automatic", "<lora:x:1>", "Size: 8 x 8", "\r",
])  # fmt: skip
LINES = st.lists(st.one_of(BITS, st.text(max_size=8)), max_size=20).map("".join)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([2**63, 2**64, 10**400]),
)
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)
KEYS = st.sampled_from([
    "positive_prompt", "negative_prompt", "seed", "width", "height", "steps", "cfg_scale", "scheduler", "model",
    "prompt", "image", "loras", "extra", "format", "format_options", "guidance", "dtype", "rendered_width",
    "rendered_height", "revision", "memory", "sampler", "sui_image_params", "task", "cfgscale", "name", "c", "uc",
    "scale", "size", "v4_prompt", "caption", "noise_schedule", "resolution", "base_model", "styles", "loras",
])  # fmt: skip
OBJECTS = st.dictionaries(KEYS, DATA | st.dictionaries(KEYS, DATA, max_size=6), max_size=14)


@EXAMPLES
@given(
    st.dictionaries(
        st.sampled_from(["run_batch", "invokeai_metadata", "sd-metadata", "parameters", "Comment", "x"]),
        LINES,
        max_size=2,
    )
)
def lines(texts):
    understood(texts)


@EXAMPLES
@given(
    st.sampled_from(["run_batch", "invokeai_metadata", "sd-metadata", "parameters", "Comment", "UserComment"]),
    OBJECTS,
    st.booleans(),
)
def objects(key, data, whole):
    sound = {
        "prompt": "a",
        "positive_prompt": "a",
        "seed": 1,
        "width": 8,
        "height": 8,
        "steps": 1,
        "guidance": 1.0,
    }
    sound |= {"rendered_width": 8, "rendered_height": 8, "dtype": "float32", "model": "demo", "cfgscale": 1}
    data = sound | data if whole else data
    outer = {"run_batch": {"task": data}, "sd-metadata": {"image": data}, "parameters": {"sui_image_params": data}}
    understood({key: json.dumps(outer.get(key, data))})


NODES = st.sampled_from(["1", "2", "3", "4", "9"])
INPUTS = st.dictionaries(
    st.sampled_from([
        "positive", "negative", "conditioning", "guider", "noise", "sigmas", "sampler", "text", "seed", "steps",
        "cfg", "denoise", "sampler_name", "scheduler", "latent_image", "width", "height", "model", "ckpt_name",
        "lora_name", "value", "batch_size",
    ]),
    SCALARS | st.tuples(NODES, st.integers(0, 2)).map(list) | DATA,
    max_size=10,
)  # fmt: skip


@EXAMPLES
@given(st.dictionaries(NODES, st.fixed_dictionaries({"inputs": INPUTS}, optional={"class_type": DATA}) | DATA))
def graphs(nodes):
    start = {"positive": ["1", 0], "negative": ["2", 0], "steps": 3, "seed": ["3", 0], "latent_image": ["4", 0]}
    understood({"prompt": json.dumps({"0": {"class_type": "KSampler", "inputs": start}, **nodes})})


def understood(texts):
    try:
        found = recover.from_metadata(texts)
    except ValueError:
        return
    made = yaml.safe_load(to_yaml(to_data([found]), ["x"]))
    assert made["grid"] == dict(found.axes)
    recover.places(found)


TAGS = st.sampled_from([
    "<a>", "</a>", "<r:run_batch>", "</r:run_batch>", "&lt;", "&#0;", "&#x10ffff;", "<![CDATA[x]]>", "<?a?>",
    "<!-- -->", f"<x xmlns:r='{packets.NAMESPACE}'>", "</x>",
    "<x xmlns:e='http://ns.adobe.com/exif/1.0/'>", "<e:UserComment>", "</e:UserComment>",
    "<a b='c' b='d'>", "\ud7ff", "\0", "<a" * 500,
    "<a>" * 500,
])  # fmt: skip


@EXAMPLES
@given(st.lists(TAGS | st.text(max_size=6), max_size=30).map("".join))
def xmp(packet):
    packets.read_xmp(packet.encode("utf-8", "replace"))
    for names in (f"xmlns:r='{packets.NAMESPACE}'", "xmlns:e='http://ns.adobe.com/exif/1.0/' e:UserComment=''"):
        packets.read_xmp(f"<x {names}>{packet}".encode("utf-8", "replace"))


NUMBERS = st.sampled_from([0, 1, 2, 7, 8, 9, 16, 2**16 - 1, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)
ENTRIES = st.tuples(st.sampled_from([700, 0x8769, 0x9286, 0x0110]), st.integers(0, 12), NUMBERS, NUMBERS).map(
    lambda entry: struct.pack(">HHII", *entry)
)


@EXAMPLES
@given(
    st.lists(ENTRIES, max_size=6),
    st.integers(0, 300),
    st.binary(max_size=40),
    st.sampled_from(["tif", "png", "webp", "jpg", "jxl"]),
)
def directories(entries, count, rest, form):
    data = struct.pack(">2sHIH", b"MM", 42, 8, count) + b"".join(entries) + rest
    a_file(wrapped(data, form))


def wrapped(data: bytes, form: str) -> bytes:
    """An EXIF block in the least of a file."""
    match form:
        case "png":
            chunk = b"eXIf" + data
            return (
                b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk))
            )
        case "webp":
            return b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0EXIF" + struct.pack("<I", len(data)) + data
        case "jpg":
            return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(data) + 8) + b"Exif\0\0" + data
        case "jxl":
            return packets.JXL_SIGNATURE + struct.pack(">I4sI", len(data) + 12, b"Exif", 0) + data
    return data


STARTS = st.sampled_from([
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"II*\0", b"MM\0*", packets.JXL_SIGNATURE,
    b"\0\0\0\x10ftypavif\0\0\0\0",
])  # fmt: skip
WORDS = st.sampled_from(
    [b"meta", b"iinf", b"iloc", b"infe", b"idat", b"Exif", b"mime", b"xml ", b"XMP ", b"tEXt", b"iTXt"]
)
PIECES = st.lists(
    st.one_of(WORDS, NUMBERS.map(lambda number: struct.pack(">I", number)), st.binary(max_size=12)), max_size=24
)


@EXAMPLES
@given(STARTS, PIECES)
def containers(start, pieces):
    a_file(start + b"".join(pieces))


def a_file(data):
    path = PLACE / "x"
    path.write_bytes(data)
    try:
        read_metadata(path)
    except UserError:
        return


RECEIPTS = [path.read_bytes() for path in sorted(GOLDEN.glob("receipts/*/*.json"))]


@EXAMPLES
@given(
    st.sampled_from(RECEIPTS), st.lists(st.tuples(st.integers(0, 4_000), st.binary(max_size=6)), max_size=4), DATA
)
def records(text, changes, value):
    data = bytearray(text)
    for at, put in changes:
        data[at % len(data) : at % len(data) + len(put)] = put
    path = PLACE / "x.json"
    for content in (bytes(data), json.dumps(json.loads(text) | {"measurement": value}).encode()):
        path.write_bytes(content)
        for kind in (Receipt, Failure, Holder):
            try:
                files.read(kind, path)
            except files.UNREADABLE:
                continue


@EXAMPLES
@given(st.lists(st.binary(max_size=60) | DATA.map(lambda data: json.dumps(data).encode()), max_size=6))
def log(parts):
    folder = RunFolder(PLACE / "run")
    folder.state.mkdir(parents=True, exist_ok=True)
    events.EventLog(folder).begin(1)
    with (folder.state / events.FILE).open("ab") as file:
        file.write(b"\n".join(parts))
    assert all(isinstance(entry.text, str) for entry in events.read(folder))
    (folder.state / events.FILE).unlink()


def main():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    for check in (lines, objects, graphs, xmp, directories, containers, records, log):
        check()
    sys.stdout.write("all\n")


if __name__ == "__main__":
    main()
