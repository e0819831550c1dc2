"""From what is said about a shape to the shape, and what was assumed on the way.

What is not said is filled in by the rules of an architecture: the one that is named, else GPT-2's,
or Llama's where something is said that GPT-2 does not have. Every rule that is used is reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scalelab.counting.architectures import (
    ALSO,
    ARCHITECTURES,
    ATTENTION_BIAS,
    BIASES,
    FEED_FORWARD_BIAS,
    GPT_2,
    LLAMA,
    NOT_COUNTED,
    OUTPUT_BIAS,
    QKV_BIAS,
    Architecture,
    find,
)
from scalelab.counting.fields import DIMENSIONS, Said
from scalelab.counting.shape import BiasPlace, Experts, ModelShape
from scalelab.errors import SpecError


class MissingFieldError(SpecError):
    """A shape lacks what no rule fills in; `names` are the fields."""

    def __init__(self, names: Sequence[str]) -> None:
        """Name the fields."""
        self.names = tuple(names)
        super().__init__(f"the shape has no {', '.join(names)}.")


@dataclass(frozen=True)
class Assumed:
    """One rule that was used. field: what it fills in. text: how, in words."""

    field: str
    text: str


@dataclass(frozen=True)
class Described:
    """A shape, the rules by which it was completed, and the title of the architecture of these."""

    shape: ModelShape
    assumed: tuple[Assumed, ...]
    style: str


def describe(
    said: Mapping[str, Said], assumed: Sequence[Assumed] = (), *, modern: bool = False
) -> Described:
    """The shape that is said.

    said: by field, as `read_fields` gives it. assumed: rules that were used to make `said`. modern:
    whether Llama's rules fill it in where no architecture is named, because `is_modern` holds for
    other runs of the table: one table has one set of rules.
    Raises SpecError where it is contradictory, of a kind that is not counted, or open in something
    that decides the count, and MissingFieldError where a dimension is missing.
    """
    return _Description(said, assumed, modern=modern).made()


def is_modern(said: Mapping[str, Said]) -> bool:
    """Whether something is said that GPT-2 does not have, and no architecture is named."""
    return "model_type" not in said and bool(_beyond_gpt_2(said))


def _beyond_gpt_2(said: Mapping[str, Said]) -> list[str]:
    """Fields with something that GPT-2 does not have."""

    def get(field: str, default: Any = None) -> Any:
        return said[field].value if field in said else default

    signs = {
        "n_kv_head": get("n_kv_head", get("n_head")) != get("n_head"),
        "gated": bool(get("gated")),
        "activation": get("activation") == "silu",
        "positions": get("positions", "learned") != "learned",
        "norm": get("norm", "layernorm") == "rmsnorm",
        "sliding_window": "sliding_window" in said and get("use_sliding_window") is not False,
        "n_expert": get("n_expert", 1) > 1,
        "qk_norm": bool(get("qk_norm")),
    }
    return [field for field, found in signs.items() if found]


class _Description:
    def __init__(
        self, said: Mapping[str, Said], assumed: Sequence[Assumed], *, modern: bool
    ) -> None:
        self.said = said
        self.assumed = list(assumed)
        self.named = self._named()
        self.rules = self.named or (LLAMA if modern or is_modern(said) else GPT_2)

    def made(self) -> Described:
        if self.get("pre_norm") is False:
            raise SpecError(
                f"{self.key('pre_norm')} is false: norms behind the maps are not counted."
            )
        if self.named and (missing := [name for name in self.named.needs if name not in self.said]):
            raise MissingFieldError(missing)
        n_expert = self.get("n_expert", 1)
        sizes = self._dimensions()
        gated = self._gated()
        n_head, d_model = sizes["n_head"], sizes["d_model"]
        head_dim = self._head_dim(d_model, n_head)
        window, window_layers = self._window(sizes["n_layer"])
        norm = self._norm()
        # scalelab's own, and nanoGPT's, LayerNorm has a shift where the maps have biases.
        shifted = bool(self.named) or self.get("bias") != "none"
        biases = self._biases()
        shape = ModelShape(
            **sizes,
            n_kv_head=self._kv_heads(n_head),
            head_dim=head_dim,
            gated=gated,
            learned_positions=self._positions(sizes["context"], head_dim),
            norm=norm,
            norm_shift=norm == "layernorm" and self.rules.norm_shift and shifted,
            norms_per_layer=(
                self.rules.parallel_norms
                if self.get("parallel") and self.named
                else self.rules.norms_per_layer
            ),
            embedding_norm=self.rules.embedding_norm,
            qk_norm=self._qk_norm(),
            biases=biases,
            tied=self._tied(),
            window=window,
            window_layers=window_layers,
        )
        experts = self._experts(shape, n_expert)
        return Described(replace(shape, experts=experts), tuple(self.assumed), self.rules.title)

    # --- what is said ---------------------------------------------------------------------------

    def get(self, field: str, default: Any = None) -> Any:
        return self.said[field].value if field in self.said else default

    def key(self, field: str) -> str:
        return self.said[field].key

    def assume(self, field: str, text: str) -> None:
        self.assumed.append(Assumed(field, text))

    def conflict(self, field: str, why: str) -> SpecError:
        name = self.key(field)
        return SpecError(f"{name} is {self.get(field)}, and {why}: they contradict each other.")

    def _named(self) -> Architecture | None:
        name = self.get("model_type")
        if name is None:
            return None
        if name in NOT_COUNTED:
            raise SpecError(
                f"{self.key('model_type')} is {name}, which is not counted: it is no "
                "decoder-only Transformer with plain attention."
            )
        if (rules := find(name)) is None:
            known = ", ".join(sorted((*ARCHITECTURES, *ALSO)))
            raise SpecError(
                f"{self.key('model_type')} {name!r} is not known; known are {known}. Leave it out, "
                "and the shape is counted from the other fields alone."
            )
        return rules

    # --- the parts ------------------------------------------------------------------------------

    def _dimensions(self) -> dict[str, Any]:
        found = {name: self.get(name) for name in DIMENSIONS}
        if found["context"] is None and (longest := self.get("max_positions")):
            found["context"] = longest
            self.assume("context", f"context is {self.key('max_positions')}")
        if found["d_ff"] is None and found["d_model"] is not None:
            found["d_ff"] = self._d_ff(found["d_model"])
        if missing := [name for name, value in found.items() if value is None]:
            raise MissingFieldError(missing)
        return found

    def _d_ff(self, d_model: int) -> int | None:
        if self.get("d_expert") and not self.get("n_dense_layer"):
            return int(self.get("d_expert"))  # no layer of another width
        ratio = self.rules.d_ff_ratio if self.named else None
        if ratio is None:  # of plain feed-forward layers
            return None
        self.assume("d_ff", f"d_ff is {ratio} d_model")
        return ratio * d_model

    def _gated(self) -> bool:
        """Whether feed-forward layers have three matrices: half of N may hang on it."""
        flag, activation = self.get("gated"), self.get("activation")
        if self.named:
            if flag is not None and flag != self.named.gated:
                kind = "gated" if self.named.gated else "plain"
                raise self.conflict(
                    "gated", f"feed-forward layers of {self.named.title} are {kind}"
                )
            return self.named.gated
        if flag is not None:
            return bool(flag)
        if activation == "silu":
            name = self.key("activation")
            self.assume("gated", f"{name} silu is SwiGLU, three feed-forward matrices")
            return True
        if activation is None and self.rules is GPT_2:
            self.assume("gated", "two feed-forward matrices")
            return False
        plain = activation in ("relu", "relu2", "tanh", "sigmoid")
        if plain or self.rules is GPT_2 or (activation and self.key("activation") == "activation"):
            self.assume("gated", f"{activation} is not gated, two feed-forward matrices")
            return False
        seen = ", ".join(map(self.key, _beyond_gpt_2(self.said))) or "runs that are not GPT-2's"
        told = f"{self.key('activation')} is {activation}" if activation else "no activation"
        raise SpecError(
            f"{told} beside {seen}: this does not say whether feed-forward layers are gated (three "
            "matrices) or plain (two). Give activation (swiglu, geglu, gelu, relu) or model_type."
        )

    def _kv_heads(self, n_head: int) -> int:
        found: int | None = self.get("n_kv_head")
        if self.get("attention") == "mha":
            if found not in (None, n_head):
                raise self.conflict("n_kv_head", f"{self.key('attention')} is mha")
            return n_head
        if found is None and self.get("attention") == "gqa":
            raise MissingFieldError(["n_kv_head"])
        if found is None:
            if not self.named or self.named.grouped:
                self.assume("n_kv_head", "full attention (a key-value head for every query head)")
            return n_head
        if self.named and not self.named.grouped and found != n_head:
            raise self.conflict("n_kv_head", f"{self.named.title} has no grouped queries")
        return found

    def _head_dim(self, d_model: int, n_head: int) -> int:
        if (found := self.get("head_dim")) is not None:
            return int(found)
        if d_model % n_head:
            raise SpecError(
                f"d_model {d_model} is not divisible by n_head {n_head}; choose heads that divide "
                "the width, or give head_dim."
            )
        if self.rules is not GPT_2:
            self.assume("head_dim", "head_dim is d_model / n_head")
        return d_model // n_head

    def _positions(self, context: int, head_dim: int) -> int:
        kind = self.get("positions")
        if kind is None:
            kind = self.rules.positions
            if not self.named:
                self.assume("positions", f"{kind} positions")
        elif self.named and kind != self.named.positions:
            raise self.conflict(
                "positions", f"positions of {self.named.title} are {self.named.positions}"
            )
        if kind == "rotary" and head_dim % 2:
            raise SpecError(
                f"the head dimension {head_dim} is odd; rotary positions rotate pairs. Choose an "
                "even head dimension or other positions."
            )
        if kind != "learned":
            return 0
        return int(self.get("max_positions", context)) + self.rules.position_offset

    def _norm(self) -> Any:
        kind = self.get("norm")
        if kind is None:
            if not self.named:
                name = {"layernorm": "LayerNorm", "rmsnorm": "RMSNorm"}[self.rules.norm]
                self.assume("norm", name)
            return self.rules.norm
        if self.named and kind != self.named.norm:
            raise self.conflict("norm", f"the norm of {self.named.title} is {self.named.norm}")
        return kind

    def _qk_norm(self) -> Any:
        if not self.get("qk_norm"):
            return self.rules.qk_norm
        if not self.named:
            self.assume("qk_norm", "norms of queries and keys are by head")
            return "head"
        if self.named.qk_norm == "none":
            raise SpecError(
                f"{self.key('qk_norm')} is true: norms of queries and keys of {self.named.title} "
                "are not counted."
            )
        return self.named.qk_norm

    def _biases(self) -> frozenset[BiasPlace]:
        output = self.rules.biases & OUTPUT_BIAS
        found, assumed = self.rules.biases - output, {"attention", "feed-forward"}
        if (word := self.get("bias")) is not None:
            found, assumed = BIASES[word], set()
        for field, maps in (
            ("attention_bias", ATTENTION_BIAS),
            ("qkv_bias", QKV_BIAS),
            ("mlp_bias", FEED_FORWARD_BIAS),
        ):
            flag = self.get(field)
            if flag is None:
                continue
            changed = found | maps if flag else found - maps
            if word is not None and changed != found:
                raise self.conflict(field, f"{self.key('bias')} is {word}")
            if field == "qkv_bias" and "attention_bias" not in self.said:
                changed &= QKV_BIAS | FEED_FORWARD_BIAS
            found = changed
            assumed -= {"feed-forward" if field == "mlp_bias" else "attention"}
        if assumed and not self.named:
            # The rules of an unnamed architecture are GPT-2's, all, or Llama's, none.
            some = "biases" if self.rules.biases else "no biases"
            self.assume("bias", f"{some} in {' and '.join(sorted(assumed))} maps")
        return found | output

    def _tied(self) -> bool:
        if (found := self.get("tied")) is not None:
            return bool(found)
        self.assume("tied", "tied output layer" if self.rules.tied else "untied output layer")
        return self.rules.tied

    def _experts(self, shape: ModelShape, count: int) -> Experts | None:
        others = ("n_expert_active", "d_expert", "n_shared_expert", "d_shared_expert")
        if count <= 1:
            if found := [f for f in others if f in self.said and "n_expert" not in self.said]:
                raise SpecError(f"{self.key(found[0])} is given and n_expert is not.")
            return None
        if (active := self.get("n_expert_active")) is None:
            raise SpecError(
                f"{self.key('n_expert')} is {count}, and nothing says how many of them a token "
                "uses. Give n_expert_active."
            )
        if (width := self.get("d_expert")) is None:
            width = shape.d_ff
            self.assume("d_expert", "every expert is d_ff wide")
        shared = self.get("d_shared_expert")
        if shared is None:
            shared = self.get("n_shared_expert", 0) * width
        return Experts(
            count=count,
            active=active,
            d_ff=width,
            d_shared=shared,
            shared_gate=self.rules.shared_gate and shared > 0,
            dense_layers=self.get("n_dense_layer", 0),
        )

    def _window(self, n_layer: int) -> tuple[int | None, int]:
        """The window, and the layers that have it."""
        size, kind = self.get("sliding_window"), self.rules.window
        if size is None or self.get("use_sliding_window") is False:
            if kind in ("all", "second", "sixth") and "use_sliding_window" not in self.said:
                self.assume("sliding_window", "no sliding window")
            return None, 0
        if (types := self.get("layer_types")) is not None:
            return size, self._sliding(types, n_layer)
        if kind == "switch":
            if not self.get("use_sliding_window"):
                self.assume("sliding_window", "the sliding window is not in use")
                return None, 0
            return size, max(0, n_layer - self.get("max_window_layers", 0))
        every = self.get("full_every", {"second": 2, "sixth": 6}.get(kind))
        if every is None:
            if kind != "all":
                self.assume("sliding_window", "every layer has the sliding window")
            return size, n_layer
        return size, n_layer - n_layer // every

    def _sliding(self, types: Sequence[str], n_layer: int) -> int:
        known = {"full_attention", "sliding_attention"}
        if len(types) != n_layer or not known.issuperset(types):
            odd = sorted(set(types) - known)
            raise SpecError(
                f"{self.key('layer_types')} has {len(types)} layers"
                + (f", also of {', '.join(odd)}" if odd else "")
                + f"; {n_layer} of full_attention or sliding_attention are expected."
            )
        return sum(one == "sliding_attention" for one in types)
