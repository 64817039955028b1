"""Larger detectors that label images, and the data sets they label."""
