"""An autoencoder of scikit-learn's handwritten digits, 64 pixels through a code of 8 numbers and back, beside PCA with 8.

    code = encoder(x)      p = sigmoid(decoder(code))      loss = -Σ over pixels of x log p + (1 - x) log(1 - p)

The output is Bernoulli: a pixel, the share of black in a square of 4 x 4 finer ones, is taken as a probability. What the code
keeps is measured twice on held-out images: by the error of the reconstruction, and by how well their nearest neighbours among
the codes of the training images name the digit.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

CODE = 8
SHADES = " .:-=+*#%@"


def show(*images: np.ndarray) -> None:
    """Images side by side, in characters."""
    for row in range(8):
        print("  ".join("".join(SHADES[int(9.99 * value)] * 2 for value in image.reshape(8, 8)[row]) for image in images))


def main(epochs: int = 200) -> dict[str, float]:
    images, labels = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split((images / 16).astype(np.float32), labels, test_size=0.25, random_state=0)

    graphc.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 64), nn.SiLU(), nn.Linear(64, CODE))
    decoder = nn.Sequential(nn.Linear(CODE, 64), nn.SiLU(), nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 64))
    steps = epochs * -(-len(x) // 64)
    opt = optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=optim.cosine(4e-3, steps), weight_decay=0.01)

    def objective(x: graphc.Tensor) -> graphc.Tensor:
        return F.binary_cross_entropy_with_logits(decoder(encoder(x)), x, reduction="sum") / x.shape[0]

    step = graphc.train_step(objective, opt)
    history = step.run({"x": x}, epochs=epochs, batch_size=64, shuffle=True, progress=False)

    encode = graphc.compile(encoder)
    reconstruct = graphc.compile(lambda x: F.sigmoid(decoder(encoder(x))))
    pca = PCA(CODE).fit(x)
    ours, linear = reconstruct(x_test), pca.inverse_transform(pca.transform(x_test))
    error, pca_error = (float(np.sqrt(np.mean((found - x_test) ** 2))) for found in (ours, linear))
    near, pca_near = (
        float(KNeighborsClassifier(5).fit(code(x), y).score(code(x_test), y_test)) for code in (encode, pca.transform)
    )
    value = float(graphc.compile(objective)(x_test))
    least = float(-np.sum(x_test * np.log(x_test + 1e-9) + (1 - x_test) * np.log(1 - x_test + 1e-9)) / len(x_test))
    print(f"loss: first epoch {history['loss'][0]:.2f}, last {history['loss'][-1]:.2f} nats an image")
    print(f"{len(x_test)} held-out images: {value:.2f} nats; no code can go below {least:.2f}, the entropy of the pixels")
    print(f"error of a pixel from {CODE} numbers: autoencoder {error:.4f}, PCA {pca_error:.4f}")
    print(f"digits named by the five nearest codes: autoencoder {near:.4f}, PCA {pca_near:.4f}")
    show(*x_test[:4])
    show(*ours[:4])
    return {"error": error, "pca_error": pca_error, "near": near, "pca_near": pca_near}


if __name__ == "__main__":
    main()
