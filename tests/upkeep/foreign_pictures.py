"""Where in a file other programs put their texts."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from batch.store.images import tiff
from tests.upkeep.foreign_texts import FOOOCUS


def png(path, texts, mode="RGB"):
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    Image.new(mode, (8, 8)).save(path, pnginfo=info)
    return path


def with_exif(path, comment):
    """JPEG, WebP or AVIF with a UserComment."""
    Image.new("RGB", (8, 8)).save(path, exif=b"Exif\0\0" + tiff.exif(comment))
    return path


def xmp(**texts):
    """A packet as Draw Things writes it: each text the first of its languages."""
    names = {"UserComment": "exif:UserComment", "description": "dc:description"}
    inside = "".join(
        f"<{names[key]}><rdf:Alt><rdf:li xml:lang='x-default'>{_escaped(text)}</rdf:li></rdf:Alt></{names[key]}>"
        for key, text in texts.items()
    )
    return (
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        "<rdf:Description xmlns:exif='http://ns.adobe.com/exif/1.0/' xmlns:dc='http://purl.org/dc/elements/1.1/'>"
        f"{inside}</rdf:Description></rdf:RDF></x:xmpmeta>"
    )


def _escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def stealth(path, text, kind="pngcomp", side=64):
    """A text in the lowest bits of the pixels, column by column."""
    data = gzip.compress(text.encode()) if kind.endswith("comp") else text.encode()
    whole = f"stealth_{kind}".encode() + struct.pack(">I", 8 * len(data)) + data
    channels = 3 if kind.startswith("rgb") else 1
    bits = np.unpackbits(np.frombuffer(whole, np.uint8))
    columns = np.full((side, side, channels), 254, np.uint8)
    columns.reshape(-1)[: len(bits)] |= bits
    pixels = np.full((side, side, 4), 255, np.uint8)
    pixels[:, :, slice(0, 3) if channels == 3 else slice(3, 4)] = columns.transpose(1, 0, 2)
    Image.fromarray(pixels if channels == 1 else pixels[:, :, :3].copy()).save(path)
    return path


def log(path, *, button=False):
    """Fooocus' log.html of two pictures."""
    parts = ""
    for seed in (7, 8):
        rows = {
            "Prompt": "a fox &amp; a whale", "Negative Prompt": "fog", "Styles": "['Fooocus V2']",
            "Performance": "Speed", "Resolution": "(1152, 896)", "Guidance Scale": "4.0",
            "Base Model": "juggernautXL_v8.safetensors", "Sampler": "dpmpp_2m_sde_gpu", "Scheduler": "karras",
            "Seed": seed, "LoRA 1": "sd_xl_offset : 0.1",
        }  # fmt: skip
        cells = "".join(
            f"<tr><td class='label'>{key}</td><td class='value'>{value}</td></tr>\n" for key, value in rows.items()
        )
        copied = json.dumps(FOOOCUS | {"seed": seed, "prompt": "a fox & a whale"}).replace("%", "%25")
        copied = copied.replace("'", "%27").replace('"', "%22")
        press = f"<button onclick=\"to_clipboard('{copied}')\">Copy to Clipboard</button>" if button else ""
        parts += (
            f'<div id="p{seed}_png" class="image-container"><hr><table><tr><td><a href=\'p.png\'>p</a></td><td>'
            f"<table class='metadata'>{cells}</table>{press}</td></tr></table></div>\n\n"
        )
    path.write_text(
        f"<html><body><p>Fooocus Log</p><!--fooocus-log-split-->{parts}</body></html>", encoding="utf-8"
    )
    return path


def axes_of(cli, *sources):
    """The grid of the manifest that is made of them."""
    outcome = cli("manifest", "from", *sources)
    assert outcome.code == 0, outcome.err
    return yaml.safe_load(outcome.out)["grid"]


def planned(cli, *sources):
    """What is made of the sources for `demo` is planned as it stands."""
    outcome = cli("manifest", "from", *sources, "--model", "demo", "-o", "made.yaml")
    assert outcome.code == 0, outcome.err
    told = cli("plan", "made.yaml")
    assert told.code == 0, told.err
    Path("made.yaml").unlink()
    return outcome
