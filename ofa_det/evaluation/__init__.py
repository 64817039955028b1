"""Detections to metrics and pictures, whatever runs the detector."""
