"""Variables of the environment that change what is computed: one table.

A user's shell may change the arithmetic of a framework behind everybody's back.  Each
variable here is either fixed (the child of a run is not given the user's, and a line
says so) or a switch: set on purpose, it is part of the identity of the runs that it
acts on, so that two settings are two runs.  What begins as a framework's variables do
and is not in the table is kept in the records.  Empty is as good as unset.

The names were looked up in the libraries themselves: PyTorch 2.14, TensorFlow 2.21,
Keras 3.15, NumPy 2.4 with OpenBLAS.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from common.errors import Refused

SECRET = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "API_KEY")
LONGEST = 200  # characters of a value of an unknown variable that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A variable, or all whose names begin so, that a user sets on purpose.

    Attributes:
        name: Of the variable; one that ends with "*" stands for all that begin so.
        what: What it changes, in a few words.
        of: Frameworks that it acts on; none for all of them.
        gpu: Whether it acts on a GPU alone.
        usual: What we set ourselves where the user sets nothing.
    """

    name: str
    what: str
    of: tuple[str, ...] = ()
    gpu: bool = False
    usual: str = ""

    def means(self, variable: str) -> bool:
        """Whether a variable is one of it."""
        if self.name.endswith("*"):
            return variable.startswith(self.name[:-1])
        return variable == self.name

    def acts_on(self, frameworks: Iterable[str], device: str) -> bool:
        """Whether a run that uses `frameworks` on `device` depends on it."""
        used = not self.of or bool({*self.of} & {*frameworks})
        return used and (device == "gpu" or not self.gpu)


TF, PT = ("tensorflow",), ("torch",)
SWITCHES = (
    # kernels of the processor
    Switch(name="TF_ENABLE_ONEDNN_OPTS", what="oneDNN's kernels in TensorFlow", of=TF),
    Switch(name="TF_ENABLE_ONEDNN_SPMM", what="oneDNN's sparse products", of=TF),
    Switch(name="TF_ENABLE_ZENDNN_OPTS", what="ZenDNN's kernels", of=TF),
    Switch(name="TF_SET_ONEDNN_FPMATH_MODE", what="bfloat16 inside oneDNN", of=TF),
    Switch(name="TF_ONEDNN_*", what="how oneDNN shares its work", of=TF),
    Switch(name="TF_MKL_*", what="how oneDNN's kernels are kept", of=TF),
    Switch(name="TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL", what="Eigen's sums", of=TF),
    Switch(name="TF_USE_EIGEN_*", what="how Eigen shares its work", of=TF),
    Switch(name="TF_USE_DEEP_CONV2D", what="the way to convolve", of=TF),
    Switch(name="TF_ENABLE_MAXPOOL_NANPROP", what="a maximum of NaNs", of=TF),
    Switch(name="ATEN_CPU_CAPABILITY", what="the instructions of PyTorch", of=PT),
    Switch(name="TORCH_MKLDNN_*", what="which products oneDNN makes", of=PT),
    Switch(name="TORCH_LINEAR_FLATTEN_3D", what="the shape of products", of=PT),
    *(
        Switch(name=f"{library}_{name}", what=what)
        for library in ("ONEDNN", "DNNL")
        for name, what in (
            ("MAX_CPU_ISA", "the instructions of oneDNN"),
            ("CPU_ISA_HINTS", "the instructions of oneDNN"),
            ("DEFAULT_FPMATH_MODE", "bfloat16 inside oneDNN"),
        )
    ),
    Switch(name="MKL_CBWR", what="the order in which MKL adds"),
    Switch(name="MKL_CBWR_BRANCH", what="the order in which MKL adds"),
    Switch(name="MKL_ENABLE_INSTRUCTIONS", what="the instructions of MKL"),
    Switch(name="MKL_DEBUG_CPU_TYPE", what="the instructions of MKL"),
    Switch(name="MKL_DISABLE_FAST_MM", what="how MKL multiplies"),
    Switch(name="MKL_THREADING_LAYER", what="who shares MKL's work"),
    Switch(name="MKL_SERVICE_FORCE_INTEL", what="who shares MKL's work"),
    Switch(name="OPENBLAS_CORETYPE", what="the instructions of NumPy's products"),
    Switch(name="OPENBLAS_BLOCK_FACTOR", what="the blocks of NumPy's products"),
    Switch(name="OPENBLAS_L2_SIZE", what="the blocks of NumPy's products"),
    Switch(name="BLIS_ARCH_TYPE", what="the instructions of BLIS"),
    Switch(name="NPY_DISABLE_CPU_FEATURES", what="the instructions of NumPy"),
    Switch(name="NPY_ENABLE_CPU_FEATURES", what="the instructions of NumPy"),
    Switch(name="GLIBC_TUNABLES", what="the instructions of exp and log"),
    Switch(name="OMP_SCHEDULE", what="how a loop is shared"),
    Switch(name="KMP_DETERMINISTIC_REDUCTION", what="the order in which threads add"),
    Switch(name="KMP_FORCE_REDUCTION", what="the order in which threads add"),
    # compilers and rewriters of graphs
    Switch(name="XLA_FLAGS", what="XLA", of=TF),
    Switch(name="TF_XLA_FLAGS", what="what XLA compiles", of=TF),
    Switch(name="TF_JITRT_FLAGS", what="what is compiled", of=TF),
    Switch(
        name="TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_*", what="precision of ops", of=TF
    ),
    # determinism
    Switch(name="TF_DETERMINISTIC_OPS", what="deterministic kernels", of=TF),
    Switch(name="TF_DISABLE_SCATTER_OP_DETERMINISM", what="how it adds", of=TF),
    Switch(name="TF_DISABLE_SEGMENT_REDUCTION_*", what="how it adds", of=TF),
    Switch(name="TF_USE_DETERMINISTIC_*", what="deterministic kernels", of=TF),
    # kernels of the GPU
    Switch(name="NVIDIA_TF32_OVERRIDE", what="TF32 in products", gpu=True),
    Switch(
        name="CUBLAS_WORKSPACE_CONFIG",
        what="deterministic products",
        gpu=True,
        usual=":4096:8",
    ),
    Switch(name="CUDNN_ERRATA_JSON_FILE", what="which kernels cuDNN has", gpu=True),
    Switch(name="TORCH_ALLOW_TF32_*", what="TF32 in products", of=PT, gpu=True),
    Switch(name="TORCH_CUDNN_*", what="which kernels cuDNN has", of=PT, gpu=True),
    Switch(name="TORCH_BLAS_*", what="which library multiplies", of=PT, gpu=True),
    Switch(name="TORCH_LINALG_*", what="which library solves", of=PT, gpu=True),
    Switch(name="TORCH_CUBLASLT_*", what="how cuBLASLt multiplies", of=PT, gpu=True),
    Switch(name="DISABLE_ADDMM_CUDA_LT", what="who multiplies", of=PT, gpu=True),
    Switch(name="PYTORCH_TUNABLEOP_*", what="which kernels are taken", of=PT, gpu=True),
    Switch(name="TF_CUDNN_*", what="which kernels cuDNN has", of=TF, gpu=True),
    Switch(name="TF_USE_CUDNN_*", what="which kernels cuDNN has", of=TF, gpu=True),
    Switch(name="TF_USE_CUBLASLT", what="which library multiplies", of=TF, gpu=True),
    Switch(name="TF_USE_DEFAULT_CONV_ALGO", what="how it convolves", of=TF, gpu=True),
    Switch(name="TF_ENABLE_WINOGRAD_*", what="how it convolves", of=TF, gpu=True),
    Switch(name="TF_ENABLE_FFT_*", what="how it convolves", of=TF, gpu=True),
    Switch(name="TF_MATMUL_AUTOTUNE_*", what="how it multiplies", of=TF, gpu=True),
    Switch(name="TF_AUTOTUNE_*", what="which kernels are taken", of=TF, gpu=True),
    Switch(name="TF_CONV2D_USE_FP16_*", what="precision of sums", of=TF, gpu=True),
    Switch(name="TF_FP16_*", what="precision of sums", of=TF, gpu=True),
    Switch(name="TF_DISABLE_RZ_CHECK", what="which kernels are taken", of=TF, gpu=True),
)

# What a child is never given, and what says it instead.
THREADS, OURS = "--threads says how many", "twintrack sees to it"
FIXED = {
    **dict.fromkeys(
        (
            "OMP_NUM_THREADS",
            "OMP_THREAD_LIMIT",
            "OMP_DYNAMIC",
            "OMP_NESTED",
            "OMP_MAX_ACTIVE_LEVELS",
            "KMP_ALL_THREADS",
            "KMP_DEVICE_THREAD_LIMIT",
            "MKL_NUM_THREADS",
            "MKL_DOMAIN_NUM_THREADS",
            "MKL_NUM_STRIPES",
            "MKL_DYNAMIC",
            "OPENBLAS_NUM_THREADS",
            "OPENBLAS_DEFAULT_NUM_THREADS",
            "GOTO_NUM_THREADS",
            "BLIS_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS",
            "NUMEXPR_NUM_THREADS",
            "TF_NUM_INTRAOP_THREADS",
            "TF_NUM_INTEROP_THREADS",
            "TF_OVERRIDE_GLOBAL_THREADPOOL",
        ),
        THREADS,
    ),
    "KERAS_MAX_EPOCHS": "the recipe says how many",
    "KERAS_MAX_STEPS_PER_EPOCH": "the recipe says how many",
    "KERAS_TORCH_DEVICE": "--device says which",
    "KERAS_NNX_ENABLED": OURS,
    "TF_USE_LEGACY_KERAS": "every track uses Keras 3",
}
# Each track refuses another Keras backend than its own (common.keras_backend).
REFUSED = ("KERAS_BACKEND",)

# How the variables of frameworks and their libraries begin.
PREFIXES = (
    *("TF_", "TENSORFLOW_", "XLA_", "KERAS_", "TORCH_", "TORCHINDUCTOR_", "PYTORCH_"),
    *("ATEN_", "MKL_", "ONEDNN_", "DNNL_", "OMP_", "KMP_", "GOMP_", "OPENBLAS_"),
    *("BLIS_", "NPY_", "CUBLAS_", "CUDNN_", "NVIDIA_"),
)
# What begins so and decides no number: words, places, memory, pace (some of it PyTorch
# and TensorFlow set themselves), and what is Terraform's, where there may be secrets.
HARMLESS = (
    *("TF_CPP_*", "TF_DUMP_*", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR"),
    *("TF_VAR_*", "TF_CLI_*", "TF_LOG*", "TF_TOKEN_*", "TF_WORKSPACE", "TF_INPUT"),
    *("TF_DATA_DIR", "TF_PLUGIN_*", "TF_IN_AUTOMATION", "TF_REGISTRY_*", "TF_HTTP_*"),
    *("TF_CLOUD_*", "TF_STATE_*", "TF_APPEND_*", "TF_ACC*"),
    *(
        "TORCHINDUCTOR_CACHE_DIR",
        "KERAS_HOME",
        "TORCH_HOME",
        "TORCH_EXTENSIONS_DIR",
        "TORCH_SHOW_*",
    ),
    *("TORCH_CPP_LOG_LEVEL", "TORCH_LOGS", "TORCH_NCCL_*", "TORCH_DISTRIBUTED_*"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NO_CUDA_*"),
    *("MKL_VERBOSE*", "ONEDNN_VERBOSE*", "DNNL_VERBOSE*", "OPENBLAS_VERBOSE"),
    *("OMP_PLACES", "OMP_PROC_BIND", "OMP_WAIT_POLICY", "OMP_STACKSIZE"),
    *("OMP_DISPLAY_*", "KMP_AFFINITY", "KMP_BLOCKTIME", "KMP_SETTINGS"),
    *("KMP_WARNINGS", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "GOMP_SPINCOUNT"),
    *("GOMP_CPU_AFFINITY", "CUDNN_LOG*", "CUBLAS_LOG*", "NVIDIA_VISIBLE_DEVICES"),
    *("NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_REQUIRE_*", "NVIDIA_PRODUCT_NAME"),
    *("NVIDIA_BUILD_ID", "NVIDIA_PYTORCH_VERSION", "NVIDIA_TENSORFLOW_VERSION"),
)


def switches(
    frameworks: Iterable[str],
    device: str,
    environ: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """What is set of `SWITCHES` that acts on such a run: "NAME=value", sorted.

    Raises:
        Refused: A value cannot be kept in a record.
    """
    given = frozenset(_given(environ).items())
    return _acting(given, frozenset(frameworks), device)


@lru_cache(maxsize=64)
def _acting(
    given: frozenset[tuple[str, str]], frameworks: frozenset[str], device: str
) -> tuple[str, ...]:
    return tuple(
        f"{name}={value}"
        for name, value, switch in _set(dict(given))
        if switch.acts_on(frameworks, device) and value != switch.usual
    )


def _set(environ: Mapping[str, str] | None) -> Iterator[tuple[str, str, Switch]]:
    """Name, value and row of every switch that is set, sorted."""
    for name, value in sorted(_given(environ).items()):
        if value and (switch := switch_of(name)):
            yield name, _kept(name, value), switch


def switch_of(name: str) -> Switch | None:
    """The first row of `SWITCHES` that a variable belongs to."""
    return next((switch for switch in SWITCHES if switch.means(name)), None)


def acts_everywhere(said: str) -> bool:
    """Whether what was set ("NAME=value") acts on every framework."""
    row = switch_of(said.partition("=")[0])
    return row is None or not row.of


def _kept(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Refused(
            f"a variable that changes numbers must be text, {name} is {value!r}; "
            "unset it"
        ) from error
    return value


def _given(environ: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if environ is None else environ


def without(environ: Mapping[str, str], *, switches: bool = False) -> dict[str, str]:
    """The environment without what is fixed, and without switches where asked."""
    return {
        name: value
        for name, value in environ.items()
        if name not in FIXED and not (switch_of(name) and (switches or not value))
    }


def unknown(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What begins as a framework's variables do and is not in the table."""
    return {
        name: _shown(name, value)
        for name, value in sorted(_given(environ).items())
        if name.startswith(PREFIXES)
        and value
        and name not in FIXED
        and name not in REFUSED
        and switch_of(name) is None
        and not any(Switch(name=row, what="").means(name) for row in HARMLESS)
    }


def _shown(name: str, value: str) -> str:
    """The value for a record, which others may read."""
    if any(word in name for word in SECRET):
        return "(not kept)"
    return value.encode(errors="replace").decode()[:LONGEST]


def recorded(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a record keeps of the environment: switches, and what is not known."""
    known = {n: value for n, value, row in _set(environ) if value != row.usual}
    return dict(sorted((known | unknown(environ)).items()))


def remarks(
    threads: Iterable[int], environ: Mapping[str, str] | None = None
) -> list[str]:
    """What is done about the variables that are set: a line for each kind.

    Args:
        threads: Numbers of threads that are given; what says the same is not named.
        environ: This process's unless given.
    """
    same = {str(n) for n in threads}
    lines = [
        f"{name}={value} is not handed to runs: {why}"
        for name, value in sorted(_given(environ).items())
        if value and (why := FIXED.get(name)) and (why != THREADS or {value} != same)
    ]
    if known := sorted(unknown(environ).items()):
        named = ", ".join(f"{name}={value}" for name, value in known)
        lines.append(
            f"{named}: not known here; kept in the records, but runs with it and "
            "without it are taken for the same"
        )
    return lines


def meaning(switches: Iterable[str]) -> str:
    """What switches ("NAME=value") mean for runs that they act on; "" for none."""
    named = []
    for said in sorted(set(switches)):
        row = switch_of(said.partition("=")[0])
        named.append(f"{said} ({row.what})" if row else said)
    if not named:
        return ""
    return (
        f"{', '.join(named)}: may change numbers; runs with it and without it are "
        "kept apart"
    )
