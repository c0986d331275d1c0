"""An encoder-decoder with attention: real calendar dates, as people write them, to ISO form, character by character.

    Wednesday, 4 March 1987    4.3.1987    Mar 4 87    3/4/1987    4th of March, 1987        ->        1987-03-04

The encoder is a bidirectional GRU over the characters. The decoder, a GRU cell in a `graphc.scan`, looks at the encoder's
outputs at each step with softmax(QKᵀ/√d)V, blind to the padding (Bahdanau et al., 2015). In training it is given the right
character before; to translate, the same loop feeds back its own choice, and a whole batch of dates is one native call.
"""

from __future__ import annotations

import datetime
import time

import numpy as np

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

CHARACTERS = "\0 -./,0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # 0 is padding, and the start of an answer
OUTPUT = "\0-0123456789"
LENGTH, WIDTH, BATCH = 28, 64, 64


def written(day: datetime.date, style: int) -> str:
    """A date in one of eight styles, numbers of months before days only where strokes part them."""
    suffix = "th" if 10 < day.day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    return (
        f"{day:%A}, {day.day} {day:%B %Y}", f"{day:%B} {day.day}, {day.year}", f"{day.day}{suffix} of {day:%B, %Y}",
        f"{day:%b} {day.day} {day:%y}", f"{day.month}/{day.day}/{day.year}", f"{day.day}.{day.month}.{day.year}",
        f"{day:%d-%b-%Y}", f"{day:%a %d.%m.%y}",
    )[style]  # fmt: skip


def examples(days: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Dates in random styles, and their ISO forms; dates from 1950 to 2049, so that two figures name a year."""
    styles = np.random.default_rng(seed).integers(8, size=len(days))
    dates = [datetime.date(1950, 1, 1) + datetime.timedelta(int(day)) for day in days]
    sources = [written(date, style).ljust(LENGTH, "\0") for date, style in zip(dates, styles, strict=True)]
    return {
        "source": np.array([[CHARACTERS.index(c) for c in text] for text in sources], np.int32),
        "target": np.array([[OUTPUT.index(c) for c in date.isoformat()] for date in dates], np.int32),
    }


class Translator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Embedding(len(CHARACTERS), WIDTH, padding_idx=0)
        self.encoder = nn.GRU(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)
        self.say = nn.Embedding(len(OUTPUT), WIDTH)
        self.decoder = nn.GRUCell(2 * WIDTH, WIDTH)
        self.query, self.logits = nn.Linear(WIDTH, WIDTH), nn.Linear(2 * WIDTH, len(OUTPUT))

    def forward(self, source: graphc.Tensor, target: graphc.Tensor | None = None) -> tuple[graphc.Tensor, graphc.Tensor]:
        """Logits (10, N, characters) and weights of the attention (10, N, LENGTH); without the target, of its own answer."""
        memory, _ = self.encoder(self.read(source))
        hidden = graphc.where((source != 0)[:, :, None], memory, 0)
        unseen = graphc.where(source != 0, 0.0, -np.inf)

        def step(carry: tuple, right: graphc.Tensor | None) -> tuple:
            h, before = carry
            weights = F.softmax(graphc.einsum("nd,ntd->nt", self.query(h), hidden) / WIDTH**0.5 + unseen, dim=1)
            context = graphc.einsum("nt,ntd->nd", weights, hidden)
            h = self.decoder(graphc.concat([self.say(before), context], axis=1), h)
            logits = self.logits(graphc.concat([h, context], axis=1))
            chosen = graphc.argmax(logits, axis=1) if right is None else right
            return (h, graphc.astype(chosen, "int32")), (logits, weights)

        rows = source.shape[0]
        begin = graphc.zeros((rows, WIDTH)), graphc.zeros((rows,), dtype="int32")
        given = None if target is None else graphc.matrix_transpose(target)
        _, results = graphc.scan(step, begin, given, length=10)
        return results


def main(epochs: int = 4, count: int = 12_000) -> dict[str, float]:
    days = np.random.default_rng(0).permutation(36_525)
    train, test = examples(days[:count], 1), examples(days[count : count + 1000], 2)
    graphc.manual_seed(0)
    model = Translator()
    steps = epochs * (count // BATCH)
    opt = optim.Adam(model.parameters(), lr=optim.cosine(4e-3, steps, warmup_steps=steps // 20))

    def objective(source: graphc.Tensor, target: graphc.Tensor) -> graphc.Tensor:
        logits, _ = model(source, target)
        return F.cross_entropy(graphc.permute_dims(logits, (1, 2, 0)), target)

    step = graphc.train_step(objective, opt, transform=optim.clip_grad_norm(1.0))
    translate = graphc.compile(model)

    def exact() -> float:
        answers = translate(test["source"])[0].argmax(2).T
        return float(np.mean((answers == test["target"]).all(1)))

    start = time.perf_counter()

    def report(epoch: int, logs: dict[str, float]) -> None:
        print(f"epoch {epoch:2}   loss {logs['loss']:.4f}   right {exact():.3f}   {time.perf_counter() - start:.1f} s")

    history = step.run(train, epochs=epochs, batch_size=BATCH, shuffle=True, drop_last=True, progress=False, on_epoch=report)
    accuracy = exact()
    logits, weights = translate(test["source"])
    print(f"{accuracy:.3f} of {len(test['source'])} dates not seen in training are right in all ten characters; the first:")
    for row in range(5):
        source = "".join(CHARACTERS[c] for c in test["source"][row]).rstrip("\0")
        answer = "".join(OUTPUT[c] for c in logits[:, row].argmax(1))
        seen = "".join(source[i] for i in weights[:, row].argmax(1))
        print(f"  {source:<28} {answer}   looking at {seen!r}")
    return {"accuracy": accuracy, "loss": history["loss"][-1]}


if __name__ == "__main__":
    main()
