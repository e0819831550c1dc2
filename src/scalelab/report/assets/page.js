"use strict";

// Figures: drawn as SVG in the page's colour scheme, again when it changes or the page is printed.
const figures = JSON.parse(document.getElementById("figure-data").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const narrow = window.matchMedia("(max-width: 560px)");

// On a phone a legend beside the plot would leave it too little room.
function configured(scheme) {
  const config = figures[scheme];
  if (!narrow.matches) return config;
  const below = { orient: "bottom", direction: "horizontal", columns: 4, columnPadding: 14 };
  return { ...config, legend: { ...config.legend, ...below } };
}

function draw(scheme) {
  for (const place of document.querySelectorAll("[data-figure]")) {
    const spec = figures.specs[place.dataset.figure];
    window.vegaEmbed(place, spec, {
      mode: "vega-lite",
      renderer: "svg",
      actions: false,
      config: configured(scheme),
      tooltip: { disableDefaultStyle: true },
    }).catch((error) => {
      place.textContent = "This figure could not be drawn (" + error.message + ").";
    });
  }
}

function drawForScreen() {
  draw(dark.matches ? "dark" : "light");
}

if (window.vegaEmbed) {
  drawForScreen();
  dark.addEventListener("change", drawForScreen);
  narrow.addEventListener("change", drawForScreen);
  window.addEventListener("beforeprint", () => { if (dark.matches) draw("light"); });
  window.addEventListener("afterprint", () => { if (dark.matches) drawForScreen(); });
}

// Tables: a click on a heading sorts by it; what has no value stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const descending = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0];
    const isNumber = head.classList.contains("number");
    const key = (row) => {
      const cell = row.cells[column];
      if (!isNumber) return cell.textContent;
      return "value" in cell.dataset ? Number(cell.dataset.value) : NaN;
    };
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (isNumber) {
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return descending ? y - x : x - y;
      }
      const compared = x.localeCompare(y, "en", { numeric: true });
      return descending ? -compared : compared;
    };
    body.append(...[...body.rows].sort(order));
  }));
}
