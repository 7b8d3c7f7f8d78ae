"""What torch says of itself and of the devices it sees, as JSON; run as a program of its own.

A torch that is missing, broken or built for another driver may end its process or take minutes: `doctor`
starts it in a child process, so it imports nothing of the package, and torch inside a function.
"""

from __future__ import annotations

import json
import sys


def facts() -> dict[str, object]:
    """Versions, devices, and where the first step that failed did so, in the words of torch."""
    found: dict[str, object] = {
        "version": None,
        "cuda": None,
        "mps": False,
        "devices": [],
        "error": "",
        "stage": "",
    }
    for stage, look in (("torch", _torch), ("cuda", _devices), ("diffusers", _diffusers)):
        try:
            found |= look()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
            lines = str(error).strip().splitlines() or ["no reason given"]
            found |= {"error": f"{type(error).__name__}: {lines[0]}", "stage": stage}
            if stage != "cuda":  # without a GPU the rest still counts
                break
    return found


def _torch() -> dict[str, object]:
    import torch

    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "mps": torch.backends.mps.is_available(),
    }


def _devices() -> dict[str, object]:
    import torch

    if torch.version.cuda and not torch.cuda.is_available():
        torch.cuda.init()  # says why
    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        torch.ones(8, device=f"cuda:{index}").sum().item()  # a first kernel has run on it
        devices.append(
            {
                "name": properties.name,
                "memory": properties.total_memory,
                "capability": f"{properties.major}.{properties.minor}",
            }
        )
    return {"devices": devices}


def _diffusers() -> dict[str, object]:
    from diffusers import SanaPipeline  # noqa: F401 - the import is the question

    return {}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(facts()) + "\n")
