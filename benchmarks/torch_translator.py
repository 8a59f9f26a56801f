"""The translator of `lstm_jax.models.translation` in torch, and its beam search.

The equations are those of `Translator` with one layer, general attention and input
feeding. `weights` turns our parameters, or our gradients, into the torch arrays.
Time-major, as our model.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

PADDING = -1e30
IGNORED = -100


def weights(params) -> dict[str, np.ndarray]:
    """Our parameters, or our gradients, by the names of `TorchTranslator`."""
    tree = params.to_pure_dict()
    embedding = lambda name: {f"{name}.weight": tree[name]["embedding"]}
    linear = lambda name, w, b: {f"{name}.weight": w.T, f"{name}.bias": b}
    found = embedding("source_embed") | embedding("target_embed")
    for side, end in (("forward", ""), ("backward", "_reverse")):
        (layer,) = tree["encoder"]["weights"][side].values()
        found[f"encoder.weight_ih_l0{end}"] = layer["w_x"].T
        found[f"encoder.weight_hh_l0{end}"] = layer["w_h"].T
        found[f"encoder.bias_ih_l0{end}"] = layer["b"]
    for name in ("bridge_h", "bridge_c"):
        (layer,) = tree[name].values()
        found |= linear(name, layer["kernel"], layer["bias"])
    decoder = tree["decoder"]
    (w,), (b,) = decoder["w"].values(), decoder["b"].values()
    fed, recurrent = np.split(np.asarray(w), 2)
    found["decoder.weight_ih"] = np.concatenate([decoder["w_x"], fed]).T
    found["decoder.weight_hh"] = recurrent.T
    found["decoder.bias_ih"] = b
    found["keys.weight"] = decoder["attention"]["w_k"].T
    found |= linear("combine", decoder["w_c"], decoder["b_c"])
    found |= linear("head", tree["head"]["kernel"], tree["head"]["bias"])
    return {name: np.ascontiguousarray(a) for name, a in found.items()}


class TorchTranslator(nn.Module):
    """The model, with the parameters of `weights`."""

    def __init__(self, arrays: dict[str, np.ndarray], dropout: float, smoothing: float):
        super().__init__()
        size = lambda name: arrays[f"{name}.weight"].shape
        self.rate = dropout
        self.source_embed = nn.Embedding(*size("source_embed"))
        self.target_embed = nn.Embedding(*size("target_embed"))
        units, inputs = size("combine")[0], size("source_embed")[1]
        self.encoder = nn.LSTM(inputs, units // 2, bidirectional=True)
        self.bridge_h = nn.Linear(units, units)
        self.bridge_c = nn.Linear(units, units)
        self.decoder = nn.LSTMCell(inputs + units, units)
        self.keys = nn.Linear(units, units, bias=False)
        self.combine = nn.Linear(2 * units, units)
        self.head = nn.Linear(units, size("head")[0])
        self.nats = nn.CrossEntropyLoss(ignore_index=IGNORED, label_smoothing=smoothing)
        tensors = {name: torch.tensor(a) for name, a in arrays.items()}
        missing, unknown = self.load_state_dict(tensors, strict=False)
        assert not unknown, unknown
        # Torch has a second bias for each of ours. It stays 0.
        for name in missing:
            parameter = self.get_parameter(name).requires_grad_(False)
            assert "bias_hh" in name, name
            parameter.zero_()

    def encode(self, source, lengths):
        """Keys and values ``[B, S, H]``, bias of the scores ``[B, 1, S]``, ``(h, c)``.

        A packed sequence, unless all sentences have the same length.
        """
        xs = F.dropout(self.source_embed(source), self.rate, self.training)
        if (whole := bool((lengths == len(source)).all())) is False:
            xs = nn.utils.rnn.pack_padded_sequence(xs, lengths, enforce_sorted=False)
        states, (h, c) = self.encoder(xs)
        if not whole:
            states, _ = nn.utils.rnn.pad_packed_sequence(states)
        values = states.transpose(0, 1)
        join = lambda a: a.transpose(0, 1).flatten(1)
        carry = torch.tanh(self.bridge_h(join(h))), self.bridge_c(join(c))
        padded = torch.arange(len(source)) >= lengths[:, None]
        bias = torch.zeros(padded.shape, dtype=values.dtype)
        bias = bias.masked_fill_(padded, PADDING)[:, None]
        return (self.keys(values), values.contiguous(), bias), carry

    def step(self, memory, carry, s, x):
        """One step: the carry and ``s``.

        A search has several rows for each sentence, those of a sentence side by side.
        """
        keys, values, bias = memory
        h, c = self.decoder(torch.cat([x, s], dim=1), carry)
        query = h.view(len(keys), -1, h.shape[1])
        a = torch.softmax(torch.baddbmm(bias, query, keys.transpose(1, 2)), dim=-1)
        context = torch.bmm(a, values).view(h.shape)
        return (h, c), torch.tanh(self.combine(torch.cat([context, h], dim=1)))

    def loss(self, source, source_lengths, inputs, outputs):
        """The mean cross-entropy of the target tokens that are not `IGNORED`."""
        memory, carry = self.encode(source, source_lengths)
        xs = F.dropout(self.target_embed(inputs), self.rate, self.training)
        s, out = torch.zeros_like(carry[0]), []
        for x in xs:
            carry, s = self.step(memory, carry, s, x)
            s = F.dropout(s, self.rate, self.training)
            out.append(s)
        # The output layer reads only the steps that count.
        real = outputs != IGNORED
        return self.nats(self.head(torch.stack(out)[real]), outputs[real])

    @torch.inference_mode()
    def translate(self, source, lengths, most, width, begin, end, alpha):
        """The best sequence that a beam finds of each sentence, and its rank.

        As `lstm_jax.inference.beam_search_batch` with ``results=1``: a sequence that
        has ended competes with the others, and the loop stops when no open sequence can
        rank higher than the best.
        """
        memory, (h, c) = self.encode(source, lengths)
        B, longest = len(lengths), int(most.max())
        normaliser = lambda n: ((5 + n) / 6) ** alpha
        s, tokens = torch.zeros_like(h), torch.full((B,), begin)
        nats, ranks = torch.zeros(B, 1), torch.zeros(B, 1)
        ended = torch.zeros(B, 1, dtype=torch.bool)
        texts = torch.full((B, width, longest), end)
        first = torch.arange(width) == 0
        rows = torch.arange(B)[:, None]
        for t in range(longest):
            (h, c), s = self.step(memory, (h, c), s, self.target_embed(tokens))
            logits = self.head(s).float()
            total = logits.logsumexp(dim=-1, keepdim=True)
            found, tokens = logits.topk(width)
            before = nats.shape[1]
            shape = B, before, width
            found, tokens = (found - total).view(shape), tokens.view(shape)
            last = (most == t + 1)[:, None, None]
            if last.any():
                only = (logits[:, end, None] - total).view(B, before, 1)
                only = only.where(first, -torch.inf)
                found, tokens = only.where(last, found), tokens.where(~last, end)
            nats = nats[..., None]
            continued = nats + found
            new_ranks = continued / normaliser(t + 1)
            if ended.any():
                done = ended[..., None]
                itself = nats.where(first, -torch.inf)
                continued = itself.where(done, continued)
                kept = ranks[..., None].where(first, -torch.inf)
                new_ranks = kept.where(done, new_ranks)
                tokens = tokens.where(~done, end)
            ranks, best = new_ranks.view(B, -1).topk(width)
            parents = best // width
            nats = continued.view(B, -1).gather(1, best)
            tokens = tokens.view(B, -1).gather(1, best)
            ended = ended.gather(1, parents) | (tokens == end)
            texts = texts[rows, parents] if t else texts
            texts[:, :, t] = tokens
            chosen = (parents + before * rows).view(-1)
            h, c, s = h[chosen], c[chosen], s[chosen]
            tokens = tokens.view(-1)
            reach = (nats / normaliser(most[:, None])).masked_fill(ended, -torch.inf)
            best_ended = ranks.masked_fill(~ended, -torch.inf).amax(dim=1)
            if (best_ended > reach.amax(dim=1)).all():
                break
        return texts[:, 0], ranks[:, 0]
