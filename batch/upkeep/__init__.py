"""What is done with a run folder after the night: check it, decode it again, clear it up. Prints nothing."""

from batch.upkeep.prune import Pruned, prune, restore
from batch.upkeep.redecode import Redecoded, redecode
from batch.upkeep.reproduce import Reproduction, reproduce
from batch.upkeep.verify import Finding, Verification, verify

__all__ = [
    "Finding", "Pruned", "Redecoded", "Reproduction", "Verification",
    "prune", "redecode", "reproduce", "restore", "verify",
]  # fmt: skip
