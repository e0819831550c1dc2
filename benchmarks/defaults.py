"""Which defaults learn best at this scale? One thing changed at a time, the learning rate tuned.

Every variant is trained at two widths on the same tokens, at rates a factor of two apart until the
best is bracketed; printed is the best held-out loss and its difference from the base. Two more
seeds of the base show how much of a difference is luck.

    python benchmarks/defaults.py [--text PATH ...] [--tokens 800000] [--widths 24 64]
        [--variants NAME ...] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scalelab.corpus import Corpus, CorpusSpec, prepare
from scalelab.counting import TransformerShape
from scalelab.execution.pool import available_cores
from scalelab.pipeline import cache_folder
from scalelab.studies.probe import first_guess
from scalelab.studies.sizes import Family, shape_of_width, size_of
from scalelab.training.spec import TrainSpec
from scalelab.units import format_count

MOST_MORE = 3
"""Rates tried beyond the first three while the best is at an end."""


@dataclass(frozen=True)
class Variant:
    """What differs from the base.

    shape, spec: fields of TransformerShape and TrainSpec. init: gains of the initial parameters,
    as functions of the width. size: depth that replaces the base's at about the same N.
    """

    shape: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    init: str = "ours"
    depth: int | None = None


VARIANTS: Mapping[str, Variant] = {
    "base": Variant(),
    "base, seed 1": Variant(spec={"seed": 1}),
    "base, seed 2": Variant(spec={"seed": 2}),
    "init: all 0.02 (GPT-2)": Variant(init="gpt2"),
    "init: embedding gain 0.3": Variant(init="embedding 0.3"),
    "init: embedding gain 3": Variant(init="embedding 3"),
    "init: matrix gain 0.25": Variant(init="matrix 0.25"),
    "init: matrix gain 1": Variant(init="matrix 1"),
    "batch 256": Variant(spec={"batch_tokens": 256}),
    "batch 1024": Variant(spec={"batch_tokens": 1024}),
    "batch 2048": Variant(spec={"batch_tokens": 2048}),
    "batch 4096": Variant(spec={"batch_tokens": 4096}),
    "positions learned": Variant(shape={"positions": "learned"}),
    "RMSNorm": Variant(shape={"norm": "rmsnorm"}),
    "ReLU": Variant(shape={"activation": "relu"}),
    "untied output": Variant(shape={"tied": False}),
    "decay 10%": Variant(spec={"decay_fraction": 0.1}),
    "decay 40%": Variant(spec={"decay_fraction": 0.4}),
    "cosine": Variant(spec={"schedule": "cosine"}),
    "linear": Variant(spec={"schedule": "linear"}),
    "beta2 0.99": Variant(spec={"beta2": 0.99}),
    "no weight decay": Variant(spec={"weight_decay": 0.0}),
    "no clipping": Variant(spec={"clip": 0.0}),
    "2 layers, same N": Variant(depth=2),
    "8 layers, same N": Variant(depth=8),
    "context 64": Variant(shape={"context": 64}),
    "context 256": Variant(shape={"context": 256}),
}


_GAINS: dict[str, tuple[float, float]] = {}


def shape_of(variant: Variant, width: int, vocabulary: int) -> TransformerShape:
    shape = shape_of_width(width, Family(128, vocabulary))
    if variant.depth is not None:
        wanted = width * math.sqrt(shape.n_layer / variant.depth)
        other = max(8, 8 * round(wanted / 8))
        shape = replace(
            shape_of_width(other, Family(128, vocabulary)), n_layer=variant.depth, d_ff=4 * other
        )
    return replace(shape, **variant.shape)


def train(corpus: str, width: int, name: str, tokens: int, power: int) -> float | None:
    """Final held-out loss of one run; None when it diverged. Runs in a process of its own."""
    import torch

    from scalelab.models import transformer
    from scalelab.training.loop import Trainer

    torch.set_num_threads(1)
    variant = VARIANTS[name]
    shape = shape_of(variant, width, Corpus.load(Path(corpus)).vocabulary)
    # The process is used again: the gains are those of this run alone.
    matrix, embedding = _GAINS.setdefault(
        "ours", (transformer.MATRIX_GAIN, transformer.EMBEDDING_GAIN)
    )
    transformer.MATRIX_GAIN, transformer.EMBEDDING_GAIN = {
        "ours": (matrix, embedding),
        "gpt2": (0.02 * math.sqrt(shape.d_model), 0.02 * math.sqrt(shape.d_model)),
        "embedding 0.3": (matrix, 0.3),
        "embedding 3": (matrix, 3.0),
        "matrix 0.25": (0.25, embedding),
        "matrix 1": (1.0, embedding),
    }[variant.init]
    batch = variant.spec.get("batch_tokens", 512)
    steps = tokens // batch
    values: dict[str, Any] = {
        "run": "run",
        "shape": shape,
        "corpus": corpus,
        "batch_tokens": batch,
        "steps": steps,
        "lr": first_guess(shape) * 2.0**power,
        "warmup_steps": max(10, steps // 20),
        "curve_points": 0,
        "noise_every": 0,
        "eval_tokens": 262_144,
        **variant.spec,
    }
    with tempfile.TemporaryDirectory() as folder:
        spec = TrainSpec(**values)
        trainer = Trainer(spec, Path(folder), torch.device("cpu"))
        if trainer.train(lambda *_: None, lambda: False) != "finished":
            return None
        return float(json.loads((Path(folder) / "result.json").read_text())["loss"])


def bracketed(
    pool: ProcessPoolExecutor, corpus: str, widths: list[int], names: list[str], tokens: int
) -> dict[tuple[str, int], dict[int, float]]:
    """Losses by variant and width and power of two of the rate."""
    found: dict[tuple[str, int], dict[int, float]] = {}
    wanted = {(name, width): [-1, 0, 1] for name in names for width in sorted(widths)[::-1]}
    for _ in range(1 + MOST_MORE):
        jobs = {
            (name, width, power): pool.submit(train, corpus, width, name, tokens, power)
            for (name, width), powers in wanted.items()
            for power in powers
        }
        for (name, width, power), job in jobs.items():
            loss = job.result()
            found.setdefault((name, width), {})[power] = math.inf if loss is None else loss
        wanted = {}
        for key, losses in found.items():
            best = min(losses, key=lambda power: losses[power])
            if best in (min(losses), max(losses)):
                wanted[key] = [best + (1 if best == max(losses) else -1)]
        if not wanted:
            break
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", nargs="*", default=[])
    parser.add_argument("--tokens", type=int, default=800_000)
    parser.add_argument("--widths", type=int, nargs="+", default=[24, 64])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    corpus = prepare(CorpusSpec(paths=tuple(arguments.text)), cache_folder())
    names = list(dict.fromkeys(["base", *arguments.variants]))
    with ProcessPoolExecutor(available_cores(), mp_context=get_context("spawn")) as pool:
        found = bracketed(pool, str(corpus.folder), arguments.widths, names, arguments.tokens)
    rows = []
    for name in names:
        for width in arguments.widths:
            losses = found[name, width]
            best = min(losses, key=lambda power: losses[power])
            shape = shape_of(VARIANTS[name], width, corpus.vocabulary)
            reference = min(found["base", width].values())
            rows.append(
                {
                    "variant": name,
                    "width": width,
                    "params": size_of(shape),
                    "lr": first_guess(shape) * 2.0**best,
                    "ours": losses[best],
                    "reference": reference,
                    "ratio": losses[best] / reference,
                }
            )
    if arguments.json:
        print(json.dumps({"benchmark": "defaults", "rows": rows}))
        return 0
    print(f"{corpus.name}, {format_count(arguments.tokens)} tokens, loss in nats per token")
    for row in rows:
        print(
            f"{row['variant']:<26} width {row['width']:>3}  N {format_count(row['params']):>6}  "
            f"lr {row['lr']:.4f}  loss {row['ours']:.4f}  {row['ours'] - row['reference']:+.4f}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
