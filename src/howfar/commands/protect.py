"""``howfar protect``: a folder of photographs in, a folder of protected ones out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import Positional

from howfar.commands import progress, terminal
from howfar.commands.common import Common, Device, Flag, option
from howfar.errors import UsageError

if TYPE_CHECKING:
    from howfar.photos import Encoding, Photo, ProtectionJob
    from howfar.protectors import Protector
    from howfar.spec import Spec

STDIN = Path("-")


@dataclass(kw_only=True)
class Protect(Common):
    """Protect the photographs in a folder.

    Adds noise that keeps networks from learning what the photographs show. Originals are never changed, and nothing is
    written before all photographs have been read. Run the command again to finish an interrupted run, or after you
    edited photographs: only missing and outdated files are written. With - as the folder, reads one photograph from
    standard input and writes its copy to standard output.
    """

    examples: ClassVar = (
        "howfar protect photos -o protected",
        "howfar protect photos --preview preview.html",
    )

    photos: Annotated[Positional[Path], option("FOLDER")]
    """Folder of photographs, ideally with one subfolder per label. With --check, the protected folder."""
    output: Annotated[Path | None, option("FOLDER", "", "-o")] = None
    """Folder to write, with the same subfolders."""
    protector: Annotated[str | None, option("NAME", "carriers[cell=2,mirrored=true]", "-p")] = None
    """Any protector that adds noise, e.g. carriers, em:class, lsp (see: howfar list protectors)."""
    strength: Annotated[Literal["low", "mid", "high"] | None, option("{low,mid,high}", "high")] = None
    """Strength of the noise: low and mid are invisible and protect little; high is visible and protects."""
    eps: Annotated[str | None, option("EPS", "")] = None
    """Largest change of any value, e.g. 6/255; overrides that of --strength."""
    side: Annotated[str | None, option("PIXELS", "64")] = None
    """Size for which noise is crafted: best the one at which networks train. Several sizes share the noise."""
    labels: Annotated[str | None, option("FILE", "the subfolders; clusters if there are none")] = None
    """Labels: a CSV file with one name and label per line, or 'clusters' of similar photographs, which protect less."""
    preview: Annotated[Path | None, option("FILE", "")] = None
    """Write a page with ten photographs before and after, at all strengths, and stop."""
    key: Annotated[str | None, option("TEXT", "")] = None
    """With - as the folder: secret that determines the noise."""
    label: Annotated[str | None, option("TEXT", "")] = None
    """With - as the folder: label of the photograph. Photographs with the same label get the same noise."""
    share: Annotated[float | None, option("SHARE", "1, all")] = None
    """Share of the photographs to protect, drawn with the seed."""
    format: Annotated[str, option("NAME")] = "auto"
    """File format: auto keeps JPEG as JPEG (quality 95) and writes others without loss; or png, webp, tiff, jpeg:90."""
    metadata: Annotated[Literal["keep", "strip-gps", "strip-all"], option("{keep,strip-gps,strip-all}")] = "strip-gps"
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
    """Compare a protected folder with its manifest, and with its originals if they are still in place."""
    json: Flag = False
    """Print JSON instead of text."""

    def __call__(self) -> int:
        if self.check:
            return self._checked()
        if self.photos == STDIN:
            return self._one()
        if self.key is not None or self.label is not None:
            raise UsageError("--key and --label belong to one photograph from standard input. Give - as the folder.")
        if self.preview is not None:
            return self._preview(self.preview)
        from howfar import engine
        from howfar.photos import check, protect_folder

        job, photos = self._job()
        check(job, photos)
        device = engine.choose_device(self.device)
        labels = sorted({photo.label for photo in photos} - {""})
        kinds = f"{len(labels) or 'no'} label{'s' * (len(labels) != 1)}"
        if job.clusters:
            kinds = f"{job.clusters} cluster{'s' * (job.clusters != 1)} instead of labels"
        kept = "their own format" if job.encoding.kind == "auto" else job.encoding.kind
        many = f"{len(photos)} photograph{'s' * (len(photos) != 1)}"
        terminal.say(f"{many}, {kinds}: {job.label}, written in {kept}")
        if self.dry_run:
            if self.json:
                terminal.show_json({photo.name: photo.output for photo in photos})
            return 0
        workers = max(engine.choose_workers(self.workers, engine.choose_device("cpu")), 1)
        manifest = progress.watch(protect_folder(photos, job, device=device, workers=workers), job.label)
        self._tell(manifest)
        return 0

    def _job(self) -> "tuple[ProtectionJob, list[Photo]]":
        from howfar.photos import Encoding, ProtectionJob
        from howfar.photos.strength import STRENGTH

        if self.output is None:
            raise UsageError("there is no folder to write. Give -o FOLDER.")
        encoding = Encoding.parse(self.format, self.metadata, opt_out=self.opt_out)
        spec = self._spec(self.strength or STRENGTH)
        protector = spec.build()
        photos, clusters = self._photos(encoding, needed=protector.uses_labels)
        job = ProtectionJob(
            self.photos,
            self.output,
            spec.label,
            protector,
            encoding,
            self.seed,
            self.broken,
            clusters=clusters,
            sides=self._sides(),
            strength=self._visibility(),
        )
        return job, photos

    def _photos(self, encoding: "Encoding", *, needed: bool) -> "tuple[list[Photo], int]":
        """Return the photographs, and the number of clusters that stand in for labels; 0 if there are labels."""
        from howfar.data.tree import labels_by_folder, summary, unlabeled
        from howfar.photos import arranged, labels_by_table, photographs
        from howfar.photos.strength import CLUSTERS

        tree = photographs(self.photos)
        if tree.left_out:
            terminal.say(summary(tree.left_out))
        if self.labels and self.labels != "clusters":
            return arranged(tree.names, encoding.suffix, labels_by_table(Path(self.labels), tree.names)), 0
        labels = {} if self.labels else labels_by_folder(tree.names)
        clusters = self.labels == "clusters" or (needed and not labels)
        stray = unlabeled(tree.names) if clusters and not self.labels else ""
        if stray:
            raise UsageError(f"this protector needs labels. {stray} Or take --labels clusters, which protect less.")
        return arranged(tree.names, encoding.suffix, labels), min(CLUSTERS, len(tree.names)) if clusters else 0

    def _spec(self, strength: str) -> "Spec[Protector]":
        """Return the protector with its settings."""
        from howfar.photos.strength import PROTECTOR, STRENGTHS
        from howfar.protectors import PROTECTORS
        from howfar.spec import parse

        name = self.protector or PROTECTOR
        spec = parse(name, PROTECTORS, "protector")
        self._refuse_twice(name, set(spec.settings))
        given: dict[str, Any] = {} if self.share is None else {"share": self.share}
        if "eps" in spec.settings and "eps=" not in name:
            given["eps"] = self.eps or STRENGTHS[strength][1]
        return parse(name, PROTECTORS, "protector", **given) if given else spec

    def _visibility(self) -> float | None:
        from howfar.photos.strength import STRENGTH, STRENGTHS

        return STRENGTHS[self.strength or STRENGTH][0]

    def _preview(self, path: Path) -> int:
        """Write the page with photographs before and after."""
        from howfar.photos import Encoding
        from howfar.photos.preview import preview
        from howfar.photos.strength import STRENGTHS
        from howfar.store import write_text

        if self.output is not None or self.eps or self.strength:
            raise UsageError("--preview shows all strengths and protects nothing. Leave out -o and the strength.")
        photos, _ = self._photos(Encoding(), needed=False)
        protectors = {strength: self._spec(strength).build() for strength in STRENGTHS}
        write_text(path, progress.watch(preview(photos, self.photos, protectors), "preview"))
        terminal.say(f"page: {path}")
        return 0

    def _one(self) -> int:
        """Protect one photograph from standard input."""
        import sys

        from howfar.photos import Encoding
        from howfar.photos.one import protected_file
        from howfar.photos.strength import STRENGTH

        if not self.key:
            raise UsageError("one photograph needs --key, a secret text that its noise depends on.")
        if self.output or self.preview or self.protector or self.eps or self.side or self.labels:
            raise UsageError(
                "one photograph takes --key, --label, --strength, --format, --metadata and --opt-out alone."
            )
        encoding = Encoding.parse(self.format, self.metadata, opt_out=self.opt_out)
        content = sys.stdin.buffer.read()
        done = protected_file(
            content, encoding, key=self.key, label=self.label or "", strength=self.strength or STRENGTH
        )
        sys.stdout.buffer.write(done)
        return 0

    def _refuse_twice(self, protector: str, known: set[str]) -> None:
        """Refuse a setting that is given in two ways, or to a protector that has none."""
        strengths = {"--eps": self.eps, "eps in -p": "eps=" in protector or None}
        shares = {"--share": self.share, "share in -p": "share=" in protector or None}
        for name, ways in (("eps", strengths), ("share", shares)):
            given = [way for way, value in ways.items() if value is not None]
            if len(given) > 1:
                raise UsageError(f"{' and '.join(given)} set the same value. Give one of them.")
            if given and name not in known:
                raise UsageError(f"{protector} has no {name}, so {given[0]} has no effect. Leave it out.")

    def _sides(self) -> tuple[int, ...]:
        from howfar.photos.strength import SIDES
        from howfar.spec.syntax import split_list

        if self.side is None:
            return SIDES
        sides = [int(side) if side.isdecimal() else 0 for side in split_list(self.side)]
        if not sides or not all(8 <= side <= 256 for side in sides) or len(set(sides)) < len(sides):
            raise UsageError(
                f"--side {self.side} is out of range. Take one or several sizes from 8 to 256, e.g. 64,128,224."
            )
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
            terminal.say(
                "clusters stood in for labels: the protection is weaker than with labels. Sort the photographs into "
                "subfolders, or try howfar verify."
            )
        if manifest["strength"] is not None:
            terminal.say(
                "at this strength the noise is hidden from the eye, and networks learned as much from such copies as "
                "from the originals (docs/photographs.md). Use --strength high to protect."
            )
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
