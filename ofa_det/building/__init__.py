"""From a folder of images and a latency to the file: every stage is one of the other commands."""
