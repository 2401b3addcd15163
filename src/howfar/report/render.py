"""The page, one self-contained HTML file that opens offline, and the other files of a run."""

import json
from functools import cache
from typing import Any

from howfar.errors import in_python, require
from howfar.report import crosstask, figures, landscapes, leaderboard, overview, profile, verdict, worth
from howfar.report.html import rendered, tables_script, text_of
from howfar.report.leaderboard import as_csv, as_json, header, texts
from howfar.report.numbers import counted, shown, unit
from howfar.report.packing import packed, zipped
from howfar.report.pictures import GAIN, compared, picture, sheet
from howfar.report.provenance import bibtex, provenance
from howfar.report.text_tables import markdown
from howfar.score import psnr_text, ssim_text
from howfar.score.intervals import HOW
from howfar.tables.page import Page, Protected
from howfar.tables.profiles import Profile
from howfar.tables.published import SOURCE

MOST_READINGS = 4  # of a crafting curve that are all shown


def outputs(page: Page) -> dict[str, str]:
    """Return the text of every file that a run leaves: leaderboard in three forms, worst cases, costs, page."""
    return {
        "leaderboard.json": as_json(page.rows),
        "leaderboard.csv": as_csv(page.rows),
        "leaderboard.md": markdown(page),
        "worst_case.json": profile.as_json(page.profiles),
        "crosstask.json": crosstask.as_json(page.matrices),
        "cost.json": json.dumps(page.costs, indent=1) + "\n",
        "report.html": render(page),
    }


def render(page: Page, *, python: bool = False) -> str:
    """Return the page as HTML; every name is escaped.

    Args:
        page: what it shows.
        python: name arguments of ``howfar.bench`` where it would name flags.
    """
    told = in_python if python else str
    require("plotly", "report", "the page")
    import plotly.offline

    library = _plotly(plotly.offline.get_plotlyjs)
    scripts = tables_script(), text_of("charts.js"), library
    strips = [(entry, pictures) for entry in page.protected if (pictures := compared(entry))]
    charts = _charts(page)
    galleries = [(entry, [sheet([picture(row.target, row.values, row.scale)]) for row in entry.rows])
                 for entry in page.galleries]  # fmt: skip
    return rendered(
        "page.html",
        scripts,
        page=page,
        sections=_sections(page, pictures=bool(strips or galleries)),
        answer=page.opening or verdict.answer(page.verdicts),
        footing=[] if page.opening else verdict.footing(page.verdicts),
        rule=verdict.RULE,
        split_lead=_split_lead,
        sentences=[told(text) for text in verdict.details(page.verdicts)],
        told=told,
        held_out=told("--set held_out=1000"),
        overview=overview.overview(page.verdicts),
        picture=overview.picture(page.verdicts),
        tones=overview.CELLS,
        source=SOURCE,
        findings=verdict.findings,
        intervals=HOW,
        header=header,
        worst_header=profile.HEADER,
        ranking=profile,
        defenses_table=_defenses,
        tasks=crosstask,
        worth=worth,
        note=landscapes.note,
        rows=lambda group: list(map(texts, group.rows)),
        unlearned=lambda group: leaderboard.note(group.rows),
        shown=shown,
        unit=unit,
        counted=counted,
        strips=strips,
        gain=GAIN,
        visibility=_visibility,
        galleries=galleries,
        costs=[_cost(entry) for entry in page.protected],
        failed=f"{len(page.failures)} failed" if page.failures else "none",
        made=provenance(),
        bibtex=bibtex(),
        charts=packed(charts),
        heights={name: figure["layout"]["height"] for name, figure in charts.items()},  # nothing moves when drawn
        tables=scripts[0],
        plotly=_zipped(library),
        script=scripts[1],
    )


def _charts(page: Page) -> dict[str, figures.Figure]:
    """Return every chart by the name of its place."""
    charts = {
        f"{kind}-{index}": figure
        for index, group in enumerate(page.groups)
        for kind, figure in figures.of_group(group).items()
    }
    charts |= {f"profile-{index}": figures.profile(entry) for index, entry in enumerate(page.profiles)}
    charts |= {f"worth-{index}": worth.chart(own) for index, own in enumerate(worth.by_learner(page.worths))}
    charts |= {f"matrix-{index}": figures.matrix(entry) for index, entry in enumerate(page.matrices)}
    charts |= {
        f"alike-{index}": figures.similarity(entry) for index, entry in enumerate(page.matrices) if entry.measured
    }
    charts |= {f"scene-{index}": landscapes.scene(entry) for index, entry in enumerate(page.scenes)}
    reliefs = {f"relief-{index}": landscapes.relief(entry) for index, entry in enumerate(page.scenes)}
    return charts | {name: figure for name, figure in reliefs.items() if figure}


def _sections(page: Page, *, pictures: bool) -> list[tuple[str, str]]:
    """Return anchor and title of the sections that there are."""
    controls = any(group.controls for group in page.groups)
    places = (
        ("verdict", "Verdict", True),
        ("sentences", "Sentences", bool(page.verdicts)),
        ("worst", "Worst case", bool(page.profiles)),
        ("tasks", "Tasks", bool(page.matrices)),
        ("worth", "Worth", bool(page.worths)),
        ("leaderboard", "Leaderboard", True),
        ("why", "Why", True),
        ("landscapes", "Landscapes", bool(page.scenes)),
        ("controls", "Controls", controls),
        ("pictures", "Pictures", pictures),
        ("cost", "Cost", True),
        ("failures", f"Failures ({len(page.failures)})" if page.failures else "Failures", True),
        ("reproduce", "Reproduce and cite", True),
    )
    return [(name, title) for name, title, there in places if there]


def _split_lead(sentence: str) -> tuple[str, str]:
    """Return the outcome that a sentence begins with, to be set off, and the rest."""
    lead = next((one.capitalize() for one in verdict.OUTCOMES if sentence.startswith(one.capitalize())), "")
    return lead, sentence.removeprefix(lead)


def _visibility(entry: Protected) -> str:
    """Return how visible the protection is, for a caption."""
    found = entry.visibility
    if not found:
        return ""
    psnr = psnr_text(found["psnr"], found["linf"], " dB")
    return f": L∞ {found['linf']}/255, PSNR {psnr}, SSIM {ssim_text(found['ssim'])}"


def _defenses(entry: Profile) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return headings and lines of protectors and defenses; the longer of the two lists goes down the page."""
    header, found = ["protector", *entry.defenses], profile.qualities(entry)
    if len(entry.defenses) <= len(found):
        return header, found
    first, *rest = zip(header, *found, strict=True)
    return ["defense", *first[1:]], rest


def _cost(entry: Protected) -> tuple[str, ...]:
    shown = entry.curve if len(entry.curve) <= MOST_READINGS else [entry.curve[0], entry.curve[-1]]
    curve = "error " + " → ".join(f"{value:.2f}" for value in shown) if shown else "–"
    curve += f" in {len(entry.curve)} rounds" if len(shown) < len(entry.curve) else ""
    return entry.protector, entry.dataset, f"{1000 * entry.seconds.value:.3f}", curve


@cache
def _plotly(source: Any) -> str:
    text: str = source()
    return text


@cache
def _zipped(text: str) -> str:
    return zipped(text)
