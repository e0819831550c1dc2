"""A model's config.json, as Hugging Face's transformers write it, to a shape."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalelab.counting.described import Assumed
from scalelab.counting.fields import Said, read_fields, understood
from scalelab.errors import SpecError
from scalelab.table.schema import normalized

_NO_MATTER = re.compile(
    r"_token_id$|_?dropout|drop$|_pdrop$|dtype|^init|initializer|^_|^transformers_version$"
    r"|^use_cache$|^auto_map$|^architectures$|^output_|^return_dict|^id2label|^label2id|^task_"
    r"|norm_epsilon$|norm_eps$|^pretraining_tp$|router_aux|router_jitter|norm_topk_prob|softcap"
    r"|^scale_attn|^reorder_and|^summary_|_multiplier$|_scaling$|_scale$|^attn_implementation$"
    r"|query_pre_attn_scalar|clip_qkv|_coef$|^layerdrop$|^is_decoder$|bidirectional|^problem_type$"
    r"|original_max_position|^no_rope|^aux_loss|scoring_func|^topk_|routed_scaling"
    r"|^n_group|layer_norm_elementwise_affine|^prefix$|softmax_in_fp32|rope_interleave|in_fp32"
    r"|^slow_but_exact$|^apply_residual|^classifier|^attention_softmax|^chunk_size|rope_local|^name$"
)
"""Keys on which neither parameters nor FLOP depend."""


def read_config(path: Path) -> tuple[dict[str, Said], list[Assumed]]:
    """What a config.json, or the one in a folder, says about the model's shape.

    Keys that are not understood are left out and reported. Raises SpecError where the file is not
    such a file, or the shape is of a kind that is not counted.
    """
    file = path / "config.json" if path.is_dir() else path
    values = _object(file)
    try:
        said = read_fields((normalized(key), key, value) for key, value in values.items())
    except SpecError as error:
        raise SpecError(f"{file}: {error}") from error
    odd = [key for key in values if not understood(normalized(key)) and not _NO_MATTER.search(key)]
    if not said:
        raise SpecError(f"{file} has no key of a model's shape; it has {', '.join(odd[:12])}.")
    if odd:
        return said, [Assumed("keys", f"not understood and left out: {', '.join(odd)}")]
    return said, []


def _object(file: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{file} cannot be read ({error.strerror}). Name a config.json.") from error
    except ValueError as error:
        raise SpecError(f"{file} is not JSON ({error}). Name a model's config.json.") from error
    if not isinstance(values, dict):
        raise SpecError(f"{file} is not one JSON object. Name a model's config.json.")
    return values
