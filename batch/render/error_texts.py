"""What torch, CUDA and its libraries say when memory ran out, a card is lost, or it cannot be used at all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Meaning(Enum):
    """What a text in an error says about the run."""

    MEMORY = auto()
    """The device's memory ran out; without a card that is the host's. A smaller setting may help."""
    HOST_MEMORY = auto()
    """The host's memory ran out. A setting that moves more to the host makes it worse."""
    LOST = auto()
    """Every further call of this process fails: the context is broken for good. A fresh process may do."""
    UNSUITED = auto()
    """This installation cannot use this card. Every image fails alike, in every process."""


@dataclass(frozen=True, slots=True)
class Said:
    """A text that stands in an error, what it means, and who says it."""

    text: str
    meaning: Meaning
    source: str
    remedy: str = ""
    """What is not obvious from the text, for the user."""


MEMORY, HOST_MEMORY, LOST, UNSUITED = Meaning

_RUNTIME = "cudaGetErrorString (driver_types.h), after torch's 'CUDA error: ' (c10/cuda/CUDAException.cpp)"
_BLAS = "_cublasGetErrorEnum (torch, aten/src/ATen/cuda/CUDABlas.cpp)"
_CUDNN = "cudnnGetErrorString, after torch's 'cuDNN error: ' (aten/src/ATen/cuda/Exceptions.h)"
_ALLOCATOR = "torch, c10/cuda/CUDACachingAllocator.cpp and CUDAMallocAsyncAllocator.cpp"
_HOST = "torch, c10/core/impl/alloc_cpu.cpp"

_NO_ENGINE = (
    "cuDNN found no way to compute this: mostly for want of memory to work in; a card that this build of torch no "
    "longer supports gives the same text"
)
_OTHER_TORCH = "install a torch that is built for this card and driver: `doctor` says what is here"

TABLE: tuple[Said, ...] = (
    # The card is gone for this process. Before memory: what follows such an error may say anything.
    Said("an illegal memory access was encountered", LOST, _RUNTIME),
    Said("device-side assert triggered", LOST, _RUNTIME),
    Said("misaligned address", LOST, _RUNTIME),
    Said("an illegal instruction was encountered", LOST, _RUNTIME),
    Said("invalid program counter", LOST, _RUNTIME),
    Said("operation not supported on global/shared address space", LOST, _RUNTIME),
    Said("unspecified launch failure", LOST, _RUNTIME),
    Said("the launch timed out and was terminated", LOST, _RUNTIME),  # a card with a screen; Windows
    Said("hardware stack error", LOST, _RUNTIME),
    Said("uncorrectable ECC error", LOST, _RUNTIME),
    Said("uncorrectable NVLink error", LOST, _RUNTIME),
    Said("Invalid access of peer GPU memory over nvlink", LOST, _RUNTIME),
    Said("tensor memory not completely freed", LOST, _RUNTIME),
    Said("context is destroyed", LOST, _RUNTIME),
    Said("driver shutting down", LOST, _RUNTIME),
    Said("no CUDA-capable device is detected", LOST, _RUNTIME),
    Said("busy or unavailable", LOST, _RUNTIME),  # someone has the card for himself (compute mode)
    Said("the MPS client has been terminated", LOST, _RUNTIME),
    Said("MPS server is not ready", LOST, _RUNTIME),
    Said("failed to connect to the MPS control daemon", LOST, _RUNTIME),
    Said("CUDA error: unknown error", LOST, _RUNTIME),
    Said("CUDA unknown error", LOST, "torch, c10/cuda/CUDAFunctions.cpp"),
    Said("CUDA driver error: unknown error", LOST, "torch, aten/src/ATen/cuda/Exceptions.h"),
    Said("No CUDA GPUs are available", LOST, "torch, c10/cuda/CUDAFunctions.cpp"),
    Said("GPU is lost", LOST, "nvmlErrorString (NVML_ERROR_GPU_IS_LOST)"),
    Said("has fallen off the bus", LOST, "NVIDIA's kernel module, Xid 79"),
    Said("device is being removed", LOST, "Direct3D and WDDM, DXGI_ERROR_DEVICE_REMOVED"),
    Said("DEVICE_LOST", LOST, "Level Zero (XPU), by name of result"),
    Said("unhandled cuda error", LOST, "ncclGetErrorString; it hides which"),
    # The host's memory, whatever the device.
    Said("HOST_ALLOCATION_FAILED", HOST_MEMORY, _CUDNN),
    Said("can't allocate memory", HOST_MEMORY, _HOST),
    Said("not enough memory: you tried to allocate", HOST_MEMORY, _HOST),  # on Windows
    Said("Cannot allocate memory", HOST_MEMORY, "strerror(ENOMEM)"),
    # In whatever language Windows says it.
    Said("WinError 1455", HOST_MEMORY, "Python, of ERROR_COMMITMENT_LIMIT: the paging file is too small"),
    Said("os error 1455", HOST_MEMORY, "Rust (safetensors), likewise"),
    Said("paging file is too small", HOST_MEMORY, "Windows, likewise"),
    Said("bad allocation", HOST_MEMORY, "std::bad_alloc of Microsoft's C++"),
    Said("std::bad_alloc", HOST_MEMORY, "the C++ standard library"),
    # The device's memory.
    Said("out of memory", MEMORY, f"{_ALLOCATOR}; also HIP, MPS, XPU, the CUDA driver and Triton"),
    Said("NVML_SUCCESS == ", MEMORY, f"{_ALLOCATOR}: while it words an out-of-memory (pytorch #112377)"),
    Said("free_upper_bound + pytorch_used_bytes", MEMORY, f"{_ALLOCATOR}: likewise"),
    Said("Allocation on device", MEMORY, f"{_ALLOCATOR}: cudaMallocAsync's"),
    Said("OUT_OF_DEVICE_MEMORY", MEMORY, "Level Zero (XPU), by name of result"),
    Said("ERROR_OUT_OF_RESOURCES", MEMORY, "Level Zero (XPU), by name of result"),
    Said("not enough GPU video memory", MEMORY, "torch-directml"),
    Said("Invalid buffer size:", MEMORY, "torch, aten/src/ATen/mps/MPSAllocator.mm"),
    Said("CUBLAS_STATUS_ALLOC_FAILED", MEMORY, _BLAS),
    Said("CUBLAS_STATUS_NOT_INITIALIZED", MEMORY, f"{_BLAS}: no room for its handle"),
    Said("CUDNN_STATUS_ALLOC_FAILED", MEMORY, _CUDNN),
    Said("DEVICE_ALLOCATION_FAILED", MEMORY, _CUDNN),
    Said("CUDNN_STATUS_NOT_INITIALIZED", MEMORY, f"{_CUDNN}: no room for its handle"),
    Said("unable to find an engine", MEMORY, "torch, native/cudnn/Conv_v8.cpp: FIND and GET", _NO_ENGINE),
    Said("Unable to find a valid cuDNN algorithm", MEMORY, "torch, native/cudnn/Conv_v7.cpp", _NO_ENGINE),
    Said("CUSOLVER_STATUS_ALLOC_FAILED", MEMORY, "cusolverGetErrorMessage (torch)"),
    Said("CUSPARSE_STATUS_ALLOC_FAILED", MEMORY, "cusparseGetErrorName"),
    Said("CUFFT_ALLOC_FAILED", MEMORY, "torch, native/cuda/CuFFTUtils.h"),
    Said("NVRTC_ERROR_OUT_OF_MEMORY", MEMORY, "nvrtcGetErrorString"),
    # This build of torch and this card, or this driver.
    Said("no kernel image is available", UNSUITED, _RUNTIME, _OTHER_TORCH),
    Said("device kernel image is invalid", UNSUITED, _RUNTIME, _OTHER_TORCH),
    Said(
        "invalid device function",
        UNSUITED,
        f"{_RUNTIME}; ROCm on a card it was not built for",
        _OTHER_TORCH,
    ),
    Said("compiled with an unsupported toolchain", UNSUITED, _RUNTIME, "update the driver"),
    Said("a PTX JIT compilation failed", UNSUITED, _RUNTIME, _OTHER_TORCH),
    Said("PTX JIT compiler library not found", UNSUITED, _RUNTIME, "install the driver anew"),
    Said("CUDA driver version is insufficient", UNSUITED, _RUNTIME, "update the driver"),
    Said(
        "NVIDIA driver on your system is too old",
        UNSUITED,
        "torch, c10/cuda/CUDAFunctions.cpp",
        "update it",
    ),
    Said("unsupported display driver / cuda driver combination", UNSUITED, _RUNTIME, "restart the machine"),
    Said("forward compatibility was attempted", UNSUITED, _RUNTIME, "update the driver"),
    Said("system not yet initialized", UNSUITED, _RUNTIME, "start NVIDIA's fabric manager"),
    Said("doesn't have valid Grid license", UNSUITED, _RUNTIME, "license the virtual GPU"),
    Said("ARCH_MISMATCH", UNSUITED, "cuBLAS and cuDNN, by name of status", _OTHER_TORCH),
    Said(
        "CUDNN_STATUS_SUBLIBRARY",
        UNSUITED,
        f"{_CUDNN}: another cuDNN is found first",
        "see LD_LIBRARY_PATH",
    ),
)
"""Every such text of torch, CUDA, cuBLAS, cuDNN, NCCL and the driver; of several in one error the first counts.

Not in it, as they end no run and need no room: "too many resources requested for launch", Triton's "out of
resource: shared memory" (a kernel that does not fit the card's multiprocessors: a compiled model is then rendered
as it is), CUBLAS_STATUS_EXECUTION_FAILED and CUDNN_STATUS_EXECUTION_FAILED, which the error behind them follows.
"""
