"""Tasks: data, model, loss and metrics, joined. A new one is a file and a line here."""

from lstm_jax.tasks.classification import Classification, ClassificationConfig
from lstm_jax.tasks.forecasting import Forecasting, ForecastingConfig
from lstm_jax.tasks.language_model import LanguageModelling, LanguageModellingConfig
from lstm_jax.tasks.memory import Memory, MemoryConfig
from lstm_jax.tasks.tagging import Tagging, TaggingConfig
from lstm_jax.tasks.transcription import Transcription
from lstm_jax.tasks.transcription_config import TranscriptionConfig
from lstm_jax.tasks.translation import TranslationTask
from lstm_jax.tasks.translation_config import TranslationConfig

TASKS = {
    "classification": (ClassificationConfig, Classification),
    "forecasting": (ForecastingConfig, Forecasting),
    "language_model": (LanguageModellingConfig, LanguageModelling),
    "memory": (MemoryConfig, Memory),
    "tagging": (TaggingConfig, Tagging),
    "transcription": (TranscriptionConfig, Transcription),
    "translation": (TranslationConfig, TranslationTask),
}
"""Name to config and task."""
