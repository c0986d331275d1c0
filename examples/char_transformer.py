"""A transformer that writes Python: a character-level language model of the standard library's own sources.

    block:  x + W attention(LN(x)),  then  x + FFN(LN(x));      attention sees what came before, at -2^-h for each step back

The loss is the cross-entropy of the next character; on modules never seen it is given in bits for each character, beside what
the frequencies of single characters and of pairs give. The positions being relative (ALiBi; Press et al., 2022), a cache of
the last `CONTEXT` keys and values is all that writing needs: states of a compiled step, which overwrites the oldest and takes
one character.
"""

from __future__ import annotations

import sysconfig
import time
from pathlib import Path

import numpy as np

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
CONTEXT, WIDTH, HEADS, LAYERS, BATCH = 64, 64, 4, 2, 16
TRAIN = "argparse ast calendar codecs configparser copy datetime difflib dis doctest fractions functools gettext gzip inspect"
TEST = "textwrap shutil statistics"
SLOPES = (2.0 ** -np.arange(1, HEADS + 1)).astype(np.float32)[:, None, None]


def text_of(modules: str) -> np.ndarray:
    """The characters of standard modules, as indices."""
    folder = Path(sysconfig.get_path("stdlib"))
    index = {character: i for i, character in enumerate(CHARACTERS)}
    text = "".join((folder / f"{name}.py").read_text(encoding="utf-8") for name in modules.split())
    return np.array([index.get(character, index["?"]) for character in text], np.int32)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.project, self.mix = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.feed = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: graphc.Tensor, age: graphc.Tensor, cache: tuple | None = None) -> tuple:
        """x (N, T, WIDTH); `age` says how far back each key is from each query, negative where it is not to be seen."""
        parts = graphc.reshape(self.project(self.norm1(x)), (*x.shape[:2], 3, HEADS, WIDTH // HEADS))
        q, k, v = graphc.unstack(graphc.permute_dims(parts, (2, 0, 3, 1, 4)))  # (N, HEADS, T, ...)
        if cache is not None:
            newest = (age[0] == 0)[:, None]
            k, v = (graphc.where(newest, new, old) for new, old in zip((k, v), cache, strict=True))
        bias = graphc.where(age >= 0, -SLOPES * graphc.astype(age, "float32"), -np.inf)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + self.mix(graphc.reshape(graphc.swapaxes(mixed, 1, 2), x.shape))
        return x + self.feed(self.norm2(x)), (k, v)


class Writer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(CHARACTERS), WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm, self.logits = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(CHARACTERS))
        nn.init.normal_(self.embed.weight, std=0.1)

    def forward(self, text: graphc.Tensor) -> graphc.Tensor:
        """Logits of the character after each, for text (N, T)."""
        position = graphc.arange(text.shape[1], dtype="int32")
        x = self.embed(text)
        for block in self.blocks:
            x, _ = block(x, position[:, None] - position)
        return self.logits(self.norm(x))


def writing_step(model: Writer, temperature: float) -> graphc.Executable:
    """Takes a character, draws the next; returns it with its logits. The cache is in states."""
    character = graphc.input("character", (), "int32")
    position = graphc.state("position", np.array(0, "int32"))
    age = (position - graphc.arange(CONTEXT, dtype="int32")) % CONTEXT  # position p is written to slot p % CONTEXT
    age = graphc.where(age <= position, age, -1)[None]
    x = graphc.reshape(model.embed(character), (1, 1, WIDTH))
    updates = {position: position + 1}
    for i, block in enumerate(model.blocks):
        empty = np.zeros((1, HEADS, CONTEXT, WIDTH // HEADS), np.float32)
        cache = tuple(graphc.state(f"{name}{i}", empty) for name in ("keys", "values"))
        x, new = block(x, age, cache)
        updates.update(zip(cache, new, strict=True))
    logits = model.logits(model.norm(x))[0, 0]
    return graphc.compile((graphc.random.categorical(logits / temperature), logits), updates=updates)


def counted(train: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Bits a character from the frequencies of characters, and of pairs, each counted once more than seen."""
    n = len(CHARACTERS)
    single = np.bincount(train, minlength=n) + 1
    pairs = np.bincount(train[:-1] * n + train[1:], minlength=n * n).reshape(n, n) + 1
    return (
        float(-np.log2(single / single.sum())[test].mean()),
        float(-np.log2(pairs / pairs.sum(1, keepdims=True))[test[:-1], test[1:]].mean()),
    )


def windows(text: np.ndarray) -> np.ndarray:
    """Rows of CONTEXT characters and the one after them."""
    return np.stack([text[start : start + CONTEXT + 1] for start in range(0, len(text) - CONTEXT, CONTEXT)])


def main(epochs: int = 3, limit: int | None = None, letters: int = 600) -> dict[str, float]:
    train, test = text_of(TRAIN)[:limit], text_of(TEST)[:limit]
    graphc.manual_seed(0)
    model = Writer()
    rows = windows(train)
    steps = epochs * (len(rows) // BATCH)
    opt = optim.AdamW(model.parameters(), lr=optim.cosine(4e-3, steps, warmup_steps=steps // 10), weight_decay=0.05)

    def objective(text: graphc.Tensor) -> graphc.Tensor:
        logits = model(text[:, :-1])
        return F.cross_entropy(graphc.reshape(logits, (-1, len(CHARACTERS))), graphc.reshape(text[:, 1:], (-1,)))

    step = graphc.train_step(objective, opt, transform=optim.clip_grad_norm(1.0))
    start = time.perf_counter()

    def report(epoch: int, logs: dict[str, float]) -> None:
        print(f"epoch {epoch}   {logs['loss'] / np.log(2):.3f} bits a character   {time.perf_counter() - start:.1f} s")

    step.run({"text": rows}, epochs=epochs, batch_size=BATCH, shuffle=True, drop_last=True, progress=False, on_epoch=report)
    bits = float(graphc.compile(objective)(windows(test)) / np.log(2))
    single, pairs = counted(train, test)
    print(f"{len(train):,} characters of training; bits a character in {len(test):,} of other modules:")
    print(f"  single characters {single:.3f}, pairs {pairs:.3f}, transformer {bits:.3f}")

    with nn.evaluating():
        check, write = writing_step(model, 0.7), writing_step(model, 0.7)  # each with a cache of its own
    prompt = np.array([CHARACTERS.index(c) for c in "\ndef "], np.int32)
    found = np.stack([check(character=character)[1] for character in prompt])
    difference = float(np.abs(found - graphc.compile(model)(prompt[None])[0]).max())
    print(f"logits from the cache and from the whole text differ by {difference:.1e}; what it writes after 'def ':")
    for character in prompt[:-1]:
        write(character=character)
    character, written = prompt[-1], "def "
    start = time.perf_counter()
    for _ in range(letters):
        character = write(character=character)[0]
        written += CHARACTERS[int(character)]
    print(written)
    print(f"({(time.perf_counter() - start) / letters * 1e6:.0f} us a character)")
    return {"bits": bits, "single": single, "pairs": pairs, "difference": difference, "letters": float(len(set(written)))}


if __name__ == "__main__":
    main()
