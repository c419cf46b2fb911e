"""What NumPy lacks and networks need: functions of arrays, in NumPy.

Owns the public names. Invariant: each is an ordinary function of NumPy arrays (float32 stays float32) that
`janusjit.grad` differentiates, in plain Python and under `janusjit.jit`; argument names and defaults are those of
``torch.nn.functional``.
"""

from janusjit.nn.activation import (
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
)
from janusjit.nn.attention import dropout, embedding, scaled_dot_product_attention
from janusjit.nn.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from janusjit.nn.loss import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from janusjit.nn.normalization import batch_norm, group_norm, layer_norm
from janusjit.nn.pooling import avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from janusjit.nn.recurrent import gru_cell, lstm_cell

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "group_norm",
    "gru_cell",
    "layer_norm",
    "leaky_relu",
    "log_softmax",
    "lstm_cell",
    "max_pool1d",
    "max_pool2d",
    "mse_loss",
    "relu",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
]
