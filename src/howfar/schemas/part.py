"""Types shared by all schemas."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seeds = Annotated[int, Field(ge=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]+$")]


def _bare(found: dict[str, Any]) -> None:
    """Leave out what is no part of the contract: name and docstring of the class, and defaults of optional fields."""
    found.pop("title", None)
    found.pop("description", None)
    for field in found["properties"].values():
        field.pop("default", None)
        field["description"] = " ".join(field["description"].split())


class Part(BaseModel):
    """An object whose fields are all known; the docstring of a field is its description."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, json_schema_extra=_bare
    )


class Visibility(Part):
    """The size of a change."""

    linf: int = Field(ge=0, le=255)
    """Largest change of any value, in 1/255."""
    l2: float = Field(ge=0)
    """Mean over images of the L2 norm, images in [0, 1]."""
    l0: float = Field(ge=0, le=1)
    """Mean share of pixels that changed."""
    psnr: float | None
    """PSNR in dB; null if nothing changed."""
    ssim: float | None
    """SSIM; null for images with a side below 11 pixels."""
    version: int
    """Version of these definitions."""


class Made(Part):
    """Where something was computed, and what it cost."""

    howfar: str = ""
    """Version of howfar; missing in older files."""
    python: str
    """Version of Python."""
    torch: str
    """Version of PyTorch."""
    machine: str
    """Architecture of the processor."""
    system: str
    """Operating system."""
    threads: int
    """Threads that PyTorch used."""
    device: str
    """`cpu`, `mps` or the name of the GPU."""
    wall_seconds: float
    """Wall time."""
    cpu_seconds: float
    """CPU time of the process."""
    step_peak_bytes: int | None
    """Peak memory of the process; null if it cannot be separated from earlier work."""
    step_peak_gpu_bytes: int = 0
    """Peak memory of tensors on a GPU; missing without a GPU."""
