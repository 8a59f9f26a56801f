"""Translation: an encoder, attention, a decoder.

attention.py    how source positions are scored
decoder.py      the decoder, a cell
translator.py   the model and its config
"""

from lstm_jax.models.translation.attention import Attention, Memory
from lstm_jax.models.translation.decoder import AttentionDecoder, DecoderCarry
from lstm_jax.models.translation.translator import (
    PairBatch,
    Translator,
    TranslatorConfig,
)

__all__ = [
    "Attention",
    "AttentionDecoder",
    "DecoderCarry",
    "Memory",
    "PairBatch",
    "Translator",
    "TranslatorConfig",
]
