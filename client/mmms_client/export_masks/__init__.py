"""Masks as files, one module per format, each with its reader. Nothing is lost on the way there and back."""
