"""The report: one HTML file that opens with no network, its figures as PNG and SVG beside it."""

from __future__ import annotations

import json
import os
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from scalelab.errors import RecordError
from scalelab.report import tables
from scalelab.report.figures import FIGURES, Figure
from scalelab.report.figures.base import why_missing
from scalelab.report.headline import headline
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
    figures = tuple(make(result) for make in FIGURES)
    try:
        folder = page.parent / FIGURE_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for figure in figures:
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


def render(result: StudyResult, figures: tuple[Figure, ...]) -> str:
    """The page as text, with scripts, style and data inside."""
    return Template(_asset("page.html")).substitute(
        title=escape(result.title),
        name=escape(result.name),
        subtitle=escape(_subtitle(result)),
        style=_asset("page.css"),
        headline=_headline(result),
        figures="\n".join(_figure(figure) for figure in figures),
        held_out=tables.held_out_table(result.held_out) or _missing(result, "held_out"),
        fits=_fits(result),
        choices=tables.choice_table(result.choices),
        plan=_details("The plan, run by run", tables.plan_table(result)) if result.plan else "",
        runs=tables.run_table(result),
        conventions=tables.facts({**_CONVENTIONS, **result.conventions}),
        corpus=tables.facts(result.corpus),
        settings=tables.facts(result.settings),
        machine=tables.facts(result.machine),
        notices=tables.notices(_all_notices(result)),
        command=escape(result.command or "not recorded"),
        library=_library() if any(figure.chart is not None for figure in figures) else "",
        data=_data(figures),
        script=_asset("page.js"),
    )


_CONVENTIONS = {
    "intervals": "percentiles at the level named beside them",
    "bits per byte": "loss / (ln 2 x bytes per token)",
}


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _subtitle(result: StudyResult) -> str:
    runs = result.runs
    parts = [f"{runs.height} runs"]
    if "params" in runs.columns and runs.height:
        parts.append(f"{runs['params'].n_unique()} sizes")
    if text := result.corpus.get("text") or result.corpus.get("name"):
        parts.append(text)
    return " · ".join(parts)


def _headline(result: StudyResult) -> str:
    return "".join(
        f"<div><dt>{escape(line.label)}</dt><dd>{escape(line.text)}</dd></div>"
        for line in headline(result)
    )


def _figure(figure: Figure) -> str:
    title, caption = escape(figure.title), escape(figure.caption)
    if figure.chart is None:
        return f'<figure id="{figure.name}"><h3>{title}</h3><p class="none">{caption}</p></figure>'
    links = " ".join(
        f'<a href="{FIGURE_FOLDER}/{figure.name}.{kind}" download>{kind.upper()}</a>'
        for kind in ("png", "svg")
    )
    return (
        f'<figure id="{figure.name}"><h3>{title}</h3>'
        f'<div class="chart" data-figure="{figure.name}" role="img" aria-label="{title}" '
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

    specs: Mapping[str, Any] = {
        figure.name: page_spec(figure) for figure in figures if figure.chart is not None
    }
    content = {"light": LIGHT.config(), "dark": DARK.config(), "specs": specs}
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")  # so that no run's name can end the script element
