"""What people do to finished pictures. Each returns where the picture lies then."""

import numpy as np
from PIL import Image, PngImagePlugin


def rate(path, stars="3"):
    """Write a rating into a PNG and keep all else, as a photo manager does."""
    with Image.open(path) as picture:
        texts = PngImagePlugin.PngInfo()
        for key, text in (*picture.text.items(), ("Rating", stars)):
            texts.add_text(key, text)
        picture.save(path, pnginfo=texts)
    return path


def optimise(path):
    """Pack a PNG anew without its texts, as optimisers do."""
    with Image.open(path) as picture:
        picture.load()
        Image.fromarray(np.asarray(picture)).save(path, optimize=True)
    return path


def retouch(path):
    """Paint into a picture, and keep its texts."""
    with Image.open(path) as picture:
        texts = PngImagePlugin.PngInfo()
        for key, text in picture.text.items():
            texts.add_text(key, text)
        picture.paste((255, 0, 0), (100, 100, 200, 200))
        picture.save(path, pnginfo=texts)
    return path


def repaint(path):
    """Save another picture in its place, without texts."""
    Image.new("RGB", (512, 512), (9, 99, 199)).save(path)
    return path


def shrink(path):
    """Make it smaller in its place, without its texts."""
    with Image.open(path) as picture:
        small = picture.resize((256, 256))
    small.save(path)
    return path


def rename(path):
    return path.rename(path.with_name(f"good {path.name}"))


def move(path):
    best = path.parent / "best" / "of all"
    best.mkdir(parents=True, exist_ok=True)
    return path.rename(best / path.name)


def move_and_rate(path):
    return rate(rename(path))


def rename_and_strip(path):
    return rename(optimise(path))


def crop(path):
    """Cut a part out, and keep the texts."""
    with Image.open(path) as picture:
        texts = PngImagePlugin.PngInfo()
        for key, text in picture.text.items():
            texts.add_text(key, text)
        picture.crop((100, 100, 400, 300)).save(path, pnginfo=texts)
    return path


def turn_and_sort(path):
    """Turn a part of it by a quarter, and move it."""
    with Image.open(crop(path)) as picture:
        texts = PngImagePlugin.PngInfo()
        for key, text in picture.text.items():
            texts.add_text(key, text)
        picture.rotate(90, expand=True).save(path, pnginfo=texts)
    return move(path)


def convert(path):
    """Save as JPEG under the same name, without texts, and throw the PNG away."""
    with Image.open(path) as picture:
        picture.save(path.with_suffix(".jpg"), quality=92)
    path.unlink()
    return path.with_suffix(".jpg")


def export(path):
    """A smaller JPEG in a folder of its own, without texts, and throw the PNG away."""
    web = path.parent / "web"
    web.mkdir(exist_ok=True)
    with Image.open(path) as picture:
        picture.resize((96, 64)).save(web / f"{path.stem}.jpg")
    path.unlink()
    return web / f"{path.stem}.jpg"


HARMLESS = (rate, optimise, retouch, crop, rename, move, move_and_rate, rename_and_strip)
"""After these a picture is still known to be itself."""
