"""Masks as files, one module per format, each with its reader.

What a format cannot hold, its ``losses`` say before anything is written; ``formats.py`` lists the formats. The table is
in ``docs/formats.md``.
"""
