"""`import graphc.nn.functional as F`: functions named, ordered and behaving as PyTorch's; `dim=` where `graphc` says `axis=`. An
option that is not there is refused, never ignored."""

from graphc.nn.functional.activations import relu
from graphc.nn.functional.classification import cross_entropy
from graphc.nn.functional.layers import linear
from graphc.nn.functional.regression import mse_loss

__all__ = ["cross_entropy", "linear", "mse_loss", "relu"]
