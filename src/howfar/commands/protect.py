"""``howfar protect``: a folder of photographs in, a folder of protected ones out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import Positional

from howfar import terminal
from howfar.commands.common import Common, Device, Flag, option
from howfar.errors import UsageError

if TYPE_CHECKING:
    from howfar.photos import Photo, ProtectionJob

SIDES = "64,128,224"  # as in photos.noise
CLUSTERS = 10  # that stand in for labels
STRENGTHS = {"low": "4/255", "mid": "8/255", "high": "16/255"}


@dataclass(kw_only=True)
class Protect(Common):
    """Protect the photographs in a folder.

    Adds noise that keeps networks from learning what the photographs show. Originals are never changed. Run the command
    again to finish an interrupted run, or after you edited photographs: only missing and outdated files are written.
    """

    examples: ClassVar = ("howfar protect photos -o protected", "howfar protect --check protected")

    photos: Annotated[Positional[Path], option("FOLDER")]
    """Folder of photographs, ideally with one subfolder per label. With --check, the protected folder."""
    output: Annotated[Path | None, option("FOLDER", "", "-o")] = None
    """Folder to write, with the same subfolders."""
    protector: Annotated[str, option("NAME", None, "-p")] = "carriers[cell=2,mirrored=true]"
    """Any protector that adds noise, e.g. carriers, em:class, lsp (see: howfar list protectors)."""
    strength: Annotated[Literal["low", "mid", "high"] | None, option("{low,mid,high}", "mid")] = None
    """Strength of the noise: 4/255, 8/255 or 16/255."""
    eps: Annotated[str | None, option("EPS", "")] = None
    """Strength as a number, e.g. 6/255."""
    side: Annotated[str, option("PIXELS")] = SIDES
    """Side lengths of the resized copies that noise is crafted on. Choose those at which learners train."""
    labels: Annotated[str | None, option("FILE", "the subfolders")] = None
    """Labels: a CSV file with one name and label per line, or 'clusters', which protects less."""
    share: Annotated[float | None, option("SHARE", "1, all")] = None
    """Share of the photographs to protect, drawn with the seed."""
    format: Annotated[str, option("NAME")] = "png"
    """File format: png, webp and tiff are lossless; jpeg:95 loses part of the protection."""
    metadata: Annotated[Literal["keep", "strip-gps", "strip-all"], option("{keep,strip-gps,strip-all}")] = "keep"
    """What to do with EXIF and XMP. The color profile is always kept."""
    opt_out: Flag = False
    """Write the data-mining opt-out of IPTC/PLUS into the XMP of every file."""
    broken: Annotated[Literal["stop", "skip", "copy"], option("{stop,skip,copy}")] = "stop"
    """What to do with files that cannot be protected."""
    seed: Annotated[int, option("N")] = 0
    """Seed of all randomness."""
    device: Device = "auto"
    """Device for protectors that train a network: auto, cpu, cuda or mps."""
    workers: Annotated[int | None, option("N", "one per core")] = None
    """Photographs to process in parallel."""
    dry_run: Flag = False
    """Show what would be done, and stop."""
    check: Flag = False
    """Compare a protected folder with its manifest, and with its originals if they are still there."""
    json: Flag = False
    """Print JSON instead of text."""

    def __call__(self) -> int:
        if self.check:
            return self._checked()
        from howfar import engine
        from howfar.photos import check, protect_folder

        job, photos = self._job()
        check(job, photos)
        device = engine.choose_device(self.device)
        labels = sorted({photo.label for photo in photos} - {""})
        kinds = f"{job.clusters} clusters" if job.clusters else f"{len(labels) or 'no'} labels"
        terminal.say(f"{len(photos)} photographs, {kinds}: {job.label}, written as {job.encoding.kind}")
        if self.dry_run:
            if self.json:
                terminal.show_json({photo.name: photo.output for photo in photos})
            return 0
        workers = max(engine.choose_workers(self.workers, engine.choose_device("cpu")), 1)
        manifest = terminal.watch(protect_folder(photos, job, device=device, workers=workers), job.label)
        self._tell(manifest)
        return 0

    def _job(self) -> "tuple[ProtectionJob, list[Photo]]":
        from howfar.data.tree import labels_by_folder, summary
        from howfar.photos import Encoding, ProtectionJob, arranged, labels_by_table, photographs
        from howfar.protectors import PROTECTORS
        from howfar.spec import parse

        if self.output is None:
            raise UsageError("say where the protected photographs shall go, with -o FOLDER.")
        tree = photographs(self.photos)
        names = tree.names
        if tree.left_out:
            terminal.say(summary(tree.left_out))
        clusters = CLUSTERS if self.labels == "clusters" else 0
        if self.labels and not clusters:
            labels = labels_by_table(Path(self.labels), names)
        else:
            labels = {} if clusters else labels_by_folder(names)
        spec = parse(self.protector, PROTECTORS, "protector")
        self._refuse_twice(set(spec.settings))
        given: dict[str, Any] = {} if self.share is None else {"share": self.share}
        if "eps" in spec.settings and "eps=" not in self.protector:
            given["eps"] = self.eps or STRENGTHS[self.strength or "mid"]
        spec = parse(self.protector, PROTECTORS, "protector", **given) if given else spec
        encoding = Encoding.parse(self.format, self.metadata, opt_out=self.opt_out)
        job = ProtectionJob(
            self.photos,
            self.output,
            spec.label,
            spec.build(),
            encoding,
            self.seed,
            self.broken,
            clusters=clusters,
            sides=self._sides(),
        )
        return job, arranged(names, encoding.suffix, labels)

    def _refuse_twice(self, known: set[str]) -> None:
        """Refuse a setting that is given in two ways, or to a protector that has none."""
        strengths = {"--strength": self.strength, "--eps": self.eps, "eps in -p": "eps=" in self.protector or None}
        shares = {"--share": self.share, "share in -p": "share=" in self.protector or None}
        for name, ways in (("eps", strengths), ("share", shares)):
            given = [way for way, value in ways.items() if value is not None]
            if len(given) > 1:
                raise UsageError(f"{' and '.join(given)} say the same thing twice. Give one of them.")
            if given and name not in known:
                raise UsageError(f"{self.protector} has no {name}, so {given[0]} makes no sense. Leave it out.")

    def _sides(self) -> tuple[int, ...]:
        from howfar.spec import split_list

        sides = [int(side) if side.isdecimal() else 0 for side in split_list(self.side)]
        if not sides or not all(8 <= side <= 256 for side in sides) or len(set(sides)) < len(sides):
            raise UsageError(f"--side {self.side} makes no sense. Take one or several of 8 to 256, e.g. 64,128,224.")
        return tuple(sides)

    def _tell(self, manifest: dict[str, Any]) -> None:
        from howfar.score import psnr_text, ssim_text

        if self.json:
            terminal.show_json({key: value for key, value in manifest.items() if key != "photos"})
            return
        counts = ", ".join(f"{count} {status}" for status, count in manifest["counts"].items() if count)
        rows = [
            ["photographs", counts],
            ["largest change", "–" if manifest["linf"] is None else f"{manifest['linf']:.0f}/255"],
            ["PSNR", psnr_text(manifest["psnr"], manifest["linf"], " dB")],
            ["SSIM", ssim_text(manifest["ssim"])],
        ]
        terminal.show_table(["what", "measured"], rows)
        for name, reason in manifest["redone"].items():
            terminal.say(f"protected again: {name}: {reason}")
        for entry in manifest["photos"]:
            if "why" in entry:
                terminal.say(f"{entry['status']}: {entry['name']}: {entry['why']}")
        notes = [(note, entry["name"]) for entry in manifest["photos"] for note in entry.get("notes", ())]
        for note in dict(notes):
            names = [name for other, name in notes if other == note]
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            terminal.say(f"{names[0]}{more}: {note}")
        if manifest["clusters"]:
            terminal.say("clusters stood in for labels: the protection is weaker than with labels. Try howfar verify.")
        terminal.say(f"protected photographs and manifest.json: {self.output}")

    def _checked(self) -> int:
        from howfar.photos import checked, originals_of

        originals = originals_of(self.photos)
        faults = checked(self.photos, originals)
        if self.json:
            terminal.show_json(faults)
        for fault in () if self.json else faults:
            terminal.say(fault)
        compared = "" if originals is None else f" Compared with the originals in {originals} as well."
        summary = f"{len(faults)} files are not as they were written." if faults else "all as it was written."
        terminal.say(summary + compared)
        return 1 if faults else 0
