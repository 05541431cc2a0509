"""A recall probe: word pairs early in the prompt, prose after them, then one question for each pair.

Perplexity hardly sees a token that was evicted and is needed once. A question counts as answered when greedy
decoding gives the whole answer; that is so exactly when the answer is the best choice at each of its
positions, so one forward over question and answer decides. Small models recall badly: hits are only ever
read beside the hits of the same model with 16-bit KV.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from planner.compression.codecs import KvCodec
from planner.compression.language_model import LanguageModel, encode_text, run
from planner.compression.validate_stores import ExactStore, PrefixStore, Recorded, compress_prefix

PAIRS = 32
KEYS = (
    "apple river window candle forest bridge garden mirror pencil castle rocket guitar basket tiger island button "
    "carpet desert engine feather hammer jacket kitten ladder magnet needle orange pillow rabbit saddle turtle violin "
    "walnut anchor bottle camera dragon falcon helmet lantern"
)
ANSWERS = (
    "brave calm clever curious eager fierce gentle honest jolly kind lucky mighty noble polite proud quick quiet rich "
    "sharp silent smart strong sweet swift tall tiny warm wild wise young bitter bright broken clean dark dry empty "
    "fresh heavy hollow"
)


@dataclass(frozen=True)
class RecallPrompt:
    """A prompt's tokens, and each question as (question tokens, answer tokens)."""

    tokens: tuple[int, ...]
    questions: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def build_prompt(model: LanguageModel, filler: list[int], prefix_tokens: int, seed: int) -> RecallPrompt:
    """`PAIRS` lines of "key: answer", then filler tokens up to the length of a prefix."""
    dice = random.Random(seed)  # noqa: S311 (a probe that must be the same on every machine)
    keys = dice.sample(KEYS.split(), PAIRS)
    answers = [dice.choice(ANSWERS.split()) for _ in keys]
    lines = "".join(f"{key}: {answer}\n" for key, answer in zip(keys, answers, strict=True))
    pairs = encode_text(model, lines)
    newline = encode_text(model, "\n")
    tokens = (*pairs, *filler[: max(0, prefix_tokens - len(pairs) - len(newline))], *newline)
    questions = tuple(
        (tuple(encode_text(model, f"{key}:")), tuple(encode_text(model, f" {answer}")))
        for key, answer in zip(keys, answers, strict=True)
    )
    return RecallPrompt(tokens, questions)


def read_prompt(model: LanguageModel, prompt: RecallPrompt) -> Recorded:
    """K and V of a prompt, exact."""
    store = ExactStore()
    run(model, torch.tensor([prompt.tokens]), store, keep=1)
    return store.recorded


def count_hits(model: LanguageModel, codec: KvCodec, prompt: RecallPrompt, recorded: Recorded) -> int:
    """Questions answered over a prompt that went through a preset."""
    prefix = compress_prefix(codec, recorded, model.rope_theta)
    longest = max(len(question) + len(answer) for question, answer in prompt.questions)
    rows = [[*question, *answer] for question, answer in prompt.questions]
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    best: Tensor = run(model, padded, PrefixStore(prefix), start=len(prompt.tokens)).argmax(-1)
    hits = 0
    for row, (question, answer) in zip(best.tolist(), prompt.questions, strict=True):
        hits += tuple(row[len(question) - 1 : len(question) + len(answer) - 1]) == answer
    return hits
