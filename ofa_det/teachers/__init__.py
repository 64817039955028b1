"""Larger detectors that label images for a smaller one, their stored labels, and how good these are."""
