"""Which processor this is: a name that a person would say, and one for the file of its results.

A virtual machine may call its processor just "Intel(R) Xeon(R) Processor". So the name of the file is made of maker and
line, and of the instruction that decides most about our kernels: processors with the same name are of one kind.
"""

import platform
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from course_lib.machine import simd

# LLVM's name -> (in words, in a file's name), what decides most first
FEATURES = {
    "amx-int8": ("AMX", "amx"),
    "avx512vnni": ("AVX-512 with VNNI", "avx512vnni"),
    "avx512f": ("AVX-512", "avx512"),
    "avxvnni": ("AVX2 with VNNI", "avxvnni"),
    "avx2": ("AVX2", "avx2"),
    "i8mm": ("Neon with I8MM", "i8mm"),
    "dotprod": ("Neon with dot products", "dotprod"),
}
NOISE = r"\((R|TM|C)\)|\bCPU\b|\bProcessor\b|\b\d+-Core\b|@.*|^\d+th Gen\b"


@dataclass(frozen=True)
class Processor:
    """``model`` is what the system calls it,
    ``features`` the instructions that kernels are compiled for, as LLVM says."""

    model: str
    features: tuple

    @property
    def name(self) -> str:
        """For instance "Intel Xeon, AMX" or "AMD EPYC 9R14, AVX-512 with VNNI"."""
        words = " ".join(re.sub(NOISE, " ", self.model, flags=re.IGNORECASE).split()) or "a processor without a name"
        return ", ".join([words, *(FEATURES[feature][0] for feature in self.features[:1])])

    @property
    def slug(self) -> str:
        """For instance "intel-xeon-amx" or "amd-epyc-avx512vnni": maker, line and the first of the features."""
        words = re.findall("[a-z0-9]+", self.name.partition(",")[0].lower())[:2]
        return "-".join([*words, *(FEATURES[feature][1] for feature in self.features[:1])])

    def as_json(self) -> dict:
        return {**asdict(self), "name": self.name}


@lru_cache
def this() -> Processor:
    """The Processor that this process runs on."""
    return Processor(_model() or platform.processor() or platform.machine(), tuple(filter(simd.has, FEATURES)))


def _model():
    """What the system calls its processor; an empty text where it does not say."""
    try:
        if sys.platform == "win32":
            import winreg

            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
                return winreg.QueryValueEx(key, "ProcessorNameString")[0].strip()
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "")
