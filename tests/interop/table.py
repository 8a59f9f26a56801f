"""The table of peers that tests and the sweep run."""

import importlib.util

from benchmarks import tensorflow_steps as tf
from tests.interop import transcriptions as numpy_
from tests.interop.peers import (
    Peer,
    equinox_peer,
    flax_peer,
    haiku_peer,
    haste_peer,
    jax_rnn,
    keras_peer,
    onnx_peer,
    tf1_peer,
    torch_cell,
    torch_peer,
)

V1, V2 = numpy_.tf_block("icfo", 1.0), numpy_.tf_block("ifco", 0.0)


def block_cell(w, x, state):
    """LSTMBlockCell: one step of BlockLSTM, its arrays named as those of a cell."""
    names = {"kernel": "w", "bias": "b"} | {f"w_{g}_diag": f"wc{g}" for g in "ifo"}
    return V1({names[name]: array for name, array in w.items()}, x, state)


PEERS = {
    "torch.nn.LSTM": Peer(torch_peer("LSTM"), two_biases=True),
    "torch.nn.LSTM, projected": Peer(
        torch_peer("LSTM", projected=True), two_biases=True
    ),
    "torch.nn.LSTM, no bias": Peer(torch_peer("LSTM", bias=False), two_biases=True),
    "torch.nn.LSTMCell": Peer(torch_cell("LSTM"), two_biases=True),
    "torch.nn.GRU": Peer(torch_peer("GRU"), "GRU", two_biases=True),
    "keras.layers.LSTM": Peer(keras_peer("LSTM")),
    "keras.layers.GRU": Peer(keras_peer("GRU"), "GRU", two_biases=True),
    "keras.layers.GRU, reset before": Peer(keras_peer("GRU", reset_after=False), "GRU"),
    "flax.linen.LSTMCell": Peer(flax_peer("linen", "LSTMCell", "lstm")),
    "flax.linen.OptimizedLSTMCell": Peer(
        flax_peer("linen", "OptimizedLSTMCell", "lstm")
    ),
    "flax.linen.GRUCell": Peer(flax_peer("linen", "GRUCell", "gru"), "GRU"),
    "flax.nnx.LSTMCell": Peer(flax_peer("nnx", "LSTMCell", "lstm")),
    "flax.nnx.OptimizedLSTMCell": Peer(flax_peer("nnx", "OptimizedLSTMCell", "lstm")),
    "flax.nnx.GRUCell": Peer(flax_peer("nnx", "GRUCell", "gru"), "GRU"),
    "haiku.LSTM": Peer(haiku_peer("LSTM", "lstm"), rounds=True),
    "haiku.GRU": Peer(haiku_peer("GRU", "gru_reset_before"), "GRU"),
    "equinox.nn.LSTMCell": Peer(equinox_peer("LSTMCell", "lstm")),
    "equinox.nn.GRUCell": Peer(equinox_peer("GRUCell", "gru"), "GRU"),
    "jax.experimental.rnn, lstm_ref": Peer(jax_rnn),
    "ONNX LSTM": Peer(onnx_peer("LSTM", "lstm"), two_biases=True),
    "ONNX LSTM, peepholes": Peer(
        onnx_peer("LSTM", "lstm", peepholes=True), two_biases=True
    ),
    "ONNX LSTM, input_forget": Peer(
        onnx_peer("LSTM", "cifg", input_forget=1), two_biases=True
    ),
    "ONNX GRU": Peer(
        onnx_peer("GRU", "gru", linear_before_reset=1), "GRU", two_biases=True
    ),
    "ONNX GRU, reset before": Peer(
        onnx_peer("GRU", "gru_reset_before", linear_before_reset=0),
        "GRU",
        two_biases=True,
    ),
    "TF1 LSTMCell": Peer(
        tf1_peer("LSTMCell", numpy_.tf_lstm_cell), transcription=True, rounds=True
    ),
    "TF1 LSTMCell, peepholes": Peer(
        tf1_peer("LSTMCell", numpy_.tf_lstm_cell, peepholes=True),
        transcription=True,
        rounds=True,
    ),
    "TF1 LSTMCell, projected": Peer(
        tf1_peer("LSTMCell", numpy_.tf_lstm_cell, projected=True),
        transcription=True,
        rounds=True,
    ),
    "TF1 LSTMBlockCell": Peer(
        tf1_peer("LSTMBlockCell", block_cell, peepholes=True),
        transcription=True,
        rounds=True,
    ),
    "TF BlockLSTM": Peer(
        tf1_peer("BlockLSTM", V1, peepholes=True), transcription=True, rounds=True
    ),
    "TF BlockLSTMV2": Peer(
        tf1_peer("BlockLSTMV2", V2, peepholes=True), transcription=True
    ),
    "haste LSTM": Peer(haste_peer("lstm", numpy_.haste_lstm), transcription=True),
    "haste LayerNormLSTM": Peer(
        haste_peer("layer norm", numpy_.haste_layer_norm_lstm), transcription=True
    ),
    "haste GRU": Peer(haste_peer("gru", numpy_.haste_gru), "GRU", True, True),
}


def with_tensorflow():
    """The rows of TensorFlow as it runs them itself; none where it is not there."""
    if importlib.util.find_spec("tensorflow") is None:
        return {}
    cell, first = tf.lstm_cell, tf.block("BlockLSTM", forget_bias=1.0)
    second = tf.block("BlockLSTMV2")
    rows = {
        "TF1 LSTMCell": tf1_peer("LSTMCell", cell),
        "TF1 LSTMCell, peepholes": tf1_peer("LSTMCell", cell, peepholes=True),
        "TF1 LSTMCell, projected": tf1_peer("LSTMCell", cell, projected=True),
        "TF1 LSTMBlockCell": tf1_peer("LSTMBlockCell", tf.block_cell, peepholes=True),
        "TF BlockLSTM": tf1_peer("BlockLSTM", first, peepholes=True),
        "TF BlockLSTMV2": tf1_peer("BlockLSTMV2", second, peepholes=True),
    }
    return {name: Peer(build, rounds=True) for name, build in rows.items()}
