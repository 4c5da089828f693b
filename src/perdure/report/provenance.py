"""Where numbers come from: versions, machine, seeds and time. No name of a host, a user or a folder."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("perdure", "torch", "numpy", "scipy", "numba", "pandas", "pyarrow", "joblib", "transformers")


def versions() -> dict[str, str]:
    """Python and the packages that numbers depend on: name -> version; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """Kind of processor, processors this process may use, memory, system: facts that change speed or rounding."""
    facts = {"processor": _processor(), "processors used": str(_available()), "system": f"{platform.system()} on {platform.machine()}"}
    try:
        facts["memory"] = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (ValueError, OSError, AttributeError):  # a system that does not say
        facts["memory"] = "unknown"
    return facts


def today() -> str:
    """The date in UTC.

    >>> len(today())
    10
    """
    return datetime.now(UTC).date().isoformat()


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as one reads them.

    >>> duration(0.04), duration(7.26), duration(95.0), duration(7320.0)
    ('under 0.1 s', '7.3 s', '1 min 35 s', '2 h 2 min')
    """
    if seconds < 0.1:
        return "under 0.1 s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _processor() -> str:
    """As the processor calls itself."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return " ".join(found[1].split()) if found else platform.processor() or platform.machine()


def _available() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
