"""A text embedding in parts that recombine between prompts of different length.

The embeddings of a prompt are a sequence: perhaps a begin token, the words, the first end token, and padding. Each is a
latent candidate of its own; what follows the words follows the words of whichever prompt they come from.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from datamodules.errors import InputError
from paradigms.contract import Inputs


def check_tokenizers(pipeline: Any, path: str) -> None:
    """Raise InputError where a tokenizer of ``pipeline``, from ``path``, knows no words."""
    for name, component in pipeline.components.items():
        # Without its files transformers makes one of nothing but special tokens, and T5's space.
        if name.startswith("tokenizer") and len(component) <= len(component.all_special_ids) + 1:
            raise InputError(f"model={path} has no vocabulary for its {name}: fetch or save it again")


class Segment:
    """One stretch of L tokens, and how it falls into parts.

    With w_s = 1 where position s holds a word, the first end token stands where the words stop, and padding elsewhere:
    e_s = max(0, w_{s−1} − w_s), p_s = 1 − w_s − e_s, embedding_s = w_s word_s + e_s eos + p_s padding_s.
    At whole numbers of words this picks one part per position and so is exact; in between it is a mixture, continuous
    in all parts.

    Parts, with S = L less the begin token: ``bos`` (D,), where there is one; ``words`` (S, D + 1), w · word and w in
    the last channel; ``eos`` (D,); ``padding`` (S, D), the empty prompt's where the prompt has no padding.

    Args:
        name: Beginning of the names of its parts, as in ``text.words``.
        tokenizer: The tokenizer that made it.
        span: Where it lies in the text sequence.
        empty: Text sequence (≥ L, D) of the empty prompt.
        lower: Whether prompts were written small before.
    """

    def __init__(self, name: str, tokenizer: Any, span: slice, empty: Tensor, *, lower: bool) -> None:
        self.tokenizer, self.span, self.empty, self.lower = tokenizer, span, empty[span], lower
        self.bos = int(self._ids([""])[0, 0] == tokenizer.bos_token_id)
        parts = ("bos", "words", "eos", "padding")[1 - self.bos :]
        self.names = {part: f"{name}.{part}" for part in parts}

    def _ids(self, prompts: Sequence[str]) -> Tensor:
        texts = [prompt.lower().strip() if self.lower else prompt for prompt in prompts]
        ids = self.tokenizer(
            texts, padding="max_length", max_length=len(self.empty), truncation=True, return_tensors="pt"
        ).input_ids
        return torch.as_tensor(ids)

    def split(self, prompts: Sequence[str], sequence: Tensor) -> Inputs:
        """Parts of the text sequence (N, ≥ L, D) of ``prompts``."""
        embeddings = sequence[:, self.span]
        rest = embeddings[:, self.bos :]
        # The first: padding may be the end token again.
        ends = (self._ids(prompts) == self.tokenizer.eos_token_id).int().argmax(dim=1).to(rest.device) - self.bos
        places = torch.arange(rest.shape[1], device=rest.device)
        is_word, is_padding = (mask.unsqueeze(-1) for mask in (places < ends[:, None], places > ends[:, None]))
        parts = {
            "bos": embeddings[:, 0],
            "words": torch.cat([rest * is_word, is_word.to(rest)], dim=-1),
            "eos": rest[torch.arange(len(rest), device=rest.device), ends],
            "padding": torch.where(is_padding, rest, self.empty[self.bos :].to(rest)),
        }
        return {name: parts[part] for part, name in self.names.items()}

    def join(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Embeddings (N, L, D) of the parts, and where they are no padding (N, L), as 0 and 1."""
        parts = {part: inputs[name] for part, name in self.names.items()}
        words, word = parts["words"][..., :-1], parts["words"][..., -1:]
        before = torch.cat([torch.ones_like(word[:, :1]), word[:, :-1]], dim=1)
        end = (before - word).clamp(min=0)
        embeddings = words + end * parts["eos"].unsqueeze(1) + (1 - word - end) * parts["padding"]
        seen = (word + end).squeeze(-1) > 0
        if self.bos:
            embeddings = torch.cat([parts["bos"].unsqueeze(1), embeddings], dim=1)
            seen = torch.cat([torch.ones_like(seen[:, :1]), seen], dim=1)
        return embeddings, seen.long()
