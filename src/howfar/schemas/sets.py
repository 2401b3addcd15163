"""Files written next to images: manifests of protected sets, exports and photographs."""

from typing import Annotated, Any, Literal

from pydantic import Field

from howfar.schemas.part import Count, Digest, Made, Part, Visibility


class DataSet(Part):
    """A data set."""

    label: str
    """Label of the data set."""
    train: Digest
    """Digest of the clean training images and their targets."""


class _Set(Part):
    """What a protected set and its export share."""

    method: str
    """Label of the protector."""
    settings: dict[str, Any]
    """All settings of the protector."""
    norm: str
    """Norm that bounds the change: `L∞`, `L2`, `L0` or `any`."""
    seed: int
    """Seed of all randomness."""
    granularity: str | None
    """`sample` or `class`; null if the protector does not tell."""
    source_task: str
    """Label of the task that the protection was crafted against."""
    target: str
    """Name of the target that this task predicts."""
    dataset: DataSet
    """The clean data set."""
    limit_train: str
    """Number of training images that were asked for, or `all`."""
    made: Made
    """Where the set was crafted, and what it cost."""
    notes: dict[str, float]
    """What the protector noted, by name."""
    images: Count
    """Number of images."""
    shape: Annotated[list[Count], Field(min_length=3, max_length=3)]
    """Channels, height and width."""
    clean_digest: Digest
    """Digest of the clean images."""
    budget: Visibility
    """Size of the change."""


class ProtectedSet(_Set):
    """A protected set."""

    format: Literal[1]
    """Version of the format."""
    digests: dict[str, Digest]
    """Digest of every array in `protected.safetensors`."""


class ExportedSet(_Set):
    """A protected set as images."""

    files: dict[str, Count]
    """Id of the image in every file."""
    lossy: str | None
    """Lossy compression, such as `JPEG 90`; null if there is none."""


class Encoding(Part):
    """Output format of photographs."""

    kind: Literal["auto", "png", "webp", "tiff", "jpeg"]
    """File format; `auto` keeps that of every file, or takes PNG."""
    quality: int
    """Quality of JPEG."""
    metadata: Literal["keep", "strip-gps", "strip-all"]
    """What is kept of EXIF and XMP."""
    opt_out: bool
    """Whether the data-mining opt-out was written."""


class Counts(Part):
    """Number of photographs by status."""

    protected: Count
    """Changed."""
    unchanged: Count
    """Written without noise (see `--share`)."""
    copied: Count
    """Copied, as they could not be protected."""
    skipped: Count
    """Left out, as they could not be protected."""


class _Photo(Part):
    name: str
    """Path of the original, relative to its folder."""
    output: str
    """Path of the copy, relative to the protected folder."""
    label: str
    """Label; empty if unknown."""


class Written(_Photo):
    """A photograph that was encoded again."""

    status: Literal["protected", "unchanged"]
    """What was done."""
    before: Digest
    """SHA-256 of the original."""
    after: Digest
    """SHA-256 of the copy."""
    width: Count
    """Pixels."""
    height: Count
    """Pixels."""
    linf: float
    """Largest change of any value, in 1/255."""
    square: float
    """Mean of the squared change, in 1/255²."""
    ssim: float | None
    """SSIM of the luminance; null if it was not measured (20 photographs are)."""
    notes: list[str]
    """What was done to the file besides, such as turning it upright."""


class Copied(_Photo):
    """A photograph that was copied."""

    status: Literal["copied"]
    """What was done."""
    why: str
    """Why it could not be protected."""
    before: Digest
    """SHA-256 of the original."""
    after: Digest
    """SHA-256 of the copy."""


class Skipped(_Photo):
    """A photograph that was left out."""

    status: Literal["skipped"]
    """What was done."""
    why: str
    """Why it could not be protected."""


class PhotoManifest(Part):
    """Protected photographs."""

    protector: str
    """Label of the protector."""
    seed: int
    """Seed of all randomness."""
    clusters: Count
    """Number of clusters used as labels; 0 if labels were given."""
    sides: list[Count]
    """Side lengths of the copies on which noise was crafted, pixels."""
    strength: float | None
    """Visibility of the noise, as a CIEDE2000 difference; null if it was not shaped to the photographs."""
    encoding: Encoding
    """Output format."""
    format: Literal[1]
    """Version of the format."""
    counts: Counts
    """Number of photographs by status."""
    linf: float | None
    """Largest change of any protected photograph, in 1/255; null if there is none."""
    psnr: float | None
    """PSNR over protected photographs, dB; null if nothing changed."""
    ssim: float | None
    """Mean SSIM of the photographs on which it was measured; null if there are none."""
    photos: list[Written | Copied | Skipped]
    """One entry per photograph, in order of their names."""
    redone: dict[str, str]
    """Photographs that were protected again in the last run, with the reason."""
