"""``scalelab laws``: the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from scalelab.cli.common import print_json, print_lines

if TYPE_CHECKING:
    from scalelab.laws import Law


@dataclass(frozen=True)
class Laws:
    """Every law with its equation, parameters, source and published values."""

    name: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[LAW]")] = None
    """One law in full."""
    json: bool = False
    """Print one JSON object."""


def laws(command: Laws) -> int:
    """`scalelab laws`."""
    from scalelab.laws import LAWS, get_law

    chosen = [get_law(command.name)] if command.name else list(LAWS.values())
    if command.json:
        print_json({"laws": {law.name: describe(law) for law in chosen}})
        return 0
    if command.name:
        print_lines(_in_full(chosen[0]))
        return 0
    width = max(len(law.name) for law in chosen)
    lines = []
    for law in chosen:
        lines.append(f"{law.name:<{width}}  {law.equation}")
        if law.presets:
            lines.append(f"{'':<{width}}  presets: {', '.join(p.name for p in law.presets)}")
    print_lines([*lines, "", "scalelab laws LAW tells what a law's parameters mean."])
    return 0


def describe(law: Law) -> dict[str, Any]:
    """A law as JSON."""
    return {
        "equation": law.equation,
        "inputs": list(law.inputs),
        "response": law.response,
        "reference": law.reference,
        "parameters": {
            p.name: {"meaning": p.meaning, "low": p.low, "high": p.high} for p in law.parameters
        },
        "derived": {d.name: d.meaning for d in law.derived},
        "presets": {
            p.name: {"values": dict(p.values), "reference": p.reference} for p in law.presets
        },
    }


def _in_full(law: Law) -> list[str]:
    lines = [f"{law.name}: {law.equation}", f"source: {law.reference}"]
    lines.append(f"columns: {', '.join(law.inputs)} -> {law.response}")
    lines += [f"  {p.name:<16} {p.meaning} ({p.low:g} to {p.high:g})" for p in law.parameters]
    lines += [f"  {d.name:<16} {d.meaning}" for d in law.derived]
    for preset in law.presets:
        values = ", ".join(f"{name} {value:.6g}" for name, value in preset.values.items())
        lines += [f"preset {preset.name}: {values}", f"  {preset.reference}"]
    return lines
