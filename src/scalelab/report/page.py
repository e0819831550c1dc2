"""The report: one HTML file that opens with no network, its figures as PNG and SVG beside it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cache, partial
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from scalelab.errors import RecordError
from scalelab.report import findings, tables
from scalelab.report.figures import FIGURES, Figure
from scalelab.report.figures.base import why_missing
from scalelab.report.figures.picture import draw
from scalelab.report.headline import of_designs, of_ladder
from scalelab.report.theme import DARK, LIGHT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scalelab.studies.result import StudyResult

FIGURE_FOLDER = "figures"


def write(result: StudyResult, out: Path) -> Path:
    """Write the report of `result`.

    out: the HTML file, or a folder, which gets ``report.html``. The figures go to ``figures/``
    beside it as PNG (scale 2) and SVG; those of an earlier report there are replaced.

    Returns the path of the HTML file. Raises RecordError when it cannot be written.
    """
    from scalelab.report.export import write_figure

    page = out if out.suffix.lower() in (".html", ".htm") else out / "report.html"
    figures = figures_of(result)
    try:
        folder = page.parent / FIGURE_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for figure in (*figures.designs, *figures.ladder):
            if figure.chart is None:  # a picture of an earlier state would mislead
                for suffix in (".png", ".svg"):
                    (folder / f"{figure.name}{suffix}").unlink(missing_ok=True)
            else:
                write_figure(figure, folder)
        aside = page.with_name(f".{page.name}.{os.getpid()}")
        aside.write_text(render(result, figures), encoding="utf-8")
        aside.replace(page)
    except OSError as error:
        raise RecordError(
            f"{page}: the report cannot be written ({error.strerror or error}). "
            "Name a folder that you may write to."
        ) from error
    return page


@dataclass(frozen=True)
class Figures:
    """The figures of a page: of the pictures of its designs, in their order, and of the ladder."""

    designs: tuple[Figure, ...]
    ladder: tuple[Figure, ...]

    @property
    def drawn(self) -> tuple[Figure, ...]:
        """Those with something to show."""
        return tuple(f for f in (*self.designs, *self.ladder) if f.chart is not None)


def figures_of(result: StudyResult) -> Figures:
    """All figures of a study; where it has no ladder, the ladder's are named without a chart."""
    pictures = [picture for c in result.conclusions for picture in c.pictures]
    ladder = tuple(make(result) for make in FIGURES)
    if not result.has_ladder:
        ladder = tuple(replace(figure, chart=None) for figure in ladder)
    return Figures(tuple(map(draw, pictures)), ladder)


def render(result: StudyResult, figures: Figures) -> str:
    """The page as text, with scripts, style and data inside."""
    sections = _sections(result, figures)
    return Template(_asset("page.html")).substitute(
        title=escape(result.title),
        name=escape(result.name),
        subtitle=escape(_subtitle(result)),
        style=_asset("page.css"),
        headline=_headline(result),
        contents=" ".join(f'<a href="#{s.anchor}">{s.short}</a>' for s in sections),
        designs=findings.contents(result.conclusions),
        sections="\n".join(s.html for s in sections),
        library=_library() if figures.drawn else "",
        data=_data(figures.drawn),
        script=_asset("page.js"),
    )


@dataclass(frozen=True)
class _Section:
    anchor: str
    short: str
    title: str
    content: str

    @property
    def html(self) -> str:
        head = f'<section id="{self.anchor}">\n<h2>{self.title}</h2>'
        return f"{head}\n{self.content}\n</section>"


def _sections(result: StudyResult, figures: Figures) -> list[_Section]:
    """Findings of designs, the ladder's sections, and what was done; those that there are."""
    sections = []
    if found := result.conclusions:
        parts = findings.parts(found, figures.designs, partial(_figure, heading="h4"))
        content = f"{findings.overview(found)}\n{_NO_SCRIPT}{parts}"
        sections.append(_Section("findings", "Findings", "Findings", content))
    if result.has_ladder:
        drawn = "\n".join(_figure(figure) for figure in figures.ladder)
        title = "The ladder" if found else "Figures"
        held_out = tables.held_out_table(result.held_out) or _missing(result, "held_out")
        sections += [
            _Section(
                "figures", title, title, f'{_NO_SCRIPT}<div class="figures wide">{drawn}</div>'
            ),
            _Section("held-out", "Held out", "Predicted and measured", held_out),
            _Section("fits", "Fits", "Fits", f'<div class="fits">{_fits(result)}</div>'),
        ]
    if result.has_ladder or result.choices or result.plan:
        plan = _details("The plan, run by run", tables.plan_table(result)) if result.plan else ""
        content = tables.choice_table(result.choices) + plan
        sections.append(_Section("plan", "Plan", "The plan and why", content))
    return [
        *sections,
        _Section("runs", "Runs", "All runs", tables.run_table(result)),
        _Section("conventions", "Conventions", "Conventions and settings", _settings(result)),
        _Section("notices", "Notices", "Notices", tables.notices(_all_notices(result))),
        _Section("reproduce", "Reproduce", "Reproduce", _command(result)),
    ]


_NO_SCRIPT = (
    '<noscript><p class="none">The interactive figures need JavaScript; the same figures lie '
    "beside this page as PNG and SVG.</p></noscript>"
)


def _settings(result: StudyResult) -> str:
    columns = {
        "Conventions": {**_CONVENTIONS, **result.conventions},
        "Text": result.corpus,
        "Settings": result.settings,
        "Machine": result.machine,
    }
    blocks = (f"<div><h3>{name}</h3>{tables.facts(pairs)}</div>" for name, pairs in columns.items())
    return f'<div class="columns">{"".join(blocks)}</div>'


def _command(result: StudyResult) -> str:
    return f"<pre>{escape(result.command or 'not recorded')}</pre>"


_CONVENTIONS = {
    "intervals": "percentiles at the level named beside them",
    "bits per byte": "loss / (ln 2 x bytes per token)",
}


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _subtitle(result: StudyResult) -> str:
    runs = result.all_runs
    parts = [f"{runs.height} runs"]
    if "params" in runs.columns and runs.height:
        parts.append(f"{runs['params'].n_unique()} sizes")
    if text := result.corpus.get("text") or result.corpus.get("name"):
        parts.append(text)
    return " · ".join(parts)


def _headline(result: StudyResult) -> str:
    lines = [of_designs(result.conclusions)] if result.conclusions else []
    lines += of_ladder(result) if result.has_ladder else ()
    return "".join(
        f"<div><dt>{escape(line.label)}</dt><dd>{escape(line.text)}</dd></div>" for line in lines
    )


def _figure(figure: Figure, heading: str = "h3") -> str:
    name, title, caption = escape(figure.name), escape(figure.title), escape(figure.caption)
    head = f'<figure id="{name}"><{heading}>{title}</{heading}>'
    if figure.chart is None:
        return f'{head}<p class="none">{caption}</p></figure>'
    links = " ".join(
        f'<a href="{FIGURE_FOLDER}/{name}.{kind}" download>{kind.upper()}</a>'
        for kind in ("png", "svg")
    )
    return (
        f'{head}<div class="chart" data-figure="{name}" role="img" aria-label="{title}" '
        f'style="min-height:{figure.height + 50}px"></div>'
        f'<figcaption>{caption} <span class="files">{links}</span></figcaption></figure>'
    )


def _fits(result: StudyResult) -> str:
    blocks = []
    for name, fit in result.fits.items():
        warnings = fit.diagnosis.warnings
        blocks.append(
            f"<article><h3>{escape(name)}</h3>{tables.fit_table(fit)}"
            + (tables.notices(warnings) if warnings else "")
            + _details("Summary", f"<pre>{escape(fit.summary())}</pre>")
            + "</article>"
        )
    for name in result.missing:
        if name != "held_out":
            blocks.append(f"<article><h3>{escape(name)}</h3>{_missing(result, name)}</article>")
    return "\n".join(blocks) or '<p class="none">No fit was made.</p>'


def _missing(result: StudyResult, name: str) -> str:
    return f'<p class="none">Missing: {escape(why_missing(result, name))}.</p>'


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _all_notices(result: StudyResult) -> list[Any]:
    fitted = [notice for fit in result.fits.values() for notice in fit.diagnosis.warnings]
    return [*result.notices, *fitted]


@cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed, bundled by vl-convert, once for the whole page."""
    import vl_convert

    from scalelab.report.export import vegalite_version

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vegalite_version())
    # A function of its own keeps the bundle's names off the page; the text may not end the script.
    return "(() => {" + bundle.replace("</script", "<\\/script") + "})();"


def _data(figures: tuple[Figure, ...]) -> str:
    from scalelab.report.export import page_spec

    specs: Mapping[str, Any] = {figure.name: page_spec(figure) for figure in figures}
    content = {"light": LIGHT.config(), "dark": DARK.config(), "specs": specs}
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")  # so that no run's name can end the script element
