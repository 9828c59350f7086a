"""Pre-train the quickstart's base model from nothing, and write it to base/.

    python pretrain_base.py [--out FOLDER] [--steps N] [--seed 0]

A Llama of about a million weights and a byte-level BPE tokenizer, both made from prose.py alone. The
tokenizer has a ChatML template, but the model has never seen a chat, an instruction or the end of a turn: it
is a base model, and what fine-tuning adds is what the suite measures. Prose that holds an evaluation prompt's
input of three words or more is left out; single words and facts about them are not. About ten minutes on
one free core; with its one thread and one seed, the same machine writes the same weights.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from prose import documents
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).parent
END_OF_TEXT, PAD, TURN_START, TURN_END = "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCABULARY, CONTEXT = 1536, 256
BATCH, LEARNING_RATE, WARMUP_STEPS, WEIGHT_DECAY = 16, 3e-3, 100, 0.1
SEQUENCE = 128
TOKENIZER_DOCUMENTS, HELD_OUT_BATCHES = 20_000, 20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE / "base")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    tokenizer = train_tokenizer(arguments.seed)
    model = LlamaForCausalLM(architecture(tokenizer))
    print(f"{model.num_parameters():,} weights, {len(tokenizer):,} tokens in the vocabulary")
    held_out = list(islice(batches(tokenizer, seed=arguments.seed + 1), HELD_OUT_BATCHES))
    train(model, batches(tokenizer, seed=arguments.seed), arguments.steps)
    # Stored in half the bytes; the figure below is that of the stored weights.
    model.to(torch.bfloat16).save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    print(
        f"perplexity {perplexity(model.float(), held_out):.2f} on {HELD_OUT_BATCHES} unseen batches of prose"
    )


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of VOCABULARY tokens, trained on prose."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, PAD, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(islice(clean_documents(seed), TOKENIZER_DOCUMENTS), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PAD,
        extra_special_tokens=[TURN_START, TURN_END],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def architecture(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Widths are multiples of 64, the block of 4-bit quantisation, so that QLoRA works on every layer."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def clean_documents(seed: int) -> Iterator[str]:
    """Prose without the documents that hold the text an evaluation prompt is about."""
    rows = map(json.loads, (HERE / "eval.jsonl").read_text(encoding="utf-8").splitlines())
    inputs = {row["input"] for row in rows if len(row["input"].split()) > 2}
    evaluated = re.compile("|".join(map(re.escape, sorted(inputs))))
    return (text for text in documents(seed) if not evaluated.search(text))


def batches(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[torch.Tensor]:
    """Endless (BATCH, SEQUENCE) token ids: documents one after another, each with its end of text."""
    size = BATCH * SEQUENCE
    tokens: list[int] = []
    for text in clean_documents(seed):
        tokens += [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        if len(tokens) >= size:
            yield torch.tensor(tokens[:size]).view(BATCH, SEQUENCE)
            del tokens[:size]


def train(model: LlamaForCausalLM, stream: Iterator[torch.Tensor], steps: int) -> None:
    """AdamW with a linear warm-up and a cosine to zero; weight decay on matrices alone."""
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    vectors = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    model.train()
    for step, batch in enumerate(islice(stream, steps), start=1):
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"step {step}/{steps}: loss {loss.item():.3f}", flush=True)


def learning_rate_factor(step: int, steps: int) -> float:
    """What the peak learning rate is multiplied with."""
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)))


@torch.no_grad()
def perplexity(model: LlamaForCausalLM, held_out: list[torch.Tensor]) -> float:
    """exp of the mean negative log likelihood; all batches have the same number of tokens."""
    model.eval()
    losses = [model(input_ids=batch, labels=batch).loss.item() for batch in held_out]
    return math.exp(sum(losses) / len(losses))


if __name__ == "__main__":
    main()
