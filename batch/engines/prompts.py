"""Texts encoded into the cache of embeddings, and handed to the images that use them."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from batch.base import disk
from batch.base.errors import CannotGoOn, StoppedEarly
from batch.catalogue import tensors
from batch.memory import ladder
from batch.plan.texts import encode_tasks
from batch.records.events import Happening, Listener
from batch.records.kinds import ErrorKind, HappeningKind, Stage, Status
from batch.records.reading import from_json
from batch.records.receipts import ErrorInfo, Measurement, Outcome, StagePeak, TextTokens, together
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task
from batch.records.values import Call
from batch.render.backend import TOKENS
from batch.render.failures import StageFailed
from batch.render.way import Job, RenderError

if TYPE_CHECKING:
    from batch.engines.warm import Warm
    from batch.render.backend import Timed
    from batch.store.embeds import EmbedCache
    from batch.store.rungs import RungFile


class PromptEncoder:
    """Encodes texts one by one, and knows what each of them took."""

    def __init__(self, spec: RunSpec, embeds: EmbedCache, rungs: RungFile, warm: Warm, listener: Listener) -> None:
        self._spec = spec
        self._embeds, self._rungs = embeds, rungs
        self._warm, self._listener = warm, listener
        self._unencoded: dict[str, StageFailed] = {}
        self._warmed_up = False
        self._ready: tuple[str, ...] = ()
        """What an encoder was loaded for, as long as nothing has taken its place."""

    def encode(self, task: EncodeTask) -> Outcome:
        """Encode a text, down the ladder while memory runs out; ``seconds`` are those of encoding.

        Raises :class:`CannotGoOn` where its memory runs out for good.
        """
        taken = self._rung(task)
        kept = _kept_as(task.key, taken)
        if taken and self._embeds.has(kept):
            return Outcome(key=task.key, status=Status.DONE)
        asked = replace(task, memory_steps=(Call(name=taken),)) if taken else task
        beat = self._warm.heartbeat(task.text)
        wanted = (task.model, task.dtype, taken)
        if self._ready != wanted:  # else nothing is loaded
            beat(Stage.LOAD, 0, 0)
        self._ready = ()
        try:
            made = self._warm.session(task).encode(asked, beat)
        except StageFailed as error:
            rung = ladder.next_text_rung(asked.memory_steps, self._spec.device) if self._spec.fallback else None
            if rung is None:
                raise CannotGoOn(f"out of memory while encoding texts: {error.info.message}") from None
        else:
            self._ready = wanted
            return self._done(task.key, kept, made)
        self._rungs.take_for_texts(task, rung)
        text = f"out of memory while encoding texts: {rung} from now on for those of {task.model}"
        data = {"stage": Stage.ENCODE, "rung": rung}
        self._listener.on(Happening(kind=HappeningKind.OUT_OF_MEMORY, text=text, data=data))
        return self.encode(task)

    def measure(self, task: EncodeTask) -> Outcome:
        """What encoding a text takes on a warm card; that it does not fit is the result of its images."""
        beat = self._warm.heartbeat(task.text)
        beat(Stage.LOAD, 0, 0)
        session = self._warm.session(task)
        try:
            made = session.encode(task, beat)
            if not self._warmed_up:  # the first text of a process pays for libraries loaded and kernels tried
                made, self._warmed_up = session.encode(task, beat), True
        except StageFailed as error:
            self._unencoded[task.key] = error
            return Outcome(key=task.key, status=Status.FAILED, error=error.info)
        return self._done(task.key, task.key, made)

    def job(self, task: Task, encoded: MutableMapping[str, StagePeak]) -> Job:
        """An image with the embeddings of its texts. Raises :class:`RenderError` where there are none.

        ``encoded`` is what encoding texts took, by key: what counts for this image is taken out.
        """
        self._ready = ()
        texts = encode_tasks(task, self._spec.models[task.model].family, self._spec.device)
        taken = self._rung(task)
        kept = [self._embeds.read(_kept_as(text.key, taken)) for text in texts]
        # One that fitted before the others did not lies where it lay.
        embeds = [data or self._embeds.read(text.key) for data, text in zip(kept, texts, strict=True)]
        if missed := [self._unencoded[text.key] for text in texts if text.key in self._unencoded]:
            raise RenderError(missed[0].info, Measurement(encode=missed[0].peak))
        if None in embeds:
            info = ErrorInfo(
                kind=ErrorKind.MISSING_EMBEDS,
                message="there are no embeddings of its texts",
                stage=Stage.ENCODE,
            )
            raise RenderError(info, Measurement())
        take = encoded.__getitem__ if self._spec.measure else encoded.pop
        cost = together([take(text.key) for text in texts if text.key in encoded])
        return Job(
            task=task,
            embeds=[data for data in embeds if data is not None],
            encoded=cost if texts else None,
            texts=_read(embeds),
            texts_by=taken if any(kept) else "",
        )

    def _rung(self, task: EncodeTask | Task) -> str:
        """How texts are encoded where their encoder does not fit; empty as the task says."""
        return self._rungs.of_texts(task) if self._spec.fallback else ""

    def _done(self, key: str, kept: str, made: Timed[bytes]) -> Outcome:
        """Keep a text's embedding and its cost."""
        try:
            self._embeds.write(kept, made.value)
        except OSError as error:
            kind = StoppedEarly if disk.is_full(error) else CannotGoOn
            raise kind(
                f"prompt embeddings cannot be kept in {self._embeds.folder}: {error.strerror or error}. "
                "Make room there, or set RUN_BATCH_CACHE to another folder"
            ) from None
        return Outcome(key=key, status=Status.DONE, seconds=made.peak.seconds, encoded=made.peak)


def _read(embeds: Sequence[bytes | None]) -> tuple[TextTokens, ...]:
    """How much of each text was read; nothing where one of the embeddings does not say so."""
    try:
        return tuple(from_json(TextTokens, tensors.notes(data or b"")[TOKENS]) for data in embeds)
    except (KeyError, ValueError):
        return ()


def _kept_as(key: str, taken: str) -> str:
    """Where the cache keeps an embedding: one of the CPU, to which a rung led, has other last bits."""
    return f"{key}-cpu" if taken == "text_encoder_cpu" else key
