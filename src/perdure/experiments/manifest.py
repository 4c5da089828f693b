"""What a run says of itself: manifest.json in its folder, written before the first job and after the last one."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import perdure
from perdure.errors import PerdureError
from perdure.experiments.base import Experiment, Job, Spec
from perdure.experiments.fingerprint import digest, plain
from perdure.report.files import write
from perdure.report.provenance import machine

FORMAT = 1
FILE = "manifest.json"
PACKAGES = ("torch", "numpy", "scipy", "numba", "pandas", "pyarrow", "joblib")
KEYS = {"experiment", "profile", "version", "spec", "jobs", "sessions", "failures", "started"}


class DamagedManifest(PerdureError, ValueError):
    """A manifest that cannot be read; the text says why."""


def now() -> str:
    """The time as ISO 8601, in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def folder_name(experiment: Experiment, profile: str, spec: Spec, code: str, data: str) -> str:
    """Of a run: the experiment, the profile, and what tells it from others of both."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{experiment.name}-{profile}")
    return f"{plain}-{digest([experiment.name, experiment.version, spec.model_dump(mode='json'), code, data])[:10]}"


def new(experiment: Experiment, profile: str, spec: Spec, jobs: Mapping[str, Job], code: str, data: str, backend: str) -> dict[str, Any]:
    """A manifest without sessions."""
    extra = {"dask": ("dask", "distributed"), "ray": ("ray",)}.get(backend, ())
    versions = {"python": platform.python_version(), "perdure": perdure.__version__}
    versions |= {name: metadata.version(name) for name in (*PACKAGES, *extra)}
    return {
        "format": FORMAT,
        "experiment": experiment.name,
        "title": experiment.title,
        "profile": profile,
        "version": experiment.version,
        "spec": spec.model_dump(mode="json"),
        "code": code,
        "data": data,
        "perdure": perdure.__version__,
        "versions": versions,
        "machine": machine(),
        "seeds": sorted({job["seed"] for job in jobs.values() if isinstance(job.get("seed"), int)}, key=int),  # type: ignore[arg-type]
        "started": now(),
        "ended": None,
        "sessions": [],
        "seconds_by_job": {},
        "failures": [],
        "jobs": [{"key": key, "job": plain(job)} for key, job in jobs.items()],
    }


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run's folder; None where there is none.

    Raises:
        DamagedManifest: it cannot be read or lacks what it must hold.
    """
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamagedManifest(f"it cannot be read ({(error.strerror or str(error)).lower()})") from None
    except ValueError as error:
        raise DamagedManifest(f"not JSON ({str(error).splitlines()[0][:80]})") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT or KEYS - set(found):
        raise DamagedManifest("JSON of something else than a run")
    return found


def save(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest whole or not at all."""
    write(folder / FILE, json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
