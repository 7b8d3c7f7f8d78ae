"""Windows ends a worker with its parent: the two share a job, which ends when the parent's handle of it closes."""

from __future__ import annotations

import sys
from contextlib import suppress

if sys.platform == "win32":
    import ctypes
    from functools import cache

    _KERNEL = ctypes.WinDLL("kernel32")

    @cache
    def _job() -> ctypes.c_void_p:
        """One for all workers. Its handle is never closed, and no child inherits it."""
        _KERNEL.CreateJobObjectW.restype = ctypes.c_void_p
        job = ctypes.c_void_p(_KERNEL.CreateJobObjectW(None, None))
        # JOBOBJECT_EXTENDED_LIMIT_INFORMATION: 144 bytes in 64 bits, LimitFlags the fifth 32-bit word of them.
        limits = (ctypes.c_uint32 * 36)()
        limits[4] = 0x2000  # JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
        _KERNEL.SetInformationJobObject(job, 9, ctypes.byref(limits), ctypes.sizeof(limits))
        return job


def tie(pid: int) -> None:
    """Have Windows end the process with this one, also while it runs native code.

    Elsewhere, and where this fails, the worker hears of its parent's end through its pipe.
    """
    if sys.platform == "win32":
        with suppress(OSError, AttributeError):
            _KERNEL.OpenProcess.restype = ctypes.c_void_p
            process = ctypes.c_void_p(_KERNEL.OpenProcess(0x0101, False, pid))  # PROCESS_TERMINATE | SET_QUOTA
            _KERNEL.AssignProcessToJobObject(_job(), process)
            _KERNEL.CloseHandle(process)
