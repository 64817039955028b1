"""Images, boxes and batches of COCO-format data sets."""
