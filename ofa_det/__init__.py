"""Elastic object detectors: train once, search the subnet that fits a phone, ship a quantized `.tflite`."""
