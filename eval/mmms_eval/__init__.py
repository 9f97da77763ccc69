"""Measure click models: simulated clicks, NoC, NoCMS, FRMS, data sets, baselines, reports."""
