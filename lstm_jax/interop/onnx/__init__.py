"""ONNX files to layers (``importer.py``), programs to ONNX files (``exporter.py``)."""
