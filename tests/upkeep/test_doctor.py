"""doctor: what the machine has, and what is wrong between torch, driver and cards."""

from dataclasses import replace

import pytest

from batch.base import nvml
from batch.upkeep import doctor, requirements


def broken_torch(work, monkeypatch, text):
    package = work / "broken" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


def test_doctor_sees_what_is_here(cli, monkeypatch):
    import torch

    monkeypatch.setenv("HF_HUB_ENABLE_HF_TRANSFER", "1")
    outcome = cli("doctor", "--json")
    data = outcome.json()
    assert outcome.code == (0 if data["ok"] else 1)
    assert data["torch"]["version"] == torch.__version__
    assert data["torch"]["error"] == ""
    assert data["packages"]["diffusers"]
    assert None not in data["packages"].values()
    assert data["memory"] > data["memory_free"] > 0
    assert {place["what"] for place in data["places"]} == {"pictures", "models", "prompt embeddings"}
    assert "lora" in data["extras"]
    assert not {"test", "dev"} & set(data["extras"])
    assert "prx-1024" in data["for_models"]["ftfy"]["models"]
    assert {"torchvision", "sentencepiece"} < set(data["for_models"])
    assert any("HF_XET_HIGH_PERFORMANCE=1" in note["text"] for note in data["notes"])
    if not data["cards"]:
        assert (outcome.code, data["device"]) == (0, "cpu")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HF_HUB_OFFLINE": "1"}, ["HF_HUB_OFFLINE is set"]),
        ({"TRANSFORMERS_OFFLINE": "yes"}, ["TRANSFORMERS_OFFLINE is set"]),
        ({"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"}, []),  # the client asks the first one alone
        ({}, []),
    ],
)
def test_doctor_tells_what_forbids_asking_the_hub(monkeypatch, variables, said):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, variables.get(name, ""))
    words = ": only models that are on this machine can be rendered"
    assert [note.text for note in doctor.switch_notes()] == [f"{text}{words}" for text in said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise ImportError('libcudart.so.13 is not there')", "libcudart.so.13 is not there"),
        ("import os, sys; sys.stderr.write('bad cpu'); os._exit(132)", "ended the process with code 132: bad cpu"),
    ],
)
def test_doctor_works_where_torch_does_not(cli, work, monkeypatch, text, said):
    broken_torch(work, monkeypatch, text)
    outcome = cli("doctor")
    assert outcome.code == 1, outcome.out
    assert "PROBLEM: torch cannot be loaded" in outcome.out
    assert said in outcome.out
    assert "-m pip install" in outcome.out
    assert "NOT READY: 1 problem" in outcome.out
    assert "GiB" in outcome.out


CARD = nvml.Card(name="NVIDIA GeForce RTX 4090", memory=24 * 2**30, free=20 * 2**30)
GPU = {"name": "NVIDIA GeForce RTX 4090", "memory": 24 * 2**30, "capability": "8.9"}


@pytest.mark.parametrize(
    ("torch", "cards", "stops", "said"),
    [
        (doctor.Torch(version="2.13.0+cpu"), (CARD,), True, "download.pytorch.org/whl/cu130"),
        (doctor.Torch(version="2.13.0+cpu"), (), False, ""),
        (doctor.Torch(version="2.13.0", cuda="13.0", devices=(GPU,)), (CARD,), False, ""),
        (
            doctor.Torch(version="2.13.0", cuda="13.0", stage="cuda", error="too old"),
            (CARD,),
            True,
            "newest driver",
        ),
        (doctor.Torch(version="2.13.0", cuda="13.0", stage="cuda", error="no GPU"), (), False, "no GPU"),
        (doctor.Torch(version="2.13.0", cuda="13.0", devices=(GPU,)), (CARD, CARD), False, "sees 1 of 2 cards"),
        (
            doctor.Torch(version="2.13.0", cuda="13.0", devices=(GPU,)),
            (replace(CARD, instances=(CARD,)), CARD),
            False,
            "one is in MIG mode",
        ),
        (doctor.Torch(version="2.13.0", stage="diffusers", error="X"), (), True, "diffusers cannot be loaded: X"),
    ],
)
def test_what_is_wrong_between_torch_driver_and_cards(torch, cards, stops, said):
    notes = doctor.torch_notes(torch, cards)
    assert any(note.stops for note in notes) == stops
    assert bool(notes) == bool(said)
    assert said in " ".join(f"{note.text} {note.remedy}" for note in notes)


def test_doctor_says_how_to_install_what_is_missing(cli, work, monkeypatch):
    (work / "pyproject.toml").write_text(
        "[project]\nname = 'run-batch'\ndependencies = ['click>=99', 'no-such-package>=1', 'torch>=2']\n"
        "[project.optional-dependencies]\nglow = ['no-such-glow>=3', 'click']\ndev = ['x']\n"
    )
    monkeypatch.setattr(requirements, "__file__", str(work / "batch" / "upkeep" / "requirements.py"))
    broken_torch(work, monkeypatch, "raise ImportError('broken')")
    text = cli("doctor").out
    assert "PROBLEM: not installed: no-such-package" in text
    assert '-m pip install "no-such-package>=1"' in text
    assert "note: of another version: click" in text
    assert '-m pip install "no-such-glow>=3"' in text
    assert "NOT READY: 2 problems" in text


def test_doctor_says_what_only_some_models_need(cli, work, monkeypatch):
    broken_torch(work, monkeypatch, "raise ImportError('broken')")
    lacking = requirements.ForModels(version=None, models=("kolors",))
    monkeypatch.setattr(requirements, "for_models", lambda: {"sentencepiece": lacking})
    text = " ".join(cli("doctor").out.split())
    assert "for some models sentencepiece missing; " in text
    assert '-m pip install "sentencepiece" (kolors)' in text
    assert "not installed: sentencepiece" not in text
