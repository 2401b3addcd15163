"""``howfar ablate-ud``."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from howfar.commands import terminal
from howfar.commands.common import Flag, Printed, option
from howfar.commands.grid import Grid, refuse_several, untrained
from howfar.errors import UsageError


@dataclass(kw_only=True)
class AblateUd(Printed, Grid):
    """Measure how UD depends on radius, steps, mode and probe images.

    Trains every victim once and probes it with every setting after each epoch. Prints the UD of every protector and its
    rank correlation with the drop, one line per setting, and writes ablation.json and ablation.md. Takes one model,
    defense and task: by default the first of each in the suite. Without --dataset, --suite or --config: LeNet-5 on
    digits with em, lsp, ops and random noise, three seeds, no defense.
    """

    examples: ClassVar = ("howfar ablate-ud", "howfar ablate-ud --radius 0.02,0.1 --steps 4 --modes fast")

    usual: ClassVar = {"suite": "digits", "models": "lenet5", "protectors": "random,em,lsp[eps=32/255],ops"}
    single: ClassVar = ("models", "defenses", "tasks")

    radius: Annotated[str, option("NUMBERS")] = "0.01,0.02,0.1,0.2"
    """Radii to try in addition to the suite's."""
    steps: Annotated[str, option("NUMBERS")] = "1,2,4"
    """Steps of mode 'fast' to try in addition to 12."""
    modes: Annotated[str, option("NAMES")] = "exact"
    """Modes to try in addition to 'fast': exact, reference (slow), or none ('')."""
    images: Annotated[str, option("NUMBERS")] = "64,128,512"
    """Sizes of the probe set to try in addition to the suite's."""
    released: Flag = False
    """Add the paper's released algorithm, with and without its baseline and augmentation (slow)."""

    def __call__(self) -> int:
        from howfar.grid.variants import varied
        from howfar.models.build import weight_names
        from howfar.report.ablation import ablation_table
        from howfar.report.text_tables import TextTable
        from howfar.spec import Number
        from howfar.tables.ablation import ablated, as_rows
        from howfar.tables.names import CLEAN

        form, experiments = self.form, self.experiments()
        refuse_several(experiments, "model", "defense", "task")
        if all(cell.protector.name == CLEAN for cell in experiments):
            raise UsageError(
                "nothing is protected, and UD compares protected images with clean ones. Give --protectors."
            )
        for model in untrained(experiments):
            if len(weight_names(model)) < 2:
                raise UsageError(
                    f"{experiments[0].model.label} has one layer, and β parts layers into two groups. "
                    "Take a network of several layers, such as lenet5."
                )
        variants = varied(
            experiments[0].probe,
            radii=_several("--radius", self.radius, Number),
            steps=_several("--steps", self.steps, int),
            modes=_several("--modes", self.modes, Literal["fast", "exact", "reference"]),
            images=_several("--images", self.images, int),
            released=self.released,
        )
        if not variants:
            raise UsageError("nothing to vary. Give another radius, mode, number of steps or of images.")
        experiments = [replace(experiment, variants=variants) for experiment in experiments]
        store = self.store()
        if not self.complete(experiments, store):
            return 0
        lines = ablated(experiments, store)
        columns, rows = ablation_table(lines)
        store.leave("ablation.json", terminal.json_text(as_rows(lines)) + "\n")
        store.leave("ablation.md", terminal.markdown(columns, rows))
        if form == "json":
            terminal.show_json(as_rows(lines))
        else:
            terminal.show_tables([TextTable("", tuple(columns), [tuple(row) for row in rows])], form)
            terminal.say(f"table: {store.root / 'ablation.md'}")
        return 0


def _several(flag: str, text: str, kind: Any) -> list[Any]:
    from pydantic import TypeAdapter, ValidationError

    from howfar.spec import reason
    from howfar.spec.syntax import split_list

    try:
        found: list[Any] = TypeAdapter(list[kind]).validate_python(split_list(text))
    except ValidationError as error:
        what = error.errors()[0]
        raise UsageError(f"{flag} '{text}': {what['input']!r} is wrong: {reason(what)}.") from None
    return found
