"""Our LSTM beside those of other libraries, timed on the machine at hand."""
