"""Tokens per second against nanoGPT at the same configuration, in the same run.

For each width: a scalelab process on one core, one on every core at once, nanoGPT with one thread
and with a thread for each core, in turns; the median of the rounds is printed, with the share of
the machine's matrix-product rate (1,024 x 1,024 x 1,024, same threads). A step is forward,
backward, clipping to 1.0 and AdamW on 8 sequences of 128 byte tokens; 4 layers, 6 at width 256;
learned positions, LayerNorm, GELU, tied output, no bias, as nanoGPT has them. Then what the noise
scale, logging and evaluation along the way cost a run of the ladder, final evaluation apart.

    python benchmarks/training_speed.py [--widths 16 32 64 128 256] [--rounds 5] [--seconds 2]
        [--json]

Needs peers/nanoGPT in the folder that SCALELAB_SHARED names (default ../shared).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from published import shared
from scalelab.corpus import Corpus, CorpusSpec, prepare
from scalelab.counting import TransformerShape, flops_per_token
from scalelab.execution.pool import ENVIRONMENT, available_cores
from scalelab.pipeline import cache_folder
from timing import rate

SEQUENCES, CONTEXT, VOCABULARY = 8, 128, 256
CORES = available_cores()


def shape_of(width: int, positions: str = "learned") -> TransformerShape:
    return TransformerShape(
        n_layer=6 if width >= 256 else 4,
        d_model=width,
        n_head=max(1, width // 16),
        d_ff=4 * width,
        context=CONTEXT,
        vocabulary=VOCABULARY,
        positions=positions,  # type: ignore[arg-type]
    )


# --- what is timed, each in a process of its own --------------------------------------------------


def scalelab_rate(width: int, seconds: float, corpus: Corpus, positions: str) -> float:
    import torch

    from scalelab.training.loop import Trainer
    from scalelab.training.spec import TrainSpec

    spec = TrainSpec(
        run="speed",
        shape=shape_of(width, positions),
        corpus=str(corpus.folder),
        batch_tokens=SEQUENCES * CONTEXT,
        steps=1_000_000,
        lr=1e-3,
        noise_every=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(spec, Path(folder), torch.device("cpu"))

        def step() -> None:
            trainer.optimizer_step()
            trainer.step += 1

        return rate(step, SEQUENCES * CONTEXT, seconds)


def nanogpt_rate(width: int, seconds: float, corpus: Corpus) -> float:
    import numpy as np
    import torch

    module = load_nanogpt()
    shape = shape_of(width)
    config = module.GPTConfig(
        block_size=CONTEXT,
        vocab_size=VOCABULARY,
        n_layer=shape.n_layer,
        n_head=shape.n_head,
        n_embd=width,
        dropout=0.0,
        bias=False,
    )
    model = module.GPT(config)
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    data = corpus.train.array()

    def step() -> None:
        starts = torch.randint(len(data) - CONTEXT, (SEQUENCES,))
        x, y = (
            torch.stack(
                [torch.from_numpy(data[i + by : i + by + CONTEXT].astype(np.int64)) for i in starts]
            )
            for by in (0, 1)
        )
        _, loss = model(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return rate(step, SEQUENCES * CONTEXT, seconds)


def peak_rate(seconds: float) -> float:
    """FLOP a second of a matrix product."""
    import torch

    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return rate(lambda: a @ b, 1, seconds) * 2 * 1024**3


def overhead(width: int, corpus: Corpus) -> float:
    """Share of a run's time that noise scale, logging and evaluation along the way add.

    Processor time of one thread, which hardly feels what else the machine does: the two runs of a
    wide model are minutes apart.
    """
    import torch

    from scalelab.studies.ladder import LadderSpec, Rung, build
    from scalelab.training.loop import Trainer

    steps = 400  # a trunk of the default ladder has thousands: what is fixed weighs less there
    spec = LadderSpec(str(corpus.folder), corpus.train.tokens, SEQUENCES * CONTEXT, 3, 0, 1)
    trunk = build([Rung(shape_of(width, "rotary"), 1.0, 1e-3)], steps, spec).jobs[0].spec
    full = replace(trunk, fork_steps=())
    bare = replace(full, noise_every=0, curve_points=0)
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(3):
        for measured, one in ((False, bare), (True, full)):
            with tempfile.TemporaryDirectory() as folder:
                trainer = Trainer(one, Path(folder), torch.device("cpu"))
                start = time.process_time()
                if measured:
                    trainer.train(lambda *_: None, lambda: False)
                else:
                    while trainer.step < one.last_step:
                        trainer.optimizer_step()
                        trainer.step += 1
                times[measured].append(time.process_time() - start)
    return min(times[True]) / min(times[False]) - 1


def load_nanogpt() -> Any:
    path = shared("peers") / "nanoGPT" / "model.py"
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module
    spec.loader.exec_module(module)
    return module


def measure_one(what: str, width: int, threads: int, seconds: float) -> float:
    """In a child: the figure that `what` names."""
    import torch

    torch.set_num_threads(threads)
    corpus = prepare(CorpusSpec(), cache_folder())
    if what == "peak":
        return peak_rate(seconds)
    if what == "nanogpt":
        return nanogpt_rate(width, seconds, corpus)
    if what == "overhead":
        return overhead(width, corpus)
    return scalelab_rate(width, seconds, corpus, what)


# --- the comparison -----------------------------------------------------------------------------


def children(what: str, width: int, threads: int, count: int, seconds: float) -> list[float]:
    """`count` children at once; ours get the allocator settings that the worker pool gives."""
    words = [sys.executable, __file__, "--child", what, str(width), str(threads), str(seconds)]
    ours = what not in ("nanogpt", "peak")
    environment = os.environ | (ENVIRONMENT if ours else {}) | {"OMP_NUM_THREADS": str(threads)}
    # nanoGPT prints its parameter groups first.
    running = [
        subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        for _ in range(count)
    ]
    return [float(child.communicate()[0].strip().splitlines()[-1]) for child in running]


def median_of(rounds: list[dict[str, float]], key: str) -> float:
    return statistics.median(one[key] for one in rounds)


def compare(width: int, rounds: int, seconds: float) -> dict[str, Any]:
    found = []
    for _ in range(rounds):
        one: dict[str, float] = {}
        one["ours_all"] = sum(children("learned", width, 1, CORES, seconds))
        one["nano_all"] = children("nanogpt", width, CORES, 1, seconds)[0]
        one["ours_one"] = children("learned", width, 1, 1, seconds)[0]
        one["nano_one"] = children("nanogpt", width, 1, 1, seconds)[0]
        one["rotary_all"] = sum(children("rotary", width, 1, CORES, seconds))
        one["peak_one"] = children("peak", width, 1, 1, 0.5)[0]
        one["peak_all"] = children("peak", width, CORES, 1, 0.5)[0]
        one["ratio_all"] = one["ours_all"] / one["nano_all"]
        one["ratio_one"] = one["ours_one"] / one["nano_one"]
        found.append(one)
    cost = flops_per_token(shape_of(width))
    return {
        "width": width,
        "ours": median_of(found, "ours_all"),
        "reference": median_of(found, "nano_all"),
        "ratio": median_of(found, "ratio_all"),
        "ours_one": median_of(found, "ours_one"),
        "reference_one": median_of(found, "nano_one"),
        "ratio_one": median_of(found, "ratio_one"),
        "ours_rotary": median_of(found, "rotary_all"),
        "peak_share": median_of(found, "ours_all") * cost / median_of(found, "peak_all"),
        "peak_share_one": median_of(found, "ours_one") * cost / median_of(found, "peak_one"),
        "reference_peak_share": median_of(found, "nano_all") * cost / median_of(found, "peak_all"),
    }


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        what, width, threads, seconds = sys.argv[2:6]
        print(measure_one(what, int(width), int(threads), float(seconds)))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    theirs = shared("peers") / "nanoGPT"
    if not (theirs / "model.py").exists():
        print(f"no {theirs}: set SCALELAB_SHARED to the folder with peers/")
        return 2
    rows = []
    if not arguments.json:
        print(
            f"{CORES} cores            all cores, tokens/s                one core\n"
            "width     ours  nanoGPT  ratio  peak (nanoGPT)      ours  nanoGPT  ratio  peak"
            "    ours rotary   along the way"
        )
    for width in arguments.widths:
        row = compare(width, arguments.rounds, arguments.seconds)
        row["overhead"] = children("overhead", width, 1, 1, 0.0)[0]
        rows.append(row)
        if not arguments.json:
            print(
                "{width:>5} {ours:>8.0f} {reference:>8.0f}  {ratio:>5.2f}  {peak_share:>4.0%} "
                "({reference_peak_share:>4.0%})     {ours_one:>9.0f} {reference_one:>8.0f}  "
                "{ratio_one:>5.2f}  {peak_share_one:>4.0%}  {ours_rotary:>10.0f}   "
                "{overhead:>+8.1%}".format(**row),
                flush=True,
            )
    if arguments.json:
        print(json.dumps({"benchmark": "training_speed", "rows": rows}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
