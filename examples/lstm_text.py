"""An LSTM that reads a line and says what it is, code or prose, on the standard library's own sources.

    h_t, c_t = LSTM(character t, h_{t-1}, c_{t-1})         z = w h_T + b: many to one

Prose is a line of a docstring or a comment, without the marks that would give it away (#, quotes, indentation); the Python parser
knows which is which. The model is trained on some modules and tested on others. Beside it: the more frequent class always, and
logistic regression on how often each character occurs, which knows nothing of their order.
"""

from __future__ import annotations

import ast
import io
import sysconfig
import tokenize
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score
from threadpoolctl import threadpool_limits

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

LENGTH, WIDTH, BATCH = 48, 48, 64
TRAIN = "argparse ast calendar codecs configparser copy datetime difflib dis doctest fractions functools gettext gzip inspect"
TEST = "textwrap shutil statistics random tarfile threading"


def lines_of(modules: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Lines as rows of characters (0 before short ones: a line ends at the last step), 1 where it is prose, and as text."""
    folder = Path(sysconfig.get_path("stdlib"))
    texts: dict[str, float] = {}  # each line once
    for name in modules.split():
        source = (folder / f"{name}.py").read_text(encoding="utf-8")
        lines = source.splitlines()
        prose: set[int] = set()
        other: set[int] = set()  # other strings, and code with a comment behind it
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                prose.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                (other if lines[token.start[0] - 1][: token.start[1]].strip() else prose).add(token.start[0])
            elif token.type == tokenize.STRING and token.start[0] != token.end[0]:
                other.update(set(range(token.start[0], token.end[0] + 1)) - prose)
        for number, line in enumerate(lines, 1):
            text = line.strip("#\"' \t")
            if len(text) >= 8 and number not in other and text.isascii() and not text.startswith((">>>", "...")):
                texts[text[:LENGTH]] = float(number in prose)
    rows = np.zeros((len(texts), LENGTH), np.int32)
    for row, text in zip(rows, texts, strict=True):
        row[LENGTH - len(text) :] = np.frombuffer(text.encode(), np.uint8)
    return rows, np.array(list(texts.values()), np.float32), list(texts)


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(128, WIDTH, padding_idx=0)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, text: graphc.Tensor) -> graphc.Tensor:
        """Log-odds that each line is prose."""
        _, (last, _) = self.lstm(self.embed(text))
        return self.out(last[0])[:, 0]


def counts(rows: np.ndarray) -> np.ndarray:
    """How often each character occurs in each line."""
    return np.stack([np.bincount(row, minlength=128)[1:] for row in rows])


def main(epochs: int = 5, limit: int | None = None) -> dict[str, float]:
    (x, y, _), (x_test, y_test, texts) = lines_of(TRAIN), lines_of(TEST)
    chosen = np.random.default_rng(0).permutation(len(x))[:limit]
    x, y = x[chosen], y[chosen]
    graphc.manual_seed(0)
    model = Reader()
    steps = epochs * (len(x) // BATCH)
    opt = optim.Adam(model.parameters(), lr=optim.cosine(5e-3, steps, warmup_steps=steps // 10))

    def objective(x: graphc.Tensor, y: graphc.Tensor) -> graphc.Tensor:
        return F.binary_cross_entropy_with_logits(model(x), y)

    step = graphc.train_step(objective, opt, transform=optim.clip_grad_norm(1.0))
    predict = graphc.compile(model)

    def report(epoch: int, logs: dict[str, float]) -> None:
        print(f"epoch {epoch}   loss {logs['loss']:.4f}   accuracy {np.mean((predict(x_test) > 0) == y_test):.4f}")

    step.run({"x": x, "y": y}, epochs=epochs, batch_size=BATCH, shuffle=True, drop_last=True, progress=False, on_epoch=report)
    z = predict(x_test)
    accuracy, f1 = float(np.mean((z > 0) == y_test)), float(f1_score(y_test, z > 0))
    frequent = float(np.mean(y_test == (y.mean() > 0.5)))
    with threadpool_limits(1):  # in products so small, threads wait for one another
        orderless = float(LogisticRegression(max_iter=2000).fit(counts(x), y).score(counts(x_test), y_test))
    print(f"{len(x):,} lines of training; accuracy on {len(x_test):,} lines of other modules:")
    print(f"  the more frequent class {frequent:.4f}, counts of characters {orderless:.4f}, LSTM {accuracy:.4f} (F1 {f1:.4f})")
    print(f"confusions (code, prose; true by predicted)\n{confusion_matrix(y_test, z > 0)}")
    wrong = np.where((z > 0) != y_test, np.abs(z), 0).argsort()[::-1][:4]
    for i in wrong:
        print(f"  surest and wrong: {texts[i]!r} is {'prose' if y_test[i] else 'code'}, or so the parser says")
    return {"accuracy": accuracy, "counts": orderless, "frequent": frequent, "f1": f1}


if __name__ == "__main__":
    main()
