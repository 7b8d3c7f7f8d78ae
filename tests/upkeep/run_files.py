"""The files of a run: which there are, and ways to damage them."""

from pathlib import Path

from PIL import Image


def image(run, name="a-fox-0"):
    (found,) = (run / "images").glob(f"{name}-*.png")
    return found


def receipt(run, name="a-fox-0"):
    (found,) = (
        path for path in (run / ".run" / "receipts").rglob("*.json") if f'"images/{name}-' in path.read_text()
    )
    return found


def snapshot(folder):
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def names(folder):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def stray(run):
    Image.new("RGB", (8, 8)).save(run / "images" / "stray.png")
    (run / "images" / "notes.txt").write_text("no image: none of verify's business")
