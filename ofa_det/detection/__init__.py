"""Pure tensor functions of detection: boxes, anchors, codes, matching, losses, post-processing."""
