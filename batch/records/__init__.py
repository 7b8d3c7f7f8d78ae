"""What flows between the rooms: frozen values, no behaviour beyond turning into JSON and back.

Units: seconds for durations, bytes for sizes. Conversion to MiB happens where a number is printed.
"""

from batch.records.events import (
    Beat,
    Began,
    Closed,
    Downloading,
    Encoded,
    Event,
    Happening,
    LeftOut,
    Listener,
    Loading,
    Received,
)
from batch.records.kinds import ErrorKind, HappeningKind, RunKind, Stage, Status
from batch.records.reading import from_json, to_json
from batch.records.receipts import (
    CardState,
    ErrorInfo,
    Failure,
    FileRef,
    Machine,
    Measurement,
    Outcome,
    Receipt,
    StagePeak,
)
from batch.records.spec import ModelSource, Numerics, RunSpec
from batch.records.tasks import EncodeTask, Lora, Task, lora_origin
from batch.records.values import Arguments, Call, Scalar, Value

__all__ = [
    "Arguments",
    "Beat",
    "Began",
    "Call",
    "CardState",
    "Closed",
    "Downloading",
    "EncodeTask",
    "Encoded",
    "ErrorInfo",
    "ErrorKind",
    "Event",
    "Failure",
    "FileRef",
    "Happening",
    "HappeningKind",
    "LeftOut",
    "Listener",
    "Loading",
    "Lora",
    "Machine",
    "Measurement",
    "ModelSource",
    "Numerics",
    "Outcome",
    "Receipt",
    "Received",
    "RunKind",
    "RunSpec",
    "Scalar",
    "Stage",
    "StagePeak",
    "Status",
    "Task",
    "Value",
    "from_json",
    "lora_origin",
    "to_json",
]
