"""What a download left in place of a file with weights: its first bytes tell. Pure."""

from __future__ import annotations

import re

from batch.manifest.values import shortened

_INSTEAD = "which is not read; take the model in safetensors"

_BEGINNINGS = (
    (
        rb"(?!.{0,7}\0)\s*<",
        "it is a web page, as sites send it to whoever is not logged in; log in there and download it once more",
    ),
    (
        rb"version https://git-lfs",
        "it is git-lfs's pointer to the file, and not the file; `git lfs pull` in its folder fetches that",
    ),
    (rb"GGUF", f"it is a GGUF under another name, {_INSTEAD}"),
    (rb"PK\x03\x04", f"it is a zip or PyTorch's pickle under another name, {_INSTEAD}"),
    (rb"\x80[\x02-\x05](?!\0{6})", f"it is a pickle under another name, {_INSTEAD}"),
    (rb"Rar!|7z\xbc\xaf|\x1f\x8b", "it is an archive under another name; unpack it"),
    (rb"\Z", "it is empty; download it once more"),
    (rb"\0+\Z", "it begins with nothing but zeros, as a download does that has stopped; download it once more"),
)


def told(beginning: bytes) -> str:
    """What a file that begins like this is instead, and what to do about it; "" where nobody can tell."""
    for pattern, words in _BEGINNINGS:
        if re.match(pattern, beginning, re.DOTALL):
            return words
    text = " ".join(beginning.decode(errors="replace").split())
    if not text.isprintable() or "\ufffd" in text[:-1]:
        return ""
    return f"it is a text, such as a site's message ({shortened(text)}); download it once more"
