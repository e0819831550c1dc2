"""Tokens per second of LSTM and GRU training against a plain loop over torch's own layers.

The reference is what one writes by hand: nn.Embedding, nn.LSTM or nn.GRU, F.cross_entropy, AdamW,
clipping to 1.0, state carried and detached. A step is 8 streams of 128 byte tokens (truncated
back-propagation), the same for both. For each width: a scalelab process on every core at once
against the loop with a thread for each core, and one process against the loop with one thread, in
turns; the median of the rounds is printed.

    python benchmarks/recurrent_speed.py [--widths 20 59 98 256] [--rounds 3] [--seconds 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from scalelab.corpus import Corpus, CorpusSpec, prepare
from scalelab.counting import RecurrentShape
from scalelab.execution.pool import ENVIRONMENT, available_cores
from scalelab.pipeline import cache_folder
from timing import rate

ROWS, LENGTH, VOCABULARY, LAYERS = 8, 128, 256, 2
CORES = available_cores()


def ours(cell: str, width: int, seconds: float, corpus: Corpus) -> float:
    import torch

    from scalelab.training.loop import Trainer
    from scalelab.training.spec import TrainSpec

    spec = TrainSpec(
        run="speed",
        shape=RecurrentShape(cell, LAYERS, width, LENGTH, VOCABULARY),  # type: ignore[arg-type]
        corpus=str(corpus.folder),
        batch_tokens=ROWS * LENGTH,
        steps=1_000_000,
        lr=1e-3,
        noise_every=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(spec, Path(folder), torch.device("cpu"))

        def step() -> None:
            trainer.optimizer_step()
            trainer.step += 1

        return rate(step, ROWS * LENGTH, seconds)


def plain(cell: str, width: int, seconds: float, corpus: Corpus) -> float:
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional as F

    embedding = nn.Embedding(VOCABULARY, width)
    layers = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](width, width, LAYERS, batch_first=True)
    parameters = [*embedding.parameters(), *layers.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    data = corpus.train.array()
    starts = np.linspace(0, len(data) - 1_000_000, ROWS).astype(int)
    state, place = None, 0

    def step() -> None:
        nonlocal state, place
        place = (place + LENGTH) % 900_000
        rows = np.stack([data[s + place : s + place + LENGTH + 1] for s in starts]).astype(np.int64)
        tokens = torch.from_numpy(rows)
        out, after = layers(embedding(tokens[:, :-1]), state)
        logits = F.linear(out, embedding.weight)
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        state = tuple(s.detach() for s in after) if cell == "lstm" else after.detach()

    return rate(step, ROWS * LENGTH, seconds)


def children(what: str, cell: str, width: int, threads: int, count: int, seconds: float) -> float:
    """Tokens a second of `count` processes at once; ours as the worker pool starts them."""
    words = [sys.executable, __file__, "--child", what, cell, str(width), str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    environment |= ENVIRONMENT if what == "ours" else {}
    running = [
        subprocess.Popen([*words, str(seconds)], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(count)
    ]
    return sum(float(child.communicate()[0]) for child in running)


def child(what: str, cell: str, width: str, threads: str, seconds: str) -> float:
    import torch

    torch.set_num_threads(int(threads))
    corpus = prepare(CorpusSpec(), cache_folder())
    measure = ours if what == "ours" else plain
    return measure(cell, int(width), float(seconds), corpus)


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        print(child(*sys.argv[2:]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[20, 59, 98, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    if not arguments.json:
        print(
            f"{CORES} cores        all cores, tokens/s             one core\n"
            "cell width     ours   plain  ratio       ours   plain  ratio"
        )
    for cell in ("lstm", "gru"):
        for width in arguments.widths:
            found = []
            for _ in range(arguments.rounds):
                each = [
                    children("ours", cell, width, 1, CORES, arguments.seconds),
                    children("plain", cell, width, CORES, 1, arguments.seconds),
                    children("ours", cell, width, 1, 1, arguments.seconds),
                    children("plain", cell, width, 1, 1, arguments.seconds),
                ]
                found.append([*each, each[0] / each[1], each[2] / each[3]])
            middle = [statistics.median(column) for column in zip(*found, strict=True)]
            names = ("ours", "reference", "ours_one", "reference_one", "ratio", "ratio_one")
            row = {"cell": cell, "width": width} | dict(zip(names, middle, strict=True))
            rows.append(row)
            if not arguments.json:
                print(
                    "{cell:>4} {width:>5} {ours:>8.0f} {reference:>7.0f}  {ratio:>5.2f}  "
                    "{ours_one:>9.0f} {reference_one:>7.0f}  {ratio_one:>5.2f}".format(**row),
                    flush=True,
                )
    if arguments.json:
        print(json.dumps({"benchmark": "recurrent_speed", "rows": rows}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
