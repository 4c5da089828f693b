"""What a run says of itself: manifest.json in its folder, written before the first job and after the last one."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

import perdure
from perdure.errors import PerdureError
from perdure.experiments.base import Experiment, Job, Spec
from perdure.experiments.fingerprint import digest, plain
from perdure.report.files import write
from perdure.report.provenance import machine

FORMAT = 1
FILE = "manifest.json"
PACKAGES = ("torch", "numpy", "scipy", "numba", "pandas", "pyarrow", "joblib")
LONGEST = 100  # letters of a folder's name before its digest: file systems take 255 in all


class DamagedManifest(PerdureError, ValueError):
    """A manifest that cannot be read; the text says why."""


def _moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without its zone")
    return text


def _scalar(value: Any) -> Any:
    """As `perdure.experiments.fingerprint.plain` writes one."""
    if value is None or isinstance(value, str | int | float) or value in ({"float": "inf"}, {"float": "-inf"}, {"float": "nan"}):
        return value
    raise ValueError("no scalar")


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # it is part of a path
Time = Annotated[str, AfterValidator(_moment)]
Scalar = Annotated[Any, AfterValidator(_scalar)]


class _Job(_Part):
    key: Key
    job: dict[str, Scalar]


class _Failure(_Part):
    key: Key
    message: str


class _Session(_Part):
    started: Time
    ended: Time | None
    backend: str
    workers: int
    seconds: float | None


class _Manifest(_Part):
    """The shape of a manifest: what those who read it rely on."""

    format: Literal[1]
    experiment: str
    profile: str
    version: int
    spec: dict[str, Any]
    code: str
    data: str
    perdure: str
    versions: dict[str, str]
    machine: dict[str, Scalar]
    seeds: list[int]
    started: Time
    ended: Time | None
    sessions: list[_Session]
    jobs: list[_Job]
    failures: list[_Failure]

    @model_validator(mode="after")
    def _known(self) -> _Manifest:
        keys = {entry.key for entry in self.jobs}
        for failure in self.failures:
            if failure.key not in keys:
                raise ValueError(f"a failure is of {failure.key[:16]}, which is none of its jobs")
        return self


def now() -> str:
    """The time as ISO 8601, in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def folder_name(experiment: Experiment, profile: str, spec: Spec, code: str, data: str) -> str:
    """Of a run: the experiment, the profile, and what tells it from others of both."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{experiment.name}-{profile}")
    return f"{plain[:LONGEST]}-{digest([experiment.name, experiment.version, spec.model_dump(mode='json'), code, data])[:10]}"


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
    except (ValueError, RecursionError) as error:
        raise DamagedManifest(f"not JSON ({str(error).splitlines()[0][:80]})") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DamagedManifest("JSON of something else than a run")
    try:
        _Manifest.model_validate(found)
    except ValidationError as error:
        raise DamagedManifest(_first(error)) from None
    return found


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, in a line."""
    first = error.errors()[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    if first["type"] == "missing":
        return f"`{path}` is missing"
    if not path:
        return str(first["msg"]).removeprefix("Value error, ")
    shown = repr(first["input"])
    return f"`{path}` is {shown if len(shown) <= 60 else f'{shown[:57]}...'}, which no run writes there"


def save(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest whole or not at all."""
    write(folder / FILE, json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
