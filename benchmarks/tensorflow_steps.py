"""One step of TensorFlow's own operators and cells, where it can be imported.

The operators BlockLSTM and BlockLSTMV2 run on sequences of one step. The Python class
is the one that TensorFlow keeps for old models.
"""

import numpy as np


def _peepholes(w, H, names):
    zeros = np.zeros(H, np.float32)
    return {to: w.get(name, zeros) for name, to in names.items()}


def block_cell(w, x, state):
    import tensorflow as tf

    cs, h = state
    diag = {f"w_{gate}_diag": f"wc{gate}" for gate in "ifo"}
    out = tf.raw_ops.LSTMBlockCell(
        x=x,
        cs_prev=cs,
        h_prev=h,
        w=w["kernel"],
        b=w["bias"],
        **_peepholes(w, h.shape[-1], diag),
        forget_bias=1.0,
        cell_clip=-1.0,
        use_peephole="w_i_diag" in w,
    )
    return out.cs.numpy(), out.h.numpy()


def block(operator, **options):
    def step(w, x, state):
        import tensorflow as tf

        cs, h = state
        names = {f"wc{gate}": f"wc{gate}" for gate in "ifo"}
        out = getattr(tf.raw_ops, operator)(
            seq_len_max=np.int64(1),
            x=x[None],
            cs_prev=cs,
            h_prev=h,
            w=w["w"],
            b=w["b"],
            **_peepholes(w, h.shape[-1], names),
            cell_clip=-1.0,
            use_peephole="wci" in w,
            **options,
        )
        return out.cs.numpy()[0], out.h.numpy()[0]

    return step


def lstm_cell(w, x, state):
    import tensorflow as tf
    from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl

    c, h = map(tf.constant, state)
    projected = w.get("projection/kernel")
    cell = rnn_cell_impl.LSTMCell(
        c.shape[-1],
        use_peepholes="w_i_diag" in w,
        num_proj=None if projected is None else projected.shape[1],
    )
    cell.build(tf.TensorShape(x.shape))
    own = {v.name.split(":")[0].partition("/")[2]: v for v in cell.variables}
    assert own.keys() == w.keys(), (own.keys(), w.keys())
    for name, variable in own.items():
        variable.assign(w[name])
    _, state = cell(tf.constant(x), rnn_cell_impl.LSTMStateTuple(c, h))
    return state.c.numpy(), state.h.numpy()
